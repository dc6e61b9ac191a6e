//! The least a Rust program can do.

fn main() {
    println!("hello");
}
