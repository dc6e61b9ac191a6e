//! `keyfob store` and `keyfob unlock`: how sessions are kept, and the key of sealed sessions.

use crate::acquire::LOCK_LIMIT;
use crate::change::files;
use crate::clock::Timestamp;
use crate::config::{self, Installation, StoreKind, edit};
use crate::failure::{Exit, Failure};
use crate::store::{Contents, Kept, Store, exported, unlock as bring_back};
use anyhow::Result;
use clap::builder::PossibleValuesParser;
use std::io::IsTerminal;

/// `keyfob store`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Kinds:
  file    in files that only you can read, not encrypted, as ssh keeps keys
  kernel  in files that are sealed with a key in the kernel's keyring (Linux)
  none    not at all: a machine's profile asks its provider at every call, and a person cannot sign in

A copy of sealed files, in a backup or on a stolen disk, is of no use. A restart of the machine empties the keyring; then \
`key-command` in config.toml brings the key back, or you sign in again.

A change between file and kernel moves every session, whose tokens are renewed at their next use. `none` is refused while \
there are sessions.

Examples:
  keyfob store                            how sessions are kept
  keyfob store kernel                     seal them
  keyfob store --export-key | secret-tool store --label=keyfob keyfob key
                                          keep the key where a restart does not lose it")]
pub struct Arguments {
    /// How to keep sessions from now on: file, kernel or none
    #[arg(value_parser = PossibleValuesParser::new(StoreKind::WORDS), hide_possible_values = true)]
    kind: Option<String>,
    /// Print the key of sealed sessions, to keep it elsewhere
    #[arg(long, conflicts_with = "kind")]
    export_key: bool,
}

/// `keyfob unlock`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Runs `key-command` of config.toml, which may ask you for a passphrase, and puts what it prints into the kernel's keyring.

Examples:
  keyfob unlock")]
pub struct Unlock {}

/// Prints how sessions are kept, or changes it.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.export_key {
        return export();
    }
    match arguments.kind.as_deref().and_then(StoreKind::of) {
        None => super::print(&match Store::open()? {
            Some(store) => format!("{}\n", described(&store.kept()?)),
            None => "There are no sessions.\n".to_owned(),
        }),
        Some(StoreKind::Kernel) => seal(),
        Some(StoreKind::File) => unseal(),
        Some(StoreKind::None) => keep_nothing(),
    }
}

/// Gets the key of sealed sessions back.
pub fn unlock(_: &Unlock) -> Result<()> {
    let brought = bring_back()?;
    let wanted = match Store::open()? {
        Some(store) => store.kept()?,
        None => Kept::Clear,
    };
    match wanted {
        Kept::Sealed(key) | Kept::Sealing(key) if key != brought => {
            let why = format!("`key-command` printed the key {brought}, and the sessions are sealed by {key}");
            Err(Failure::new(Exit::Failed, why).hint("keep the present one: keyfob store --export-key").into())
        }
        _ => super::print("The sessions are unlocked.\n"),
    }
}

/// A sentence that says how sessions are kept.
pub fn described(kept: &Kept) -> &'static str {
    match kept {
        Kept::Clear => "Sessions are kept in clear, in files for you alone.",
        Kept::Sealed(_) => "Sessions are sealed by a key in the kernel's keyring.",
        Kept::Sealing(_) => "Sessions are being sealed; to seal the rest: keyfob store kernel",
    }
}

fn export() -> Result<()> {
    let (Kept::Sealed(id) | Kept::Sealing(id)) = Store::open()?.map_or(Ok(Kept::Clear), |store| store.kept())? else {
        return Err(Failure::usage("the sessions are not sealed: there is no key").run("keyfob store kernel").into());
    };
    if std::io::stdout().is_terminal() {
        let why = "the key is not printed to a terminal";
        return Err(Failure::usage(why).hint("pipe it into the program that is to keep it").into());
    }
    match exported(&id)? {
        Some(key) => super::print(&format!("{}\n", *key)),
        None => Err(Failure::new(Exit::Failed, "the key is not in the kernel's keyring").run("keyfob unlock").into()),
    }
}

/// Seals every session, and records that in `config.toml`. Writes seal from the beginning, so that the next run can
/// finish the work of one that was killed.
fn seal() -> Result<()> {
    let store = Store::made()?;
    store.begin_to_seal()?;
    let moved = move_all(&store)?;
    store.is_all_sealed()?;
    say_in_config(StoreKind::Kernel)?;
    let kept = described(&store.kept()?);
    let text = format!("{moved} moved. {kept}\n");
    super::print(&if Installation::load()?.key_command.is_empty() {
        text + "A restart of the machine empties it: see `keyfob store --help` to keep the key elsewhere.\n"
    } else {
        text
    })
}

/// Keeps every session in clear again. Writes seal until `config.toml` no longer asks for it.
fn unseal() -> Result<()> {
    let store = Store::made()?;
    say_in_config(StoreKind::File)?;
    store.begin_to_unseal()?;
    let moved = move_all(&store)?;
    super::print(&format!("{moved} moved. {}\n", described(&Kept::Clear)))
}

/// Saves every session in the way that is set now, and deletes damaged files, which may hold tokens. Returns how many
/// sessions there were.
fn move_all(store: &Store) -> Result<String> {
    let Contents { sessions, damaged, unusable } = store.contents()?;
    let (number, now) = (sessions.len(), Timestamp::now());
    for (file, _) in sessions {
        let mut locked = file.lock(LOCK_LIMIT)?;
        let (mut session, _) = locked.load()?;
        // Someone may have copied a session that was in clear. Renew its tokens soon, because with rotation that makes
        // a copy useless.
        session.renew_soon(now);
        locked.save(&session)?;
    }
    for (file, failure) in damaged {
        store.remove_damaged(&file)?;
        super::warn(&format!("{}; it is deleted, since there may be a token in it", failure.message));
    }
    store.remove_damaged_copies(None)?;
    match unusable.into_iter().next() {
        Some((_, failure)) => Err(failure.into()),
        None => Ok(format!("{number} session{}", if number == 1 { "" } else { "s" })),
    }
}

/// Keeps nothing from now on. Fails if there are sessions, because they would become useless, and this is not meant to
/// delete them.
fn keep_nothing() -> Result<()> {
    if let Some(store) = Store::open()? {
        let Contents { sessions, damaged, unusable } = store.contents()?;
        if !sessions.is_empty() || !damaged.is_empty() || !unusable.is_empty() {
            let failure = Failure::usage("there are sessions, and `none` keeps none");
            return Err(failure.run("keyfob logout --all && keyfob store none").into());
        }
    }
    say_in_config(StoreKind::None)?;
    super::print("Nothing is kept from now on: each call of a machine's profile asks its provider.\n")
}

/// Sets `store` in `config.toml`.
fn say_in_config(kind: StoreKind) -> Result<()> {
    if Installation::load()?.store.unwrap_or(StoreKind::File) == kind {
        return Ok(());
    }
    let Some(path) = config::file_path() else { return Ok(()) };
    let text = config::contents(&path)?;
    if files::is_read_only(&path) {
        let why = format!("{} cannot be changed, and is to say how sessions are kept", path.display());
        let hint = format!("write there, at the top: store = {:?}; then run the same command again", kind.word());
        return Err(Failure::usage(why).hint(hint).into());
    }
    let after = edit::with_store(text.as_deref().unwrap_or_default(), kind)?;
    match text {
        Some(_) => files::replace(&path, after.as_bytes()),
        None => files::create(&path, after.as_bytes()),
    }
}
