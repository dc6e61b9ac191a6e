//! Real git-lfs, Debian's and one that shows a token in any scheme, against a server with the batch and the locking API.

use std::fs;
use std::os::unix::fs::symlink;

use crate::git::{Found, Setting};
use keyfob_test_support::git::{GitOptions, Scheme};
use keyfob_test_support::real::{Git, GitLfs, Missing};
use keyfob_test_support::{Output, need};

/// Objects of one push.
const OBJECTS: usize = 10;

/// A person with a git, a git-lfs, and a clone.
struct Person {
    setting: Setting,
}

impl Person {
    /// Has cloned `a`, where files that end on `.bin` are LFS's.
    fn new(git: Found, lfs: Result<&'static GitLfs, Missing>, schemes: &[Scheme]) -> Result<Self, Missing> {
        let (git, lfs) = (git?, lfs?);
        let setting = Setting::new(Ok(git), GitOptions { schemes: schemes.to_vec(), ..GitOptions::default() })?;
        fs::create_dir(setting.home("bin")).unwrap();
        symlink(&lfs.path, setting.home("bin/git-lfs")).unwrap();
        symlink(&git.path, setting.home("bin/git")).unwrap();
        setting.server.repository("a");
        let person = Self { setting };
        person.git(&["lfs", "install", "--skip-repo"]);
        person.git(&["clone", "-q", &person.setting.server.url("a")]);
        person.git(&["-C", "a", "lfs", "install", "--local"]);
        person.git(&["-C", "a", "lfs", "track", "*.bin"]);
        person.git(&["-C", "a", "add", ".gitattributes"]);
        person.setting.server.take_requests();
        Ok(person)
    }

    fn run(&self, args: &[&str]) -> Output {
        let path = format!("{}:{}", self.setting.home("bin").display(), std::env::var("PATH").unwrap());
        Output::of(self.setting.command(args).env("PATH", path), b"")
    }

    #[track_caller]
    fn git(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.code, Some(0), "git {args:?}: {output:?}");
        assert!(!output.stderr.contains("error: "), "git {args:?}: {output:?}");
        output.stdout
    }

    /// Commits ten objects that are new, and pushes them; what the server was asked, in few words.
    #[track_caller]
    fn push(&self, round: &str) -> Vec<String> {
        for number in 0..OBJECTS {
            fs::write(self.setting.home(&format!("a/{number}.bin")), format!("{round} {number}")).unwrap();
        }
        self.git(&["-C", "a", "add", "."]);
        self.git(&["-C", "a", "commit", "-q", "-m", round]);
        self.git(&["-C", "a", "push", "-q", "origin", "main"]);
        self.asked()
    }

    /// What the server was asked since: an object is like another, and so is git's own part.
    fn asked(&self) -> Vec<String> {
        let lines = self.setting.server.take_lines().into_iter().filter(|line| line.contains("/info/lfs/"));
        let mut lines: Vec<String> = lines
            .map(|line| {
                let (head, tail) = line.split_once("/a.git/info/lfs/").unwrap();
                let mut words = tail.split(' ');
                let place = words.next().unwrap();
                let place = if head.starts_with("POST") { place } else { place.split('/').next().unwrap() };
                format!("{head}{place} {}", words.collect::<Vec<_>>().join(" "))
            })
            .collect();
        lines.sort();
        lines
    }

    /// How often the provider was asked to sign in, and for another token.
    fn provider(&self) -> (usize, usize) {
        (self.setting.scene.idp.count("device"), self.setting.refreshes())
    }
}

/// Pushes twice, clones, locks and unlocks, and goes on after the token was revoked. `guessed` is the scheme in which a
/// token is shown first by who has not seen a challenge, where that is not the server's.
fn day(git: Found, lfs: Result<&'static GitLfs, Missing>, schemes: &[Scheme], shown: &str, guessed: Option<&str>) {
    let capable = git.as_ref().is_ok_and(|git| git.knows_capabilities());
    let person = need!(Person::new(git, lfs, schemes));
    let uploaded = |lines: &[String]| lines.iter().filter(|line| **line == format!("PUT objects {shown} 200")).count();
    assert_eq!(uploaded(&person.push("one")), OBJECTS);

    // The second command knows that there is something to show, and not how.
    let mut wanted = vec![format!("POST locks/verify {shown} 200"), format!("POST objects/batch {shown} 200")];
    wanted.extend(guessed.map(|scheme| format!("POST locks/verify {scheme} 401")));
    wanted.extend(vec![format!("PUT objects {shown} 200"); OBJECTS]);
    wanted.sort();
    assert_eq!(person.push("two"), wanted);
    assert_eq!(person.provider(), (1, 0));

    person.git(&["clone", "-q", &person.setting.server.url("a"), "b"]);
    assert_eq!(fs::read_to_string(person.setting.home("b/7.bin")).unwrap(), "two 7");
    person.git(&["-C", "a", "lfs", "lock", "1.bin"]);
    assert!(person.git(&["-C", "a", "lfs", "locks"]).starts_with("1.bin"));
    person.git(&["-C", "a", "lfs", "unlock", "1.bin"]);
    assert_eq!(person.git(&["-C", "a", "lfs", "locks"]), "");
    assert_eq!(person.provider(), (1, 0));

    // git-lfs itself asks again, also where git's helpers know nothing of that.
    person.setting.scene.idp.expire_access_tokens();
    person.setting.scene.age();
    person.asked();
    person.git(&["-C", "a", "lfs", "locks"]);
    let mut wanted: Vec<String> = [200, 401].map(|status| format!("GET locks {shown} {status}")).to_vec();
    wanted.extend(guessed.map(|scheme| format!("GET locks {scheme} 401")));
    assert_eq!(person.asked(), wanted);
    assert_eq!(person.provider(), (1, 1));
    person.setting.scene.idp.expire_access_tokens();
    person.setting.scene.age();
    if !capable {
        // git's own part of the push fails once.
        assert_eq!(person.run(&["-C", "a", "push", "-q", "origin", "main"]).code, Some(128));
    }
    assert_eq!(uploaded(&person.push("three")), OBJECTS);
    assert_eq!(person.provider(), (1, 2));
}

/// A test for each combination.
macro_rules! days {
    ($($name:ident: $git:ident, $lfs:ident, [$($asks:ident),+] => $shown:literal $($guessed:literal)?;)+) => {$(
        #[test]
        fn $name() {
            let guessed: &[&str] = &[$($guessed)?];
            day(Git::$git(), GitLfs::$lfs(), &[$(Scheme::$asks),+], $shown, guessed.first().copied());
        }
    )+};
}

days! {
    lfs_basic: with_capabilities, of_any_scheme, [Basic] => "Basic" "Bearer";
    lfs_bearer: with_capabilities, of_any_scheme, [Bearer] => "Bearer";
    lfs_both: with_capabilities, of_any_scheme, [Bearer, Basic] => "Bearer";
    lfs_before_schemes_basic: with_capabilities, on_path, [Basic] => "Basic";
    lfs_before_schemes_both: with_capabilities, on_path, [Bearer, Basic] => "Basic";
    lfs_and_git_before_capabilities: without_capabilities, on_path, [Basic] => "Basic";
    lfs_with_git_before_capabilities: without_capabilities, of_any_scheme, [Basic] => "Basic";
}
