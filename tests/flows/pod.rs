//! A pod as careful people run it: `runAsUser: 12345`, of whom the system knows nothing, `readOnlyRootFilesystem: true`, and one
//! folder that can be written.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::common::Scene;
use keyfob_test_support::provider::{Auto, Options};
use keyfob_test_support::{Output, skip};

/// Makes everything read-only but a folder in memory at `$1`, and becomes that user to run the rest.
const POD: &str = "volume=$1; shift; mount --bind / / && mount -o remount,bind,ro / && \
                   mount -t tmpfs -o mode=1777 none \"$volume\" && \
                   exec setpriv --reuid=12345 --regid=0 --clear-groups --no-new-privs --inh-caps=-all env -i \"$@\"";

struct Pod {
    scene: Scene,
    /// With the program and the folder to mount.
    public: tempfile::TempDir,
}

impl Pod {
    /// `Err` says why there is none.
    fn new() -> Result<Self, &'static str> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can become another user");
        }
        let public = tempfile::tempdir().unwrap();
        fs::set_permissions(&public, fs::Permissions::from_mode(0o755)).unwrap();
        crate::common::copy_program(&public.path().join("keyfob"));
        fs::create_dir(public.path().join("volume")).unwrap();
        let pod = Self { scene: Scene::new(Options::default()), public };
        let tried = pod.command(&["true".into()]).output();
        if tried.is_ok_and(|tried| tried.status.success()) {
            Ok(pod)
        } else {
            Err("`unshare` and `setpriv` cannot make a pod here")
        }
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=private", "sh", "-c", POD, "sh"]);
        command.arg(self.public.path().join("volume")).args(words);
        command
    }

    /// Runs a line of shell in the pod, with these variables; `keyfob` and the flags of a profile are `$K` and `$F`.
    fn run(&self, variables: &[&str], line: &str) -> Output {
        let set = |name: &str, value: String| format!("{name}={value}");
        let mut words = vec!["PATH=/usr/bin:/bin".to_owned(), "KEYFOB_PROMPT=always".to_owned()];
        words.push(set("K", self.public.path().join("keyfob").display().to_string()));
        words.push(set("F", format!("--issuer={} --client-id=keyfob", self.scene.idp.issuer())));
        let volume = self.public.path().join("volume").display().to_string();
        words.extend(variables.iter().map(|variable| variable.replace("VOLUME", &volume)));
        words.extend(["sh", "-c", line].map(str::to_owned));
        Output::of(&mut self.command(&words), b"")
    }
}

#[test]
fn a_user_whom_nobody_knows_is_told_the_variables_that_help() {
    let pod = match Pod::new() {
        Ok(pod) => pod,
        Err(why) => skip!("{why}"),
    };
    let home = "error: there is no home directory to keep tokens in\nhint: set HOME or KEYFOB_CACHE_DIR\n";
    let written = |what: &str| {
        format!(
            "error: could not {what}\nhint: set KEYFOB_CACHE_DIR to a folder that can be written, or `store = \"none\"` in \
             config.toml\n"
        )
    };
    let read_only = written("make the cache folder /.cache/keyfob: Read-only file system (os error 30)");
    let no_file = "error: there is no profile \"lab\"; there are none\nhint: set HOME or KEYFOB_CONFIG, for there is no home \
                   directory to find config.toml in; or pass --issuer and --client-id\n";
    for (variables, line, code, stderr) in [
        // Without an entry in /etc/passwd; and as a container runtime then sets it.
        (&[][..], "$K token $F", 2, home),
        (&["HOME="], "$K token $F", 2, home),
        (&["HOME=/"], "$K token $F", 1, &*read_only),
        (&["HOME=/"], "$K login $F", 1, &read_only),
        (&[], "$K kubernetes $F", 2, home),
        (&[], "$K token --profile lab", 2, no_file),
        (&["KEYFOB_CACHE_DIR=VOLUME/keyfob"], "$K token --profile lab", 2, no_file),
    ] {
        let output = pod.run(variables, line);
        let found = (output.code, output.stdout.as_str(), output.stderr.as_str());
        assert_eq!(found, (Some(code), "", stderr), "{variables:?} {line}");
    }
    assert_eq!(pod.scene.idp.count("device"), 0, "nobody is asked to sign in for nothing");

    let output = pod.run(&["HOME=/"], "$K doctor");
    let line = "error  cache: could not make the cache folder /.cache/keyfob: Permission denied (os error 13)\n";
    assert!(output.stdout.contains(line), "{output:?}");
}

#[test]
fn one_folder_that_can_be_written_is_enough() {
    let pod = match Pod::new() {
        Ok(pod) => pod,
        Err(why) => skip!("{why}"),
    };
    pod.scene.idp.auto(Auto::Approve);
    for (number, variables) in
        [&["KEYFOB_CACHE_DIR=VOLUME/keyfob"][..], &["HOME=VOLUME"], &["HOME=/", "XDG_CACHE_HOME=VOLUME"]]
            .into_iter()
            .enumerate()
    {
        let output = pod.run(variables, "$K token $F 2>&1 >/dev/null && $K token $F && $K token $F");
        let [first, second] = output.stdout.lines().rev().take(2).collect::<Vec<_>>()[..] else { panic!("{output:?}") };
        assert_eq!((output.code, first), (Some(0), second), "{variables:?} {output:?}");
        assert_eq!((pod.scene.idp.count("device"), output.stderr.as_str()), (number + 1, ""), "{variables:?}");
    }
}
