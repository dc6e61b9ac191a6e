//! What the benches share: the programs that are measured, and a home where keyfob answers from its cache.

#![allow(dead_code, unreachable_pub, reason = "each bench uses its part")]

pub mod callgrind;
pub mod home;
pub mod programs;
pub mod run;
