//! Interprets replies. Servers disagree on statuses, on number formats and on how to write a list, so all replies are
//! read leniently in one place, and the JSON `error` decides, whatever the status (R22).

use super::http::Reply;
use super::json::{LONGEST, Members};
use crate::address::Address;
use crate::secret::Secret;
use crate::text::clean;

/// Secrets shorter than this many bytes are not redacted from a server's messages, because they occur in ordinary
/// words.
const SHORTEST_HIDDEN: usize = 8;

/// Replaces an `error` that is not a string. Its contents decide nothing.
const UNREADABLE: &str = "unreadable_error";

/// A reply, sorted by what a client does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A JSON object without an `error`.
    Object(Members),
    /// The server refused with an OAuth error.
    Error(OauthError),
    /// The server gave no decision: try again later, after this many seconds if it said so.
    Transient(String, Option<u64>),
    /// A redirect. Redirects are never followed (R23).
    Redirect(String),
    /// A success that cannot be read; the request may have taken effect (R25).
    Unreadable(String),
}

/// An error response (RFC 6749, section 5.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OauthError {
    /// `error`, e.g. `invalid_grant`; `unreadable_error` if it is not a string. Without an `error`: `http_` and the
    /// status, or `invalid_request` for a 400 with an empty body, which some servers send.
    pub code: String,
    /// `error_description`, cleaned for display.
    pub description: String,
    /// `suberror`: the kind of `invalid_grant` (Microsoft Entra ID).
    pub suberror: Option<String>,
    /// `error_codes`: the provider's own numbers, which are used only to choose advice.
    pub numbers: Vec<u32>,
    /// The `interval` that GitHub adds to `slow_down`, in seconds.
    pub interval: Option<u64>,
    /// A 400 without a body. As the answer to a refresh, it means that the grant was refused (R39).
    pub bodyless: bool,
}

impl OauthError {
    /// Whether only the requested resource or tenant is refused, because it needs a person or a policy forbids it. The
    /// refresh token is then still valid for other resources.
    pub fn is_about_this_resource(&self) -> bool {
        match self.code.as_str() {
            "interaction_required" | "login_required" | "consent_required" => true,
            "invalid_grant" => self.suberror.as_ref().is_some_and(|_| !self.ends_the_token()),
            _ => false,
        }
    }

    /// Whether the error says that the refresh token itself is no longer valid (Microsoft Entra ID).
    pub fn ends_the_token(&self) -> bool {
        self.suberror.as_ref().is_some_and(|s| matches!(s.as_str(), "bad_token" | "token_expired" | "client_mismatch"))
    }

    /// `code: description`, or one of them if the other is missing. A code that the server did not send itself is left
    /// out if there is a description.
    pub fn text(&self) -> String {
        let code = clean(&self.code);
        match self.description.as_str() {
            "" => code,
            description if code.starts_with("http_") || code == UNREADABLE => description.to_owned(),
            description => format!("{code}: {description}"),
        }
    }
}

impl Answer {
    /// Interprets a reply.
    pub fn of(reply: &Reply) -> Self {
        Self::hiding(reply, &[])
    }

    /// Interprets a reply, and redacts `secrets` from the server's messages, because some servers repeat a token that
    /// they refuse (R59).
    pub fn hiding(reply: &Reply, secrets: &[Secret]) -> Self {
        let Reply { status, body, html, retry_after, location, coding, cut, .. } = reply;
        // Redact before anything is cut off; otherwise the beginning of a secret could remain.
        let hidden = |text: &str| {
            let known = secrets.iter().map(Secret::expose).filter(|s| s.len() >= SHORTEST_HIDDEN);
            clean(&known.fold(text.to_owned(), |text, secret| text.replace(secret, "[redacted]")))
        };
        if (300..400).contains(status) {
            let to = location.as_deref().map(|l| format!(" to {}", hidden(l))).unwrap_or_default();
            return Self::Redirect(format!("it redirects{to}; is a captive portal in between, or the address wrong?"));
        }
        if let Some(why) = cut {
            return Self::Unreadable(why.clone());
        }
        let unreadable = match (Members::read(body), coding) {
            (Ok(members), _) if members.has("error") => return Self::error(reply, &members, &hidden),
            (Ok(members), _) if (200..300).contains(status) => return Self::Object(members),
            (Ok(members), _) => return Self::without_error(reply, &words(&members, &hidden)),
            (Err(_), Some(coding)) => format!("its answer is compressed ({coding}), which was not asked for"),
            (Err(what), None) => format!("its answer is {what}"),
        };
        if *html || looks_like_html(body) {
            let page = format!("it answered a web page (status {status}); is a proxy or login page in between?");
            return Self::Transient(page, *retry_after);
        }
        match status {
            200..300 => Self::Unreadable(unreadable),
            400 if body.is_empty() => Self::Error(OauthError {
                code: "invalid_request".into(),
                description: "status 400 without a body".into(),
                bodyless: true,
                ..OauthError::default()
            }),
            // The body is not JSON, but may be a plain message.
            _ if coding.is_none() => Self::without_error(reply, &hidden(&String::from_utf8_lossy(body))),
            _ => Self::without_error(reply, &unreadable),
        }
    }

    /// A reply with an `error`: a string in OAuth, or an object with its own texts in other APIs.
    fn error(reply: &Reply, members: &Members, hidden: &dyn Fn(&str) -> String) -> Self {
        let code = members.text("error").map_or_else(|| UNREADABLE.to_owned(), |code| hidden(&code));
        let nested = || words(&members.object("error"), hidden);
        let description = description(members).map_or_else(nested, |text| hidden(&text));
        let of_the_moment = matches!(code.as_str(), "temporarily_unavailable" | "server_error");
        let polling = matches!(code.as_str(), "authorization_pending" | "slow_down");
        let status = reply.status;
        if of_the_moment || (!polling && !is_oauth_code(&code) && (status == 429 || status >= 500)) {
            let said = OauthError { code, description, ..OauthError::default() };
            return Self::Transient(format!("it answered {} (status {status})", said.text()), reply.retry_after);
        }
        Self::Error(OauthError {
            code,
            description,
            suberror: members.text("suberror"),
            numbers: members.list("error_codes").unwrap_or_default(),
            interval: seconds(members, "interval"),
            bodyless: false,
        })
    }

    /// A reply without an `error`. `said` is its message, or empty.
    fn without_error(reply: &Reply, said: &str) -> Self {
        let status = reply.status;
        let passes = status == 408 || status == 429 || status >= 500;
        let description = match said {
            "" if passes => format!("it answered with status {status}"),
            "" if reply.body.is_empty() => format!("status {status} without a body"),
            "" => format!("an answer without an error code (status {status})"),
            said => format!("{said} (status {status})"),
        };
        if passes {
            return Self::Transient(description, reply.retry_after);
        }
        Self::Error(OauthError { code: format!("http_{status}"), description, ..OauthError::default() })
    }
}

/// The message of an error that is not in OAuth's form: `code: message`, or one of them if the other is missing.
fn words(members: &Members, hidden: &dyn Fn(&str) -> String) -> String {
    let code = ["status", "code"].iter().find_map(|name| members.text(name));
    let code = code.or_else(|| members.get::<i64>("code").map(|number| number.to_string()));
    let said: Vec<String> = [code, description(members)].into_iter().flatten().map(|text| hidden(&text)).collect();
    said.join(": ")
}

/// The message for a person: OAuth's member, Microsoft's and Google's, or those of RFC 9457.
fn description(members: &Members) -> Option<String> {
    ["error_description", "message", "detail", "title"].iter().find_map(|name| members.text(name))
}

/// Whether an error code means the same under every HTTP status.
fn is_oauth_code(code: &str) -> bool {
    code.starts_with("invalid_")
        || matches!(
            code,
            "access_denied"
                | "authorization_declined"
                | "expired_token"
                | "token_expired"
                | "bad_verification_code"
                | "unauthorized_client"
                | "unsupported_grant_type"
                | "interaction_required"
                | "login_required"
                | "consent_required"
        )
}

fn looks_like_html(body: &[u8]) -> bool {
    let start = body.iter().position(|b| !b.is_ascii_whitespace() && !matches!(b, 0xef | 0xbb | 0xbf));
    start.is_some_and(|at| body[at] == b'<')
}

/// A member that is a number of seconds, written as an integer, a float or a string (R7, R8). `None` if it is zero,
/// negative or absurd.
fn seconds(members: &Members, name: &str) -> Option<u64> {
    let number = members.number(name).filter(|number| (0.0..1e12).contains(number))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
    Some(number.ceil() as u64).filter(|&seconds| seconds > 0)
}

/// A polling interval in seconds: 5 if there is none, otherwise 1 to 60. From 1000 on, the number is taken for
/// milliseconds (R7).
pub fn interval(seconds: Option<u64>) -> u64 {
    match seconds {
        None | Some(0) => 5,
        Some(s @ 1..=60) => s,
        Some(s) if s >= 1000 => (s / 1000).clamp(1, 60),
        Some(_) => 60,
    }
}

/// A device authorization response (RFC 8628, section 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCode {
    /// `device_code`.
    pub device_code: Secret,
    /// `user_code`, unchanged except that control characters are removed (R11).
    pub user_code: String,
    /// `verification_uri`, which Google calls `verification_url` (R6).
    pub verification_uri: Address,
    /// `verification_uri_complete` (R12).
    pub verification_uri_complete: Option<Address>,
    /// `message`: instructions in the person's language (Microsoft Entra ID), cleaned for display.
    pub message: Option<String>,
    /// `interval`, in seconds.
    pub interval: u64,
    /// `expires_in`, in seconds; 900 if it is missing, at most 3600 (R8).
    pub expires_in: u64,
}

impl DeviceCode {
    /// Reads the response. The error says which member is wrong.
    pub fn read(members: &Members) -> Result<Self, String> {
        let device_code = members.text("device_code").ok_or("its answer has no `device_code`")?;
        let user_code = members.text("user_code").map(|code| clean(&code)).filter(|code| !code.is_empty());
        let uri = members.text("verification_uri").or_else(|| members.text("verification_url"));
        let uri = uri.ok_or("its answer has no `verification_uri`");
        Ok(Self {
            device_code: Secret::from(device_code),
            user_code: user_code.ok_or("its answer has no `user_code`")?,
            verification_uri: Address::parse(&uri?).map_err(|why| format!("its `verification_uri` {why}"))?,
            // This address is only a convenience, so leave it out if it is invalid.
            verification_uri_complete: members
                .text("verification_uri_complete")
                .and_then(|uri| Address::parse(&uri).ok()),
            message: members.text("message").map(|message| clean(&message)).filter(|message| !message.is_empty()),
            interval: interval(seconds(members, "interval")),
            expires_in: seconds(members, "expires_in").unwrap_or(900).min(3600),
        })
    }
}

/// A token response (RFC 6749, section 5.1). Its refresh token counts whatever else is wrong, because the old refresh
/// token may already be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAnswer {
    /// `refresh_token`.
    pub refresh_token: Option<Secret>,
    /// The tokens to hand out, or the reason why they cannot be used.
    pub tokens: Result<Tokens, String>,
}

/// The tokens of a response that callers can get (OpenID Connect Core, section 3.1.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// `access_token`, of any size and form (R29).
    pub access_token: Secret,
    /// `expires_in`, in seconds, if present (R30).
    pub expires_in: Option<u64>,
    /// `refresh_in`, in seconds, if present: when to renew the token, although it remains valid (Microsoft Entra ID).
    pub refresh_in: Option<u64>,
    /// `id_token`.
    pub id_token: Option<Secret>,
    /// `scope`, if present: the granted scopes (R31).
    pub scope: Option<Vec<String>>,
}

impl TokenAnswer {
    /// Reads the response. Fails, with the reason, if it holds nothing that can be used.
    pub fn read(members: &Members) -> Result<Self, String> {
        let refresh_token = token(members, "refresh_token").ok().flatten();
        match Tokens::read(members) {
            Err(why) if refresh_token.is_none() => Err(why),
            tokens => Ok(Self { refresh_token, tokens }),
        }
    }
}

impl Tokens {
    fn read(members: &Members) -> Result<Self, String> {
        // R28: the type is compared without regard to case, and a missing type means Bearer. Callers cannot use other
        // types. A token exchange may say N_A (RFC 8693, section 2.2.1), for an ID token for instance.
        let bearer = |kind: &String| ["bearer", "n_a"].iter().any(|known| kind.eq_ignore_ascii_case(known));
        if let Some(kind) = members.text("token_type").filter(|kind| !bearer(kind)) {
            return Err(format!("its token is of the type {:?}, not Bearer", clean(&kind)));
        }
        Ok(Self {
            access_token: token(members, "access_token")?.ok_or("its answer has no `access_token`")?,
            expires_in: seconds(members, "expires_in"),
            refresh_in: seconds(members, "refresh_in"),
            id_token: token(members, "id_token")?,
            scope: scopes(members),
        })
    }
}

/// A member that holds a token. Fails if the token could not be sent in a header.
fn token(members: &Members, name: &str) -> Result<Option<Secret>, String> {
    match members.text(name) {
        Some(text) if text.chars().any(|c| c.is_control() || c.is_whitespace()) => {
            Err(format!("its `{name}` is not a token"))
        }
        text => Ok(text.map(Secret::from)),
    }
}

/// Scopes separated by spaces, by commas (GitHub), or as an array (R31); at most a thousand.
fn scopes(members: &Members) -> Option<Vec<String>> {
    let listed = || {
        let text = members.text("scope")?;
        Some(text.split([' ', ',']).filter(|scope| !scope.is_empty()).take(LONGEST).map(str::to_owned).collect())
    };
    members.list("scope").or_else(listed).filter(|scopes: &Vec<String>| !scopes.is_empty())
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "takes what json! makes")]
mod tests {
    use super::*;
    use crate::clock::Skew;
    use serde_json::{Value, json};

    fn reply(status: u16, body: &str) -> Reply {
        let (body, skew) = (body.as_bytes().to_vec().into(), Skew::default());
        Reply {
            status,
            body,
            html: false,
            retry_after: None,
            location: None,
            coding: None,
            skew,
            challenge: None,
            flavor: None,
            cut: None,
        }
    }

    fn object(value: Value) -> Members {
        Members::read(value.to_string().as_bytes()).unwrap()
    }

    fn code(status: u16, body: &str) -> String {
        match Answer::of(&reply(status, body)) {
            Answer::Error(e) => e.code,
            other => panic!("{status} {body}: {other:?}"),
        }
    }

    #[test]
    fn a_success_is_an_object_and_a_refusal_without_a_word_a_wrong_request() {
        assert!(matches!(Answer::of(&reply(200, "{}")), Answer::Object(_)));
        let empty = OauthError {
            code: "invalid_request".into(),
            description: "status 400 without a body".into(),
            bodyless: true,
            ..OauthError::default()
        };
        assert_eq!(Answer::of(&reply(400, "")), Answer::Error(empty));
    }

    /// R59, except for words so short that they occur in any text.
    #[test]
    fn r59_a_secret_that_is_repeated_is_left_out() {
        let repeated = |secret: &str| {
            let body = json!({ "error": "e", "error_description": format!("not {secret}!") }).to_string();
            match Answer::hiding(&reply(400, &body), &[Secret::from(secret.to_owned())]) {
                Answer::Error(error) => error.description,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(repeated("12345678"), "not [redacted]!");
        assert_eq!(repeated("1234567"), "not 1234567!");
    }

    #[test]
    fn r22_the_json_error_decides_whatever_the_status() {
        for status in [200, 400, 401, 403, 404, 428, 429, 500] {
            assert_eq!(code(status, r#"{"error":"authorization_pending"}"#), "authorization_pending", "{status}");
            assert_eq!(code(status, r#"{"error":"slow_down","interval":10}"#), "slow_down", "{status}");
            assert_eq!(code(status, r#"{"error":"access_denied"}"#), "access_denied", "{status}");
        }
    }

    #[test]
    fn r22_no_usable_json_with_429_5xx_or_html_is_transient() {
        for (status, body) in [
            (429, ""),
            (429, "slow"),
            (500, ""),
            (502, "Bad Gateway"),
            (503, "{}"),
            (503, r#"{"error":"backend_down"}"#),
            (400, "<html>proxy</html>"),
            (200, "\u{feff} <!DOCTYPE html>"),
            (503, r#"{"error":"temporarily_unavailable"}"#),
            (400, r#"{"error":"server_error"}"#),
            (408, ""),
        ] {
            assert!(matches!(Answer::of(&reply(status, body)), Answer::Transient(..)), "{status} {body}");
        }
        let asked = Reply { retry_after: Some(9), ..reply(503, "") };
        assert_eq!(Answer::of(&asked), Answer::Transient("it answered with status 503".into(), Some(9)));
    }

    #[test]
    fn r60_a_proxys_page_is_named_as_such() {
        let Answer::Transient(why, _) = Answer::of(&Reply { html: true, ..reply(200, "Sign in to the hotel") }) else {
            panic!()
        };
        assert_eq!(why, "it answered a web page (status 200); is a proxy or login page in between?");
    }

    #[test]
    fn r23_a_redirect_is_an_answer_of_its_own() {
        let to = Reply { location: Some("http://169.254.169.254/\u{1b}[2J".into()), ..reply(302, "") };
        assert_eq!(
            Answer::of(&to),
            Answer::Redirect(
                "it redirects to http://169.254.169.254/[2J; is a captive portal in between, or the address wrong?"
                    .into()
            )
        );
    }

    #[test]
    fn r25_a_success_that_cannot_be_read() {
        for body in ["", "null", "[]", "\"x\"", "{\"access_token\":", "\u{1}"] {
            assert!(matches!(Answer::of(&reply(200, body)), Answer::Unreadable(_)), "{body}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(Answer::of(&reply(200, &deep)), Answer::Unreadable(_)));
    }

    #[test]
    fn r9_an_error_in_a_200_is_an_error_and_r39_an_empty_400_is_one_too() {
        assert_eq!(
            code(200, r#"{"error":"device_flow_disabled","error_description":"Device Flow must be enabled"}"#),
            "device_flow_disabled"
        );
        let Answer::Error(e) = Answer::of(&reply(400, "")) else { panic!() };
        assert!(e.bodyless);
        assert_eq!(code(403, ""), "http_403");
        assert_eq!(code(400, r#"{"error":{"code":"invalid_grant"}}"#), "unreadable_error");
    }

    #[test]
    fn r59_what_a_server_says_is_cut_and_cleaned() {
        let body = json!({"error": "bad\u{1b}[31m", "error_description": "x".repeat(1000) + "\n\u{202e}"}).to_string();
        let Answer::Error(e) = Answer::of(&reply(400, &body)) else { panic!() };
        assert_eq!(e.text(), format!("bad[31m: {}…", "x".repeat(300)));
    }

    #[test]
    fn suberror_decides_and_numbers_do_not() {
        let error = |body: Value| match Answer::of(&reply(400, &body.to_string())) {
            Answer::Error(e) => e,
            other => panic!("{other:?}"),
        };
        let said = error(json!({
            "error": "invalid_grant", "suberror": "basic_action", "error_codes": [50076, "x", -1, 4_294_967_296_u64, 7],
            "error_description": "AADSTS50076: Due to a configuration change"
        }));
        assert_eq!((said.suberror.as_deref(), &said.numbers[..]), (Some("basic_action"), &[50076, 7][..]));
        for (body, about_this) in [
            (json!({"error": "invalid_grant", "suberror": "basic_action"}), true),
            (json!({"error": "invalid_grant", "suberror": "consent_required"}), true),
            (json!({"error": "interaction_required"}), true),
            (json!({"error": "invalid_grant"}), false),
            (json!({"error": "invalid_grant", "suberror": ""}), false),
            (json!({"error": "invalid_grant", "suberror": "bad_token"}), false),
            (json!({"error": "invalid_grant", "suberror": "token_expired"}), false),
            (json!({"error": "invalid_grant", "error_codes": [50076]}), false),
            (json!({"error": "invalid_scope", "suberror": "basic_action"}), false),
        ] {
            assert_eq!(error(body.clone()).is_about_this_resource(), about_this, "{body}");
        }
    }

    #[test]
    fn r6_verification_url_is_accepted_and_unknown_members_ignored() {
        let read = DeviceCode::read(&object(json!({
            "device_code": "d", "user_code": "AbC-def", "verification_url": "https://www.google.com/device", "x": [1]
        })))
        .unwrap();
        assert_eq!(read.verification_uri.as_str(), "https://www.google.com/device");
        assert_eq!((read.interval, read.expires_in), (5, 900));
        for (broken, why) in [
            (json!({"user_code": "u", "verification_uri": "https://a.example"}), "its answer has no `device_code`"),
            (json!({"device_code": "d", "verification_uri": "https://a.example"}), "its answer has no `user_code`"),
            (
                json!({"device_code": "d", "user_code": "\u{1b}", "verification_uri": "https://a.example"}),
                "its answer has no `user_code`",
            ),
            (json!({"device_code": "d", "user_code": "u"}), "its answer has no `verification_uri`"),
            (
                json!({"device_code": 7, "user_code": "u", "verification_uri": "https://a.example"}),
                "its answer has no `device_code`",
            ),
        ] {
            assert_eq!(DeviceCode::read(&object(broken)).unwrap_err(), why);
        }
    }

    #[test]
    fn r7_intervals_of_every_kind() {
        for (written, read) in [
            (json!(null), 5),
            (json!(0), 5),
            (json!(-3), 5),
            (json!(5), 5),
            (json!(2.5), 3),
            (json!("7"), 7),
            (json!("x"), 5),
            (json!(61), 60),
            (json!(5000), 5),
            (json!(1e300), 5),
            (json!([5]), 5),
            (json!(1), 1),
            (json!(0.2), 1),
            (json!("NaN"), 5),
        ] {
            assert_eq!(interval(seconds(&object(json!({"interval": written})), "interval")), read, "{written}");
        }
    }

    #[test]
    fn r8_expiries_of_every_kind() {
        for (written, read) in [
            (json!(1800), 1800),
            (json!(300.0), 300),
            (json!("600"), 600),
            (json!(null), 900),
            (json!(99_999_999), 3600),
            (json!(-1), 900),
        ] {
            let code = object(
                json!({"device_code": "d", "user_code": "u", "verification_uri": "https://a.example", "expires_in": written}),
            );
            assert_eq!(DeviceCode::read(&code).unwrap().expires_in, read, "{written}");
        }
    }

    #[test]
    fn r10_only_a_safe_address_is_shown() {
        for (uri, why) in [
            (
                "http://evil.example/device",
                "its `verification_uri` is not https (plain http is allowed only on loopback)",
            ),
            ("https://login.example@evil.example/", "its `verification_uri` has a user name in it"),
            ("javascript:alert(1)", "its `verification_uri` is not an absolute web address"),
        ] {
            let code = object(json!({"device_code": "d", "user_code": "u", "verification_uri": uri}));
            assert_eq!(DeviceCode::read(&code).unwrap_err(), why);
        }
    }

    #[test]
    fn r11_the_user_code_is_verbatim_and_r12_the_complete_address_optional() {
        let code = object(
            json!({"device_code": "d", "user_code": "aB-Cd 12\u{1b}[2J", "verification_uri": "https://a.example",
            "verification_uri_complete": "http://evil.example/?c=1"}),
        );
        let read = DeviceCode::read(&code).unwrap();
        assert_eq!(read.user_code, "aB-Cd 12[2J");
        assert_eq!(read.verification_uri_complete, None, "an unsafe one is left out, not fatal");
    }

    /// The tokens of a response without a refresh token.
    fn tokens(value: Value) -> Result<Tokens, String> {
        TokenAnswer::read(&object(value)).and_then(|answer| answer.tokens)
    }

    #[test]
    fn r28_token_type_without_case_and_missing() {
        for kind in [json!("bearer"), json!("BEARER"), json!("Bearer"), json!(null), json!(3)] {
            tokens(json!({"access_token": "t", "token_type": kind})).unwrap();
        }
        let error = tokens(json!({"access_token": "t", "token_type": "DPoP"})).unwrap_err();
        assert_eq!(error, "its token is of the type \"DPoP\", not Bearer");
    }

    #[test]
    fn r29_a_token_of_any_size_but_never_with_a_line_break() {
        let big = "t".repeat(300_000);
        let read = tokens(json!({"access_token": big, "unknown": {}})).unwrap();
        assert_eq!(read.access_token.expose().len(), 300_000);
        assert_eq!(tokens(json!({"access_token": "a\nhost=evil"})).unwrap_err(), "its `access_token` is not a token");
        assert_eq!(tokens(json!({"id_token": "x"})).unwrap_err(), "its answer has no `access_token`");
    }

    #[test]
    fn r30_an_absent_expiry_is_unknown_and_r31_scopes_in_every_form() {
        let read = |scope: Value| tokens(json!({"access_token": "t", "scope": scope})).unwrap();
        assert_eq!(read(json!(null)).expires_in, None);
        for scope in [json!(null), json!(7), json!(""), json!([])] {
            assert_eq!(read(scope).scope, None);
        }
        for scope in [json!("a b"), json!("a,b"), json!(["a", "b"]), json!(["a", 7, "b"])] {
            assert_eq!(read(scope).scope.unwrap(), ["a", "b"]);
        }
        for scope in [json!("a ".repeat(2000)), json!(vec!["a"; 2000])] {
            assert_eq!(read(scope).scope.unwrap().len(), LONGEST);
        }
    }

    #[test]
    fn a_refresh_token_counts_whatever_else_is_in_its_answer() {
        let read = |value: Value| TokenAnswer::read(&object(value));
        let spoilt = read(json!({"access_token": "t", "token_type": "DPoP", "refresh_token": "r"})).unwrap();
        assert_eq!(spoilt.refresh_token, Some(Secret::from("r".to_owned())));
        assert_eq!(spoilt.tokens.unwrap_err(), "its token is of the type \"DPoP\", not Bearer");
        let good = read(json!({"access_token": "t", "refresh_token": "r s"})).unwrap();
        assert_eq!((good.refresh_token, good.tokens.is_ok()), (None, true));
        assert_eq!(read(json!({"refresh_token": ["r"]})).unwrap_err(), "its answer has no `access_token`");
    }

    #[test]
    fn r22_a_code_of_oauths_means_the_same_under_every_status() {
        for said in [
            "invalid_grant",
            "access_denied",
            "authorization_declined",
            "expired_token",
            "token_expired",
            "bad_verification_code",
            "unauthorized_client",
            "unsupported_grant_type",
            "interaction_required",
            "login_required",
            "consent_required",
        ] {
            for status in [200, 400, 429, 503] {
                assert_eq!(code(status, &json!({"error": said}).to_string()), said, "{status}");
            }
        }
        for status in [429, 500] {
            assert!(matches!(Answer::of(&reply(status, r#"{"error":"busy"}"#)), Answer::Transient(..)), "{status}");
        }
        assert_eq!(code(499, r#"{"error":"busy"}"#), "busy");
    }

    #[test]
    fn what_is_no_error_of_oauths_keeps_its_words() {
        let text = |status: u16, body: &str| match Answer::of(&reply(status, body)) {
            Answer::Error(error) => error.text(),
            Answer::Transient(why, _) => why,
            other => panic!("{other:?}"),
        };
        for (status, body, words) in [
            (403, r#"{"error":{"code":403,"message":"It is off","status":"DENIED"}}"#, "DENIED: It is off"),
            (403, r#"{"error":{"code":403,"message":"It is off"}}"#, "403: It is off"),
            (403, r#"{"error":{}}"#, "unreadable_error"),
            (403, r#"{"error":true,"message":"odd"}"#, "odd"),
            (404, r#"{"code":"no_client","message":"Never seen"}"#, "no_client: Never seen (status 404)"),
            (404, r#"{"title":"Not here","status":404}"#, "Not here (status 404)"),
            (404, r#"{"status":404}"#, "an answer without an error code (status 404)"),
            (401, "", "status 401 without a body"),
            (415, "Unsupported\r\n\u{1b}[31mMedia", "Unsupported [31mMedia (status 415)"),
            (503, "out\nto lunch", "out to lunch (status 503)"),
            (503, "", "it answered with status 503"),
            (503, r#"{"error":{"message":"out to lunch"}}"#, "it answered out to lunch (status 503)"),
        ] {
            assert_eq!(text(status, body), words, "{status} {body}");
        }
        let packed = Reply { coding: Some("br".into()), ..reply(200, "\u{1}") };
        let why = "its answer is compressed (br), which was not asked for";
        assert_eq!(Answer::of(&packed), Answer::Unreadable(why.into()));
        assert!(
            matches!(Answer::of(&Reply { status: 400, ..packed }), Answer::Error(e) if e.description.contains(why))
        );
    }
}
