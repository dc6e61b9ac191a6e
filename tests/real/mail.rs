//! msmtp, `git send-email` and `git imap-send`, at mail servers that take the provider's tokens.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::common::PROGRAM;
use crate::common::tools::{Day, Desk, Replaced};
use keyfob_test_support::mail::MailServer;
use keyfob_test_support::provider::Provider;
use keyfob_test_support::real::{Git, Missing, on_this_machine};
use keyfob_test_support::registry::Asks;
use keyfob_test_support::{Output, need};

const USER: &str = "ada@example.com";
const MAIL: &str = "From: ada@example.com\nDate: Thu, 1 Jan 2026 00:00:00 +0000\nSubject: x\n\nHello\n";

fn desk() -> Desk {
    Desk::new("git", Asks { tls: false, challenge: "Bearer" })
}

/// Whether a user may use the mailbox.
fn accepts(idp: &Provider) -> impl Fn(&str, &str) -> bool + Send + Sync + use<> {
    let judge = idp.judge();
    move |user, token| user == USER && judge(token)
}

#[test]
fn msmtp_signs_in_by_xoauth2() {
    let msmtp = need!(on_this_machine("msmtp"));
    let desk = desk();
    let smtp = MailServer::smtp(accepts(&desk.scene.idp));
    let account = |name: &str| {
        let port = smtp.port();
        format!("account {name}\nhost 127.0.0.1\nport {port}\ntls off\nfrom {USER}\nuser {USER}\nauth xoauth2\n")
    };
    let helper = format!("passwordeval {PROGRAM} token --profile lab\n");
    desk.write(".msmtprc", &[account("other"), account("default"), helper].concat());
    let file = desk.scene.keyfob.home().join(".msmtprc");
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
    let send = |account: &str| {
        let mut command = desk.command(&msmtp);
        command.args(["--account", account, "bob@example.com"]).stdin(Stdio::piped());
        Output::of(&mut command, b"Subject: x\n\nHello\n")
    };
    let signed_out = Day {
        desk: &desk,
        run: &|| send("default"),
        seen: &|| smtp.take(),
        wanted: &format!("XOAUTH2 {USER} 235"),
        replaced: Replaced::ByRenewal,
        elsewhere: Some(&|| send("other")),
    }
    .live();
    assert!(signed_out.stderr.contains("keyfob login lab"), "{signed_out:?}");
    desk.scene.sign_in();
    let mail = send("default");
    assert_eq!((mail.code, mail.stderr.as_str()), (Some(0), ""), "{mail:?}");
    assert_eq!(smtp.take(), [format!("XOAUTH2 {USER} 235"), "mail".to_owned()]);
}

/// git's own program for mail, in Perl, with the modules that it needs to sign in.
fn git_send_email() -> Result<&'static Git, Missing> {
    let git = Git::any()?;
    let perl = on_this_machine("perl")?;
    let found = Command::new(perl).args(["-MAuthen::SASL", "-MNet::SMTP", "-e", "1"]).stderr(Stdio::null()).status();
    let module = "git send-email with Perl's Authen::SASL";
    if found.is_ok_and(|status| status.success()) { Ok(git) } else { on_this_machine(module).map(|_| git) }
}

/// A git that has keyfob as its helper, with these settings.
fn git(desk: &Desk, git: &Git, settings: &[&str]) -> Command {
    let mut command = desk.command(&git.path);
    let helper = format!("credential.helper=!{PROGRAM} git");
    for setting in [&["user.name=Ada", "user.email=ada@example.com", &helper], settings].concat() {
        command.args(["-c", setting]);
    }
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// git before 2.50 knows neither XOAUTH2 nor OAUTHBEARER: the token is the password of PLAIN.
#[test]
fn git_send_email_asks_for_its_mail_server() {
    let program = need!(git_send_email());
    let desk = desk();
    let smtp = MailServer::smtp(accepts(&desk.scene.idp));
    desk.write("mail", MAIL);
    let settings = [
        format!("sendemail.smtpServerPort={}", smtp.port()),
        format!("sendemail.smtpUser={USER}"),
        "sendemail.smtpServer=127.0.0.1".to_owned(),
        "sendemail.smtpAuth=PLAIN".to_owned(),
    ];
    let send = || {
        let mut command = git(&desk, program, &settings.each_ref().map(String::as_str));
        command.args(["send-email", "--quiet", "--confirm=never", "--suppress-cc=all", "--from", USER]);
        Output::of(command.args(["--to", "bob@example.com", "mail"]), b"")
    };
    let url = format!("smtp://127.0.0.1:{}", smtp.port());
    desk.map(&url, "");
    let day = Day {
        desk: &desk,
        run: &send,
        seen: &|| smtp.take(),
        wanted: &format!("PLAIN {USER} 235"),
        replaced: Replaced::AfterIt,
        // A rule of https is none for a mail server.
        elsewhere: Some(&|| {
            desk.map(&url.replace("smtp", "https"), "");
            let unmapped = send();
            desk.map(&url, "");
            assert!(unmapped.stderr.contains("could not read Password"), "{unmapped:?}");
            unmapped
        }),
    };
    day.live();
    desk.scene.sign_in();
    let mail = send();
    assert_eq!(mail.code, Some(0), "{mail:?}");
    assert_eq!(smtp.take(), [format!("PLAIN {USER} 235"), "mail".to_owned()]);
}

/// git before 2.51 has no OAUTHBEARER there either, and names no port when it asks.
#[test]
fn git_imap_send_asks_for_its_mailbox() {
    let program = need!(Git::any());
    let desk = desk();
    let imap = MailServer::imap(accepts(&desk.scene.idp));
    let settings = [
        "imap.host=imap://127.0.0.1".to_owned(),
        format!("imap.port={}", imap.port()),
        format!("imap.user={USER}"),
        "imap.authMethod=PLAIN".to_owned(),
        // git 2.47 forgets the folder where the user comes after it.
        "imap.folder=Drafts".to_owned(),
    ];
    let store = || {
        let mut command = git(&desk, program, &settings.each_ref().map(String::as_str));
        Output::of(
            command.args(["imap-send", "--quiet"]).stdin(Stdio::piped()),
            ["From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001\n", MAIL].concat().as_bytes(),
        )
    };
    desk.map("imap://127.0.0.1", "");
    Day {
        desk: &desk,
        run: &store,
        seen: &|| imap.take(),
        wanted: &format!("PLAIN {USER} OK"),
        replaced: Replaced::AfterIt,
        elsewhere: None,
    }
    .live();
    desk.scene.sign_in();
    let stored = store();
    assert_eq!(stored.code, Some(0), "{stored:?}");
    assert_eq!(imap.take(), [format!("PLAIN {USER} OK"), "mail".to_owned()]);
}
