//! docker without a daemon, skopeo, podman and buildah, against a registry that takes the provider's tokens.

use std::fs;
use std::path::PathBuf;

use crate::common::Fresh;
use crate::common::tools::{Day, Desk, Replaced};
use keyfob_test_support::provider::Auto;
use keyfob_test_support::real::{Missing, on_this_machine};
use keyfob_test_support::registry::Asks;
use keyfob_test_support::{Output, need};

const BASIC: Asks = Asks { tls: true, challenge: "Basic realm=\"registry\"" };
const CONFIG: &str = "{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}";

/// A way to fetch an image, and to sign out.
struct Client {
    program: PathBuf,
    fetch: Vec<String>,
    logout: Vec<String>,
}

impl Client {
    /// `IMAGE` and `HOST` stand for the registry's.
    fn new(desk: &Desk, program: &str, fetch: &str, logout: &str) -> Result<Self, Missing> {
        let host = desk.registry.host();
        let words = |text: &str| -> Vec<String> {
            let text = text.replace("IMAGE", "HOST/team/app:1").replace("HOST", host);
            text.split(' ').map(str::to_owned).collect()
        };
        Ok(Self { program: on_this_machine(program)?, fetch: words(fetch), logout: words(logout) })
    }

    /// docker, without a daemon.
    fn docker(desk: &Desk) -> Result<Self, Missing> {
        desk.setup(&["docker", "--bin", "bin", desk.registry.host()]);
        Self::new(desk, "docker", "manifest inspect --insecure IMAGE", "logout HOST")
    }

    /// By its own file.
    fn skopeo(desk: &Desk) -> Result<Self, Missing> {
        desk.link("docker-credential-keyfob");
        let helpers = format!("{{\"credHelpers\": {{\"{}\": \"keyfob\"}}}}", desk.registry.host());
        desk.write(".run/containers/auth.json", &helpers);
        Self::new(desk, "skopeo", "inspect --raw --tls-verify=false docker://IMAGE", "logout HOST")
    }

    /// podman or buildah, which read docker's file.
    fn storing(desk: &Desk, program: &str) -> Result<Self, Missing> {
        desk.setup(&["docker", "--bin", "bin", desk.registry.host()]);
        let fetch = "--root images --runroot images/run --storage-driver vfs pull --tls-verify=false docker://IMAGE";
        Self::new(desk, program, fetch, "logout --authfile .docker/config.json HOST")
    }

    fn run(&self, desk: &Desk, words: &[String]) -> Output {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
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

fn day(desk: &Desk, client: &Client) {
    let signed_out = Day {
        desk,
        run: &|| {
            // podman does not fetch again what it has.
            let _ = fs::remove_dir_all(desk.scene.keyfob.home().join("images"));
            client.run(desk, &client.fetch)
        },
        seen: &|| desk.registry.take_lines(),
        wanted: "GET /v2/team/app/manifests/1 Basic 200",
        replaced: Replaced::By(&|| {
            let logout = client.run(desk, &client.logout);
            assert_eq!(logout.code, Some(0), "{logout:?}");
        }),
        elsewhere: None,
    }
    .live();
    assert!(signed_out.stderr.contains("keyfob login lab"), "{signed_out:?}");
}

#[test]
fn docker_inspects_a_manifest() {
    let desk = desk();
    day(&desk, &need!(Client::docker(&desk)));
}

#[test]
fn skopeo_inspects_a_manifest() {
    let desk = desk();
    day(&desk, &need!(Client::skopeo(&desk)));
}

#[test]
fn podman_and_buildah_pull_an_image() {
    for program in ["podman", "buildah"] {
        let desk = desk();
        day(&desk, &need!(Client::storing(&desk, program)));
    }
}

/// From nothing to a pull: one command makes the profile, connects docker and leaves the sign-in to do; the undo leaves nothing.
#[test]
fn a_newcomer_pulls_after_one_command_and_a_sign_in() {
    let docker = need!(on_this_machine("docker"));
    let served = desk();
    let fresh = Fresh::new();
    fs::create_dir(fresh.path("bin")).unwrap();
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
    let _ = fs::remove_dir_all(fresh.path(".docker/manifests"));
    fresh.run(&["setup", "docker", "--undo", "--yes", host]);
    assert_eq!(fresh.files(), untouched);
}
