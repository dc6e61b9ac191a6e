//! `KUBERNETES_EXEC_INFO`.
#![no_main]

use keyfob::callers::{Outcome, Want, kubernetes};
use keyfob_fuzz::{assert_shown_as_it_is, credential, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let ask = |want: Want<'_>| {
        want.purpose.iter().for_each(|cluster| assert_shown_as_it_is(cluster));
        Outcome::Credential(credential("t0ken"))
    };
    let variable = Some(("KUBERNETES_EXEC_INFO", text)).filter(|(_, text)| !text.contains('\0'));
    let (code, stdout, stderr) = run(&kubernetes::CALLER, &[], variable, b"", &ask);
    if code == 0 {
        let known = ["v1", "v1beta1"].map(|version| {
            format!(
                "{{\"apiVersion\":\"client.authentication.k8s.io/{version}\",\"kind\":\"ExecCredential\",\
                 \"status\":{{\"token\":\"t0ken\"}}}}\n"
            )
        });
        assert!(known.contains(&stdout) && stderr.is_empty(), "{stdout}");
    } else {
        assert!(stdout.is_empty() && stderr.lines().count() <= 2, "{stderr}");
        stderr.lines().for_each(assert_shown_as_it_is);
    }
});
