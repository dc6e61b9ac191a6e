//! Newcomers: README's own lines, typed one after the other in a terminal, in a home without anything. Only what README itself
//! gives as an example is replaced: a provider, a client and a host of this machine stand in for those on the network.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::common::kube::Home;
use crate::common::{PROGRAM, wait_until};
use keyfob_test_support::git::{GitOptions, GitServer};
use keyfob_test_support::lookalike::{Lookalike, json};
use keyfob_test_support::provider::{Auto, Options, Provider};
use keyfob_test_support::real::{ApiServer, Git, Lifetimes, OidcProvider, Prompt, Transport};
use keyfob_test_support::{Output, Terminal, need};
use serde_json::json as value;

const README: &str = include_str!("../../README.md");

/// The blocks of code in this language below a heading.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let section = README.split(&format!("\n### {heading}\n")).nth(1).unwrap().split("\n#").next().unwrap();
    let start = format!("```{language}\n");
    let blocks = section.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(str::to_owned).collect()
}

/// The lines to type below a heading, with what stands in for the examples.
fn lines(heading: &str, replaced: &[(&str, &str)]) -> Vec<String> {
    let text = blocks(heading, "sh").concat();
    let typed = replaced.iter().fold(text, |text, (example, own)| {
        assert!(text.contains(example), "README no longer says {example:?}");
        text.replace(example, own)
    });
    typed.lines().map(str::to_owned).collect()
}

/// A person in an empty home, with keyfob installed.
struct Newcomer {
    home: Home,
    began: Instant,
}

impl Newcomer {
    fn new(home: Home) -> Self {
        fs::create_dir_all(home.path(".local/bin")).unwrap();
        symlink(PROGRAM, home.path(".local/bin/keyfob")).unwrap();
        Self { home, began: Instant::now() }
    }

    fn shell(&self, line: &str) -> Command {
        let mut shell = self.home.other(Path::new("sh"));
        let path = shell.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, path)| path).unwrap().to_owned();
        let folders = [self.home.path(".local/bin")].into_iter().chain(std::env::split_paths(&path));
        shell.env("PATH", std::env::join_paths(folders).unwrap()).env("GIT_CONFIG_NOSYSTEM", "1").env("TERM", "dumb");
        shell.args(["-c", line]).current_dir(self.home.path(""));
        shell
    }

    /// Types a line, answers what README says is asked, and signs in where a code is shown; what was on the screen.
    fn types(&self, line: &str, sign_in: &dyn Fn(&Prompt)) -> String {
        let terminal = Terminal::start(self.shell(&format!("{line}; echo \"[exit $?]\"")));
        let (mut answered, mut signed_in) = (0, false);
        wait_until(&format!("the end of {line}"), || {
            let screen = terminal.screen();
            for (at, (question, answer)) in [("Go on? [y/N] ", "y\r"), ("Sign in now? [Y/n] ", "\r")].iter().enumerate()
            {
                if answered == at && screen.contains(question) {
                    terminal.send(answer);
                    answered += 1;
                }
            }
            if let Some(prompt) = Prompt::find(&screen).filter(|_| !signed_in && screen.contains("Ctrl-C stops")) {
                sign_in(&prompt);
                signed_in = true;
            }
            screen.contains("[exit ")
        });
        let screen = terminal.wait().screen;
        assert!(screen.contains("[exit 0]"), "{line}\n{screen}");
        screen
    }

    /// What a program gets that runs this.
    fn gets(&self, line: &str) -> String {
        let output = Output::of(self.shell(line).env("KEYFOB_PROMPT", "never"), b"");
        assert_eq!(output.code, Some(0), "{line}: {output:?}");
        output.stdout
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        println!("it took {:?}", self.began.elapsed());
    }
}

fn nobody(_: &Prompt) {}

#[test]
fn kubectl() {
    let provider = need!(OidcProvider::start(Transport::Https, Lifetimes::default()));
    let api = need!(ApiServer::start(&provider));
    // The cluster that the person has.
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: lab\ncontexts:\n- {{name: lab, context: {{cluster: lab, user: \"\"}}}}\n\
         clusters:\n- name: lab\n  cluster: {{server: {}, certificate-authority: ../ca.pem}}\n",
        api.server()
    );
    let newcomer = Newcomer::new(need!(Home::new(Some(&kubeconfig))));
    fs::write(newcomer.home.path("ca.pem"), api.ca_pem()).unwrap();
    let example = "--issuer https://id.example.com/realms/lab --client-id kubernetes";
    let typed = lines("kubectl", &[(example, &provider.flags().join(" "))]);
    let screens: Vec<_> = typed.iter().map(|line| newcomer.types(line, &|prompt| provider.sign_in(prompt))).collect();
    assert!(screens.last().unwrap().contains("web-0   Running"), "{screens:?}");
}

#[test]
fn git() {
    let idp = Provider::start(Options::default());
    idp.auto(Auto::Approve);
    need!(Git::any());
    let server = need!(GitServer::start(GitOptions { tls: true, ..GitOptions::default() }, idp.judge()));
    server.repository("a");
    let newcomer = Newcomer::new(need!(Home::new(None)));
    fs::write(
        newcomer.home.path(".gitconfig"),
        format!("[http]\nsslCAInfo = {}\n", server.ca_file().unwrap().display()),
    )
    .unwrap();
    let client = format!("--issuer {} --client-id keyfob", idp.issuer());
    let replaced = [
        ("https://github.com/you/private.git", &*server.url("a")),
        ("https://github.com", server.origin()),
        ("--provider github --client-id Iv1.0123456789abcdef", &client),
    ];
    for line in lines("git", &replaced) {
        newcomer.types(&line, &nobody);
    }
    assert!(fs::read_dir(newcomer.home.path("a")).unwrap().count() > 1);
}

#[test]
fn azure() {
    let idp = Provider::start(Options::entra());
    idp.auto(Auto::Approve);
    let newcomer = Newcomer::new(need!(Home::new(None)));
    let entra = format!("--provider entra --authority {}", idp.issuer());
    for line in lines("Azure", &[("--provider entra", &entra)]) {
        newcomer.types(&line, &nobody);
    }
    let token =
        newcomer.gets("az account get-access-token --resource https://graph.microsoft.com -o tsv --query accessToken");
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
}

/// The profile is git's; the command is the table's.
#[test]
fn docker() {
    let idp = Provider::start(Options::default());
    idp.auto(Auto::Approve);
    let newcomer = Newcomer::new(need!(Home::new(None)));
    let client = format!("--issuer {} --client-id keyfob", idp.issuer());
    let git = lines("git", &[("--provider github --client-id Iv1.0123456789abcdef", &client)]);
    newcomer.types(&git[0], &nobody);
    let row = README.split("| docker, podman, skopeo, buildah | `").nth(1).unwrap();
    newcomer.types(row.split('`').next().unwrap(), &nobody);
    let answer = newcomer.gets("printf ghcr.io | docker-credential-keyfob get");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert!(idp.judge()(answer["Secret"].as_str().unwrap()), "{answer}");
}

#[test]
fn ci() {
    let server = Lookalike::start(|seen| {
        let origin = format!("http://{}", seen.header("host").unwrap());
        match seen.target.as_str() {
            "/token" => json(200, &value!({ "access_token": "t0ken", "token_type": "Bearer", "expires_in": 3600 })),
            _ => json(200, &value!({ "issuer": origin, "token_endpoint": format!("{origin}/token") })),
        }
    });
    let newcomer = Newcomer::new(need!(Home::new(None)));
    let [config] = &blocks("CI, pods, virtual machines", "toml")[..] else { panic!("one profile") };
    let secret = newcomer.home.path("secret");
    fs::write(&secret, "s3cret\n").unwrap();
    let config = config.replace("https://id.example.com/realms/lab", server.origin());
    let config = config.replace("/run/secrets/ci", secret.to_str().unwrap());
    fs::create_dir_all(newcomer.home.path(".config/keyfob")).unwrap();
    fs::write(newcomer.home.path(".config/keyfob/config.toml"), config).unwrap();
    let [line] = &lines("CI, pods, virtual machines", &[])[..] else { panic!("one line") };
    assert_eq!(newcomer.gets(line), "t0ken\n");
}
