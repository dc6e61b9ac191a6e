//! Links what unwinds the stack into the program instead of loading it, where that can be had: `libgcc_s.so` costs every
//! start 30,000 instructions, and the program unwinds nothing (`panic = "abort"`).

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let linux_gnu = |triple: String| triple.ends_with("-linux-gnu");
    // Only where the compiler of this machine is also the one that links.
    let native = env::var("HOST").ok() == env::var("TARGET").ok() && env::var("TARGET").is_ok_and(linux_gnu);
    if !native {
        return;
    }
    let Ok(found) = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output() else { return };
    // Without a folder in front, the compiler knows none.
    if Path::new(String::from_utf8_lossy(&found.stdout).trim()).is_absolute() {
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}
