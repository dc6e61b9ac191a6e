//! The `keyfob` command; everything is in the library.
//!
//! With glibc the process enters at C's `main`, past the start of Rust's standard library, which takes a seventh of the
//! time of a cached answer. What that start does, and who does it here:
//!
//! - It reads `/proc/self/maps` for where the stack ends, to be able to say "stack overflow". Nobody: an overflow runs
//!   into the same guard page, and the process ends without that message.
//! - It opens `/dev/null` for closed standard streams, and has writes to a closed pipe fail: `keyfob::process`.
//! - It keeps the arguments: with glibc, code that runs before `main` has done so already.
//!
//! Elsewhere the usual start is used.

#![cfg_attr(all(target_os = "linux", target_env = "gnu"), no_main)]

/// Where the C library starts the program.
// No crate offers this: a symbol of this name is what it takes, and exporting one is what `unsafe` says here. It is safe,
// since nothing else in the program is called `main`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the one exported symbol; see above")]
#[unsafe(no_mangle)]
extern "C" fn main() -> std::ffi::c_int {
    keyfob::main().into()
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(keyfob::main())
}
