//! Form bodies and Basic credentials, taken apart strictly: a provider that is lenient hides a client's mistakes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Splits `a=1&b=2`; `None` if a percent escape is broken or the result isn't UTF-8.
pub(crate) fn parse(text: &str) -> Option<Vec<(String, String)>> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

/// Undoes `application/x-www-form-urlencoded` in one name or value.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The id and the secret of a Basic header, each form-decoded as RFC 6749 section 2.3.1 asks.
pub(crate) fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let credentials = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = credentials.split_once(':')?;
    Some((decode(id)?, decode(secret)?))
}

/// Pairs as `application/x-www-form-urlencoded`.
pub(crate) fn encode(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    pairs.join("&")
}

fn escape(text: &str) -> String {
    use std::fmt::Write as _;

    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back() {
        let odd = "a b+c&d=e%f/ü:\u{1f511}";
        assert_eq!(decode(&escape(odd)).as_deref(), Some(odd));
        let pairs = parse(&format!("{}={}&empty&x=1", escape("n&m"), escape(odd))).unwrap();
        assert_eq!(pairs[0], ("n&m".into(), odd.into()));
        assert_eq!(pairs[1], ("empty".into(), String::new()));
    }

    #[test]
    fn broken_escapes_are_refused() {
        for broken in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }

    #[test]
    fn basic_credentials_are_form_decoded() {
        let header = format!("Basic {}", STANDARD.encode("my%3Aid:a%2Bb+c"));
        assert_eq!(basic(&header), Some(("my:id".into(), "a+b c".into())));
        assert_eq!(basic("Bearer x"), None);
    }
}
