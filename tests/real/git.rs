//! Real git, before and since its helpers know capabilities, against a server that takes the provider's tokens.
//!
//! Every git has a home of its own, in which keyfob is the only helper and is asked about every host: which host gets a
//! token is keyfob's decision alone.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::common::browser::browse;
use crate::common::{Caller, LAB, PROGRAM, SOON, Scene, code};
use keyfob_test_support::git::{GitOptions, GitServer, Scheme};
use keyfob_test_support::provider::{Auto, Options};
use keyfob_test_support::real::{Git, Missing};
use keyfob_test_support::{Output, Terminal, need};

/// Submodules of the superproject.
const MODULES: usize = 8;

/// How the helper is named in git's configuration.
const HELPER: &str = concat!(env!("CARGO_BIN_EXE_keyfob"), " git");

pub(super) type Found = Result<&'static Git, Missing>;

/// A git whose helper is a keyfob, and a server that takes the tokens of that keyfob's provider.
pub(super) struct Setting {
    pub(super) scene: Scene,
    pub(super) server: GitServer,
    git: &'static Git,
}

impl Setting {
    /// The server is mapped to the profile `lab`, and Alice has signed in to it some time ago.
    pub(super) fn new(git: Found, options: GitOptions) -> Result<Self, Missing> {
        let setting = Self::signed_out(git, options)?;
        setting.scene.sign_in();
        setting.scene.age();
        Ok(setting)
    }

    /// There is nothing to renew a token with.
    pub(super) fn without_refresh_token(&self) {
        self.scene.change(|session| drop(session.as_object_mut().unwrap().remove("refresh_token")));
    }

    /// The same, and nobody has signed in.
    fn signed_out(git: Found, options: GitOptions) -> Result<Self, Missing> {
        let git = git?;
        let scene = Scene::new(Options::default());
        let server = GitServer::start(options, scene.idp.judge())?;
        let setting = Self { scene, server, git };
        setting.map("{ profile = 'lab' }");
        setting.configure(HELPER);
        Ok(setting)
    }

    /// Maps the server in `[hosts]` to this.
    fn map(&self, rule: &str) {
        self.hosts(&format!("'{}' = {rule}", self.server.origin()));
    }

    /// What stands in `[hosts]`.
    fn hosts(&self, lines: &str) {
        let lab = LAB.replace("ISSUER", self.scene.idp.issuer());
        self.scene.keyfob.write_config(&format!("{lab}\n[hosts]\n{lines}\n"));
    }

    /// git's configuration, with this as the only helper.
    fn configure(&self, helper: &str) {
        let ca = self.server.ca_file().map(|file| format!("[http]\n\tsslCAInfo = {}\n", file.display()));
        let config = format!(
            "[user]\n\tname = Ada\n\temail = ada@example.com\n[credential]\n\thelper =\n\thelper = {helper}\n{}",
            ca.unwrap_or_default()
        );
        fs::write(self.home(".gitconfig"), config).unwrap();
    }

    pub(super) fn home(&self, name: &str) -> PathBuf {
        self.scene.keyfob.home().join(name)
    }

    /// What stands before a command that keyfob advises to run, where its files are not in the usual places.
    fn environment(&self) -> String {
        let (config, cache) = (self.scene.keyfob.config_file(), self.scene.keyfob.cache_dir());
        format!("KEYFOB_CONFIG={} KEYFOB_CACHE_DIR={} ", config.display(), cache.display())
    }

    /// A git command where nobody can be asked for anything.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.scene.keyfob.other(&self.git.path);
        command.args(args).current_dir(self.scene.keyfob.home());
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", self.home(".gitconfig"));
        command.env("GIT_TERMINAL_PROMPT", "0").env("KEYFOB_PROMPT", "never");
        command
    }

    /// Runs git to its end, well or not.
    pub(super) fn run(&self, args: &[&str]) -> Output {
        Output::of(&mut self.command(args), b"")
    }

    /// Runs git, which has to work without a word; what it printed.
    #[track_caller]
    pub(super) fn git(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "git {args:?}");
        output.stdout.trim().to_owned()
    }

    /// Starts git in a terminal, where whoever sits there can be asked.
    fn in_terminal(&self, args: &[&str]) -> Terminal {
        let mut command = self.command(args);
        command.env_remove("GIT_TERMINAL_PROMPT").env_remove("KEYFOB_PROMPT").env("TERM", "xterm");
        Terminal::start(command)
    }

    /// Clones the superproject `s` with all its submodules, makes every one of them worth a fetch, and forgets what the
    /// server saw of it.
    #[track_caller]
    fn clone_superproject(&self) {
        self.server.superproject("s", MODULES);
        self.git(&["clone", "-q", "--recurse-submodules", "-j8", &self.server.url("s")]);
        for module in modules() {
            self.server.commit(&module, "README", b"three\n");
        }
        self.server.take_requests();
    }

    /// Every submodule has what [`Setting::clone_superproject`] left at the server.
    #[track_caller]
    fn assert_modules_fetched(&self) {
        for module in modules() {
            assert_eq!(
                self.git(&["-C", &format!("s/{module}"), "rev-parse", "origin/main"]),
                self.server.head(&module)
            );
        }
    }

    /// How often the provider has refreshed.
    pub(super) fn refreshes(&self) -> usize {
        self.scene.idp.count("token:refresh_token")
    }

    /// The session is gone, and nobody has signed in anew.
    fn forget_session(&self) {
        fs::remove_dir_all(self.scene.keyfob.cache_dir()).unwrap();
    }
}

/// The names of the submodules.
fn modules() -> impl Iterator<Item = String> {
    (1..=MODULES).map(|number| format!("s-{number}"))
}

/// What a person is told whose account may not use a repository.
const NO_ACCESS: &str = "error: the host refused a token just issued to alice@example.com: no access?\n\
                         hint: check the address of the repository, and whether this account may use it\n";

/// The fetch of everything at once.
const FETCH: &[&str] = &["-C", "s", "fetch", "-q", "--recurse-submodules", "-j8"];

/// The lines about one repository.
fn about(lines: &[String], name: &str) -> Vec<String> {
    lines.iter().filter(|line| line.contains(&format!(" /{name}.git/"))).cloned().collect()
}

/// How a git and a server come to terms: so many requests without credentials, and then the token in this scheme.
#[derive(Clone, Copy)]
struct Terms {
    unasked: usize,
    scheme: &'static str,
}

impl Terms {
    /// What the server sees of one command: it asks for credentials, is shown them, and is sent so many requests more.
    fn exchange(self, name: &str, service: &str, posts: usize) -> Vec<String> {
        let Self { unasked, scheme } = self;
        let mut lines = vec![format!("GET /{name}.git/info/refs - 401"); unasked];
        lines.push(format!("GET /{name}.git/info/refs {scheme} 200"));
        lines.extend(vec![format!("POST /{name}.git/{service} {scheme} 200"); posts]);
        lines
    }
}

// 1. Every kind of git, server and challenge.

/// clone, push, fetch, and nine fetches at once; each with the requests it needs and no more, and none to the provider.
fn day(git: Found, tls: bool, schemes: &[Scheme], terms: Terms) {
    let setting = need!(Setting::new(git, GitOptions { tls, schemes: schemes.to_vec(), ..GitOptions::default() }));
    let Setting { scene, server, .. } = &setting;
    let signed_in = scene.idp.requests().len();
    let fetched = |name: &str, posts| terms.exchange(name, "git-upload-pack", posts);

    server.superproject("s", MODULES);
    setting.git(&["clone", "-q", "--recurse-submodules", "-j8", &server.url("s")]);
    let lines = server.take_lines();
    for name in modules().chain(["s".to_owned()]) {
        assert_eq!(about(&lines, &name), fetched(&name, 2));
        assert_eq!(setting.git(&["-C", &name.replace("s-", "s/s-"), "rev-parse", "HEAD"]), server.head(&name));
    }

    setting.git(&["-C", "s", "commit", "-q", "--allow-empty", "-m", "mine"]);
    setting.git(&["-C", "s", "push", "-q"]);
    assert_eq!(server.take_lines(), terms.exchange("s", "git-receive-pack", 1));
    assert_eq!(setting.git(&["-C", "s", "rev-parse", "HEAD"]), server.head("s"));

    server.commit("s", "README", b"three\n");
    setting.git(&["-C", "s", "fetch", "-q"]);
    assert_eq!(server.take_lines(), fetched("s", 2));
    assert_eq!(setting.git(&["-C", "s", "rev-parse", "origin/main"]), server.head("s"));

    server.commit("s-1", "README", b"three\n");
    setting.git(FETCH);
    let lines = server.take_lines();
    for name in modules().chain(["s".to_owned()]) {
        assert_eq!(about(&lines, &name), fetched(&name, if name == "s-1" { 2 } else { 1 }));
    }
    assert_eq!(scene.idp.requests().len(), signed_in, "the cache needs no provider");
}

/// A test for each combination.
macro_rules! days {
    ($($name:ident: $git:ident, $tls:literal, [$($asks:ident),+] => $unasked:literal $scheme:literal;)+) => {$(
        #[test]
        fn $name() {
            day(Git::$git(), $tls, &[$(Scheme::$asks),+], Terms { unasked: $unasked, scheme: $scheme });
        }
    )+};
}

days! {
    git_http_bearer: with_capabilities, false, [Bearer] => 1 "Bearer";
    git_http_basic: with_capabilities, false, [Basic] => 1 "Basic";
    git_http_both: with_capabilities, false, [Bearer, Basic] => 1 "Bearer";
    git_https_bearer: with_capabilities, true, [Bearer] => 1 "Bearer";
    git_https_basic: with_capabilities, true, [Basic] => 1 "Basic";
    git_https_both: with_capabilities, true, [Basic, Bearer] => 1 "Bearer";
    git_before_capabilities_http_basic: without_capabilities, false, [Basic] => 1 "Basic";
    git_before_capabilities_https_basic: without_capabilities, true, [Basic] => 1 "Basic";
    // Where there is a choice and no Bearer to take, curl asks once more what it is.
    git_before_capabilities_http_both: without_capabilities, false, [Bearer, Basic] => 2 "Basic";
    git_before_capabilities_https_both: without_capabilities, true, [Basic, Bearer] => 2 "Basic";
}

#[test]
fn git_before_capabilities_has_nothing_for_a_server_that_takes_bearer_alone() {
    for tls in [false, true] {
        let options = GitOptions { tls, schemes: vec![Scheme::Bearer], ..GitOptions::default() };
        let setting = need!(Setting::new(Git::without_capabilities(), options));
        setting.server.repository("a");
        let url = setting.server.url("a");
        let output = setting.run(&["clone", "-q", &url]);
        let said = format!("remote: Who are you?\nfatal: Authentication failed for '{url}/'\n");
        assert_eq!((output.code, output.stderr), (Some(128), said));
        assert_eq!(setting.server.take_lines(), ["GET /a.git/info/refs - 401", "GET /a.git/info/refs - 401"]);
    }
}

#[test]
fn a_host_that_wants_basic_is_given_its_user_name() {
    for git in [Git::with_capabilities(), Git::without_capabilities()] {
        let options = GitOptions { username: Some("oauth2".into()), ..GitOptions::default() };
        let setting = need!(Setting::new(git, options));
        setting.map("{ profile = 'lab', auth = 'basic', username = 'oauth2' }");
        setting.server.repository("a");
        setting.git(&["clone", "-q", &setting.server.url("a")]);
        // The server offers Bearer as well: where there is a choice, curl asks once more what it is.
        let terms = Terms { unasked: 2, scheme: "Basic" };
        assert_eq!(setting.server.take_lines(), terms.exchange("a", "git-upload-pack", 2));
    }
}

#[test]
fn by_a_link_with_its_own_name_git_finds_it_as_a_helper_called_keyfob() {
    let setting = need!(Setting::new(Git::with_capabilities(), GitOptions::default()));
    setting.server.repository("a");
    fs::create_dir(setting.home("bin")).unwrap();
    std::os::unix::fs::symlink(PROGRAM, setting.home("bin/git-credential-keyfob")).unwrap();
    setting.configure("keyfob");
    let mut command = setting.command(&["clone", "-q", &setting.server.url("a")]);
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([setting.home("bin")].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let output = Output::of(command.env("PATH", path), b"");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}

#[test]
fn profile_and_host_in_gits_own_configuration_need_no_hosts() {
    let setting = need!(Setting::new(Git::with_capabilities(), GitOptions::default()));
    let other = need!(GitServer::start(GitOptions::default(), setting.scene.idp.judge()));
    setting.hosts("");
    setting.configure(&format!("{HELPER} --profile lab --host {}", setting.server.origin()));
    for server in [&setting.server, &other] {
        server.repository("a");
    }
    setting.git(&["clone", "-q", &setting.server.url("a")]);
    assert_eq!(setting.run(&["clone", "-q", &other.url("a"), "b"]).code, Some(128));
    assert_sent_nothing(&other);
}

#[test]
fn a_path_in_hosts_is_for_the_repositories_below_it() {
    for git in [Git::with_capabilities(), Git::without_capabilities()] {
        let setting = need!(Setting::new(git, GitOptions::default()));
        setting.hosts(&format!("'{}/team' = 'lab'", setting.server.origin()));
        for name in ["team/a", "teams/a", "other"] {
            setting.server.repository(name);
        }
        let url = setting.server.url("team/a");
        assert_eq!(setting.run(&["clone", "-q", &url]).code, Some(128), "git keeps the path to itself");
        assert_sent_nothing(&setting.server);
        setting.git(&["config", "--global", "credential.useHttpPath", "true"]);
        setting.git(&["clone", "-q", &url]);
        setting.server.take_requests();
        for name in ["teams/a", "other"] {
            assert_eq!(setting.run(&["clone", "-q", &setting.server.url(name), "b"]).code, Some(128));
            assert_sent_nothing(&setting.server);
        }
    }
}

/// Two accounts at one host: by the user name in the address, by path, and by the folder that a repository is in.
#[test]
fn several_accounts_at_one_host() {
    for git in [Git::with_capabilities(), Git::without_capabilities()] {
        let setting = need!(Setting::new(git, GitOptions::default()));
        let Setting { scene, server, .. } = &setting;
        let (origin, host) = (server.origin(), server.origin().trim_start_matches("http://"));
        let lab = LAB.replace("ISSUER", scene.idp.issuer());
        let eve = format!(
            "[profile.eve]\nissuer = '{}'\nclient-id = 'keyfob'\naccount = 'eve@example.com'\n",
            scene.idp.issuer()
        );
        let hosts =
            |lines: &str| scene.keyfob.write_config(&format!("{lab}\n{eve}\n[hosts]\n'{origin}' = 'lab'\n{lines}\n"));
        hosts("");
        scene.idp.set_user("eve@example.com");
        scene.idp.auto(Auto::Approve);
        let eves = scene.prompting(["token", "--profile", "eve"]).stdout.trim().to_owned();
        let alices = scene.silently(["token", "--profile", "lab"]).stdout.trim().to_owned();
        assert!(!eves.is_empty() && eves != alices);
        server.repository("a");
        server.repository("team/a");
        // Whose token the server was shown.
        let shown = || {
            let shown = server.take_requests().pop().unwrap().authorization.unwrap();
            let basic = |token: &str| format!("Basic {}", STANDARD.encode(format!("x-access-token:{token}")));
            let is = |token: &str| shown == format!("Bearer {token}") || shown == basic(token);
            if is(&eves) {
                "eve"
            } else {
                assert!(is(&alices), "{shown}");
                "alice"
            }
        };
        hosts(&format!("'http://eve%40example.com@{host}' = 'eve'"));
        setting.git(&["ls-remote", "-q", &server.url("a")]);
        assert_eq!(shown(), "alice");
        setting.git(&["ls-remote", "-q", &format!("http://eve%40example.com@{host}/a.git")]);
        assert_eq!(shown(), "eve");

        hosts(&format!("'{origin}/team' = 'eve'"));
        setting.git(&["config", "--global", &format!("credential.{origin}/team.useHttpPath"), "true"]);
        setting.git(&["ls-remote", "-q", &server.url("a")]);
        assert_eq!(shown(), "alice");
        setting.git(&["ls-remote", "-q", &server.url("team/a")]);
        assert_eq!(shown(), "eve");

        hosts("");
        let work =
            format!("[credential \"{origin}\"]\n\thelper =\n\thelper = {HELPER} --profile eve --host {origin}\n");
        fs::write(setting.home("work.gitconfig"), work).unwrap();
        let folder = setting.home("work/");
        setting.git(&["config", "--global", &format!("includeIf.gitdir:{}.path", folder.display()), "work.gitconfig"]);
        setting.git(&["init", "-q", "work/a"]);
        setting.git(&["init", "-q", "other/a"]);
        for (folder, account) in [("work/a", "eve"), ("other/a", "alice")] {
            setting.git(&["-C", folder, "ls-remote", "-q", &server.url("a")]);
            assert_eq!(shown(), account);
        }
    }
}

/// cargo asks by libgit2, which passes the path on as it stands in the address, and no host that is a number.
#[test]
fn cargo_fetches_by_libgit2() {
    let place = "org/My Project/_git/r";
    for pattern in ["", "/org/My%20Project", "/org/other"] {
        let setting = need!(Setting::new(Git::any(), GitOptions::default()));
        let Setting { scene, server, .. } = &setting;
        let named = |address: &str| address.replace("127.0.0.1", "localhost");
        setting.hosts(&format!("'{}{pattern}' = 'lab'", named(server.origin())));
        setting.git(&["config", "--global", "credential.useHttpPath", "true"]);
        server.repository(place);
        server.commit(
            place,
            "Cargo.toml",
            b"[package]\nname = 'r'\nversion = '0.1.0'\nedition = '2021'\n[lib]\npath = 'lib.rs'\n",
        );
        server.commit(place, "lib.rs", b"");
        fs::create_dir(setting.home("project")).unwrap();
        fs::write(setting.home("project/lib.rs"), "").unwrap();
        let url = named(&server.url(place)).replace(' ', "%20");
        let project =
            "[package]\nname = 'p'\nversion = '0.1.0'\nedition = '2021'\n[lib]\npath = 'lib.rs'\n[workspace]\n";
        fs::write(setting.home("project/Cargo.toml"), format!("{project}[dependencies]\nr = {{ git = '{url}' }}\n"))
            .unwrap();
        let program = PathBuf::from(std::env::var_os("CARGO").unwrap());
        let mut cargo = scene.keyfob.other(&program);
        cargo.env("RUSTC", program.with_file_name("rustc"));
        cargo.arg("fetch").current_dir(setting.home("project")).env("CARGO_HOME", setting.home("cargo"));
        cargo.env("KEYFOB_PROMPT", "never").env("CARGO_TERM_COLOR", "never");
        let output = Output::of(&mut cargo, b"");
        let lines = server.take_lines();
        let shown = lines.iter().filter(|line| line.contains(" Basic 200")).count();
        if pattern == "/org/other" {
            assert!(output.code == Some(101) && shown == 0, "{output:?} {lines:?}");
        } else {
            assert!(output.code == Some(0) && shown == 2, "{pattern} {output:?} {lines:?}");
        }
    }
}

// 2. Many at once: one refresh, one prompt.

#[test]
fn nine_fetches_with_an_expired_token_refresh_once() {
    // Where everybody may read the superproject, the eight come to keyfob at once.
    for public in [vec![], vec!["s".to_owned()]] {
        for (git, unasked, scheme) in
            [(Git::with_capabilities(), 1, "Bearer"), (Git::without_capabilities(), 2, "Basic")]
        {
            let setting = need!(Setting::new(git, GitOptions { public: public.clone(), ..GitOptions::default() }));
            setting.clone_superproject();
            setting.scene.idp.expire_access_tokens();
            setting.scene.leave(-1);
            setting.git(FETCH);
            let lines = setting.server.take_lines();
            for module in modules() {
                assert_eq!(about(&lines, &module), Terms { unasked, scheme }.exchange(&module, "git-upload-pack", 2));
            }
            setting.assert_modules_fetched();
            assert_eq!(setting.refreshes(), 1);
            setting.scene.assert_proper();
        }
    }
}

#[test]
fn nine_fetches_without_a_session_prompt_once_while_they_run() {
    for public in [vec![], vec!["s".to_owned()]] {
        for git in [Git::with_capabilities(), Git::without_capabilities()] {
            let setting = need!(Setting::new(git, GitOptions { public: public.clone(), ..GitOptions::default() }));
            setting.clone_superproject();
            setting.forget_session();
            let before = setting.scene.idp.user_codes().len();
            let fetch = setting.in_terminal(FETCH);
            // git gives the helpers of submodules a pipe that it shows only when they are done, which without this
            // code they never are: what can be read here is there in time.
            let code = setting.scene.idp.wait_for_code(SOON);
            let screen = fetch.wait_for(&code, SOON);
            assert!(
                screen.contains(&format!("A token is asked for by git for {}.", setting.server.origin())),
                "{screen}"
            );
            setting.scene.idp.approve(&code);
            let ended = fetch.wait();
            assert_eq!(ended.code, Some(0), "{}", ended.screen);
            assert_eq!(ended.screen.matches("Enter code").count(), 1, "{}", ended.screen);
            setting.assert_modules_fetched();
            assert_eq!(setting.scene.idp.user_codes().len(), before + 1);
            setting.scene.assert_proper();
        }
    }
}

// `keyfob setup git`, as README says it.

#[test]
fn set_up_by_keyfob_git_clones_after_one_sign_in_and_undone_everything_is_as_before() {
    for git in [Git::with_capabilities(), Git::without_capabilities()] {
        let setting = need!(Setting::signed_out(git, GitOptions::default()));
        setting.server.repository("a");
        setting.scene.keyfob.write_config(&LAB.replace("ISSUER", setting.scene.idp.issuer()));
        let plain = "[user]\n\tname = Ada\n";
        fs::write(setting.home(".gitconfig"), plain).unwrap();
        let config = fs::read_to_string(setting.scene.keyfob.config_file()).unwrap();

        // keyfob runs the git that is first on PATH.
        let folder = setting.home("bin");
        fs::create_dir(&folder).unwrap();
        symlink(&setting.git.path, folder.join("git")).unwrap();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let keyfob = |args: &[&str]| {
            let mut command = setting.scene.command("never", args);
            command
                .env("PATH", &path)
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("GIT_CONFIG_GLOBAL", setting.home(".gitconfig"));
            let output = Output::of(&mut command, b"");
            assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{args:?} {output:?}");
            output.stdout
        };
        let said = keyfob(&["setup", "git", "--profile", "lab", "--yes", setting.server.origin()]);
        let login =
            format!("keyfob asks you to sign in when git first needs a token; or now: {}", setting.environment());
        assert!(said.contains(&login), "{said}");

        let clone = setting.in_terminal(&["clone", &setting.server.url("a")]);
        let code = setting.scene.idp.wait_for_code(SOON);
        clone.wait_for(&code, SOON);
        setting.scene.idp.approve(&code);
        let ended = clone.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.screen);
        setting.git(&["-C", "a", "fetch", "-q"]);
        let again = keyfob(&["setup", "git", "--profile", "lab", setting.server.origin()]);
        assert!(
            again.ends_with(&format!("git asks keyfob for {}, and is answered.\n", setting.server.origin())),
            "{again}"
        );

        keyfob(&["setup", "git", "--undo", "--yes", setting.server.origin()]);
        assert_eq!(fs::read_to_string(setting.home(".gitconfig")).unwrap(), plain);
        assert_eq!(fs::read_to_string(setting.scene.keyfob.config_file()).unwrap(), config);
        assert_ne!(setting.run(&["-C", "a", "fetch", "-q"]).code, Some(0), "nobody is asked any more");
    }
}

// 3. A token that the server takes no longer.

#[test]
fn a_revoked_token_is_replaced_within_the_command() {
    for schemes in [vec![Scheme::Bearer], vec![Scheme::Basic]] {
        let scheme = if schemes == [Scheme::Bearer] { "Bearer" } else { "Basic" };
        let setting = need!(Setting::new(Git::with_capabilities(), GitOptions { schemes, ..GitOptions::default() }));
        setting.server.repository("a");
        setting.git(&["clone", "-q", &setting.server.url("a")]);
        setting.server.take_requests();
        setting.scene.idp.expire_access_tokens();
        setting.git(&["-C", "a", "fetch", "-q"]);
        let mut lines = Terms { unasked: 1, scheme }.exchange("a", "git-upload-pack", 1);
        // Asked, shown the dead one, shown another.
        lines.insert(1, format!("GET /a.git/info/refs {scheme} 401"));
        assert_eq!(setting.server.take_lines(), lines);
        assert_eq!(setting.refreshes(), 1);

        setting.git(&["-C", "a", "fetch", "-q"]);
        assert_eq!(setting.server.take_lines(), Terms { unasked: 1, scheme }.exchange("a", "git-upload-pack", 1));
        assert_eq!(setting.refreshes(), 1);
    }
}

#[test]
fn a_revoked_token_is_replaced_once_for_eight_fetches() {
    let options = GitOptions { public: vec!["s".into()], ..GitOptions::default() };
    let setting = need!(Setting::new(Git::with_capabilities(), options));
    setting.clone_superproject();
    setting.scene.idp.expire_access_tokens();
    setting.git(FETCH);
    setting.assert_modules_fetched();
    assert_eq!(setting.refreshes(), 1);
    setting.scene.assert_proper();
}

#[test]
fn a_token_that_is_revoked_halfway_is_replaced_within_the_command() {
    for schemes in [vec![Scheme::Bearer], vec![Scheme::Basic]] {
        let scheme = if schemes == [Scheme::Bearer] { "Bearer" } else { "Basic" };
        let mut setting = need!(Setting::new(Git::with_capabilities(), GitOptions::default()));
        let judge = setting.scene.idp.judge();
        let shown = Mutex::new(Vec::<String>::new());
        // The first token is good for one request.
        let takes = move |token: &str| {
            let mut shown = shown.lock().unwrap();
            shown.push(token.to_owned());
            judge(token) && (shown.len() == 1 || shown[0] != token)
        };
        setting.server = need!(GitServer::start(GitOptions { schemes, ..GitOptions::default() }, takes));
        setting.map("'lab'");
        setting.server.repository("a");
        setting.git(&["clone", "-q", &setting.server.url("a")]);
        let mut lines = Terms { unasked: 1, scheme }.exchange("a", "git-upload-pack", 2);
        // After a POST git first asks without its state, which names no token, and so for the one it has.
        lines.splice(2..2, vec![format!("POST /a.git/git-upload-pack {scheme} 401"); 2]);
        assert_eq!(setting.server.take_lines(), lines);
        assert_eq!(setting.refreshes(), 1);
    }
}

#[test]
fn a_token_that_is_refused_again_fails_the_command_and_is_kept() {
    let setting = need!(Setting::new(Git::with_capabilities(), GitOptions::default()));
    let deaf = need!(GitServer::start(GitOptions::default(), |_| false));
    deaf.repository("a");
    setting.hosts(&format!("'{}' = 'lab'", deaf.origin()));
    let failed = format!("fatal: Authentication failed for '{}/'\n", deaf.url("a"));
    let output = setting.run(&["clone", "-q", &deaf.url("a")]);
    assert_eq!((output.code, output.stderr), (Some(128), format!("{NO_ACCESS}remote: Who are you?\n{failed}")));
    let lines = ["-", "Bearer", "Bearer"].map(|scheme| format!("GET /a.git/info/refs {scheme} 401"));
    assert_eq!(deaf.take_lines(), lines);
    assert_eq!(setting.refreshes(), 1);

    // The next command shows it once, and renews nothing.
    let output = setting.run(&["clone", "-q", &deaf.url("a")]);
    let quit = format!("fatal: credential helper '{HELPER}' told us to quit\n");
    assert_eq!((output.code, output.stderr), (Some(128), format!("{NO_ACCESS}{quit}")));
    assert_eq!(deaf.take_lines(), &lines[..2]);
    assert_eq!(setting.refreshes(), 1);
}

/// A host that answers 401 for what one may not read, as for what does not exist.
#[test]
fn a_mistyped_repository_costs_no_second_sign_in() {
    for (git, capable) in [(Git::with_capabilities(), true), (Git::without_capabilities(), false)] {
        let setting = need!(Setting::signed_out(git, GitOptions { hidden: vec!["b".into()], ..GitOptions::default() }));
        setting.server.repository("b");
        setting.scene.idp.auto(Auto::Approve);
        let url = setting.server.url("b");
        for _ in 0..2 {
            let ended = setting.in_terminal(&["clone", "-q", &url]).wait();
            assert_eq!(ended.code, Some(128), "{}", ended.screen);
            let screen = ended.screen.replace('\r', "");
            assert!(screen.contains(NO_ACCESS), "{screen}");
            let end = if capable { format!("'{HELPER}' told us to quit") } else { format!("failed for '{url}/'") };
            assert!(screen.trim_end().ends_with(&end), "{screen}");
        }
        assert_eq!((setting.scene.idp.count("device"), setting.refreshes()), (1, 0));
    }
}

/// `http.proactiveAuth` shows a token before any challenge, so that keyfob cannot know what the server takes.
#[test]
fn a_token_that_was_shown_in_the_wrong_scheme_is_shown_in_the_other_one() {
    let options = GitOptions { schemes: vec![Scheme::Basic], ..GitOptions::default() };
    let setting = need!(Setting::new(Git::with_capabilities(), options));
    setting.without_refresh_token();
    setting.server.repository("a");
    let proactive = ["-c", "http.proactiveAuth=auto"];
    setting.git(&[&proactive[..], &["clone", "-q", &setting.server.url("a")]].concat());
    let mut lines = Terms { unasked: 0, scheme: "Basic" }.exchange("a", "git-upload-pack", 2);
    lines.insert(0, "GET /a.git/info/refs Bearer 401".to_owned());
    assert_eq!(setting.server.take_lines(), lines);
    assert_eq!((setting.refreshes(), setting.scene.idp.count("device")), (0, 1));

    // Refused in both: it is the token.
    setting.scene.idp.expire_access_tokens();
    let output = setting.run(&[&proactive[..], &["-C", "a", "fetch", "-q"]].concat());
    assert!(output.stderr.contains("a sign-in is needed"), "{output:?}");
    let lines = ["Bearer", "Basic"].map(|scheme| format!("GET /a.git/info/refs {scheme} 401"));
    assert_eq!(setting.server.take_lines(), lines);
}

/// git before 2.46 can show a token as Basic alone, and does not say what the server takes.
#[test]
fn a_token_that_was_shown_as_its_host_takes_none_is_kept() {
    let options = GitOptions { schemes: vec![Scheme::Bearer], ..GitOptions::default() };
    let setting = need!(Setting::new(Git::without_capabilities(), options));
    setting.map("{ profile = 'lab', auth = 'bearer' }");
    setting.without_refresh_token();
    setting.server.repository("a");
    let before = setting.scene.session();
    assert_eq!(setting.run(&["clone", "-q", &setting.server.url("a")]).code, Some(128));
    assert!(setting.server.take_lines().contains(&"GET /a.git/info/refs - 401".to_owned()));
    assert_eq!(setting.scene.session(), before);
    // Another git on the same machine.
    let setting = Setting { git: need!(Git::with_capabilities()), ..setting };
    setting.git(&["clone", "-q", &setting.server.url("a")]);
    assert_eq!((setting.refreshes(), setting.scene.idp.count("device")), (0, 1));
}

#[test]
fn git_credential_reject_with_the_host_alone_drops_the_token() {
    for git in [Git::with_capabilities(), Git::without_capabilities()] {
        let setting = need!(Setting::new(git, GitOptions::default()));
        let (scheme, host) = setting.server.origin().split_once("://").unwrap();
        let request = format!("protocol={scheme}\nhost={host}\n\n");
        let credential = |operation: &str| {
            let mut command = setting.command(&["credential", operation]);
            Output::of(command.stdin(Stdio::piped()), request.as_bytes())
        };
        let first = credential("fill");
        assert_eq!(credential("fill"), first);
        assert_eq!((credential("reject").code, setting.refreshes()), (Some(0), 0));
        assert_ne!(credential("fill"), first);
        assert_eq!(setting.refreshes(), 1);
    }
}

#[test]
fn before_capabilities_the_command_fails_and_the_next_one_works() {
    let setting = need!(Setting::new(Git::without_capabilities(), GitOptions::default()));
    setting.server.repository("a");
    let url = setting.server.url("a");
    setting.git(&["clone", "-q", &url]);
    setting.scene.idp.expire_access_tokens();
    let output = setting.run(&["-C", "a", "fetch", "-q"]);
    let said = format!("remote: Who are you?\nfatal: Authentication failed for '{url}/'\n");
    assert_eq!((output.code, output.stderr), (Some(128), said));
    assert_eq!(setting.refreshes(), 0);

    setting.git(&["-C", "a", "fetch", "-q"]);
    assert_eq!(setting.refreshes(), 1);
    assert_eq!(setting.scene.idp.count("device"), 1);
}

// Prompts, and their ban.

#[test]
fn git_terminal_prompt_0_means_no_prompt_and_a_clear_message() {
    for git in [Git::with_capabilities(), Git::without_capabilities()] {
        let setting = need!(Setting::signed_out(git, GitOptions::default()));
        setting.server.repository("a");
        // Everything else would allow it: a terminal, and keyfob's own setting.
        for mode in ["auto", "always"] {
            let mut command = setting.command(&["clone", "-q", &setting.server.url("a")]);
            command.env("KEYFOB_PROMPT", mode).env("TERM", "xterm");
            let ended = Terminal::start(command).wait();
            assert_eq!(ended.code, Some(128), "{}", ended.screen);
            let said = ended.screen.replace(&setting.environment(), "");
            assert_eq!(
                said.lines().collect::<Vec<_>>(),
                [
                    &format!(
                        "error: run `{PROGRAM} login lab` in a terminal: could not get a token for lab: a sign-in is needed, \
                         and GIT_TERMINAL_PROMPT forbids a prompt"
                    ),
                    &format!("hint: {PROGRAM} login lab"),
                    &format!("fatal: credential helper '{HELPER}' told us to quit"),
                ]
            );
            assert_eq!(setting.scene.idp.count("device"), 0);
        }
    }
}

/// As a schedule for `git maintenance` says it, and as Git Credential Manager is told.
#[test]
fn interactive_false_means_no_prompt() {
    let task = ["maintenance", "run", "--task=prefetch"];
    for (git, options, variable, why) in [
        (
            Git::with_capabilities(),
            &["-c", "credential.interactive=false"][..],
            None,
            "credential.interactive in git's configuration",
        ),
        (
            Git::with_capabilities(),
            &["-c", "credential.interactive=never"],
            None,
            "credential.interactive in git's configuration",
        ),
        (
            Git::without_capabilities(),
            &["-c", "credential.interactive=0"],
            None,
            "credential.interactive in git's configuration",
        ),
        (Git::with_capabilities(), &[], Some(("GCM_INTERACTIVE", "never")), "GCM_INTERACTIVE"),
    ] {
        let setting = need!(Setting::signed_out(git, GitOptions::default()));
        setting.server.repository("a");
        setting.git(&["init", "-q", "a"]);
        setting.git(&["-C", "a", "remote", "add", "origin", &setting.server.url("a")]);
        let mut command = setting.command(&[&["-C", "a"], options, &task].concat());
        command.env_remove("GIT_TERMINAL_PROMPT").env("KEYFOB_PROMPT", "always").env("TERM", "xterm").envs(variable);
        let ended = Terminal::start(command).wait();
        assert_ne!(ended.code, Some(0), "{}", ended.screen);
        let said = format!("a sign-in is needed, and {why} forbids a prompt");
        assert!(ended.screen.contains(&said), "{}", ended.screen);
        assert_eq!(setting.scene.idp.count("device"), 0);
    }
}

/// As an editor runs it: no terminal, a program of its own that asks for passwords, and what git says kept aside.
#[test]
fn an_editor_is_told_what_to_run_and_asks_for_no_password() {
    for git in [Git::with_capabilities(), Git::without_capabilities()] {
        let setting = need!(Setting::signed_out(git, GitOptions::default()));
        setting.server.repository("a");
        let askpass = setting.home("askpass");
        fs::write(&askpass, "#!/bin/sh\necho asked >> \"$0.log\"\necho secret\n").unwrap();
        fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).unwrap();
        let url = setting.server.url("a");
        let mut command = setting.scene.keyfob.other("setsid");
        command.arg("--wait").arg(&setting.git.path).args(["clone", "-q", &url]).current_dir(setting.home(""));
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", setting.home(".gitconfig"));
        command.env("GIT_ASKPASS", &askpass).env("SSH_ASKPASS", &askpass).env_remove("KEYFOB_PROMPT");
        let output = Output::of(&mut command, b"");
        assert_eq!(output.code, Some(128), "{output:?}");
        let said = output.stderr.replace(&setting.environment(), "");
        let what = format!(
            "error: run `{PROGRAM} login lab` in a terminal: could not get a token for lab: a sign-in is needed, and there \
             is no terminal to show a sign-in on"
        );
        assert_eq!(said.lines().next(), Some(what.as_str()), "{said}");
        assert!(!setting.home("askpass.log").exists() && setting.scene.idp.count("device") == 0);
    }
}

#[test]
fn a_refused_sign_in_ends_the_command_and_git_asks_for_no_password() {
    for git in [Git::with_capabilities(), Git::without_capabilities()] {
        let setting = need!(Setting::signed_out(git, GitOptions::default()));
        setting.server.repository("a");
        setting.scene.idp.auto(Auto::Deny);
        let ended = setting.in_terminal(&["clone", "-q", &setting.server.url("a")]).wait();
        assert_eq!(ended.code, Some(128), "{}", ended.screen);
        assert!(code(&ended.screen.replace('\r', "")).is_some(), "{}", ended.screen);
        assert!(!ended.screen.contains("Username"), "{}", ended.screen);
        assert_eq!(setting.server.take_lines().len(), 1);
    }
}

// Hosts that are not mapped.

/// Nobody showed this server a credential, though it asked.
#[track_caller]
fn assert_sent_nothing(server: &GitServer) {
    let requests = server.take_requests();
    assert!(!requests.is_empty(), "nobody came at all");
    assert!(requests.iter().all(|request| request.authorization.is_none()), "{requests:?}");
}

#[test]
fn a_host_that_is_not_mapped_gets_nothing() {
    for git in [Git::with_capabilities(), Git::without_capabilities()] {
        let setting = need!(Setting::new(git, GitOptions::default()));
        let other = need!(GitServer::start(GitOptions::default(), setting.scene.idp.judge()));
        other.repository("a");
        setting.server.repository("a");
        assert_eq!(setting.run(&["clone", "-q", &other.url("a")]).code, Some(128));
        assert_sent_nothing(&other);
        // The same server by another name is another host, and by another user's name it is still itself.
        let named = setting.server.url("a").replace("127.0.0.1", "localhost");
        assert_eq!(setting.run(&["clone", "-q", &named]).code, Some(128));
        assert_sent_nothing(&setting.server);
        setting.git(&["clone", "-q", &setting.server.url("a").replace("//", "//ada@")]);
    }
}

#[test]
fn a_submodule_elsewhere_gets_nothing() {
    for git in [Git::with_capabilities(), Git::without_capabilities()] {
        let setting = need!(Setting::new(git, GitOptions::default()));
        let other = need!(GitServer::start(GitOptions::default(), setting.scene.idp.judge()));
        setting.server.superproject("s", 1);
        other.repository("s-1");
        let gitmodules = format!("[submodule \"s-1\"]\n\tpath = s-1\n\turl = {}\n", other.url("s-1"));
        setting.server.commit("s", ".gitmodules", gitmodules.as_bytes());
        assert_eq!(setting.run(&["clone", "-q", "--recurse-submodules", &setting.server.url("s")]).code, Some(1));
        assert_sent_nothing(&other);
    }
}

#[test]
fn a_redirect_takes_no_token_along() {
    for git in [Git::with_capabilities(), Git::without_capabilities()] {
        for authorized_only in [false, true] {
            for (schemes, scheme) in [([Scheme::Bearer], "Bearer"), ([Scheme::Basic], "Basic")] {
                if !git.as_ref().is_ok_and(|git| git.knows_capabilities()) && scheme == "Bearer" {
                    continue;
                }
                let options = GitOptions { schemes: schemes.to_vec(), ..GitOptions::default() };
                let setting = need!(Setting::new(git.clone(), options.clone()));
                let other = need!(GitServer::start(options, setting.scene.idp.judge()));
                other.repository("a");
                setting.server.redirect(other.origin(), authorized_only);
                assert_eq!(setting.run(&["clone", "-q", &setting.server.url("a")]).code, Some(128));
                assert_sent_nothing(&other);
                let last = setting.server.take_lines().pop().unwrap();
                let shown = if authorized_only { scheme } else { "-" };
                assert_eq!(last, format!("GET /a.git/info/refs {shown} 302"));
            }
        }
    }
}

// Gitea, which knows no device codes.

#[test]
fn git_clones_from_a_look_alike_of_gitea_by_its_address_alone_and_a_browser() {
    let git = need!(Git::any());
    let scene = Scene::with(Options::gitea(), "");
    let basic = GitOptions { schemes: vec![Scheme::Basic], username: Some("oauth2".into()), ..GitOptions::default() };
    let server = need!(GitServer::start(basic, scene.idp.judge()));
    server.repository("r");
    server.commit("r", "README", b"one\n");
    let setting = Setting { scene, server, git };
    setting.configure(HELPER);
    let Setting { scene, server, .. } = &setting;
    let profile = format!("[profile.forge]\nprovider = 'gitea'\nauthority = '{}'\n", scene.idp.issuer());
    scene.keyfob.write_config(&format!("{profile}[hosts]\n'{}' = 'forge'\n", server.origin()));

    let mut command = setting.command(&["clone", "-q", &server.url("r")]);
    let caller = Caller::start(command.env_remove("GIT_TERMINAL_PROMPT").env("KEYFOB_PROMPT", "always"));
    let shown = browse(&caller.address());
    assert!(shown.body.contains("keyfob has signed in as alice@example.com."), "{shown:?}");
    let output = caller.finish();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(fs::read_to_string(setting.home("r/README")).unwrap(), "one\n");
    // From then on nobody is asked, and the token is renewed as it is anywhere.
    scene.leave(-1);
    setting.git(&["-C", "r", "fetch", "-q"]);
    assert_eq!((scene.idp.count("authorize"), setting.refreshes()), (1, 1));
    scene.assert_proper();
}
