//! The string literals of Rust code, for tests that hold a page to the source or to the tests.

use std::iter::Peekable;
use std::str::Chars;

/// The strings in a piece of code, up to where its brackets close or its statement ends. What is put into a string stands
/// as `…`.
pub(crate) fn strings(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut depth = 0;
    let mut letters = code.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' | ';' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            'r' if letters.peek().is_some_and(|next| matches!(next, '"' | '#')) => {
                found.extend(raw(&mut letters));
            }
            '\'' => {
                // A character, unless it is a lifetime.
                let mut ahead = letters.clone();
                let first = ahead.next();
                if first == Some('\\') || ahead.next() == Some('\'') {
                    letters.next();
                    while letters.next().is_some_and(|letter| letter != '\'') {}
                }
            }
            '"' => {
                let mut text = String::new();
                let mut inside = false;
                while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
                    match letter {
                        '\\' => match letters.next() {
                            Some('\n') => while letters.next_if(|letter| letter.is_whitespace()).is_some() {},
                            Some('n') => text.push('\n'),
                            escaped => text.extend(escaped),
                        },
                        '{' if letters.next_if_eq(&'{').is_some() => text.push('{'),
                        '}' if !inside && letters.next_if_eq(&'}').is_some() => text.push('}'),
                        '{' => {
                            inside = true;
                            text.push('…');
                        }
                        '}' => inside = false,
                        letter if !inside => text.push(letter),
                        _ => {}
                    }
                }
                found.push(text.trim().to_owned());
            }
            _ => {}
        }
    }
    found
}

/// A raw string behind its `r`; `None` for a name that begins so.
fn raw(letters: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut end = String::from('"');
    while letters.next_if_eq(&'#').is_some() {
        end.push('#');
    }
    letters.next_if_eq(&'"')?;
    let rest: String = letters.clone().collect();
    let text = rest.split(&end).next().unwrap_or_default();
    letters.nth(text.chars().count() + end.len() - 1);
    Some(text.trim().to_owned())
}
