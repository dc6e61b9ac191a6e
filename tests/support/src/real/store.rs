//! Where fetched things are kept: folders in the target folder, named by the hash of what pins them.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ring::digest::{SHA256, digest};
use tempfile::TempDir;

use super::on_path;

/// A short name for exactly these bytes.
pub(super) fn hash(parts: &[&str]) -> String {
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.bytes().chain([0])).collect();
    let digest = digest(&SHA256, &bytes);
    let start = digest.as_ref().first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(start))
}

/// The folder `name` in the target folder, made by `fill` if it is not there yet.
///
/// It appears complete or not at all, since it is filled beside its place and then renamed. A lock keeps parallel test
/// binaries from fetching the same thing at the same time.
pub(super) fn folder(name: &str, fill: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let store = target().join("real");
    let place = store.join(name);
    if place.is_dir() {
        return Ok(place);
    }
    let cannot = |error: std::io::Error| format!("{}: {error}", store.display());
    fs::create_dir_all(&store).map_err(cannot)?;
    let _lock = Lock::take(&store.join(format!("{name}.lock")));
    if place.is_dir() {
        return Ok(place);
    }
    let draft = TempDir::with_prefix_in(format!("{name}-"), &store).map_err(cannot)?;
    fill(draft.path())?;
    match fs::rename(draft.path(), &place) {
        Ok(()) => drop(draft.keep()),
        // Where there is no lock another binary may have been first, with the same content.
        Err(error) if !place.is_dir() => return Err(cannot(error)),
        Err(_) => {}
    }
    Ok(place)
}

/// The target folder that this test runs from, wherever the build was told to put it.
fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    // Cargo marks the top of every target folder.
    let marked = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), Path::to_path_buf)
}

/// A lock between processes, freed by the kernel however its holder ends: `flock` holds it around a `cat` that waits
/// for us. Where there is no `flock` there is no lock, and the rename alone keeps the folder whole.
struct Lock(Option<Child>);

impl Lock {
    fn take(file: &Path) -> Self {
        let Some(flock) = on_path("flock") else { return Self(None) };
        let child = Command::new(flock).arg(file).arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else { return Self(None) };
        // The echo comes when `cat` runs, which is when the lock is held.
        if let (Some(stdin), Some(stdout)) = (child.stdin.as_mut(), child.stdout.as_mut()) {
            let _ = stdin.write_all(b"\n").and_then(|()| stdin.flush()).and_then(|()| stdout.read_exact(&mut [0]));
        }
        Self(Some(child))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}
