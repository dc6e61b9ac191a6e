//! msmtp and `git send-email`, to a mail server that takes the provider's tokens.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::common::tools::Desk;
use crate::common::{LAB, PROGRAM};
use keyfob_test_support::real::{Git, Missing, on_this_machine};
use keyfob_test_support::registry::Asks;
use keyfob_test_support::smtp::Smtp;
use keyfob_test_support::{Output, need};

const USER: &str = "ada@example.com";

fn desk() -> (Desk, Smtp) {
    let desk = Desk::new("git", Asks { tls: false, challenge: "Bearer" });
    let judge = desk.scene.idp.judge();
    let smtp = Smtp::start(move |user, token| user == USER && judge(token));
    let lab = LAB.replace("ISSUER", desk.scene.idp.issuer());
    desk.scene.keyfob.write_config(&format!("{lab}\n[hosts]\n'smtp://127.0.0.1:{}' = 'lab'\n", smtp.port()));
    (desk, smtp)
}

#[test]
fn msmtp_signs_in_by_xoauth2() {
    let msmtp = need!(on_this_machine("msmtp"));
    let (desk, smtp) = desk();
    desk.write(
        ".msmtprc",
        &format!(
            "account default\nhost 127.0.0.1\nport {}\ntls off\nfrom {USER}\nuser {USER}\nauth xoauth2\n\
             passwordeval {PROGRAM} token --profile lab\n",
            smtp.port()
        ),
    );
    let file = desk.scene.keyfob.home().join(".msmtprc");
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
    let send = || {
        let mut command = desk.command(&msmtp);
        Output::of(command.arg("bob@example.com").stdin(Stdio::piped()), b"Subject: x\n\nHello\n")
    };
    let asked = desk.asked();
    for _ in 0..2 {
        let mail = send();
        assert_eq!((mail.code, mail.stderr.as_str()), (Some(0), ""), "{mail:?}");
        assert_eq!(smtp.take(), [format!("XOAUTH2 {USER} 235"), "mail".to_owned()]);
    }
    assert_eq!(desk.asked(), asked, "the cache needs no provider");
    desk.forget_session();
    let signed_out = send();
    assert!(signed_out.code != Some(0) && signed_out.stderr.contains("keyfob login lab"), "{signed_out:?}");
    assert!(!smtp.take().contains(&"mail".to_owned()));
}

/// git's own program for mail, in Perl, with the modules that it needs to sign in.
fn git_send_email() -> Result<&'static Git, Missing> {
    let git = Git::any()?;
    let perl = on_this_machine("perl")?;
    let found = Command::new(perl).args(["-MAuthen::SASL", "-MNet::SMTP", "-e", "1"]).stderr(Stdio::null()).status();
    let module = "git send-email with Perl's Authen::SASL";
    if found.is_ok_and(|status| status.success()) { Ok(git) } else { on_this_machine(module).map(|_| git) }
}

/// git before 2.50 knows neither XOAUTH2 nor OAUTHBEARER: the token is the password of PLAIN.
#[test]
fn git_send_email_asks_for_its_mail_server() {
    let git = need!(git_send_email());
    let (desk, smtp) = desk();
    desk.write("mail", &format!("From: {USER}\nSubject: x\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n\nHello\n"));
    let send = || {
        let mut command = desk.command(&git.path);
        let port = format!("sendemail.smtpServerPort={}", smtp.port());
        let helper = format!("credential.helper=!{PROGRAM} git");
        let user = format!("sendemail.smtpUser={USER}");
        let own = ["user.name=Ada", "user.email=ada@example.com"];
        for setting in own.into_iter().chain([
            port.as_str(),
            &helper,
            &user,
            "sendemail.smtpServer=127.0.0.1",
            "sendemail.smtpAuth=PLAIN",
        ]) {
            command.args(["-c", setting]);
        }
        command.args(["send-email", "--quiet", "--confirm=never", "--suppress-cc=all", "--from", USER]);
        command
            .args(["--to", "bob@example.com", "mail"])
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        Output::of(&mut command, b"")
    };
    let mail = send();
    assert_eq!(mail.code, Some(0), "{mail:?}");
    assert_eq!(smtp.take(), [format!("PLAIN {USER} 235"), "mail".to_owned()]);

    // A rule of https is none for a mail server.
    let lab = LAB.replace("ISSUER", desk.scene.idp.issuer());
    desk.scene.keyfob.write_config(&format!("{lab}\n[hosts]\n'https://127.0.0.1:{}' = 'lab'\n", smtp.port()));
    let unmapped = send();
    assert!(unmapped.stderr.contains("could not read Password"), "{unmapped:?}");
    assert_eq!(smtp.take(), [""; 0]);
}
