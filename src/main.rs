//! The `keyfob` command; everything else is in the library.
//!
//! With glibc the process begins at C's `main` and skips the start of Rust's standard library, which takes a seventh of
//! the time of a cached answer. That start does the following, which is replaced thus:
//!
//! - It reads `/proc/self/maps` to find the end of the stack, so that it can report "stack overflow". Not replaced: an
//!   overflow hits the same guard page, and the process ends without that message.
//! - It opens `/dev/null` for closed standard streams, and makes writes to a closed pipe fail: `keyfob::process` does
//!   this.
//! - It stores the arguments: with glibc, code that runs before `main` has already done this.
//!
//! Other systems use the usual start.

#![cfg_attr(all(target_os = "linux", target_env = "gnu"), no_main)]

/// The C library starts the program here.
// No crate offers this: the program needs a symbol of this name, and exporting a symbol counts as `unsafe`. It is safe,
// because nothing else in the program is called `main`.
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
