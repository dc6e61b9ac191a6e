//! Which of the system's certificate authorities are read, and when.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;

use crate::common::errors::{self, can_mount, with_mount};
use crate::common::{Caller, LAB, Scene, strace, token};
use keyfob_test_support::provider::Options;
use keyfob_test_support::skip;

/// Where Debian and what stems from it have them.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

fn tls() -> Options {
    Options { tls: true, ..Options::default() }
}

#[test]
fn a_refresh_reads_the_bundle_and_not_the_folder_and_flushes_file_and_folder_once() {
    if !strace::is_here() || !Path::new(BUNDLE).is_file() {
        skip!("strace is not here, or no {BUNDLE}");
    }
    let scene = Scene::signed_in(tls());
    scene.leave(1);
    let log = scene.keyfob.home().join("strace.log");
    let options = ["-o", log.to_str().unwrap(), "-e", "trace=open,openat,fsync,fdatasync,sync_file_range"];
    let mut watched = strace::watch(&scene.command("never", ["token"]), &options);
    token(&Caller::start(&mut watched).finish());
    let log = fs::read_to_string(log).unwrap();
    let opened = log.lines().filter_map(|line| line.split('"').nth(1)).filter(|path| path.starts_with("/etc/ssl"));
    assert_eq!(opened.collect::<Vec<_>>(), [BUNDLE], "{log}");
    let flushed = |name: &str| log.lines().filter(|line| line.contains(&format!("{name}("))).count();
    assert_eq!([flushed("fsync"), flushed("fdatasync"), flushed("sync_file_range")], [2, 0, 0], "{log}");
}

#[test]
fn an_authority_that_is_in_the_folder_alone_is_trusted() {
    if !can_mount() || !Path::new(BUNDLE).is_file() {
        skip!("nothing can be mounted here, or no {BUNDLE}");
    }
    let scene = errors::Scene::new(tls(), LAB);
    let authority = scene.idp.ca_file().unwrap().display().to_string();
    scene.keyfob.write_config(&LAB.replace("ISSUER", scene.idp.issuer()));
    for (trusted, copy) in [(true, format!("cp {authority} /etc/ssl/certs/own.pem")), (false, "true".to_owned())] {
        let mount = format!("cp {BUNDLE} $C.bundle; mount -t tmpfs none /etc/ssl/certs; cp $C.bundle {BUNDLE}; {copy}");
        let output = with_mount(&scene, &mount, "never", &["doctor"]);
        assert_eq!(output.stdout.contains("ok     provider lab"), trusted, "{output:?}");
    }
}
