//! How a person signs in. Every flow is begun once, stands in the session's file as a
//! [`Pending`](crate::session::Pending) while it is under way, and goes on in turns: each says how long to wait for the
//! next, or how the sign-in ended.

mod device;
mod polling;

pub use device::{Turns, begin};
pub use polling::{End, Polling, patient};

use std::time::Duration;

/// How a sign-in stands after a turn.
#[derive(Debug)]
pub enum Turn {
    /// Not yet: the next turn is at this time, on the clock that counts from boot.
    Wait(Duration),
    /// It has ended.
    Ended(End),
}
