//! keyfob: one small synchronous program that hands a fresh OAuth token to any program that can run a helper.
//!
//! A caller (kubectl, a script, …) executes it. It answers from a file cache, refreshes silently, and only if neither
//! works asks a person to sign in: in a browser (RFC 8252), or by a code to enter on any device (RFC 8628).
//!
//! ```text
//! main            argv → run → exit code
//!  └ cli          the command line, as clap sees it
//!     ├ commands/     one file or folder per thing a person does: login logout status doctor setup store exec completions
//!     ├ tools/        one file per tool that can be connected: find it, connect, disconnect, check
//!     ├ callers/      one file or folder per caller protocol: its request in, our Want out; a Credential in, its bytes out
//!     │                 kubernetes  git  azure (az, azd)  docker  keyring  cargo  goauth  terraform  bazel  aws  google  token
//!     └─┬ arguments   the flags of both: a profile's keys, and what a caller adds to them
//!       └ acquire      the story, top to bottom: cached → lock → re-read → renew → sign in → save
//!          ├ policy       pure: (session, needs, now) → what may be handed out, and what has to be done first
//!          ├ flows/       how a person signs in: begin, then turns until it has ended; device (RFC 8628), browser (RFC 8252)
//!          ├ grants/      how tokens are asked for without a person: refresh, those of machines, and where a machine's proof
//!          │                comes from (sources/); what is in a token answer
//!          ├ prompt/      the terminal: where to show a sign-in, what to show of it, how it is laid out
//!          ├ oauth/       the wire: requests, lenient parsing, discovery, ID tokens; the only user of ureq
//!          ├ store/       sessions on disk, locks, atomic writes, sealing; the only user of fs2
//!          ├ session      the model: what one sign-in left behind
//!          ├ change/      plan, apply, backup: how `setup` changes files that are not keyfob's
//!          ├ config/      config.toml, environment, flags → Profile
//!          └ providers/   a table of presets, one row per identity provider
//!             └ failure · access · secret · clock · zone · backoff · address · text · log · process · program · later · sorted      what everything stands on
//! ```
//!
//! A module uses only modules below it in this picture, and in the last row also those beside it. The words are the
//! same everywhere: a *caller* executes keyfob; a *profile* is a named way to get a token; a *session* is what one
//! grant left behind; a *want* is what a caller asks for, and a *credential* is what it gets.
//!
//! Rules of the protocol have numbers, such as R22, which comments refer to. `docs/oauth-rules.md` explains them; the
//! tests whose names begin with `r22_`, in `tests/flows` and next to the code, show that the rule holds.
//!
//! The library exists so that tests, benches, fuzz targets and the demo run the same code as the command. It has no
//! stable interface.

pub mod access;
pub mod acquire;
pub mod address;
pub mod arguments;
pub mod backoff;
pub mod callers;
pub mod change;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod failure;
pub mod flows;
pub mod grants;
pub mod later;
pub mod log;
pub mod oauth;
pub mod policy;
pub mod process;
pub mod program;
pub mod prompt;
pub mod providers;
pub mod secret;
pub mod session;
pub mod sorted;
pub mod store;
pub mod text;
pub mod tools;
pub mod zone;

use std::ffi::OsString;

/// Runs the command with this process's arguments, and returns the exit code.
pub fn main() -> u8 {
    run(std::env::args_os())
}

/// Runs a command line, which begins with the program's name, and returns the exit code. Answers go to stdout; a
/// failure is at most two lines on stderr, unless a caller's protocol says otherwise.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    process::prepare();
    cli::run(arguments)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// The modules in the picture above, row by row; the last row has several.
    fn picture() -> Vec<Vec<&'static str>> {
        let rows = include_str!("lib.rs").split("```").nth(1).unwrap().lines().filter_map(|row| {
            let row = row.strip_prefix("//! ")?.trim_start_matches([' ', '├', '└', '│', '─', '┬']);
            let names = row.split("   ").next()?;
            Some(names.split(" · ").map(|name| name.trim_end_matches('/')).collect())
        });
        rows.filter(|names: &Vec<_>| !names[0].is_empty()).collect()
    }

    /// Every file below `folder`, with its code outside of tests.
    fn code(folder: &Path) -> Vec<(PathBuf, String)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let code = |file: PathBuf| {
            let text = fs::read_to_string(&file).unwrap();
            vec![(file, text.split("#[cfg(test)]").next().unwrap().to_owned())]
        };
        entries.flat_map(|path| if path.is_dir() { self::code(&path) } else { code(path) }).collect()
    }

    #[test]
    fn a_module_uses_only_what_stands_below_it() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let picture = picture();
        let row = |module: &str| picture.iter().position(|row| row.contains(&module));
        let mut checked = 0;
        for (file, code) in code(&source) {
            let place = file.strip_prefix(&source).unwrap().to_str().unwrap();
            let module = place.split(['/', '.']).next().unwrap();
            if matches!(module, "lib" | "main") {
                continue;
            }
            let from = row(module).unwrap_or_else(|| panic!("{module} is not in the picture"));
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            for used in lines.flat_map(|line| line.split("crate::").skip(1)) {
                let used = used.split(|c: char| !c.is_alphanumeric()).next().unwrap();
                let to = row(used).unwrap_or_else(|| panic!("{used}, in {place}, is not in the picture"));
                let beside = from == to && to + 1 == picture.len();
                assert!(module == used || from < to || beside, "{place} uses {used}");
                checked += 1;
            }
            for (package, home) in [("ureq::", "oauth"), ("fs2::", "store")] {
                assert!(module == home || !code.contains(package), "{place} uses {package}");
            }
        }
        assert!(checked > 100, "{checked} uses were found");
    }
}
