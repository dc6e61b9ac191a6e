//! What keyfob's tests, benches and demo share; no part of the product.
//!
//! - [`provider`]: an identity provider on loopback that can be told to misbehave.
//! - [`git`]: a git server that asks for that provider's tokens.
//! - [`registry`]: a registry of packages that asks for them, too.
//! - [`mail`]: mail servers that do.
//! - [`entra`]: what makes it look like Microsoft Entra ID.
//! - [`jwt`]: reads the tokens it signs.
//! - [`lookalike`]: any other server, described by its answers.
//! - [`bin`]: runs the keyfob binary in a home of its own; `Terminal` runs programs in a terminal of their own.
//! - [`scratch`]: a folder that is gone afterwards, even after Ctrl-C.
//! - [`skip!`](crate::skip), [`need!`](crate::need): how a test says that the machine lacks what it needs.
//! - [`real`]: the real programs that keyfob serves.

pub mod bin;
pub mod entra;
pub mod git;
pub mod jwt;
pub mod lookalike;
pub mod mail;
pub mod provider;
pub mod real;
pub mod registry;
pub mod scratch;

mod form;
mod grants;
mod http;
#[cfg(target_os = "linux")]
mod keys;
mod lfs;
mod options;
mod page;
mod reply;
#[cfg(unix)]
mod signals;
mod skip;
#[cfg(unix)]
mod terminal;
mod tls;

pub use bin::{Keyfob, Output};
pub use git::GitServer;
#[cfg(target_os = "linux")]
pub use keys::forget_keys;
pub use lookalike::Lookalike;
pub use provider::{Auto, Endpoint, Options, Provider, Reply};
pub use scratch::Scratch;
pub use skip::skipped;
#[cfg(unix)]
pub use terminal::{Ended, Stream, Streams, Terminal};
