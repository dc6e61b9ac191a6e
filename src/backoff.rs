//! How long to leave a provider alone after it failed to answer, so that many machines that need it do not keep it
//! down.
//!
//! While the old token is valid no caller waits for its renewal, so the pauses may be long. Without a valid token a
//! caller waits, so they are short; the first failure then has no pause, because it may have been a hiccup.
//! `Retry-After` (RFC 9110, section 10.2.3) is respected within bounds. Every pause is drawn at random from a range;
//! otherwise the machines that failed together would come back together. `cargo bench --bench fleet` shows that these
//! numbers keep the load flat.

use serde::{Deserialize, Serialize};

/// The first pause while the old token is valid, in milliseconds; it doubles with every failure.
const FIRST_MS: u64 = 30_000;
/// The longest pause, unless the server asks for a longer one.
const LONGEST_MS: u64 = 300_000;
/// The same without a valid token; here the first failure has no pause.
const FIRST_WITHOUT_MS: u64 = 1_000;
const LONGEST_WITHOUT_MS: u64 = 10_000;
/// The longest `Retry-After` that is respected, with and without a valid token.
const ASKED_MS: u64 = 300_000;
const ASKED_WITHOUT_MS: u64 = 60_000;

/// How long to leave the provider alone, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// While the old token is valid.
    pub with_token_ms: u64,
    /// Without a valid token.
    pub without_ms: u64,
}

impl Backoff {
    /// The pause after `failures` failures in a row, the last of which came with `Retry-After: retry_after` (in
    /// seconds). `chance` is a random number from 0 to 1.
    pub fn after(failures: u32, retry_after: Option<u64>, chance: f64) -> Self {
        let doubled =
            |first: u64, longest: u64| first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
        // From half of the pause to one and a half times the pause.
        let spread = |ms: u64| scaled(ms, 0.5 + chance);
        let asked =
            |bound: u64| retry_after.map_or(0, |s| scaled(s.saturating_mul(1000).min(bound), 1.0 + chance / 2.0));
        let without = if failures > 1 { spread(doubled(FIRST_WITHOUT_MS, LONGEST_WITHOUT_MS)) } else { 0 };
        Self {
            with_token_ms: spread(doubled(FIRST_MS, LONGEST_MS)).max(asked(ASKED_MS)),
            without_ms: without.max(asked(ASKED_WITHOUT_MS)),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number of milliseconds far below 2^52"
)]
fn scaled(ms: u64, factor: f64) -> u64 {
    (ms as f64 * factor) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_short_for_those_who_have_no_token() {
        let middle = |failures| Backoff::after(failures, None, 0.5);
        let pause = |with_token_ms, without_ms| Backoff { with_token_ms, without_ms };
        assert_eq!(middle(1), pause(30_000, 0));
        assert_eq!(middle(2), pause(60_000, 2_000));
        assert_eq!(middle(4), pause(240_000, 8_000));
        assert_eq!(middle(5), pause(300_000, 10_000));
        assert_eq!(middle(u32::MAX), pause(300_000, 10_000));
        assert_eq!(Backoff::after(2, None, 0.0), pause(30_000, 1_000));
        assert_eq!(Backoff::after(2, None, 1.0), pause(90_000, 3_000));
    }

    #[test]
    fn a_server_is_given_the_time_it_asks_for_and_no_more_than_is_sensible() {
        assert_eq!(Backoff::after(1, Some(60), 0.0), Backoff { with_token_ms: 60_000, without_ms: 60_000 });
        assert_eq!(Backoff::after(1, Some(60), 1.0), Backoff { with_token_ms: 90_000, without_ms: 90_000 });
        assert_eq!(Backoff::after(1, Some(u64::MAX), 0.0), Backoff { with_token_ms: 300_000, without_ms: 60_000 });
    }
}
