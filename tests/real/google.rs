//! google-auth, which reads an executable's stdout and stderr as one.

use crate::common::tools::Desk;
use crate::common::{LAB, PROGRAM};
use keyfob_test_support::real::{Missing, on_this_machine, pypi};
use keyfob_test_support::registry::Asks;
use keyfob_test_support::{Endpoint, Output, need};

const POOL: &str = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/lab";

/// Says what the library makes of the executable's answer.
const SCRIPT: &str = "import json, sys, google.auth.pluggable as pluggable\n\
    with open(sys.argv[1]) as file:\n\
    \x20   info = json.load(file)\n\
    try:\n\
    \x20   print('token', pluggable.Credentials.from_info(info).retrieve_subject_token(None))\n\
    except Exception as error:\n\
    \x20   print('error', error)\n";

/// One whose profile is for the pool, and what the library says of a pool that asks.
fn desk() -> Result<(Desk, impl Fn(&Desk, &str) -> String), Missing> {
    let packages = pypi(&["google-auth==2.63.0", "requests==2.32.5"])?;
    let python = on_this_machine("python3")?;
    let desk = Desk::signed_out("git", Asks { tls: false, challenge: "Bearer" });
    let lab = LAB.replace("ISSUER", desk.scene.idp.issuer());
    desk.scene.keyfob.write_config(&format!("{lab}audience = '{POOL}'\n"));
    let ask = move |desk: &Desk, pool: &str| {
        desk.write(
            "credentials.json",
            &format!(
                "{{\"type\":\"external_account\",\"audience\":\"{pool}\",\"subject_token_type\":\"urn:ietf:params:oauth:token-type:id_token\",\
                 \"token_url\":\"https://sts.googleapis.com/v1/token\",\"credential_source\":{{\"executable\":\
                 {{\"command\":\"{PROGRAM} google --profile lab\",\"timeout_millis\":30000}}}}}}"
            ),
        );
        let mut command = desk.command(&python);
        command.args(["-c", SCRIPT, "credentials.json"]).env("PYTHONPATH", &packages);
        command.env("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1");
        let output = Output::of(&mut command, b"");
        assert_eq!(output.code, Some(0), "{output:?}");
        output.stdout
    };
    Ok((desk, ask))
}

#[test]
fn google_auth_gets_an_id_token_for_its_own_pool_alone() {
    let (desk, ask) = need!(desk());
    let token = || {
        let said = ask(&desk, POOL);
        let token = said.strip_prefix("token ").unwrap_or_else(|| panic!("{said}")).trim();
        assert_eq!(token.split('.').count(), 3, "{said}");
        token.to_owned()
    };
    desk.scene.sign_in();
    let before = desk.asked();
    let first = token();
    assert_eq!(token(), first);
    assert_eq!(desk.asked(), before, "the cache needs no provider");
    desk.scene.leave(-1);
    assert_ne!(token(), first);
    let other = ask(&desk, &POOL.replace("/lab", "/evil"));
    assert!(other.starts_with("error ") && other.contains("GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE is not"), "{other}");
    desk.forget_session();
    let signed_out = ask(&desk, POOL);
    assert!(signed_out.starts_with("error ") && signed_out.contains("keyfob login lab"), "{signed_out}");
}

mod heavy {
    use super::*;

    /// The library ends its helper after 30 seconds. One that waits for a provider says so before.
    #[test]
    fn google_auth_is_told_before_its_time_is_up() {
        let (desk, ask) = need!(desk());
        desk.scene.sign_in();
        desk.scene.leave(-1);
        let held = desk.scene.idp.hold(Endpoint::Token);
        let late = ask(&desk, POOL);
        assert!(late.starts_with("error ") && late.contains("keyfob: "), "{late}");
        drop(held);
        desk.scene.settle();
        assert!(ask(&desk, POOL).starts_with("token "));
    }
}
