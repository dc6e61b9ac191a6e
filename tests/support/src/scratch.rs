//! A folder that is gone afterwards, even when a person presses Ctrl-C meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A temporary folder, removed when this is dropped. From the first one on, Ctrl-C no longer ends the process, which
/// would leave the folder behind; it still ends the children, and [`Scratch::interrupted`] tells.
pub struct Scratch(TempDir);

impl Scratch {
    /// A new folder; its name begins with `prefix`.
    pub fn new(prefix: &str) -> std::io::Result<Self> {
        // The only possible trouble is a handler that is there already, such as ours.
        let _ = ctrlc::try_set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst));
        TempDir::with_prefix(prefix).map(Self)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Whether Ctrl-C was pressed.
    pub fn interrupted() -> bool {
        INTERRUPTED.load(Ordering::SeqCst)
    }
}
