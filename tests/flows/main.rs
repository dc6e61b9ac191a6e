//! What must hold of a session whatever happens: signing in and renewing, many callers at once, servers, disks, clocks and
//! deaths that misbehave, and the promises of SECURITY.md.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod account;
mod answers;
mod authorities;
mod backoff;
mod browser;
mod cached_path;
mod clock;
mod concurrency;
mod conformance;
mod disk;
mod entra;
mod handed_out;
mod hostile;
mod identity;
mod interrupted;
mod login_steps;
mod lost_lock;
mod machines;
mod no_locks;
mod pod;
mod sealed;
mod secrets;
mod survival;
mod waiting;
mod worker;
