//! Clients and servers that take long to fetch or to start, and show again by another program what the tests beside them
//! show. `.ci/run` leaves them out; `cargo test --test real heavy::` runs them.

mod alone;
mod azure_sdk;
mod browser;
mod servers;
