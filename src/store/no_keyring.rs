//! Systems whose kernel keeps no keys for its users.

use super::seal::Key;
use crate::failure::Failure;

/// There is no key here.
pub(super) fn find(_: &str) -> Result<Option<Key>, Failure> {
    Err(unusable())
}

/// No key can be put here.
pub(super) fn put(_: &Key) -> Result<(), Failure> {
    Err(unusable())
}

fn unusable() -> Failure {
    Failure::usage("`store = \"kernel\"` needs Linux").run("keyfob store file")
}
