//! Reads what one call needs of a session with many tokens: everything except the other tokens, which are skipped
//! instead of parsed.

use crate::session::TokenKey;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// Skipping the other tokens saves time only in a file of at least this many bytes.
const LARGE: usize = 16 << 10;

/// The text of a session file without the tokens under other keys. `None` if the file is small or does not hold the
/// token; then parse the whole file.
pub(super) fn excerpt(bytes: &[u8], key: &TokenKey) -> Option<Zeroizing<String>> {
    #[derive(Deserialize)]
    struct Tokens<'t> {
        #[serde(borrow)]
        tokens: Vec<&'t RawValue>,
    }
    #[derive(Deserialize)]
    struct Keyed {
        key: TokenKey,
    }
    if bytes.len() < LARGE {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let tokens = serde_json::from_str::<Tokens<'_>>(text).ok()?.tokens;
    // First look for the exact text that this program writes, then for any JSON that means the same.
    let begins = format!("{{\"key\":{},", serde_json::to_string(key).ok()?);
    let is_it = |token: &&str| serde_json::from_str::<Keyed>(token).is_ok_and(|token| token.key == *key);
    let mut texts = tokens.iter().map(|token| token.get());
    let token = texts.clone().find(|token| token.starts_with(&begins)).or_else(|| texts.find(is_it))?;
    let offset = |part: &str| part.as_ptr().addr() - text.as_ptr().addr();
    let (first, last) = (tokens.first()?.get(), tokens.last()?.get());
    let parts = [&text[..offset(first)], token, &text[offset(last) + last.len()..]];
    let mut excerpt = Zeroizing::new(String::with_capacity(parts.map(str::len).iter().sum()));
    for part in parts {
        excerpt.push_str(part);
    }
    Some(excerpt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::TokenKind;
    use crate::session::Session;
    use serde_json::{Value, json, to_string, to_string_pretty, to_value};

    fn key(scope: usize) -> TokenKey {
        let scopes = vec![format!("\"{scope}\"")];
        TokenKey { kind: TokenKind::Access, scopes, tenant: None, audience: Some("a".into()), resource: None }
    }

    /// A session with `count` tokens of 100 bytes.
    fn session(count: usize) -> Session {
        let token = |number: usize| json!({ "key": key(number), "token": "]}".repeat(50), "received_at": number });
        let tokens: Vec<Value> = (0..count).map(token).collect();
        let session = json!({
            "version": 2, "authority": "https://id.example.com", "client_id": "c", "tokens": tokens,
            "account": { "name": "\"tokens\":[" }, "last_error": { "at_ms": 1, "exit": "unreachable", "message": "m" },
        });
        serde_json::from_value(session).unwrap()
    }

    #[test]
    fn everything_but_the_other_tokens_is_kept() {
        let whole = session(200);
        for text in [to_string(&whole).unwrap(), to_string_pretty(&to_value(&whole).unwrap()).unwrap()] {
            for number in [0, 100, 199] {
                let read: Session = serde_json::from_str(&excerpt(text.as_bytes(), &key(number)).unwrap()).unwrap();
                let wanted = Session { tokens: vec![whole.tokens[number].clone()], ..whole.clone() };
                assert_eq!(to_value(&read).unwrap(), to_value(&wanted).unwrap());
            }
        }
    }

    #[test]
    fn what_is_small_or_is_not_there_is_read_as_a_whole() {
        assert_eq!(excerpt(to_string(&session(200)).unwrap().as_bytes(), &key(200)), None);
        assert_eq!(excerpt(to_string(&session(2)).unwrap().as_bytes(), &key(0)), None);
        assert_eq!(excerpt("{".repeat(LARGE).as_bytes(), &key(0)), None);
        assert_eq!(excerpt(&[0xff; LARGE], &key(0)), None);
    }
}
