//! A temporary folder that is removed even if a person presses Ctrl-C.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::SIGINT;
use tempfile::TempDir;

/// Set by Ctrl-C, which no longer ends the process once this has been read.
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| {
    let flag = Arc::default();
    signal_hook::flag::register(SIGINT, Arc::clone(&flag)).expect("a handler for Ctrl-C");
    flag
});

/// A temporary folder, removed when this is dropped. From the first one on, Ctrl-C no longer ends the process, which
/// would leave the folder behind; it still ends the children, and [`Scratch::interrupted`] tells.
pub struct Scratch(TempDir);

impl Scratch {
    /// A new folder; its name begins with `prefix`.
    pub fn new(prefix: &str) -> std::io::Result<Self> {
        LazyLock::force(&INTERRUPTED);
        TempDir::with_prefix(prefix).map(Self)
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Whether Ctrl-C was pressed.
    pub fn interrupted() -> bool {
        INTERRUPTED.load(Ordering::SeqCst)
    }
}
