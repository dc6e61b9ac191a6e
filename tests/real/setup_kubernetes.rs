//! `keyfob setup kubernetes` with the real kubectl: what it shows and does, and that the undo leaves every file as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::kube::Home;
use crate::common::undated;
use keyfob_test_support::provider::{Options, Provider};
use keyfob_test_support::real::Kubectl;
use keyfob_test_support::{Output, need};

/// A kubeconfig as people have them: in an order and a style that kubectl would not write.
const KUBECONFIG: &str = "# mine\napiVersion: v1\nkind: Config\ncurrent-context: lab\ncontexts:\n\
    - {name: lab, context: {cluster: lab, user: old}}   # work\n\
    clusters:\n  - name: lab\n    cluster:\n      server: https://127.0.0.1:1\n\
    users:\n  - name: old\n    user: {token: hunter2}\n";

/// The flags that make a profile.
fn flags(idp: &Provider) -> Vec<String> {
    ["--profile", "lab", "--issuer", idp.issuer(), "--client-id", "keyfob"].map(str::to_owned).to_vec()
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn the_plan_is_shown_and_nothing_is_changed_without_a_yes() {
    let idp = Provider::start(Options::default());
    let home = need!(Home::new(Some(KUBECONFIG)));
    let untouched = home.files();
    let args = [["setup", "kubernetes", "--context", "lab"].map(str::to_owned).to_vec(), flags(&idp)].concat();
    let shown = home.run(&strs(&args));
    assert_eq!(
        (shown.code, shown.stderr.as_str()),
        (
            Some(2),
            "error: nothing was changed: there is no terminal to ask on\nhint: add --yes to make the change shown\n"
        )
    );
    let plan = format!(
        "Connect kubectl's user lab with the profile lab:\n\n\
         HOME/.kube/config is copied to HOME/.local/share/keyfob/backups/config.DATE\n\
         HOME/.config/keyfob/config.toml\n\
         \u{20} + # Added by keyfob setup kubernetes\n\
         \u{20} + [profile.lab]\n\
         \u{20} + issuer = \"{}\"\n\
         \u{20} + client-id = \"keyfob\"\n\
         HOME/.kube/config\n\
         \u{20} + user lab: KEYFOB kubernetes --profile lab\n\
         \u{20} + context lab: user lab\n\
         Note: the context \"lab\" has the user \"old\" now, which stays as it is\n\n",
        idp.issuer()
    );
    assert_eq!(undated(&home.plain(&shown.stdout)), plan);
    assert_eq!(home.files(), untouched);

    let done = Output::of(home.command(&strs(&args)).arg("--yes"), b"");
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert_eq!(
        undated(&home.plain(&done.stdout)),
        format!(
            "{plan}kubectl asks keyfob. Nobody has signed in yet.\n\
             keyfob asks you to sign in when kubectl first needs a token; or now: KEYFOB login lab\n"
        )
    );
    assert_eq!((idp.count("device"), idp.count("token")), (2, 0), "each try asked for a code, and nobody to use it");
    let mode = |name: &str| fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o777;
    for (name, expected) in [
        (".config/keyfob/config.toml", 0o600),
        (".local/share/keyfob", 0o700),
        (".local/share/keyfob/setup.json", 0o600),
        (".local/share/keyfob/backups", 0o700),
        (".kube/config", 0o640),
    ] {
        assert_eq!(mode(name), expected, "{name}");
    }

    let shown = home.run(&["setup", "kubernetes", "--undo"]);
    assert_eq!(shown.code, Some(2));
    assert_eq!(
        undated(&home.plain(&shown.stdout)),
        "Disconnect kubectl's user lab from keyfob:\n\n\
         HOME/.kube/config is copied to HOME/.local/share/keyfob/backups/config.DATE\n\
         HOME/.kube/config is again what it was, byte for byte\n\
         HOME/.config/keyfob/config.toml is removed\n\n"
    );
    let undone = home.setup(&["--undo"]);
    assert!(undone.ends_with("kubectl no longer asks keyfob there.\n"), "{undone}");
    assert_eq!(home.files(), untouched);
    assert_eq!(home.setup(&["--undo"]), "Disconnect kubectl from keyfob: nothing to do.\n");
}

#[test]
fn a_kubeconfig_that_was_not_there_is_gone_after_the_undo() {
    let idp = Provider::start(Options::default());
    let home = need!(Home::new(None));
    let untouched = home.files();
    home.setup(&strs(&flags(&idp)));
    let text = fs::read_to_string(home.kubeconfig()).unwrap();
    assert!(text.contains("\n- name: lab\n") && text.contains("\n      - kubernetes\n"), "{text}");
    home.setup(&["--undo"]);
    assert_eq!(home.files(), untouched);
}

#[test]
fn a_kubeconfig_that_was_changed_since_loses_only_what_is_keyfobs() {
    let idp = Provider::start(Options::default());
    let home = need!(Home::new(Some(KUBECONFIG)));
    let setup = [flags(&idp), ["--context", "lab", "--user", "me"].map(str::to_owned).to_vec()].concat();
    home.setup(&strs(&setup));
    assert_eq!(home.kubectl(&["config", "set-cluster", "other", "--server=https://127.0.0.1:2"]).code, Some(0));
    let changed = home.setup(&["--undo"]);
    let changed = home.plain(&changed);
    assert!(
        changed.contains("HOME/.kube/config\n  - context lab: user me\n  + context lab: user old\n  - user me\n"),
        "{changed}"
    );
    assert!(
        changed.contains("Note: HOME/.kube/config has been changed since; only keyfob's part is taken back\n"),
        "{changed}"
    );
    let text = fs::read_to_string(home.kubeconfig()).unwrap();
    assert!(text.contains("https://127.0.0.1:2") && text.contains("hunter2") && text.contains("user: old"), "{text}");
    assert!(!text.contains("kubernetes") && !text.contains("name: me"), "{text}");
    assert!(!home.path(".config").exists() && !home.path(".local/share/keyfob/setup.json").exists());
}

#[test]
fn two_users_are_undone_in_either_order() {
    let idp = Provider::start(Options::default());
    for (first, second) in [("b", "a"), ("a", "b")] {
        let home = need!(Home::new(Some(KUBECONFIG)));
        let untouched = home.files();
        home.setup(&strs(&[flags(&idp), ["--user", "a"].map(str::to_owned).to_vec()].concat()));
        home.setup(&["--profile", "lab", "--user", "b"]);
        let undone = home.setup(&["--undo", "--user", first]);
        assert!(
            undone.contains(&format!("Note: the profile \"lab\" is left, since kubernetes {second:?} names it\n")),
            "{undone}"
        );
        home.setup(&["--undo", "--user", second]);
        assert_eq!(home.files(), untouched);
    }
}

#[test]
fn every_kubectl_here_is_given_what_it_takes() {
    let idp = Provider::start(Options::default());
    for kubectl in need!(Kubectl::all()) {
        let home = Home::with(kubectl, Some(KUBECONFIG));
        let untouched = home.files();
        home.setup(&strs(&[flags(&idp), ["--context", "lab"].map(str::to_owned).to_vec()].concat()));
        // It reads the user, runs keyfob, and is told in keyfob's words what to do.
        let pods = home.kubectl(&["get", "pods"]);
        assert!(pods.stderr.contains("hint: ") && pods.stderr.contains("keyfob login lab"), "{kubectl:?} {pods:?}");
        home.setup(&["--undo"]);
        assert_eq!(home.files(), untouched, "{kubectl:?}");
    }
}

#[test]
fn a_new_context_comes_with_its_cluster_and_goes_again() {
    let idp = Provider::start(Options::default());
    for changed in [false, true] {
        let home = need!(Home::new(Some(KUBECONFIG)));
        let untouched = home.files();
        home.setup(&strs(
            &[flags(&idp), ["--context", "new", "--cluster", "lab"].map(str::to_owned).to_vec()].concat(),
        ));
        let context = "{.contexts[?(@.name==\"new\")].context}";
        let seen = home.kubectl(&["config", "view", &format!("--output=jsonpath={context}")]);
        assert_eq!(seen.stdout, "{\"cluster\":\"lab\",\"user\":\"lab\"}");
        if changed {
            assert_eq!(home.kubectl(&["config", "use-context", "new"]).code, Some(0));
        }
        home.setup(&["--undo", "--profile", "lab"]);
        let text = fs::read_to_string(home.kubeconfig()).unwrap();
        assert!(!text.contains("name: new") && !text.contains("name: lab\n  user"), "{text}");
        assert_eq!(home.files() == untouched, !changed);
    }
}

#[test]
fn names_reach_the_kubeconfig_as_they_are() {
    let idp = Provider::start(Options::default());
    let home = need!(Home::new(Some(KUBECONFIG)));
    let untouched = home.files();
    let name = "a,\"b\" c.d";
    let args = ["--profile", name, "--issuer", idp.issuer(), "--client-id", "keyfob"];
    home.setup(&args);
    let seen = home.kubectl(&["config", "view", "--output=jsonpath={.users[?(@.name!=\"old\")].user.exec.args[2]}"]);
    assert_eq!(seen.stdout, name);
    let again = home.setup(&args);
    assert!(again.contains(": nothing to do.\n"), "{again}");
    home.setup(&["--undo", "--user", name]);
    assert_eq!(home.files(), untouched);
}

#[test]
fn a_configuration_of_its_own_goes_with_the_user() {
    let idp = Provider::start(Options::default());
    let home = need!(Home::new(Some(KUBECONFIG)));
    let untouched = home.files();
    let run = |args: &[&str]| {
        let mut setup = home.command(&["setup", "kubernetes", "--yes"]);
        let done = Output::of(setup.args(args).env("KEYFOB_CONFIG", home.path("own/config.toml")), b"");
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    };
    run(&strs(&[flags(&idp), ["--context", "lab"].map(str::to_owned).to_vec()].concat()));
    let pods = home.kubectl(&["get", "pods"]);
    let hint = format!("hint: KEYFOB_CONFIG={} ", home.path("own/config.toml").display());
    assert!(pods.stderr.contains(&hint) && pods.stderr.contains("keyfob login lab"), "{pods:?}");
    run(&["--undo"]);
    assert_eq!(home.files(), untouched);
}

#[test]
fn what_is_kept_for_the_undo_is_read_only_if_it_is_the_users_alone() {
    let idp = Provider::start(Options::default());
    let home = need!(Home::new(Some(KUBECONFIG)));
    home.setup(&strs(&flags(&idp)));
    let before = home.files();
    let kept = home.path(".local/share/keyfob/setup.json");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = home.run(&["setup", "kubernetes", "--undo", "--yes"]);
    assert_eq!(
        (refused.code, home.plain(&refused.stderr).as_str()),
        (
            Some(1),
            "error: could not use HOME/.local/share/keyfob/setup.json: other users can get at it (mode 0644)\n\
             hint: chmod go= HOME/.local/share/keyfob/setup.json\n"
        )
    );
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(home.files(), before);
    fs::write(&kept, "{}").unwrap();
    let refused = home.run(&["setup", "kubernetes", "--undo", "--yes"]);
    assert_eq!(
        home.plain(&refused.stderr),
        "error: HOME/.local/share/keyfob/setup.json is damaged (line 1, column 2)\n\
         hint: remove it; the undo is by hand then, with the copies in backups/\n"
    );
}

#[test]
fn what_goes_before_keyfobs_token_is_taken_out_and_comes_back() {
    let idp = Provider::start(Options::default());
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: gke, args: [hunter2], env: [{name: A, value: b}]}";
    for (user, shown, note) in [
        (
            "token: hunter2",
            "- user old: token\n",
            "has a token of its own, which kubectl sends instead; it is taken out",
        ),
        (
            "tokenFile: /x",
            "- user old: tokenFile\n",
            "has a token of its own, which kubectl sends instead; it is taken out",
        ),
        (
            "username: u, password: hunter2",
            "- user old: username\n  - user old: password\n",
            "has a password, which kubectl sends instead; it is taken out",
        ),
        (
            "client-certificate-data: aHVudGVyMg==",
            "- user old: client-certificate-data\n",
            "has a client certificate, which API servers look at first; it is taken out",
        ),
        (
            "auth-provider: {name: oidc, config: {id-token: hunter2}}",
            "- user old: auth-provider\n",
            "has an auth-provider, besides which kubectl takes no program; it is taken out",
        ),
        (exec, "+ user old: KEYFOB", "runs gke now; keyfob takes its place"),
    ] {
        let home = need!(Home::new(Some(&KUBECONFIG.replace("token: hunter2", user))));
        let untouched = home.files();
        let done = home.setup(&strs(&[["--user", "old"].map(str::to_owned).to_vec(), flags(&idp)].concat()));
        let plain = home.plain(&done);
        assert!(plain.contains(&format!("HOME/.kube/config\n  {shown}")), "{plain}");
        assert!(plain.contains(&format!("Note: the user \"old\" {note}\n")), "{plain}");
        assert!(!done.contains("hunter2"), "{done}");
        let switched = fs::read_to_string(home.kubeconfig()).unwrap();
        assert!(!switched.contains("hunter2") && switched.contains("kubernetes"), "{switched}");

        // With a change of somebody else's it is put back, in meaning.
        let view = |text: &str| {
            fs::write(home.kubeconfig(), text).unwrap();
            home.kubectl(&["config", "view", "--raw", "--output=json"]).stdout
        };
        let before = KUBECONFIG.replace("token: hunter2", user);
        let expected = view(&format!("{before}\n# more\n"));
        fs::write(home.kubeconfig(), format!("{switched}\n# more\n")).unwrap();
        let undone = home.setup(&["--undo"]);
        assert!(!undone.contains("hunter2"), "{undone}");
        let text = fs::read_to_string(home.kubeconfig()).unwrap();
        assert!(text.starts_with("# mine\n") && text.ends_with("\n# more\n"), "{text}");
        assert_eq!(view(&text), expected, "{text}");
        // Left alone, byte for byte.
        fs::write(home.kubeconfig(), &before).unwrap();
        home.setup(&strs(&[["--user", "old"].map(str::to_owned).to_vec(), flags(&idp)].concat()));
        home.setup(&["--undo"]);
        assert_eq!(home.files(), untouched);
    }
}

#[test]
fn of_several_kubeconfigs_the_one_that_holds_the_user_is_changed() {
    let idp = Provider::start(Options::default());
    let home = need!(Home::new(Some(KUBECONFIG)));
    let other = home.path("other.yaml");
    fs::write(&other, "users:\n- name: me\n  user: {}\n").unwrap();
    let untouched = home.files();
    let list = format!("{}:{}", home.kubeconfig().display(), other.display());
    let setup = |args: &[&str]| {
        let mut setup = home.command(&["setup", "kubernetes", "--yes"]);
        let done = Output::of(setup.args(args).env("KUBECONFIG", &list), b"");
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
        home.plain(&done.stdout)
    };
    let done = setup(&strs(&[flags(&idp), ["--user", "me", "--context", "lab"].map(str::to_owned).to_vec()].concat()));
    assert!(done.contains("Note: of the files in KUBECONFIG, HOME/other.yaml is changed\n"), "{done}");
    assert!(fs::read_to_string(&other).unwrap().contains("kubernetes"));
    assert!(fs::read_to_string(home.kubeconfig()).unwrap().contains("user: me"));
    setup(&["--undo"]);
    assert_eq!(home.files(), untouched);
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_changed() {
    let idp = Provider::start(Options::default());
    let bare = Provider::start(Options {
        device_endpoint_in_metadata: false,
        authorize_in_metadata: false,
        ..Options::default()
    });
    let liar = Provider::start(Options { issuer_override: Some("https://other.example".into()), ..Options::default() });
    let (issuer, bare, liar) = (idp.issuer(), bare.issuer(), liar.issuer());
    for (user, args, code, error) in [
        ("{}", vec!["--profile", "lab"], 2, "error: there is no profile \"lab\"; there are none\nhint: ".to_owned()),
        (
            "{}",
            vec!["--issuer", issuer, "--client-id", "k"],
            2,
            "error: the new profile has no name\nhint: add --profile NAME\n".to_owned(),
        ),
        (
            "{}",
            vec!["--profile", "lab", "--issuer", issuer],
            2,
            "error: profile \"lab\" has no `client-id`\n".to_owned(),
        ),
        (
            "{}",
            vec!["--profile", "lab", "--issuer", issuer, "--client-id", "k", "--context", "lap"],
            2,
            "error: the kubeconfig has no context \"lap\"; did you mean \"lab\"?\n".to_owned(),
        ),
        (
            "{}",
            vec!["--profile", "lab", "--issuer", issuer, "--client-id", "k", "--context", "new", "--cluster", "x"],
            2,
            "error: the kubeconfig has no cluster \"x\"; there are lab\n".to_owned(),
        ),
        (
            "{}",
            vec!["--profile", "lab", "--issuer", bare, "--client-id", "k"],
            1,
            format!(
                "error: {bare} publishes no device authorization endpoint (RFC 8628)\n\
                 hint: enable the device authorization grant at the provider, or set `device-authorization-endpoint` if it \
                 has one it does not publish\n"
            ),
        ),
        (
            "{}",
            vec!["--profile", "lab", "--issuer", liar, "--client-id", "k"],
            1,
            format!(
                "error: the metadata at {liar}/.well-known/openid-configuration cannot be used: \
                 it is of the issuer \"https://other.example\", not \"{liar}\"\n\
                 hint: check `issuer`: it must be written exactly as the provider writes it\n"
            ),
        ),
    ] {
        let home = need!(Home::new(Some(&KUBECONFIG.replace("{token: hunter2}", user))));
        let untouched = home.files();
        let refused = home.run(&[&["setup", "kubernetes", "--yes"], &args[..]].concat());
        assert_eq!(refused.code, Some(code), "{args:?} {refused:?}");
        let said = home.plain(&refused.stderr);
        assert!(said.starts_with(&error), "{args:?}\n{said}");
        assert_eq!(home.files(), untouched);
    }
}
