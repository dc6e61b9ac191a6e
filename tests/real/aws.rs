//! The AWS CLI, whose keys are those of a role that moto hands out.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::common::tools::Desk;
use crate::common::{LAB, PROGRAM, now};
use keyfob_test_support::real::{on_this_machine, pypi};
use keyfob_test_support::registry::Asks;
use keyfob_test_support::{Output, need};
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::123456789012:role/dev";

/// Runs for as long as its stdin is open.
const SERVER: &str = "import sys\nfrom moto.server import ThreadedMotoServer\n\
    server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)\nserver.start()\n\
    print('http://%s:%s/' % server.get_host_and_port(), flush=True)\nsys.stdin.read()\nserver.stop()\n";

/// moto; it ends with this.
struct Moto {
    child: Child,
    url: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Moto {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Self { child, url: url.trim().to_owned() }
    }
}

/// From now on the keys live for another ten minutes.
fn age_keys(desk: &Desk) {
    for name in desk.scene.names().into_iter().filter(|name| name.ends_with(".json")) {
        let file = desk.scene.keyfob.cache_dir().join(name);
        let mut session: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        for token in session["tokens"].as_array_mut().unwrap() {
            if token["token"].as_str().is_some_and(|token| token.contains("AccessKeyId")) {
                token["expires_at"] = json!(now() + 600);
            }
        }
        std::fs::write(&file, session.to_string()).unwrap();
    }
}

#[test]
fn the_aws_cli_has_the_keys_of_a_role() {
    let packages = need!(pypi(&["awscli==1.45.11", "moto[server]==5.2.5"]));
    let python = need!(on_this_machine("python3"));
    let desk = Desk::signed_out("git", Asks { tls: false, challenge: "Bearer" });
    let run = |program: &std::path::Path| {
        let mut command = desk.command(program);
        command
            .env("PYTHONPATH", &packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    };
    let mut server = run(&python);
    server.args(["-c", SERVER]);
    let moto = Moto::start(server);
    let lab = LAB.replace("ISSUER", desk.scene.idp.issuer());
    desk.scene.keyfob.write_config(&format!(
        "default-profile = 'lab'\n{lab}\n[profile.dev]\ngrant = 'aws-role'\nrole = '{ROLE}'\nsource = 'profile'\nsource-profile = 'lab'\n\
         token-endpoint = '{}'\n",
        moto.url
    ));
    desk.write(".aws/config", "[profile dev]\nregion = us-east-1\n");
    let connected = desk.run(PROGRAM, &["setup", "aws", "--profile", "dev", "dev", "--yes"]);
    assert_eq!((connected.code, connected.stderr.as_str()), (Some(0), ""), "{connected:?}");
    let aws = || {
        let mut command = run(&python);
        let words = ["sts", "get-caller-identity", "--profile", "dev", "--query", "Arn", "--output", "text"];
        command.arg(packages.join("bin/aws")).args(words).args(["--endpoint-url", &moto.url]);
        Output::of(&mut command, b"")
    };
    let signed_out = aws();
    assert!(signed_out.code != Some(0) && signed_out.stderr.contains("keyfob login"), "{signed_out:?}");

    desk.scene.sign_in();
    let asked = desk.asked();
    for _ in 0..2 {
        let output = aws();
        let arn = "arn:aws:sts::123456789012:assumed-role/dev/keyfob\n";
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), arn), "{output:?}");
    }
    let keys = || desk.scene.silently(["aws", "--profile", "dev"]).stdout;
    let first = keys();
    assert!(first.starts_with("{\"Version\":1,\"AccessKeyId\":\"ASIA"), "{first}");
    assert_eq!(keys(), first, "the keys are cached");
    assert_eq!(desk.asked(), asked, "and so is the token that they were had for");
    age_keys(&desk);
    let second = keys();
    assert_ne!(second, first, "keys that AWS would replace are replaced");
    assert_eq!(keys(), second);
    assert!(aws().stdout.ends_with(":assumed-role/dev/keyfob\n"));

    // A profile of AWS's own that does not name keyfob has none.
    desk.write(".aws/config", "[profile dev]\nregion = us-east-1\n");
    let elsewhere = aws();
    assert!(elsewhere.code != Some(0) && elsewhere.stderr.contains("Unable to locate credentials"), "{elsewhere:?}");
}
