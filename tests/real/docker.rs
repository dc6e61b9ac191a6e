//! docker without a daemon, skopeo and podman, against a registry that takes the provider's tokens.

use std::path::{Path, PathBuf};

use crate::common::Fresh;
use crate::common::tools::Desk;
use keyfob_test_support::provider::Auto;
use keyfob_test_support::real::{Missing, on_this_machine};
use keyfob_test_support::registry::Asks;
use keyfob_test_support::{Output, need};

const BASIC: Asks = Asks { tls: true, challenge: "Basic realm=\"registry\"" };
const CONFIG: &str = "{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}";

/// A way to look at an image.
struct Client {
    program: PathBuf,
    words: Vec<String>,
}

impl Client {
    fn docker(desk: &Desk) -> Result<Self, Missing> {
        desk.setup(&["docker", "--bin", "bin", desk.registry.host()]);
        let image = format!("{}/team/app:1", desk.registry.host());
        let words = ["manifest", "inspect", "--insecure", &image].map(str::to_owned).to_vec();
        Ok(Self { program: on_this_machine("docker")?, words })
    }

    fn skopeo(desk: &Desk) -> Result<Self, Missing> {
        desk.link("docker-credential-keyfob");
        desk.write(
            ".run/containers/auth.json",
            &format!("{{\"credHelpers\": {{\"{}\": \"keyfob\"}}}}", desk.registry.host()),
        );
        let image = format!("docker://{}/team/app:1", desk.registry.host());
        let words = ["inspect", "--raw", "--tls-verify=false", &image].map(str::to_owned).to_vec();
        Ok(Self { program: on_this_machine("skopeo")?, words })
    }

    fn run(&self, desk: &Desk) -> Output {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        desk.run(&self.program, &words)
    }
}

fn desk() -> Desk {
    let desk = Desk::new("docker", BASIC);
    let manifest = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{{\"mediaType\":\"application/vnd.docker.container.image.v1+json\",\
         \"size\":{},\"digest\":\"{}\"}},\"layers\":[]}}",
        CONFIG.len(),
        digest(CONFIG)
    );
    desk.registry.serve("/v2/", "application/json", "{}");
    for reference in ["1", &digest(&manifest)] {
        desk.registry.serve(&format!("/v2/team/app/manifests/{reference}"), MANIFEST, manifest.clone());
    }
    desk.registry.serve(&format!("/v2/team/app/blobs/{}", digest(CONFIG)), "application/octet-stream", CONFIG);
    desk
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn digest(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold("sha256:".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// The first answer and the next, a token that was refused, a host that is not mapped, and nobody signed in.
fn day(desk: &Desk, client: &Client) {
    let before = desk.asked();
    let got = |output: Output| {
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.stdout.contains("schemaVersion"), "{output:?}");
    };
    got(client.run(desk));
    got(client.run(desk));
    let lines = desk.registry.take_lines();
    assert!(lines.iter().any(|line| line == "GET /v2/team/app/manifests/1 Basic 200"), "{lines:?}");
    assert_eq!(desk.asked(), before, "the cache needs no provider");

    // The program does not tell that a token was refused; a sign-out of its own has another one handed out.
    desk.scene.idp.expire_access_tokens();
    assert_ne!(client.run(desk).code, Some(0));
    let erased = Output::of(
        desk.command(Path::new("docker-credential-keyfob")).arg("erase").stdin(std::process::Stdio::piped()),
        desk.registry.host().as_bytes(),
    );
    assert_eq!((erased.code, erased.stdout.as_str(), erased.stderr.as_str()), (Some(0), "", ""));
    got(client.run(desk));

    desk.registry.take_lines();
    desk.unmap();
    let refused = client.run(desk);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    let lines = desk.registry.take_lines();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.ends_with(" 401")), "{lines:?}");

    desk.map(&format!("https://{}", desk.registry.host()), "");
    desk.forget_session();
    let signed_out = client.run(desk);
    assert_ne!(signed_out.code, Some(0), "{signed_out:?}");
    assert!(signed_out.stderr.contains("keyfob login lab"), "{signed_out:?}");
    assert!(desk.registry.take_lines().iter().all(|line| line.ends_with(" 401")));
}

#[test]
fn docker_inspects_a_manifest() {
    let desk = desk();
    let client = need!(Client::docker(&desk));
    day(&desk, &client);
}

#[test]
fn skopeo_inspects_a_manifest() {
    let desk = desk();
    let client = need!(Client::skopeo(&desk));
    day(&desk, &client);
}

/// From nothing to a pull: one command makes the profile, connects docker and leaves the sign-in to do; the undo leaves nothing.
#[test]
fn a_newcomer_pulls_after_one_command_and_a_sign_in() {
    let docker = need!(on_this_machine("docker"));
    let served = desk();
    let fresh = Fresh::new();
    std::fs::create_dir(fresh.path("bin")).unwrap();
    let untouched = fresh.files();
    let (issuer, host) = (served.scene.idp.issuer(), served.registry.host());
    let profile = ["--profile", "lab", "--issuer", issuer, "--client-id", "keyfob"];
    fresh.run(&[&["setup", "docker", "--yes", "--bin", "bin", host], &profile[..]].concat());
    served.scene.idp.auto(Auto::Approve);
    fresh.run(&["login", "lab"]);
    let image = format!("{host}/team/app:1");
    let mut command = fresh.other(&docker);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([fresh.path("bin")].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let pulled = Output::of(command.args(["manifest", "inspect", "--insecure", &image]).env("PATH", path), b"");
    assert!(pulled.code == Some(0) && pulled.stdout.contains("schemaVersion"), "{pulled:?}");
    let _ = std::fs::remove_dir_all(fresh.path(".docker/manifests"));
    fresh.run(&["setup", "docker", "--undo", "--yes", host]);
    assert_eq!(fresh.files(), untouched);
}

/// podman says whose login it would use, and has that from keyfob as it is configured for docker.
#[test]
fn podman_finds_the_login() {
    let podman = need!(on_this_machine("podman"));
    let desk = desk();
    desk.setup(&["docker", "--bin", "bin", desk.registry.host()]);
    let login = || desk.run(&podman, &["login", "--get-login", desk.registry.host()]);
    let found = login();
    assert_eq!((found.code, found.stdout.as_str()), (Some(0), "x-access-token\n"), "{found:?}");
    desk.unmap();
    let unmapped = login();
    assert!(unmapped.code != Some(0) && unmapped.stdout.is_empty(), "{unmapped:?}");
}

#[test]
fn docker_logout_drops_the_token_and_keeps_the_sign_in() {
    let desk = desk();
    let client = need!(Client::docker(&desk));
    let before = desk.scene.session();
    let logout = desk.run(&client.program, &["logout", desk.registry.host()]);
    assert_eq!(logout.code, Some(0), "{logout:?}");
    let after = desk.scene.session();
    assert_eq!(after["refresh_token"], before["refresh_token"], "the sign-in stays");
    assert_eq!(client.run(&desk).code, Some(0));
    assert_ne!(desk.scene.session()["tokens"], before["tokens"]);
}
