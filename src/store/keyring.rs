//! The key that seals sessions, kept in memory by the kernel, in this user's keyring (keyrings(7)).
//!
//! The key is in the persistent keyring if the kernel has one, otherwise in the user keyring. The persistent keyring
//! outlives the user's processes by three days, counted from its last use. A restart of the machine empties both. Every
//! process of the user can read the key, even if its session is not linked to these keyrings, as under cron, systemd
//! and sudo. Only the process that made the key can change it.

use super::seal::Key;
use crate::failure::{Exit, Failure};
use linux_keyutils::{KeyError, KeyPermissions, KeyRing, KeyRingIdentifier};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// All rights for the possessor; view, read and search for the user (keyctl_setperm(3)).
const PERMISSIONS: u32 = 0x3f0b_0000;

/// The key under this name, unchecked; `None` if there is none.
pub(super) fn find(id: &str) -> Result<Option<Key>, Failure> {
    let found = ring().and_then(|ring| ring.search(&description(id)));
    let mut bytes = Zeroizing::new([0; 32]);
    match found.and_then(|key| key.read(&mut *bytes)) {
        Ok(32) => Ok(Some(Key::called(id, bytes))),
        Ok(_) | Err(KeyError::KeyDoesNotExist | KeyError::KeyExpired | KeyError::KeyRevoked) => Ok(None),
        Err(error) => Err(unusable(error)),
    }
}

/// Stores a key under its name.
pub(super) fn put(key: &Key) -> Result<(), Failure> {
    let added = ring().and_then(|ring| ring.add_key(&description(key.id()), key.bytes()));
    added.and_then(|key| key.set_perms(KeyPermissions::from_u32(PERMISSIONS))).map_err(unusable)
}

fn ring() -> Result<KeyRing, KeyError> {
    // Link it from this process's keyring, because a persistent keyring can be searched only if it is reachable.
    match KeyRing::get_persistent(KeyRingIdentifier::Process) {
        // This kernel was built without persistent keyrings; which error it returns depends on its version.
        Err(KeyError::OperationNotSupported | KeyError::Unknown(_)) => {
            KeyRing::from_special_id(KeyRingIdentifier::User, true)
        }
        ring => ring,
    }
}

fn description(id: &str) -> String {
    ["keyfob:", id].concat()
}

fn unusable(error: KeyError) -> Failure {
    let nosys = Errno::NOSYS.raw_os_error();
    let (why, hint) = match error {
        KeyError::PermissionDenied => (
            "the system refuses it, as the seccomp profile of a container does".to_owned(),
            "allow keyctl and add_key in the container's seccomp profile, or set KEYFOB_CACHE_DIR and `store = \"file\"` for it",
        ),
        KeyError::Unknown(code) if code == nosys => {
            ("this system has none".to_owned(), "use `store = \"file\"` on this machine: keyfob store file")
        }
        KeyError::QuotaExceeded => {
            ("it is full".to_owned(), "see /proc/key-users, and the limits in /proc/sys/kernel/keys")
        }
        other => (other.to_string(), "`keyfob doctor` says which store is in use"),
    };
    Failure::new(Exit::Failed, format!("the kernel's keyring cannot be used: {why}")).hint(hint)
}
