//! How the program is linked, where its start gets cheaper by it and the machine allows it.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let (host, target) = (env::var("HOST").unwrap_or_default(), env::var("TARGET").unwrap_or_default());
    let c_library = ["-linux-gnu", "-linux-musl"].into_iter().find(|end| target.ends_with(end));
    // Only where the compiler of this machine is also the one that links.
    let Some(c_library) = c_library.filter(|end| host == target.replace(end, "-linux-gnu")) else { return };
    if own_linker() {
        return;
    }
    if c_library == "-linux-gnu" {
        with_glibc();
    }
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        // What a cached answer runs lies side by side, so that a start faults in a tenth of the code's pages: 1.4 times what
        // the least C program takes, and not 1.5, as after a reboot.
        script("cached-first.ld");
        // The tables for unwinding are a ninth of the file, of the standard library and of C as well, where no compiler flag
        // of ours leads. A panic ends the process (`panic = "abort"`), and without symbols no trace of it could be read.
        script("no-unwinding.ld");
    }
}

/// Has the linker read a script of ours beside its own.
fn script(name: &str) {
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rerun-if-changed={name}");
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/{name}");
}

/// What a start with the dynamic linker of glibc costs less by.
fn with_glibc() {
    // What unwinds the stack comes with the program: loading `libgcc_s.so` costs every start 30,000 instructions, and
    // nothing is unwound (`panic = "abort"`). Without a folder in front, the compiler knows no such library.
    if output("cc", "-print-file-name=libgcc_eh.a").is_some_and(|path| Path::new(&path).is_absolute()) {
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
    // Four thousand addresses that the dynamic linker adjusts before `main`, packed: a thirtieth of the bytes to read and
    // half of the work. glibc takes the form from 2.36 on.
    if output("getconf", "GNU_LIBC_VERSION").is_some_and(|version| at_least(&version, (2, 36))) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether somebody has chosen a linker: not every one takes what is said here.
fn own_linker() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    env::var_os("RUSTC_LINKER").is_some() || flags.contains("link")
}

/// What a program prints, without the line's end; `None` if there is no such program.
fn output(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// Whether `glibc 2.41` says at least so much.
fn at_least(version: &str, least: (u32, u32)) -> bool {
    let read = || {
        let (major, minor) = version.strip_prefix("glibc ")?.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    read().is_some_and(|version| version >= least)
}
