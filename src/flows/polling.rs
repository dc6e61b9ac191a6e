//! Polling for a device code (RFC 8628, sections 3.4 and 3.5) as a pure state machine. It takes the server's answer and
//! the time, and returns when to poll again or how the sign-in ended. It uses no network and no clock.
//!
//! Times are durations since boot. Waits are a fifth longer than the server asked for, because some clocks run up to a
//! tenth fast, and polling too early makes the server slow down polling for good (R27).

use crate::oauth::answer::{Answer, OauthError, TokenAnswer, interval};
use std::time::Duration;

/// Longest wait that a `Retry-After` can cause, in seconds.
const LONGEST_RETRY_AFTER: u64 = 120;
/// Longest interval that failures alone can cause, in seconds.
const LONGEST_BACKOFF: u64 = 60;

/// The state of polling for one device code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polling {
    /// The server's interval, including what `slow_down` added, in seconds.
    interval: u64,
    /// The current wait, in seconds: longer than `interval` after failures, otherwise equal to it.
    wait: u64,
    deadline: Duration,
    next: Duration,
}

/// How a sign-in ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The person approved.
    Approved(TokenAnswer),
    /// The person, or a policy, refused (R19).
    Refused(OauthError),
    /// The code has expired (R20, R24).
    Expired,
    /// The code is unknown or was already used, perhaps by a process that died before it could save the answer.
    Spent(OauthError),
    /// The server answered with another error, so polling stops at once (R18).
    Failed(OauthError),
    /// The answer may have held the tokens, but it could not be read or was a redirect (R23, R25).
    Lost(String),
    /// The answer is from another provider, or for another sign-in.
    Foreign(String),
}

impl End {
    /// The provider's error, if an error ended the sign-in.
    pub fn error(&self) -> Option<&OauthError> {
        match self {
            Self::Refused(error) | Self::Spent(error) | Self::Failed(error) => Some(error),
            Self::Approved(_) | Self::Expired | Self::Lost(_) | Self::Foreign(_) => None,
        }
    }
}

impl Polling {
    /// Starts to poll for a code that expires at `deadline` (counted from when the request was *sent*, R24) and may be
    /// polled every `interval` seconds. The first wait begins at `now` (R15).
    pub fn new(interval: u64, deadline: Duration, now: Duration) -> Self {
        Self { interval, wait: interval, deadline, next: now.saturating_add(patient(interval)) }
    }

    /// Continues to poll for a code that may not be polled before `next`. The pair is the server's interval and the
    /// wait after failures, in seconds.
    pub fn resume((interval, wait): (u64, u64), deadline: Duration, next: Duration) -> Self {
        Self { interval, wait, deadline, next }
    }

    /// When to poll; never later than the deadline.
    pub fn next(&self) -> Duration {
        self.next.min(self.deadline)
    }

    /// Whether the code has expired at `now`, so that it is not polled again.
    pub fn ended(&self, now: Duration) -> bool {
        now >= self.deadline
    }

    /// When the code expires.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The server's interval, in seconds.
    pub fn interval(&self) -> u64 {
        self.interval
    }

    /// The current wait after failures, in seconds.
    pub fn wait(&self) -> u64 {
        self.wait
    }

    /// Handles the server's answer, or the transport's failure, received at `now`. `None` means to poll again at
    /// [`Self::next`].
    pub fn receive(&mut self, answer: Result<Answer, String>, now: Duration) -> Option<End> {
        match answer {
            Ok(Answer::Object(object)) => {
                return Some(match TokenAnswer::read(&object) {
                    Ok(answer) => End::Approved(answer),
                    Err(why) => End::Lost(why),
                });
            }
            Ok(Answer::Error(error)) => match error.code.as_str() {
                "authorization_pending" => self.again(self.interval, 0, now),
                "slow_down" => {
                    // R17: the interval grows for good, by at least five seconds.
                    let told = error.interval.map_or(0, |i| interval(Some(i)));
                    self.interval = self.interval.saturating_add(5).max(told);
                    self.again(self.interval, 0, now);
                }
                "access_denied" | "authorization_declined" => return Some(End::Refused(error)),
                // A policy refused; the code is not at fault.
                "invalid_grant" if error.is_about_this_resource() => return Some(End::Refused(error)),
                "expired_token" | "token_expired" => return Some(End::Expired),
                "bad_verification_code" | "invalid_grant" | "device_not_found" => {
                    return Some(if self.ended(now) { End::Expired } else { End::Spent(error) });
                }
                _ => return Some(End::Failed(error)),
            },
            Ok(Answer::Unreadable(why) | Answer::Redirect(why)) => return Some(End::Lost(why)),
            Ok(Answer::Transient(_, retry_after)) => {
                self.again(self.longer(), retry_after.unwrap_or(0).min(LONGEST_RETRY_AFTER), now);
            }
            Err(_) => self.again(self.longer(), 0, now),
        }
        None
    }

    /// R21 and RFC 8628, section 3.5: the wait doubles after each failure, up to a minute.
    fn longer(&self) -> u64 {
        self.wait.saturating_mul(2).min(LONGEST_BACKOFF).max(self.wait)
    }

    /// Polls again after `wait` seconds, or `asked` seconds if that is longer. `asked` applies only once.
    fn again(&mut self, wait: u64, asked: u64, now: Duration) {
        self.wait = wait;
        self.next = now.saturating_add(patient(wait.max(asked)));
    }
}

/// How long to wait if a server asks for `seconds`.
pub fn patient(seconds: u64) -> Duration {
    Duration::from_millis(seconds.saturating_mul(1200))
}

#[cfg(test)]
#[expect(clippy::unnecessary_wraps, reason = "what receive takes")]
mod tests {
    use super::*;
    use crate::oauth::json::Members;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn said(code: &str) -> Result<Answer, String> {
        Ok(Answer::Error(OauthError { code: code.into(), ..OauthError::default() }))
    }

    fn transient(retry_after: Option<u64>) -> Result<Answer, String> {
        Ok(Answer::Transient("it answered with status 503".into(), retry_after))
    }

    #[test]
    fn r15_the_interval_runs_before_the_first_poll_and_from_the_end_of_each_answer() {
        let mut p = Polling::new(5, s(900), s(100));
        assert_eq!(p.next(), s(106));
        assert_eq!(p.receive(said("authorization_pending"), s(120)), None);
        assert_eq!(p.next(), s(126));
    }

    #[test]
    fn r16_pending_keeps_the_interval() {
        let mut p = Polling::new(5, s(900), s(0));
        for now in [6, 12, 18] {
            assert_eq!(p.receive(said("authorization_pending"), s(now)), None);
            assert_eq!(p.next(), s(now + 6));
        }
    }

    #[test]
    fn r17_slow_down_adds_five_for_good_and_honours_a_larger_interval() {
        let mut p = Polling::new(5, s(900), s(0));
        p.receive(said("slow_down"), s(10));
        assert_eq!((p.interval(), p.next()), (10, s(22)));
        p.receive(said("authorization_pending"), s(22));
        assert_eq!(p.interval(), 10);
        let told = |seconds| {
            Ok(Answer::Error(OauthError { code: "slow_down".into(), interval: Some(seconds), ..OauthError::default() }))
        };
        p.receive(told(30), s(40));
        assert_eq!(p.interval(), 30);
        p.receive(told(1), s(80));
        assert_eq!(p.interval(), 35);
    }

    #[test]
    fn r18_any_other_error_stops_at_once() {
        for code in [
            "invalid_client",
            "unauthorized_client",
            "invalid_request",
            "unsupported_grant_type",
            "device_flow_disabled",
            "",
        ] {
            assert!(matches!(Polling::new(5, s(900), s(0)).receive(said(code), s(6)), Some(End::Failed(_))), "{code}");
        }
    }

    #[test]
    fn r19_a_refusal_by_either_name() {
        for code in ["access_denied", "authorization_declined"] {
            assert!(matches!(Polling::new(5, s(900), s(0)).receive(said(code), s(6)), Some(End::Refused(_))), "{code}");
        }
    }

    #[test]
    fn r19_a_policy_refuses_by_an_invalid_grant_of_a_kind() {
        let said = |suberror: &str| {
            let suberror = Some(suberror.to_owned());
            Ok(Answer::Error(OauthError { code: "invalid_grant".into(), suberror, ..OauthError::default() }))
        };
        let end = |suberror| Polling::new(5, s(900), s(0)).receive(said(suberror), s(6));
        assert!(matches!(end("message_only"), Some(End::Refused(_))));
        assert!(matches!(end("bad_token"), Some(End::Spent(_))));
    }

    #[test]
    fn r20_an_expiry_by_every_name() {
        for (code, now) in
            [("expired_token", 6), ("token_expired", 6), ("bad_verification_code", 900), ("invalid_grant", 901)]
        {
            assert_eq!(Polling::new(5, s(900), s(0)).receive(said(code), s(now)), Some(End::Expired), "{code}");
        }
        for code in ["bad_verification_code", "invalid_grant", "device_not_found"] {
            assert!(matches!(Polling::new(5, s(900), s(0)).receive(said(code), s(6)), Some(End::Spent(_))), "{code}");
        }
    }

    #[test]
    fn r21_transport_failures_lengthen_the_wait_until_the_server_answers_and_never_end_it() {
        let mut p = Polling::new(5, s(900), s(0));
        for (now, next, wait) in [(6, 18, 10), (20, 44, 20), (50, 98, 40), (100, 172, 60), (200, 272, 60)] {
            assert_eq!(p.receive(Err("connection refused".into()), s(now)), None);
            assert_eq!((p.next(), p.interval(), p.wait()), (s(next), 5, wait));
        }
        assert_eq!(p.deadline(), s(900));
        p.receive(said("authorization_pending"), s(300));
        assert_eq!(p.next(), s(306), "the server's interval again");
        p.receive(transient(None), s(306));
        p.receive(said("slow_down"), s(320));
        assert_eq!((p.next(), p.interval()), (s(332), 10), "and what it adds is for good");
    }

    #[test]
    fn r22_transient_answers_back_off_and_honour_a_bounded_retry_after() {
        let mut p = Polling::new(5, s(900), s(0));
        assert_eq!(p.receive(transient(None), s(6)), None);
        assert_eq!(p.next(), s(18));
        p.receive(transient(Some(50)), s(20));
        assert_eq!(p.next(), s(80));
        p.receive(transient(Some(86_400)), s(100));
        assert_eq!(p.next(), s(100 + 144));
    }

    #[test]
    fn r23_a_redirect_and_r25_an_unreadable_success_end_it() {
        let mut p = Polling::new(5, s(900), s(0));
        assert!(matches!(p.receive(Ok(Answer::Redirect("it redirects".into())), s(6)), Some(End::Lost(_))));
        assert!(matches!(p.receive(Ok(Answer::Unreadable("not JSON".into())), s(6)), Some(End::Lost(_))));
        let object = Members::read(br#"{"token_type":"Bearer"}"#).unwrap();
        assert!(matches!(p.receive(Ok(Answer::Object(object)), s(6)), Some(End::Lost(_))));
    }

    #[test]
    fn r24_the_sleep_never_overshoots_the_deadline() {
        let mut p = Polling::new(5, s(10), s(0));
        p.receive(said("slow_down"), s(6));
        assert_eq!(p.next(), s(10));
        assert!(p.ended(s(10)) && !p.ended(s(9)));
    }

    #[test]
    fn r27_waits_are_a_fifth_longer_than_told() {
        assert_eq!(Polling::new(10, s(900), s(0)).next(), s(12));
    }

    #[test]
    fn an_end_by_the_providers_error_says_which() {
        let error = || OauthError { code: "no".into(), ..OauthError::default() };
        for end in [End::Refused(error()), End::Spent(error()), End::Failed(error())] {
            assert_eq!(end.error(), Some(&error()));
        }
        assert_eq!(End::Expired.error(), None);
    }

    #[test]
    fn an_approval_ends_it_with_the_tokens() {
        let object = Members::read(br#"{"access_token":"t"}"#).unwrap();
        let Some(End::Approved(answer)) = Polling::new(5, s(900), s(0)).receive(Ok(Answer::Object(object)), s(6))
        else {
            panic!()
        };
        assert_eq!(answer.tokens.unwrap().access_token.expose(), "t");
    }
}
