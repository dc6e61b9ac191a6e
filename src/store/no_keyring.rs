//! For systems whose kernel has no keyring.

use super::seal::Key;
use crate::failure::Failure;

/// Fails: there is no keyring.
pub(super) fn find(_: &str) -> Result<Option<Key>, Failure> {
    Err(unusable())
}

/// Fails: there is no keyring.
pub(super) fn put(_: &Key) -> Result<(), Failure> {
    Err(unusable())
}

fn unusable() -> Failure {
    Failure::usage("`store = \"kernel\"` needs Linux").run("keyfob store file")
}
