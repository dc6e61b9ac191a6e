//! keyfob: one small synchronous program that hands a fresh OAuth token to any program that can run a helper.
//!
//! A caller (kubectl, a script, …) executes it; it answers from a file cache, refreshes silently, and only when
//! neither works shows the user a code to enter on any device (RFC 8628).
//!
//! ```text
//! main            argv → run → exit code
//!  ├ process      what this process arranges about itself before it does anything else
//!  └ cli          clap definitions, nothing else
//!     ├ callers/      one file per caller protocol: its request in, our Want out; a Credential in, its bytes out
//!     │   kubernetes  git  azure (az, azd)  token
//!     └ commands/     one file per thing a person does: login logout status doctor setup completions
//!        │  both take their profile by `arguments`: config's keys as flags
//!          └ acquire      the story, top to bottom: cached → lock → re-read → refresh → sign in → save
//!              ├ device       RFC 8628's polling as a pure state machine
//!              ├ prompt/      the terminal: where to show, what to show, how it stands there
//!              ├ oauth/       the wire: requests, lenient parsing, discovery, ID tokens; the only user of ureq
//!              ├ cache/       sessions on disk, locks, atomic writes; the only user of fs2
//!              ├ config/      config.toml, environment, flags → Profile
//!              └ providers    a table of presets; the only file with vendor names
//!                   └ failure · secret · clock · zone · pause · address · text · log      what everything stands on
//! ```
//!
//! Arrows only point down. The words are the same everywhere: a *caller* executes keyfob; a *profile* is a named way to
//! get a token; a *session* is what one sign-in left behind; a *want* is what a caller asks for, a *credential* what it gets.
//!
//! The library exists so that tests, benches, fuzz targets and the demo run the same code as the command; it promises no
//! stable interface of its own.

pub mod acquire;
pub mod address;
pub mod arguments;
pub mod cache;
pub mod callers;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod device;
pub mod failure;
pub mod log;
pub mod oauth;
pub mod pause;
pub mod process;
pub mod prompt;
pub mod providers;
pub mod secret;
pub mod text;
pub mod zone;

use std::ffi::OsString;
use std::io::Write;

/// The command: this process's arguments in, its exit code out.
pub fn main() -> u8 {
    run(std::env::args_os())
}

/// Runs a command line, the program's name first. Answers on stdout; a failure is at most two lines on stderr.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    process::prepare();
    let Err(error) = cli::run(arguments) else { return 0 };
    // clap's own: help and version on stdout with 0, mistakes like any other failure.
    let error = match error.downcast::<clap::Error>() {
        Ok(error) => {
            let Some(failure) = cli::mistake(&error) else {
                cli::show(&error);
                return u8::try_from(error.exit_code()).unwrap_or(2);
            };
            failure.into()
        }
        Err(error) => error,
    };
    let report = failure::report(&error);
    let _ = std::io::stderr().write_all(report.text.as_bytes());
    report.code
}
