//! In debug builds, checks every hint that is shown: a keyfob command in it must be valid on the command line. So each
//! test that sees a hint tests it.

use super::{command, profile_behind};
use crate::failure::Hint;
use std::ffi::OsString;

/// Panics if the hint contains a keyfob command that clap would reject.
pub(super) fn examine(hint: &Hint) {
    let text = match hint {
        Hint::Command(text) | Hint::Words(text) => text,
    };
    for mut words in pieces(text) {
        let is_program = |word: &String| word.rsplit('/').next() == Some("keyfob");
        let environment = words.iter().take_while(|word| word.contains('=') && !word.starts_with('-')).count();
        words.drain(..environment);
        if words.first().is_none_or(|word| !is_program(word)) {
            continue;
        }
        // Placeholders that a person fills in.
        words.retain(|word| word != "…");
        let mut words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        profile_behind(&mut words).unwrap_or_else(|error| panic!("the hint {text:?} is no command: {error}"));
        if let Err(error) = command().try_get_matches_from(words) {
            assert!(!error.use_stderr(), "the hint {text:?} is no command: {error}");
        }
    }
}

/// Splits a text into pieces that may be commands, each as words in the way of a shell. Pieces end at colons and other
/// punctuation, and at "then".
fn pieces(text: &str) -> Vec<Vec<String>> {
    let (mut pieces, mut words, mut word, mut quoted) = (Vec::new(), Vec::new(), None::<String>, false);
    let mut letters = text.chars().chain([' ']).peekable();
    while let Some(letter) = letters.next() {
        let ends = !quoted && letters.peek().is_none_or(|next| *next == ' ');
        match letter {
            // Within a word this is an apostrophe, unless it follows an escaped one.
            '\'' if quoted || word.as_deref().is_none_or(|word| word.is_empty() || word.ends_with('\'')) => {
                (quoted, word) = (!quoted, Some(word.unwrap_or_default()));
            }
            '\\' if !quoted => word.get_or_insert_default().extend(letters.next()),
            '`' => words.extend(word.take()),
            ';' | ',' | ':' | '&' | '.' if ends => words.extend(word.take()),
            // The first of two.
            '&' if !quoted && word.is_none() => {}
            ' ' if !quoted => {
                words.extend(word.take());
                continue;
            }
            _ => {
                word.get_or_insert_default().push(letter);
                continue;
            }
        }
        if !quoted && "`;,:&.".contains(letter) {
            pieces.push(std::mem::take(&mut words));
        }
    }
    pieces.push(words);
    pieces
        .into_iter()
        .flat_map(|words| words.split(|word| word == "then").map(<[_]>::to_vec).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_fine(hint: &Hint) -> bool {
        std::panic::catch_unwind(|| examine(hint)).is_ok()
    }

    #[test]
    fn a_command_in_a_hint_is_one() {
        for (text, fine) in [
            ("KEYFOB_CONFIG='/a b/c' /opt/keyfob login lab --scope 'x y'", true),
            ("keyfob -p lab token", true),
            ("keyfob logout --all && keyfob store none", true),
            (
                "keyfob setup git --undo 'https://*.example.com' && keyfob setup git --profile gh https://a.example",
                true,
            ),
            ("make one: keyfob setup --profile NAME --issuer URL --client-id ID; or pass --issuer", true),
            ("have it give refresh tokens; then keyfob login lab --force", true),
            ("`keyfob logout --all` deletes it, and every other session", true),
            ("chmod go-w /keyfob", true),
            ("keyfob sign-in lab", false),
            ("first: keyfob login lab --nonsense", false),
            ("change the provider's page; then keyfob login lab --nonsense", false),
            ("keyfob login lab lab", false),
            ("keyfob store file && keyfob stores", false),
            ("sign in with `keyfob signin`", false),
        ] {
            assert_eq!(is_fine(&Hint::Command(text.to_owned())), fine, "{text}");
        }
    }
}
