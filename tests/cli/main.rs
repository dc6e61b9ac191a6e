//! What a person types and sees: commands, configuration, callers, setup, doctor, screens, completions, man pages, errors.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod azure;
mod commands;
mod completions;
mod demo;
mod doctor;
mod errors;
mod errors_cache;
mod errors_config;
mod errors_setup;
mod git_property;
mod git_protocol;
mod kubernetes;
mod login;
mod man;
mod prompt;
mod readme;
mod screens;
mod seeds;
mod setup;
mod setup_kubernetes;
mod setup_tools;
mod setup_undo;
mod system_config;
mod tools;
mod tools_exchange;
mod trust;
