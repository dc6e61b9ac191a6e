//! `keyfob setup kubernetes` on kubeconfigs as they are found: what is changed, what stays, and what the undo leaves. kubectl
//! is not needed for it, and not run before the change is made.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use keyfob_test_support::provider::{Auto, Client, Options, Provider};
use keyfob_test_support::{Output, skip};
use serde_json::Value;

use crate::common::{Fresh, ORDERS, PROGRAM, strace};

const CONFIG: &str = ".config/keyfob/config.toml";
const LAB: &str = "[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'k'\n";

/// A home with the profile `lab`, and a kubectl that runs the kubeconfig's program whatever it is asked, as one does that
/// only chooses among versions and asks the server first.
struct Home(Fresh);

impl Home {
    fn new() -> Self {
        let fresh = Fresh::new();
        fresh.write(CONFIG, LAB);
        fs::create_dir(fresh.path("bin")).unwrap();
        let script = "echo \"$@\" >> \"$HOME/ran\"\nkeyfob kubernetes --profile lab < /dev/null > /dev/null 2>> \"$HOME/ran\"\nexit 1";
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > bin/kubectl; chmod 700 bin/kubectl";
        assert_eq!(Output::of(fresh.other("sh").args(["-c", write, "sh", script]), b"").code, Some(0));
        symlink(PROGRAM, fresh.path("bin/keyfob")).unwrap();
        Self(fresh)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.0.command(args);
        let path = std::env::var_os("PATH").unwrap();
        let folders = std::iter::once(self.0.path("bin")).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders).unwrap());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        Output::of(&mut self.command(&[&["setup", "kubernetes"], args].concat()), b"")
    }

    #[track_caller]
    fn setup(&self, args: &[&str]) -> String {
        let done = self.run(&[&["--yes"], args].concat());
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{args:?} {done:?}");
        done.stdout
    }

    fn plain(&self, text: &str) -> String {
        text.replace(self.0.0.home().to_str().unwrap(), "HOME")
    }

    fn kubeconfig(&self) -> PathBuf {
        self.0.path(".kube/config")
    }
}

/// What keyfob's user says in block style, below `- name: lab` or `- name: a`.
const EXEC: &str = "    exec:\n      apiVersion: client.authentication.k8s.io/v1\n      args:\n      - kubernetes\n      - --profile\n      \
                    - lab\n      command: BIN/keyfob\n      interactiveMode: IfAvailable\n";

/// Every odd kubeconfig: changed in just one place, and back byte for byte; and where another program has added a line, that
/// stays, and keyfob's own lines go.
#[test]
fn kubeconfigs_of_the_field_are_changed_in_one_place_and_back() {
    let user = format!("- name: lab\n  user:\n{EXEC}");
    let json = "{\"name\":\"lab\",\"user\":{\"exec\":{\"apiVersion\":\"client.authentication.k8s.io/v1\",\
                \"args\":[\"kubernetes\",\"--profile\",\"lab\"],\"command\":\"BIN/keyfob\",\"interactiveMode\":\"IfAvailable\"}}}";
    let context = "contexts:\n- context:\n    cluster: c\n    user: USER\n  name: lab\n";
    let two = "---\n# one\nusers:\n- name: old\n  user: {token: x}\nCONTEXT---\n# two\nusers: []\n...\n";
    for (what, before, after) in [
        ("block style", format!("# mine\nusers:   # all\n- name: old\n  user:\n    token: x\n{context}# end\n"), format!("# mine\nusers:   # all\n- name: old\n  user:\n    token: x\n{user}{context}# end\n")),
        ("items set in", format!("{context}users:\n  - name: old\n    user: {{token: x}}\n"), format!("{context}users:\n  - name: old\n    user: {{token: x}}\n{}", user.lines().flat_map(|line| ["  ", line, "\n"]).collect::<String>())),
        ("no line break at the end", format!("{context}users:\n- name: old\n  user: {{token: x}}"), format!("{context}users:\n- name: old\n  user: {{token: x}}\n{}", user.trim_end())),
        ("an empty list", format!("users: []\n{context}"), format!("users:\n{user}{context}")),
        ("null", format!("users: null\n{context}"), format!("users:\n{user}{context}")),
        ("no list", context.to_owned(), format!("{context}users:\n{user}")),
        ("two documents", two.replace("CONTEXT", context), two.replace("CONTEXT", &format!("{user}{context}"))),
        ("anchors", format!("users:\n- &a\n  name: old\n  user: &u {{token: x}}\n- name: other\n  user: *u\n{context}"), format!("users:\n- &a\n  name: old\n  user: &u {{token: x}}\n- name: other\n  user: *u\n{user}{context}")),
        ("JSON in lines", "{\n  \"contexts\": [\n    {\n      \"name\": \"lab\",\n      \"context\": {\"cluster\": \"c\", \"user\": \"USER\"}\n    }\n  ],\n  \"users\": [\n    {\n      \"name\": \"old\",\n      \"user\": {\n        \"token\": \"x\"\n      }\n    }\n  ]\n}\n".to_owned(), format!("{{\n  \"contexts\": [\n    {{\n      \"name\": \"lab\",\n      \"context\": {{\"cluster\": \"c\", \"user\": \"USER\"}}\n    }}\n  ],\n  \"users\": [\n    {{\n      \"name\": \"old\",\n      \"user\": {{\n        \"token\": \"x\"\n      }}\n    }}, {json}\n  ]\n}}\n")),
        ("JSON in one line", "{\"users\":[],\"contexts\":[{\"name\":\"lab\",\"context\":{\"user\":\"USER\"}}]}".to_owned(), format!("{{\"users\":[{json}],\"contexts\":[{{\"name\":\"lab\",\"context\":{{\"user\":\"USER\"}}}}]}}")),
    ] {
        for (bytes, name) in [("", ""), ("\r", " with CRLF"), ("\u{feff}", " with a byte order mark")] {
            let home = Home::new();
            let spelt = |text: &str, user: &str| {
                let text = text.replace("USER", user).replace("BIN", home.0.path("bin").to_str().unwrap());
                match bytes {
                    "\r" => text.replace('\n', "\r\n"),
                    mark => format!("{mark}{text}"),
                }
            };
            home.0.write(".kube/config", &spelt(&before, "old"));
            let untouched = home.0.files();
            home.setup(&["--profile", "lab", "--context", "lab"]);
            assert_eq!(home.0.read(".kube/config"), spelt(&after, "lab"), "{what}{name}");
            let again = home.setup(&["--profile", "lab", "--context", "lab"]);
            assert!(again.contains(": nothing to do.\n"), "{again}");
            home.setup(&["--undo"]);
            assert_eq!(home.0.files(), untouched, "{what}{name}");

            home.setup(&["--profile", "lab", "--context", "lab"]);
            let more = if before.starts_with('{') { " " } else { "\n# more\n" };
            home.0.write(".kube/config", &(home.0.read(".kube/config") + more));
            home.setup(&["--undo"]);
            let left = home.0.read(".kube/config");
            assert!(!left.contains("keyfob") && left.ends_with(more), "{what}{name}: {left}");
            let kept = |text: &str| text.split_whitespace().filter(|word| !"users: \"users\": [] null []} [],".contains(word)).collect::<Vec<_>>().concat();
            assert_eq!(kept(&left).replace("}]}", ""), kept(&(spelt(&before, "old") + more)).replace("}]}", ""), "{what}{name}");
            let ran = fs::read_to_string(home.0.path("ran")).unwrap_or_default();
            assert_eq!(ran, "", "kubectl was run: {ran}");
        }
    }
}

#[test]
fn a_link_stays_a_link_and_odd_names_are_names() {
    let home = Home::new();
    home.0.write(
        "dotfiles/kube",
        "users:\n- name: yes\n  user: {}\ncontexts: [{name: 'a: #b', context: {user: \"yes\"}}]\n",
    );
    fs::create_dir_all(home.0.path(".kube")).unwrap();
    symlink("../dotfiles/kube", home.kubeconfig()).unwrap();
    let untouched = home.0.files();
    for user in ["yes", "1e3", "~", "a: #b", "- x", "é\u{1f511}", "--", "a\"b\\"] {
        home.setup(&["--profile", "lab", &format!("--user={user}"), "--context", "a: #b"]);
        let text = home.0.read("dotfiles/kube");
        let context =
            if user == "é\u{1f511}" || user == "a\"b\\" { Value::from(user).to_string() } else { format!("{user:?}") };
        assert!(text.contains(&format!("user: {context}")), "{user} {text}");
        let doctor = Output::of(&mut home.command(&["doctor", "--offline"]), b"").stdout;
        assert!(doctor.contains(&format!("ok     kubectl {user}: runs ")), "{doctor}");
        home.setup(&["--undo", &format!("--user={user}")]);
        assert_eq!(home.0.files(), untouched, "{user}");
    }
}

#[test]
fn a_file_that_is_not_to_be_written_is_left_alone_and_the_lines_are_shown() {
    let home = Home::new();
    home.0.write(".kube/config", "contexts: [{name: lab, context: {cluster: c, user: old}}]\n");
    fs::set_permissions(home.kubeconfig(), fs::Permissions::from_mode(0o400)).unwrap();
    let untouched = home.0.files();
    let refused = home.run(&["--yes", "--profile", "lab", "--context", "lab"]);
    let lines = format!(
        "# HOME/.kube/config\nusers:\n- name: lab\n  user:\n{}contexts:\n- context:\n    cluster: c\n    user: lab\n  name: lab\n",
        EXEC.replace("BIN", "HOME/bin")
    );
    assert_eq!(
        (refused.code, home.plain(&refused.stdout), home.plain(&refused.stderr).as_str()),
        (
            Some(1),
            format!("Connect kubectl's user lab with the profile lab, by hand:\n\n{lines}\n"),
            "error: HOME/.kube/config is read-only; nothing was changed\n\
             hint: make the change above by hand, or make the file writable\n"
        )
    );
    assert_eq!(home.0.files(), untouched);
    let printed = home.run(&["--print", "--profile", "lab", "--context", "lab"]);
    assert_eq!((printed.code, home.plain(&printed.stdout), printed.stderr.as_str()), (Some(0), lines, ""));
    let flags = ["--issuer", "https://id.example.com/new", "--client-id", "c"];
    let printed = home.run(&[&["--print", "--profile", "new"], &flags[..]].concat());
    assert!(
        home.plain(&printed.stdout).starts_with(
            "# HOME/.config/keyfob/config.toml\n[profile.new]\nissuer = \"https://id.example.com/new\"\nclient-id = \"c\"\n\n\
             # HOME/.kube/config\nusers:\n- name: new\n"
        ),
        "{printed:?}"
    );
    assert_eq!(home.0.files(), untouched, "no provider is asked, and nothing changed");
}

#[test]
fn three_users_of_one_file_are_taken_back_in_any_order() {
    let before = "users:\n- name: b\n  user: {exec: {command: gke, args: [hunter2]}}   # mine\n- name: c\n  user:\n    token: hunter2\n# end";
    for order in ORDERS {
        for edited_since in [false, true] {
            let home = Home::new();
            home.0.write(".kube/config", before);
            let untouched = home.0.files();
            let users = ["a", "b", "c"];
            for user in users {
                let done = home.setup(&["--profile", "lab", "--user", user]);
                assert!(!done.contains("hunter2"), "{done}");
            }
            if edited_since {
                home.0.write(".kube/config", &format!("# more\n{}", home.0.read(".kube/config")));
            }
            for (nth, user) in order.into_iter().enumerate() {
                let undone = home.setup(&["--undo", "--user", users[user]]);
                assert!(!undone.contains("hunter2"), "{undone}");
                let text = home.0.read(".kube/config");
                assert_eq!(
                    text.matches("/keyfob\n").count() + text.matches("/keyfob\"").count(),
                    2 - nth,
                    "{order:?} {text}"
                );
            }
            if edited_since {
                let text = home.0.read(".kube/config");
                assert!(text.starts_with("# more\nusers:\n- name: b\n") && text.ends_with("# end"), "{text}");
                assert!(text.contains("   # mine\n") && text.contains("token: hunter2\n"), "{text}");
            } else {
                assert_eq!(home.0.files(), untouched, "{order:?}");
            }
        }
    }
}

#[test]
fn the_program_that_is_written_is_the_one_on_path_by_its_whole_path() {
    let home = Home::new();
    home.setup(&["--profile", "lab"]);
    assert!(home.0.read(".kube/config").contains(&format!("command: {}\n", home.0.path("bin/keyfob").display())));
    home.0.write(
        ".kube/config",
        &home.0.read(".kube/config").replace(home.0.path("bin/keyfob").to_str().unwrap(), "keyfob"),
    );
    let complaints = Output::of(&mut home.command(&["doctor", "--offline"]), b"").stdout;
    let warning = "warn   kubectl lab: runs keyfob by its name alone, which programs with another PATH do not find\n       \
                   $ keyfob setup kubernetes --profile lab --user lab\n";
    assert!(complaints.contains(warning), "{complaints}");
    let found = Output::of(&mut home.command(&["setup"]), b"").stdout;
    assert!(!found.contains("has keyfob"), "{found}");
    home.setup(&["--profile", "lab", "--user", "lab"]);
    let complaints = Output::of(&mut home.command(&["doctor", "--offline"]), b"").stdout;
    assert!(complaints.contains("ok     kubectl lab: runs "), "{complaints}");
}

#[test]
fn setup_by_itself_offers_what_doctor_complains_of() {
    let home = Home::new();
    home.setup(&["--profile", "lab"]);
    let text = home.0.read(".kube/config") + "contexts: [{name: lab, context: {user: lab}}]\n";
    home.0.write(".kube/config", &text);
    let found = || Output::of(&mut home.command(&["setup"]), b"").stdout;
    assert!(found().contains("  =  kubectl: the context lab has keyfob\n"), "{}", found());
    home.0.write(".kube/config", &text.replace("  user:\n", "  user:\n    token: hunter2\n"));
    let offer = "  1  kubectl: the user lab has a token of its own, which kubectl sends instead\n     \
                 keyfob setup kubernetes --profile lab --user lab\n";
    assert!(found().contains(offer), "{}", found());
    home.setup(&["--profile", "lab", "--user", "lab"]);
    assert!(found().contains("  =  kubectl: the context lab has keyfob\n"), "{}", found());
}

#[test]
fn a_profile_for_some_clusters_is_told_which_one_asks() {
    let home = Home::new();
    let clusters = "clusters:\n- name: c\n  cluster: {server: 'https://10.0.0.1:6443/k8s'}\ncontexts:\n- name: x\n  context: {cluster: c, user: old}\n";
    let exec = "users:\n- name: old\n  user:\n    exec: {command: kubelogin, args: [get-token, --oidc-issuer-url=https://id.example.com, --oidc-client-id=c], provideClusterInfo: true}\n";
    home.0.write(".kube/config", &format!("{clusters}{exec}"));
    let printed = home.run(&["--print", "--from-kubelogin"]).stdout;
    assert!(printed.contains("clusters = [\"https://10.0.0.1:6443\"]\n"), "{printed}");
    assert!(printed.contains("      provideClusterInfo: true\n"), "{printed}");

    home.0.write(CONFIG, &format!("{LAB}clusters = ['https://10.0.0.1:6443']\n"));
    home.setup(&["--profile", "lab", "--user", "me"]);
    let text = home.0.read(".kube/config");
    assert!(
        text.contains("- name: me\n")
            && text.contains("      interactiveMode: IfAvailable\n      provideClusterInfo: true\n"),
        "{text}"
    );
}

/// As kubectl 1.35 reads it: a link is not followed, and `name` is what an entry is named by.
#[test]
fn where_kubectl_runs_only_what_is_listed_a_link_is_made_and_listed_and_goes_again() {
    let head =
        "apiVersion: kubectl.config.k8s.io/v1beta1\nkind: Preference\ncredentialPluginPolicy: Allowlist # mine\n";
    for (list, key) in [
        ("credentialPluginAllowlist:\n- name: aws # theirs\n", "name"),
        ("credentialPluginAllowlist:\n- command: aws\n", "command"),
        ("", "name"),
    ] {
        let home = Home::new();
        home.0.write(".kube/kuberc", &format!("{head}{list}"));
        let untouched = home.0.files();
        home.setup(&["--profile", "lab", "--user", "a"]);
        let link = home.0.path("bin/keyfob-kubernetes");
        assert_eq!(fs::read_link(&link).unwrap(), home.0.path("bin/keyfob"));
        let list = if list.is_empty() { "credentialPluginAllowlist:\n" } else { list };
        assert_eq!(home.0.read(".kube/kuberc"), format!("{head}{list}- {key}: {}\n", link.display()));
        let text = home.0.read(".kube/config");
        let exec = format!("      args:\n      - --profile\n      - lab\n      command: {}\n", link.display());
        assert!(text.contains(&exec), "{text}");
        let doctor = || Output::of(&mut home.command(&["doctor", "--offline"]), b"").stdout;
        assert!(doctor().contains(&format!("ok     kubectl a: runs {}\n", link.display())), "{}", doctor());
        assert!(home.setup(&["--profile", "lab", "--user", "a"]).contains(": nothing to do.\n"));

        // One that is still needed stays, whichever setup made it.
        home.setup(&["--profile", "lab", "--user", "b"]);
        home.setup(&["--undo", "--user", "a"]);
        assert!(link.exists() && home.0.read(".kube/kuberc").contains("keyfob-kubernetes"));
        assert!(doctor().contains("ok     kubectl b: runs "), "{}", doctor());
        home.setup(&["--undo"]);
        assert_eq!(home.0.files(), untouched);
    }
}

#[test]
fn where_kubectl_runs_nothing_nothing_is_changed_and_a_list_without_keyfob_is_an_error_of_doctors() {
    let home = Home::new();
    home.setup(&["--profile", "lab"]);
    home.0.write(".kube/kuberc", "kind: Preference\ncredentialPluginPolicy: DenyAll\n");
    let untouched = home.0.files();
    let refused = home.run(&["--yes", "--profile", "lab", "--user", "me"]);
    let error = "error: HOME/.kube/kuberc:2: kubectl is to run no program for a token (DenyAll)\n\
                 hint: say `credentialPluginPolicy: Allowlist` there, and run the same command again\n";
    assert_eq!((refused.code, home.plain(&refused.stderr).as_str()), (Some(1), error));
    assert_eq!(home.0.files(), untouched);

    home.0.write(
        ".kube/kuberc",
        "kind: Preference\ncredentialPluginPolicy: Allowlist\ncredentialPluginAllowlist: [{name: aws}]\n",
    );
    let doctor = |variable: &str, value: &str| {
        home.plain(&Output::of(home.command(&["doctor", "--offline"]).env(variable, value), b"").stdout)
    };
    let error = "error  kubectl lab: runs HOME/bin/keyfob, which HOME/.kube/kuberc forbids kubectl to run\n       \
                 $ keyfob setup kubernetes --profile lab --user lab\n";
    assert!(doctor("X", "").contains(error), "{}", doctor("X", ""));
    for (variable, value) in [("KUBERC", "off"), ("KUBECTL_KUBERC", "false"), ("KUBERC", "/nowhere/kuberc")] {
        assert!(doctor(variable, value).contains("ok     kubectl lab: runs "), "{variable}");
    }
    home.setup(&["--profile", "lab", "--user", "lab"]);
    assert!(doctor("X", "").contains("ok     kubectl lab: runs HOME/bin/keyfob-kubernetes\n"), "{}", doctor("X", ""));
}

/// Every program that setup runs, and what those run in turn: as the system is told.
#[test]
fn no_program_that_is_run_is_told_a_secret_or_may_ask_anybody() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let idp = Provider::start(Options { clients: vec![Client::basic("lab", "hunter2")], ..Options::default() });
    idp.auto(Auto::Approve);
    let home = Home::new();
    home.0.write(CONFIG, "");
    let user = format!(
        "users:\n- name: oidc\n  user:\n    exec:\n      apiVersion: client.authentication.k8s.io/v1\n      command: kubectl\n      \
         args: [oidc-login, get-token, --oidc-issuer-url={}, \
         --oidc-client-id=lab, --oidc-client-secret=hunter2]\ncontexts: [{{name: lab, context: {{user: oidc}}}}]\n",
        idp.issuer()
    );
    home.0.write(".kube/config", &user);
    let log = home.0.path("execve.log");
    let options = ["-v", "-s", "65536", "-e", "trace=execve", "-o", log.to_str().unwrap()];
    let watched = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("KEYFOB_PROMPT", "always");
        let output = Output::of(strace::watch(&command, &options).current_dir(home.0.path("")), b"");
        assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
        assert!(!(output.stdout + &output.stderr).contains("hunter2"), "{args:?}");
        // The first is the one that is watched.
        let calls = fs::read_to_string(&log).unwrap();
        let calls: Vec<String> = calls.lines().filter(|line| line.contains(" execve(")).map(str::to_owned).collect();
        for call in &calls[1..] {
            assert!(!call.contains("hunter2"), "{args:?}: {call}");
            assert!(call.contains("\"KEYFOB_PROMPT=never\""), "{args:?}: {call}");
        }
        calls.iter().skip(1).filter(|call| call.ends_with(" = 0")).count()
    };
    let connect = ["setup", "kubernetes", "--yes", "--from-kubelogin", "--profile", "lab"];
    watched(&connect);
    assert_eq!(Output::of(home.command(&["login", "lab"]).env("KEYFOB_PROMPT", "always"), b"").code, Some(0));
    watched(&["setup", "kubernetes", "--yes", "--undo"]);
    // Now that there is a token kubectl is run, and runs keyfob; so does git.
    assert!(watched(&connect) >= 2);
    assert!(watched(&["setup", "git", "--yes", "--profile", "lab", "https://git.example.com"]) >= 3);
    watched(&["doctor", "--offline"]);
}
