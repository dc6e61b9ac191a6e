//! `keyfob setup`, as a person runs it: shown first, asked for, done by the tool's own means, and undone byte for byte.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use crate::common::{Fresh, PROGRAM, SOON, copy_program, files, strace, undated};
use keyfob_test_support::provider::{Auto, Options, Provider};
use keyfob_test_support::real::Kubectl;
use keyfob_test_support::{Keyfob, Output, Streams, Terminal, need, skip};

const CONFIG: &str = "# mine\n[profile.gh]  # ours\nprovider = 'github'\nclient-id = 'x'\n\n[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'k'\n";

/// A person's home, with a configuration of keyfob and perhaps one of git.
struct Home(Keyfob);

impl Home {
    fn new(git: Option<&str>) -> Self {
        let home = Self(Keyfob::new(PROGRAM).config(CONFIG));
        if let Some(git) = git {
            fs::write(home.gitconfig(), git).unwrap();
        }
        home
    }

    fn gitconfig(&self) -> PathBuf {
        self.0.home().join(".gitconfig")
    }

    /// Both files as they stand; nothing for one that is not there.
    fn files(&self) -> (String, Option<String>) {
        (fs::read_to_string(self.0.config_file()).unwrap(), fs::read_to_string(self.gitconfig()).ok())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.0.command(args);
        command.env("GIT_CONFIG_NOSYSTEM", "1").current_dir(self.0.home());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        Output::of(&mut self.command(args), b"")
    }
}

/// As a program does that starts others and never waits for them: their exit codes would be lost.
#[test]
fn where_sigchld_is_ignored_programs_still_say_how_they_ended() {
    let home = Home::new(None);
    let mut command = home.0.other("env");
    command.args(["--ignore-signal=CHLD", PROGRAM, "setup", "git", "--profile", "gh", "--yes", "https://github.com"]);
    let done = Output::of(command.env("GIT_CONFIG_NOSYSTEM", "1").current_dir(home.0.home()), b"");
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
}

/// A user who has as many threads as are allowed; the first is the program's.
#[test]
fn where_no_thread_can_be_started_no_program_is_run() {
    if !strace::is_here() {
        skip!("strace is not here");
    }
    let home = Home::new(None);
    let before = home.files();
    let command = home.command(&["setup", "git", "--profile", "gh", "--yes", "https://github.com"]);
    let output = Output::of(&mut strace::failing(&command, &["clone3:error=EAGAIN:when=2+"]), b"");
    let why = "no thread could be started: Resource temporarily unavailable (os error 11)\n";
    assert!(output.code == Some(1) && output.stderr.starts_with("error: could not run "), "{output:?}");
    assert!(output.stderr.ends_with(why), "{output:?}");
    assert_eq!(home.files(), before);
}

#[test]
fn git_is_connected_and_disconnected_byte_for_byte() {
    for before in
        [None, Some("[user]\n\tname = Ada # me\n"), Some("[credential]\n\thelper = store\n[user]\n\tname = Ada\n")]
    {
        let home = Home::new(before);
        let untouched = home.files();

        let shown = home.run(&["setup", "git", "--profile", "gh", "https://GitHub.com/"]);
        assert_eq!(shown.code, Some(2), "{shown:?}");
        assert_eq!(
            shown.stderr,
            "error: nothing was changed: there is no terminal to ask on\nhint: add --yes to make the change shown\n"
        );
        assert_eq!(home.files(), untouched);

        let done = home.run(&["setup", "git", "--profile", "gh", "--yes", "https://GitHub.com/"]);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
        assert!(undated(&done.stdout).starts_with(&undated(&shown.stdout)), "what was shown is what is done");
        assert!(done.stdout.contains("\n  + \"https://github.com\" = \"gh\"\n"), "{done:?}");
        let (config, git) = home.files();
        assert_eq!(config, format!("{CONFIG}\n[hosts]\n\"https://github.com\" = \"gh\"\n"));
        let lines = format!("[credential \"https://github.com\"]\n\thelper = \n\thelper = !{PROGRAM} git\n");
        assert_eq!(git.unwrap(), format!("{}{lines}", before.unwrap_or_default()));

        let again = home.run(&["setup", "git", "--profile", "gh", "https://github.com"]);
        assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""), "{again:?}");
        assert!(again.stdout.contains(": nothing to do.\n"), "{again:?}");

        let undone = home.run(&["setup", "git", "--undo", "--yes", "https://github.com"]);
        assert_eq!((undone.code, undone.stderr.as_str()), (Some(0), ""), "{undone:?}");
        assert_eq!(home.files(), untouched);
    }
}

#[test]
fn a_host_by_path_has_git_pass_the_path_on() {
    let home = Home::new(None);
    let untouched = home.files();
    let done = home.run(&["setup", "git", "--profile", "lab", "--yes", "https://git.lab:8443/team"]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert!(home.files().1.unwrap().contains("[credential \"https://git.lab:8443/team\"]"), "{:?}", home.files());
    assert!(home.files().1.unwrap().contains("\tuseHttpPath = true\n"), "{:?}", home.files());
    let undone = home.run(&["setup", "git", "--undo", "--yes", "https://git.lab:8443/team"]);
    assert_eq!(undone.code, Some(0), "{undone:?}");
    assert_eq!(home.files(), untouched);
}

/// As a package manager lays it out: a link that an upgrade points elsewhere.
#[test]
fn what_is_written_is_the_link_that_leads_here() {
    for by_path in [true, false] {
        let home = Home::new(None);
        let folder = |name: &str| home.0.home().join(name);
        for name in ["cellar/1.0/bin", "opt/bin", "first"] {
            fs::create_dir_all(folder(name)).unwrap();
        }
        let program = folder("cellar/1.0/bin/keyfob");
        copy_program(&program);
        std::os::unix::fs::symlink("../../cellar/1.0/bin/keyfob", folder("opt/bin/keyfob")).unwrap();
        // Another keyfob, which does not lead here.
        copy_program(&folder("first/keyfob"));
        let git_here = std::env::var("PATH").unwrap();
        let more = if by_path { format!("{}:", folder("opt/bin").display()) } else { String::new() };
        let path = format!("{}:{more}{git_here}", folder("first").display());
        for words in
            [&["setup", "git", "--profile", "gh", "--yes", "https://github.com"][..], &["setup", "az", "--yes", "bin"]]
        {
            fs::create_dir_all(folder("bin")).unwrap();
            let mut command = home.0.other(folder("opt/bin/keyfob"));
            command.args(words).env("PATH", &path).env("GIT_CONFIG_NOSYSTEM", "1").current_dir(home.0.home());
            let done = Output::of(&mut command, b"");
            assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
        }
        let link = folder("opt/bin/keyfob");
        let written = home.files().1.unwrap();
        assert!(written.contains(&format!("\thelper = !{} git\n", link.display())), "{written}");
        assert_eq!(fs::read_link(folder("bin/az")).unwrap(), link);
    }
}

#[test]
fn another_account_at_a_host_is_for_its_user_name() {
    let idp = Provider::start(Options::default());
    let config = format!("[profile.lab]\nissuer = \"{}\"\nclient-id = \"keyfob\"\n", idp.issuer());
    let home = Home(Keyfob::new(PROGRAM).config(&config));
    let untouched = home.files();
    let words = ["setup", "git", "--profile", "lab", "--account", "ada@corp", "https://git.example"];
    let done = home.run(&[&words[..], &["--yes"]].concat());
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    let (after, git) = home.files();
    let added = format!(
        "\n# Added by keyfob setup git\n[profile.lab-ada-corp]\nissuer = \"{}\"\nclient-id = \"keyfob\"\n\
         account = \"ada@corp\"\n\n[hosts]\n\"https://ada%40corp@git.example\" = \"lab-ada-corp\"\n",
        idp.issuer()
    );
    assert_eq!(after, config + &added);
    assert!(git.unwrap().contains("[credential \"https://ada%40corp@git.example\"]"));
    // Again, also by the name of the profile that is there now.
    for name in ["lab", "lab-ada-corp"] {
        let again = home.run(&["setup", "git", "--profile", name, "--account", "ada@corp", "https://git.example"]);
        assert!(again.stdout.contains(": nothing to do.\n"), "{again:?}");
    }
    let undone = home.run(&["setup", "git", "--undo", "--yes", "https://ada%40corp@git.example"]);
    assert_eq!((undone.code, undone.stderr.as_str()), (Some(0), ""), "{undone:?}");
    assert_eq!(home.files(), untouched);
}

#[test]
fn gists_are_at_another_host() {
    let home = Home::new(None);
    let hint =
        "https://gist.github.com is another host; for it, too: keyfob setup git --profile gh https://gist.github.com\n";
    let done = home.run(&["setup", "git", "--profile", "gh", "--yes", "https://github.com"]);
    assert_eq!(done.stdout.matches(hint).count(), 1, "{done:?}");
    let other = home.run(&["setup", "git", "--profile", "gh", "--yes", "https://gist.github.com"]);
    assert!(!other.stdout.contains("another host"), "{other:?}");
    let again = home.run(&["setup", "git", "--profile", "gh", "https://github.com"]);
    assert!(!again.stdout.contains("another host"), "{again:?}");
}

#[test]
fn az_is_put_where_the_person_says_and_taken_away_again() {
    let home = Home(Keyfob::new(PROGRAM).config("[profile.work]\nprovider = 'entra'\nclient-id = 'c'\n"));
    let untouched = home.files();
    let (bin, other) = (home.0.home().join("bin"), home.0.home().join("other"));
    fs::write(home.0.home().join("file"), "").unwrap();
    let refused = home.run(&["setup", "az", "--yes", "file"]);
    assert!(refused.code == Some(2) && refused.stderr.ends_with("/file is not a folder\n"), "{refused:?}");

    fs::create_dir(&bin).unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(other.join("azd"), "").unwrap();
    let shown = home.run(&["setup", "az", "--profile", "work", "bin"]);
    assert_eq!((shown.code, fs::read_dir(&bin).unwrap().count()), (Some(2), 0), "{shown:?}");
    let mut setup = home.command(&["setup", "az", "--profile", "work", "--yes", "bin"]);
    let path = format!("{}:{}:{}", other.display(), bin.display(), std::env::var("PATH").unwrap());
    let done = Output::of(setup.env("PATH", &path), b"");
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert!(done.stdout.contains(&format!("{} comes first on PATH", other.join("azd").display())), "{done:?}");
    assert!(done.stdout.contains("az is keyfob. Nobody has signed in yet.\nTo sign in: "), "{done:?}");
    assert!(home.files().0.ends_with("\n[az]\nprofile = \"work\"\n"), "{:?}", home.files());
    for name in ["az", "azd"] {
        assert_eq!(fs::read_link(bin.join(name)).unwrap(), PathBuf::from(PROGRAM));
    }
    let version = Output::of(home.0.other(bin.join("az")).arg("version"), b"");
    assert!(version.stdout.contains("\"azure-cli\""), "{version:?}");

    fs::write(bin.join("mine"), "").unwrap();
    let undone = home.run(&["setup", "az", "--undo", "--profile", "work", "--yes", "bin"]);
    assert_eq!((undone.code, undone.stderr.as_str()), (Some(0), ""), "{undone:?}");
    assert_eq!(home.files(), untouched);
    let left: Vec<_> = fs::read_dir(&bin).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mine"]);

    // A real one is left alone, also by the undo.
    fs::write(bin.join("az"), "#!/bin/sh\n").unwrap();
    let refused = home.run(&["setup", "az", "--yes", "bin"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("/az is there already, and is not keyfob\n"), "{refused:?}");
    assert_eq!(home.run(&["setup", "az", "--undo", "--yes", "bin"]).code, Some(0));
    assert!(bin.join("az").is_file() && !bin.join("azd").exists());
}

#[test]
fn on_a_terminal_the_person_is_asked() {
    let home = Home::new(None);
    let untouched = home.files();
    let ask = || Terminal::start(home.command(&["setup", "git", "--profile", "gh", "https://github.com"]));
    let terminal = ask();
    terminal.wait_for("Go on? [y/N] ", SOON);
    terminal.send("\r");
    let ended = terminal.wait();
    assert!(ended.code == Some(0) && ended.screen.ends_with("Nothing was changed.\r\n"), "{ended:?}");
    assert_eq!(home.files(), untouched);

    let terminal = ask();
    terminal.wait_for("Go on? [y/N] ", SOON);
    terminal.send("y\r");
    terminal.wait_for("git asks keyfob for https://github.com. Nobody has signed in yet.", SOON);
    terminal.wait_for("Sign in now? [Y/n] ", SOON);
    terminal.send("n\r");
    let ended = terminal.wait();
    assert!(
        ended.code == Some(0) && ended.screen.contains("\r\nkeyfob asks you to sign in when git first needs"),
        "{ended:?}"
    );
    assert_ne!(home.files(), untouched);
}

#[test]
fn what_stands_in_the_way_is_named_and_nothing_is_changed() {
    let other = "[credential \"https://github.com\"]\n\thelper = !gh auth git-credential\n";
    for (git, args, error, hint) in [
        (
            other,
            &["--profile", "gh", "https://github.com"][..],
            "git has another helper for https://github.com already: \"!gh auth git-credential\"",
            "first: git config --global --unset-all credential.https://github.com.helper",
        ),
        ("", &["--profile", "hg", "https://github.com"], "there is no profile \"hg\"; known are `gh`, `lab`", ""),
        (
            "",
            &["--profile", "gh", "ssh://github.com"],
            "\"ssh://github.com\" is not an address such as https://git.example.com:8443/team",
            "",
        ),
        (
            "",
            &["--profile", "gh", "http://github.com"],
            "\"http://github.com\" is not https (plain http is allowed only on loopback)",
            "",
        ),
    ] {
        let home = Home::new(Some(git));
        let untouched = home.files();
        let refused = home.run(&[&["setup", "git", "--yes"], args].concat());
        let hint = if hint.is_empty() { String::new() } else { format!("hint: {hint}\n") };
        assert_eq!((refused.code, refused.stderr), (Some(2), format!("error: {error}\n{hint}")), "{args:?}");
        assert_eq!(home.files(), untouched);
    }

    let home = Home::new(None);
    assert_eq!(home.run(&["setup", "git", "--yes", "--profile", "lab", "https://github.com"]).code, Some(0));
    let other = home.run(&["setup", "git", "--yes", "--profile", "gh", "https://github.com"]);
    assert_eq!(
        other.stderr,
        "error: https://github.com has the token of profile \"lab\" already\n\
         hint: first: keyfob setup git --undo https://github.com\n"
    );
}

#[test]
fn a_host_of_other_callers_is_not_made_gits() {
    let home = Home::new(None);
    home.0.write_config(
        "[profile.gh]\nprovider = 'github'\nclient-id = 'c'\n\
         [hosts]\n'https://ghcr.io' = { profile = 'gh', callers = ['docker'] }\n",
    );
    let untouched = home.files();
    let refused = home.run(&["setup", "git", "--yes", "--profile", "gh", "https://ghcr.io"]);
    let error = "error: https://ghcr.io is in [hosts] already, but not for git\nhint: add \"git\" to its `callers`\n";
    assert_eq!((refused.code, refused.stderr.as_str()), (Some(2), error));
    assert_eq!(home.files(), untouched);
}

#[test]
fn what_would_interfere_is_noted() {
    for (git, note) in [
        (
            "[http]\n\textraHeader = Authorization: Basic eA==\n",
            "http.extraheader in GITCONFIG sends a credential of its own, which goes before keyfob's",
        ),
        (
            "[http \"https://github.com/\"]\n\textraHeader = AUTHORIZATION: bearer x\n",
            "http.https://github.com/.extraheader in GITCONFIG sends a credential of its own, which goes before keyfob's",
        ),
        (
            "[url \"git@github.com:\"]\n\tinsteadOf = https://github.com/\n",
            "url.git@github.com:.insteadof in GITCONFIG sends git to git@github.com: instead, where keyfob may not be asked",
        ),
        (
            "[credential \"https://github.com\"]\n\tusername = ada\n",
            "credential.https://github.com.username in GITCONFIG makes git ask for that user name",
        ),
        (
            "[remote \"origin\"]\n\turl = https://ada@github.com/a/b\n",
            "remote.origin.url in GITCONFIG has a user name in it, which git sends along",
        ),
        (
            "[credential \"https://github.com/team\"]\n\thelper = store\n",
            "credential.https://github.com/team.helper in GITCONFIG is another helper for this host (store): git hands it the token",
        ),
    ] {
        let home = Home::new(Some(git));
        let shown = home.run(&["setup", "git", "--profile", "gh", "https://github.com"]);
        let note = note.replace("GITCONFIG", &home.gitconfig().display().to_string().replace("//", "/"));
        let stdout = shown.stdout.replace("//.gitconfig", "/.gitconfig");
        assert!(stdout.contains(&format!("Note: {note}\n")), "{git}\n{shown:?}");
    }
    for harmless in [
        "[http]\n\textraHeader = X-Trace: 1\n",
        "[http \"https://gitlab.com/\"]\n\textraHeader = Authorization: x\n",
        "[credential]\n\thelper = store\n",
    ] {
        let shown = Home::new(Some(harmless)).run(&["setup", "git", "--profile", "gh", "https://ghe.example"]);
        assert!(!shown.stdout.contains("Note:"), "{harmless}\n{shown:?}");
    }

    let home = Home::new(None);
    let git = |args: &[&str]| {
        let done = home.0.other("git").args(args).current_dir(home.0.home()).status().unwrap();
        assert!(done.success(), "{args:?}");
    };
    git(&["init", "-q"]);
    git(&["config", "credential.helper", "store"]);
    let shown = home.run(&["setup", "git", "--profile", "gh", "https://github.com"]);
    assert!(
        shown.stdout.contains("credential.helper in .git/config is another helper for this host (store)"),
        "{shown:?}"
    );
}

#[test]
fn a_profile_is_made_alone_and_goes_again_unless_something_names_it() {
    let idp = Provider::start(Options::default());
    let fresh = Fresh::new();
    let untouched = fresh.files();
    let make = ["setup", "--profile", "lab", "--issuer", idp.issuer(), "--client-id", "keyfob", "--yes"];
    let done = fresh.run(&make);
    assert!(done.ends_with(&format!("\nTo sign in: {PROGRAM} login lab\n")), "{done}");
    let with = fresh.files();
    let again = fresh.run(&make);
    assert!(again.starts_with("Make the profile lab: nothing to do.\n"), "{again}");
    let mut other = make;
    other[6] = "another";
    let other = Output::of(&mut fresh.command(&other), b"");
    assert_eq!(
        (other.code, other.stderr.as_str()),
        (
            Some(2),
            "error: there is a profile \"lab\" already, which says something else\n\
             hint: choose another name, or give --profile alone\n"
        )
    );
    assert_eq!(fresh.files(), with);

    fresh.run(&["setup", "git", "--yes", "--profile", "lab", "https://git.example.com"]);
    let kept = fresh.run(&["setup", "--undo", "--profile", "lab"]);
    assert!(kept.contains("Note: the profile \"lab\" is left, since [hosts] names it\n"), "{kept}");
    // It is not git's to remove.
    fresh.run(&["setup", "git", "--undo", "--yes", "https://git.example.com"]);
    assert_eq!(fresh.files(), with);
    fresh.run(&["setup", "--undo", "--yes", "--profile", "lab"]);
    assert_eq!(fresh.files(), untouched);
}

#[test]
fn alone_it_says_what_there_is_to_connect_and_does_the_one_that_is_chosen() {
    let home = Home::new(None);
    let bin = home.0.home().join("bin");
    fs::create_dir(&bin).unwrap();
    let kubeconfig = home.0.home().join("kubeconfig");
    fs::write(
        &kubeconfig,
        "users:\n- name: oidc\n  user:\n    exec:\n      apiVersion: client.authentication.k8s.io/v1\n      command: kubelogin\n\
        \u{20}     args: [get-token, --oidc-issuer-url=https://id.example.com, --oidc-client-id=k]\n\
         - name: robot\n  user: {exec: {apiVersion: v1, command: kubelogin, args: [get-token, --login, ropc]}}\n\
         contexts:\n- {name: lab, context: {cluster: c, user: admin}}\n- {name: old, context: {cluster: c, user: oidc}}\n",
    )
    .unwrap();
    let git = |args: &[&str]| {
        let done = home.0.other("git").args(args).current_dir(home.0.home()).status().unwrap();
        assert!(done.success(), "{args:?}");
    };
    git(&["init", "-q"]);
    git(&["remote", "add", "origin", "https://ada@github.com/a/b"]);
    git(&["remote", "add", "other", "https://git.example.com:8443/a/b"]);
    git(&["remote", "add", "by-ssh", "git@example.org:a/b"]);
    // kubectl has to be found, but no az of this machine.
    let tools = home.0.home().join("tools");
    fs::create_dir(&tools).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let git_here = std::env::split_paths(&path).map(|folder| folder.join("git")).find(|file| file.is_file()).unwrap();
    std::os::unix::fs::symlink(&need!(Kubectl::newest()).path, tools.join("kubectl")).unwrap();
    std::os::unix::fs::symlink(git_here, tools.join("git")).unwrap();
    let setup = || {
        let mut setup = home.command(&["setup"]);
        let path = std::env::join_paths([&bin, &tools, &PathBuf::from("/nowhere")]).unwrap();
        setup.env("KUBECONFIG", &kubeconfig).env("PATH", path);
        setup
    };
    let work = "[profile.work]\nprovider = 'entra'\nclient-id = 'c'\n";
    home.0.write_config(&format!("{CONFIG}{work}"));
    let untouched = files(home.0.home(), &[".kube"]);
    let shown = Output::of(&mut setup(), b"");
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""), "{shown:?}");
    let text = format!(
        "  1  kubectl: the user oidc runs kubelogin\n\
         \u{20}    keyfob setup kubernetes --from-kubelogin --user oidc\n\
         \u{20} -  kubectl: the context lab with the user admin\n\
         \u{20}    keyfob setup kubernetes --profile NAME --context lab\n\
         \u{20} 2  git: https://github.com\n\
         \u{20}    keyfob setup git --profile gh https://github.com\n\
         \u{20} -  git: https://git.example.com:8443\n\
         \u{20}    keyfob setup git --profile NAME https://git.example.com:8443\n\
         \u{20} 3  az: none on PATH\n\
         \u{20}    keyfob setup az --profile work {}\n\
         Words in capitals are yours to fill in.\n\
         Profiles: gh, lab, work\n\
         kubectl: the user robot runs kubelogin, which keyfob cannot take over: \
         argument --login: a password is for its owner to type at the provider\n",
        bin.display()
    );
    assert_eq!(shown.stdout, text);
    assert_eq!(files(home.0.home(), &[".kube"]), untouched);

    let terminal = Terminal::start(setup());
    terminal.wait_for("Which one? [1-3, or Enter for none] ", SOON);
    terminal.send("2\r");
    terminal.wait_for("Go on? [y/N] ", SOON);
    terminal.send("y\r");
    terminal.wait_for("git asks keyfob for https://github.com. Nobody has signed in yet.", SOON);
    terminal.wait_for("Sign in now? [Y/n] ", SOON);
    terminal.send("n\r");
    let ended = terminal.wait();
    assert!(
        ended.code == Some(0) && ended.screen.contains("\r\nkeyfob asks you to sign in when git first needs"),
        "{ended:?}"
    );
    let shown = Output::of(&mut setup(), b"");
    assert!(shown.stdout.contains("  =  git: https://github.com has keyfob\n"), "{shown:?}");

    let mut able = setup();
    able.env("TERM", "xterm");
    let narrow = Terminal::start_sized(able, Streams::default(), (40, 30));
    let shown = narrow.wait_for("Which one? ", SOON).replace('\r', "");
    assert!(shown.contains("  -  kubectl: the context lab with the\n     user admin\n"), "{shown}");
    narrow.send("\r");
    assert_eq!(narrow.wait().code, Some(0));

    let terminal = Terminal::start(setup());
    terminal.wait_for("Which one? ", SOON);
    terminal.send("7\r");
    let ended = terminal.wait();
    assert!(ended.code == Some(2) && ended.screen.contains("error: \"7\" is none of them"), "{ended:?}");

    let fresh = Fresh::new();
    let mut nothing = fresh.command(&["setup"]);
    let shown = Output::of(nothing.env("PATH", &tools), b"");
    assert_eq!(
        (shown.code, shown.stdout.as_str()),
        (
            Some(0),
            "  -  no profile yet\n     keyfob setup --profile NAME --issuer URL --client-id ID\n\
             Words in capitals are yours to fill in.\n"
        )
    );
}

/// A home whose configuration names a provider that knows the client `keyfob`.
fn fresh(idp: &Provider) -> (Fresh, Vec<String>) {
    let flags = ["--profile", "lab", "--issuer", idp.issuer(), "--client-id", "keyfob"];
    (Fresh::new(), flags.map(str::to_owned).to_vec())
}

#[test]
fn a_wrong_client_is_found_before_anything_is_changed() {
    let idp = Provider::start(Options::default());
    let (fresh, mut flags) = fresh(&idp);
    let untouched = fresh.files();
    flags[5] = "nobody".to_owned();
    for tool in
        [&["setup"][..], &["setup", "kubernetes"], &["setup", "git", "https://git.example"], &["setup", "az", "bin"]]
    {
        let words = tool.iter().map(|word| (*word).to_owned()).chain(flags.clone()).chain(["--yes".to_owned()]);
        let words: Vec<String> = words.collect();
        let refused = Output::of(&mut fresh.command(&words.iter().map(String::as_str).collect::<Vec<_>>()), b"");
        let error = "error: the provider refused to start a sign-in: invalid_client: no such client\n\
                     hint: check the client id \"nobody\"; if it has a secret, set `client-secret-file`\n";
        assert_eq!((refused.code, refused.stderr.as_str(), refused.stdout.as_str()), (Some(1), error, ""), "{tool:?}");
        assert_eq!(fresh.files(), untouched);
    }
}

#[test]
fn on_a_terminal_the_person_signs_in_and_is_asked_to_sign_out_at_the_end() {
    let idp = Provider::start(Options::default());
    idp.auto(Auto::Approve);
    let (fresh, flags) = fresh(&idp);
    let untouched = fresh.files();
    let terminal = |args: &[&str]| {
        let mut command = fresh.command(&[&["setup"], args].concat());
        Terminal::start({
            command.env("KEYFOB_PROMPT", "always");
            command
        })
    };
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let setup = terminal(&[&["git", "https://git.example"], &flags[..]].concat());
    setup.wait_for("Go on? [y/N] ", SOON);
    setup.send("y\r");
    setup.wait_for("Sign in now? [Y/n] ", SOON);
    setup.send("\r");
    let ended = setup.wait();
    assert!(ended.code == Some(0) && ended.screen.contains("Signed in to lab as alice@example.com"), "{ended:?}");
    assert!(ended.screen.ends_with("git asks keyfob for https://git.example, and is answered.\r\n"), "{ended:?}");

    // With --yes nobody is asked, and told how.
    let shown = fresh.run(&["setup", "git", "--undo", "--yes", "https://git.example"]);
    let left = format!(
        "You are still signed in to lab; to sign out: {PROGRAM} logout --issuer {} --client-id keyfob\n",
        idp.issuer()
    );
    assert!(shown.contains(&left), "{shown}");
    assert_eq!(fresh.files(), untouched);

    fresh.run(&[&["setup", "--yes"], &flags[..]].concat());
    let undo = terminal(&["--undo", "--profile", "lab"]);
    undo.wait_for("Go on? [y/N] ", SOON);
    undo.send("y\r");
    undo.wait_for("Sign out of lab, too? [y/N] ", SOON);
    undo.send("y\r");
    let ended = undo.wait();
    assert!(ended.code == Some(0) && ended.screen.ends_with("Signed out of lab (alice@example.com).\r\n"), "{ended:?}");
    assert_eq!((idp.count("revoke"), fresh.files()), (2, untouched), "the refresh token and the access token");
}

#[test]
fn a_session_that_another_profile_uses_is_not_spoken_of() {
    let idp = Provider::start(Options::default());
    idp.auto(Auto::Approve);
    let (fresh, flags) = fresh(&idp);
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    fresh.run(&[&["setup", "--yes"], &flags[..]].concat());
    flags[1] = "other";
    fresh.run(&[&["setup", "--yes"], &flags[..]].concat());
    fresh.run(&["login", "other"]);
    let undone = fresh.run(&["setup", "--undo", "--yes", "--profile", "other"]);
    assert!(!undone.contains("signed in"), "{undone}");
}

#[test]
fn the_lines_are_printed_for_those_who_write_their_files_themselves() {
    let home = Home::new(Some("[user]\n\tname = Ada\n"));
    home.0.write_config(&format!("{CONFIG}[profile.work]\nprovider = 'entra'\nclient-id = 'c'\n"));
    let untouched = home.files();
    let plain = |text: &str| text.replace(home.0.home().to_str().unwrap(), "HOME").replace("HOME//", "HOME/");
    for (args, lines) in [
        (
            &["git", "--profile", "gh", "https://github.com", "https://git.lab/a\"b"][..],
            format!(
                "# HOME/config.toml\n[hosts]\n\"https://github.com\" = \"gh\"\n\"https://git.lab/a%22b\" = \"gh\"\n\n\
                 # HOME/.gitconfig\n[credential \"https://github.com\"]\n\thelper = \n\thelper = \"!{PROGRAM} git\"\n\
                 [credential \"https://git.lab/a%22b\"]\n\thelper = \n\thelper = \"!{PROGRAM} git\"\n\tuseHttpPath = true\n"
            ),
        ),
        (
            &["az", "--profile", "work", "bin"],
            format!(
                "# HOME/config.toml\n[az]\nprofile = \"work\"\n\n# in a shell\n\
                 ln -s {PROGRAM} HOME/bin/az\nln -s {PROGRAM} HOME/bin/azd\n"
            ),
        ),
    ] {
        let printed = home.run(&[&["setup"], args, &["--print"]].concat());
        assert_eq!((printed.code, printed.stderr.as_str(), plain(&printed.stdout)), (Some(0), "", lines), "{args:?}");
        assert_eq!(home.files(), untouched);
    }
    // As git reads it.
    let printed = home.run(&["setup", "git", "--profile", "gh", "https://github.com", "--print"]).stdout;
    fs::write(home.gitconfig(), printed.split("gitconfig\n").nth(1).unwrap()).unwrap();
    home.0.write_config(&format!("{CONFIG}\n{}", printed.split("\n# ").next().unwrap()));
    let again = home.run(&["setup", "git", "--profile", "gh", "https://github.com"]);
    assert!(again.stdout.contains(": nothing to do.\n"), "{again:?}");
}

#[test]
fn files_of_a_store_that_nobody_writes_to_are_left_alone() {
    for name in ["config.toml", ".gitconfig"] {
        let home = Home::new(Some("[user]\n\tname = Ada\n"));
        let (file, store) = (home.0.home().join(name), home.0.home().join("store"));
        fs::create_dir(&store).unwrap();
        fs::rename(&file, store.join("file")).unwrap();
        fs::set_permissions(store.join("file"), fs::Permissions::from_mode(0o444)).unwrap();
        symlink(store.join("file"), &file).unwrap();
        let untouched = home.files();
        let refused = home.run(&["setup", "git", "--yes", "--profile", "gh", "https://github.com"]);
        let error = format!(
            "/{name} is read-only; nothing was changed\nhint: make the change above by hand, or make the file writable\n"
        );
        assert!(refused.code == Some(1) && refused.stderr.ends_with(&error), "{refused:?}");
        assert!(refused.stdout.contains("\n[credential \"https://github.com\"]\n\thelper = \n"), "{refused:?}");
        assert_eq!(home.files(), untouched);
    }
}
