//! How fast keyfob is, beside the least a program can do and beside what people use today: whole processes, measured in
//! turn, in one table of ratios.
//!
//! ```text
//! benches/peers/fetch                          fetches what people use today, once
//! .ci/static                                   builds the static program
//! cargo bench --bench speed                    everything
//! cargo bench --bench speed -- --quick         fewer runs
//! cargo bench --bench speed -- starts size     only these parts
//! ```

#[path = "../common/mod.rs"]
mod common;
mod grows;
mod peers;
mod refresh;
#[cfg(target_os = "linux")]
mod sealed;
mod size;
mod starts;
mod table;
mod turns;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use common::home::Home;
use common::programs;
use keyfob_test_support::Provider;
use table::Table;

/// The parts, in the table's order.
const PARTS: &[(&str, Part)] = &[
    ("starts", starts::measure),
    #[cfg(target_os = "linux")]
    ("sealed", sealed::measure),
    ("grows", grows::measure),
    ("peers", peers::measure),
    ("size", size::measure),
    ("refresh", refresh::measure),
];

type Part = fn(&Place, &mut Table) -> Result<()>;

/// What every part measures, and where.
struct Place {
    /// The release binary.
    keyfob: PathBuf,
    /// The static program, where `.ci/static` has built it.
    fixed: Option<PathBuf>,
    /// The C program that reads and prints files.
    reader: PathBuf,
    /// The C program that tells how much memory another took.
    peak: PathBuf,
    /// A folder for what is built and fetched.
    folder: PathBuf,
    /// Where keyfob answers from its cache.
    home: Home,
    /// Fewer runs.
    quick: bool,
}

impl Place {
    /// So many rounds, or a tenth of them.
    fn rounds(&self, usual: usize) -> usize {
        if self.quick { usual.div_ceil(10) } else { usual }
    }
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let (mut quick, mut wanted) = (false, Vec::new());
    for word in env::args().skip(1) {
        match word.as_str() {
            // cargo adds it when it runs a bench.
            "--bench" => {}
            "--quick" => quick = true,
            part if PARTS.iter().any(|(name, _)| *name == part) => wanted.push(word),
            _ => bail!("speed [--quick] [{}]…", PARTS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" | ")),
        }
    }
    let keyfob = programs::keyfob()?;
    let folder = programs::folder(&keyfob)?;
    let place = Place {
        reader: programs::c("read", &folder)?,
        peak: programs::c("peak", &folder)?,
        home: Home::new(&keyfob)?,
        fixed: Some(programs::fixed(&keyfob)?).filter(|program| program.is_file()),
        keyfob,
        folder,
        quick,
    };
    let mut table = Table::default();
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            eprintln!("{name}");
            part(&place, &mut table)?;
        }
    }
    println!("{}", table.markdown());
    Ok(())
}

/// The configuration of a provider's only profile; `ca_file` is its own authority, where it is not trusted otherwise.
fn profile(idp: &Provider, ca_file: Option<&Path>) -> String {
    let ca_file = ca_file.map(|file| format!("ca-file = '{}'\n", file.display())).unwrap_or_default();
    format!("[profile.lab]\nissuer = '{}'\nclient-id = 'keyfob'\n{ca_file}", idp.issuer())
}
