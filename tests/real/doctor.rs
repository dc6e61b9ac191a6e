//! `keyfob doctor` beside the real kubectl: what it finds in a kubeconfig, and that its remedy helps.

use std::fs;
use std::path::Path;

use crate::common::PROGRAM;
use crate::common::doctor::complaints;
use crate::common::kube::Home;
use keyfob_test_support::real::Missing;
use keyfob_test_support::{Output, need};

/// What the profile of a [`Cluster`] says.
const AWAY: &str = "[profile.lab]\nissuer = 'http://127.0.0.1:1'\nclient-id = 'keyfob'\n";

/// A home whose kubeconfig has the user `ada`, who runs keyfob for the profile `lab`; nobody is signed in.
struct Cluster(Home);

impl Cluster {
    fn new() -> Result<Self, Missing> {
        let home = Home::new(None)?;
        fs::create_dir_all(home.path(".config/keyfob")).unwrap();
        fs::write(home.path(".config/keyfob/config.toml"), AWAY).unwrap();
        home.setup(&["--profile", "lab", "--user", "ada"]);
        Ok(Self(home))
    }

    fn kubeconfig(&self) -> String {
        fs::read_to_string(self.0.kubeconfig()).unwrap()
    }

    fn write(&self, kubeconfig: &str) {
        fs::write(self.0.kubeconfig(), kubeconfig).unwrap();
    }

    /// Changes what has to be there.
    #[track_caller]
    fn change(&self, from: &str, to: &str) {
        let text = self.kubeconfig();
        assert!(text.contains(from), "{text}");
        self.write(&text.replace(from, to));
    }

    fn shell(&self, lines: &str) -> Output {
        let lines = lines.replace("HOME", self.0.keyfob.home().to_str().unwrap());
        let lines = lines.replace("keyfob ", &format!("{PROGRAM} "));
        Output::of(self.0.other(Path::new("/bin/sh")).args(["-c", &lines]), b"")
    }

    /// What doctor says after these lines, but what is good, and that nobody is signed in.
    #[track_caller]
    fn complaints_after(&self, lines: &str) -> Vec<String> {
        let output = self.shell(&format!("{lines}\nkeyfob doctor --offline"));
        let all = complaints(&Output { stdout: self.0.plain(&output.stdout), ..output });
        assert_eq!(all[0], "warn session lab: nobody is signed in");
        all[2..].to_vec()
    }

    #[track_caller]
    fn complaint(&self) -> [String; 2] {
        self.complaints_after("").try_into().unwrap()
    }

    #[track_caller]
    fn assert_well(&self) {
        assert_eq!(self.complaints_after(""), [""; 0]);
    }

    /// It complains of just this, and no longer once its remedy is followed.
    #[track_caller]
    fn assert_mended(&self, complaint: &str, remedy: &str) {
        assert_eq!(self.complaint(), [complaint, &format!("$ {remedy}")]);
        let ran = self.shell(&remedy.replace("setup kubernetes", "setup kubernetes --yes"));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        self.assert_well();
    }
}

#[test]
fn what_kubectl_really_runs() {
    let cluster = need!(Cluster::new());
    cluster.assert_well();
    let output = cluster.shell("keyfob doctor --offline --profile lab").stdout;
    assert!(cluster.0.plain(&output).contains("ok     kubectl ada: runs KEYFOB\n"), "{output}");
    cluster.change(PROGRAM, "/nowhere/keyfob");
    cluster.assert_mended(
        "error kubectl ada: runs /nowhere/keyfob, which does not exist",
        "keyfob setup kubernetes --profile lab --user ada",
    );

    cluster.change("- lab", "- lap");
    assert_eq!(
        cluster.complaint(),
        [
            "error kubectl ada: asks for the profile \"lap\", which does not exist",
            "-> keyfob setup kubernetes --profile NAME --user ada",
        ]
    );
    let other = cluster.shell("keyfob doctor --offline --profile lab").stdout;
    assert!(!other.contains("kubectl"), "it does not ask for that one: {other}");
    // Nothing is said of it where the configuration cannot be read.
    let file = cluster.0.path(".config/keyfob/config.toml");
    fs::write(&file, "profile = 3\n").unwrap();
    assert!(!cluster.shell("keyfob doctor --offline").stdout.contains("kubectl"));
    fs::write(&file, AWAY).unwrap();
    // Its own configuration may well have it.
    let own = cluster.0.path("own.toml");
    fs::write(&own, AWAY.replace("lab", "lap")).unwrap();
    let env = format!("      env: [{{name: KEYFOB_CONFIG, value: {}}}]\n      interactiveMode", own.display());
    cluster.change("      interactiveMode", &env);
    let [complaint, remedy] = cluster.complaint();
    assert_eq!(
        complaint,
        "warn kubectl ada: runs KEYFOB with the configuration HOME/own.toml, which was not looked at"
    );
    let looked = cluster.shell(remedy.strip_prefix("$ ").unwrap()).stdout;
    assert!(cluster.0.plain(&looked).contains("ok     kubectl ada: runs KEYFOB\n"), "{looked}");
}

#[test]
fn what_comes_between_kubectl_and_keyfob() {
    let cluster = need!(Cluster::new());
    for (key, what) in [
        ("token: hunter2", "a token of its own, which kubectl sends instead"),
        ("tokenFile: /nowhere/token", "a token of its own, which kubectl sends instead"),
        ("password: hunter2", "a password, which kubectl sends instead"),
        ("client-certificate: /nowhere/ada.pem", "a client certificate, which API servers look at first"),
        ("client-certificate-data: YQ==", "a client certificate, which API servers look at first"),
        ("auth-provider: {name: oidc}", "an auth-provider, besides which kubectl takes no program"),
    ] {
        cluster.change("  user:\n", &format!("  user:\n    {key}\n"));
        cluster.assert_mended(
            &format!("error kubectl ada: has {what}"),
            "keyfob setup kubernetes --profile lab --user ada",
        );
    }
}

#[test]
fn a_kubeconfig_that_is_not_there_or_cannot_be_read() {
    let cluster = need!(Cluster::new());
    for (list, remedy) in [
        ("HOME/.kube/config:/nowhere/config", "export KUBECONFIG=HOME/.kube/config"),
        ("/nowhere/config", "unset KUBECONFIG"),
    ] {
        let before = format!("export KUBECONFIG={list}");
        let warning = "warn kubectl: KUBECONFIG names /nowhere/config, which does not exist";
        assert_eq!(cluster.complaints_after(&before), [warning, &format!("$ {remedy}")]);
        assert_eq!(cluster.complaints_after(&format!("{before}\n{remedy}")), [""; 0]);
    }
    let good = cluster.kubeconfig();
    cluster.write("users: 3\n");
    let [complaint, remedy] = cluster.complaint();
    assert_eq!(complaint, "error kubectl: HOME/.kube/config:1: users is not a list");
    assert_eq!(remedy, "-> correct the kubeconfig, or KUBECONFIG");
    cluster.write(&good);
    cluster.assert_well();
}
