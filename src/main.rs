//! The `keyfob` command; everything is in the library.

fn main() -> std::process::ExitCode {
    keyfob::main()
}
