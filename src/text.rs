//! Makes text from outside safe to show: text from a server, a file or a caller cannot move the cursor, change colours,
//! reverse the line or fill the screen.

/// Longest text from outside in a message, in characters.
const LONGEST: usize = 300;

/// `text` on one line: without control characters, bidirectional overrides and invisible characters, with spaces for
/// line breaks and tabs, and cut (with `…`) at 300 characters.
pub fn clean(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Like [`clean`], but not cut.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}') {
            if !line.is_empty() && !line.ends_with(' ') {
                line.push(' ');
            }
        } else if !is_deceptive(c) {
            line.push(c);
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// Whether this is a control character, or one that looks different from what it is, or invisible.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The word among `known` that is nearest to `word`, if it is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::jaro_winkler(word, k), k))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

/// `did you mean …?`, or the list of known words.
pub fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.clone().into_iter().next().is_none() => "there are none".to_owned(),
        None => format!("known are {}", known.into_iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")),
    }
}

/// `word` quoted for a POSIX shell: bare if possible, otherwise in single quotes.
pub fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_or_turns_a_line_survives() {
        assert_eq!(clean("a\u{1b}[2J\u{9b}1mb\u{7f}\0c"), "a[2J1mbc");
        assert_eq!(clean("\u{202e}drowssap\u{200b}\u{2066}"), "drowssap");
        assert_eq!(clean("one\r\n\ttwo\n"), "one two");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(clean(&"é".repeat(301)), format!("{}…", "é".repeat(300)));
        assert_eq!(clean(&"é".repeat(300)), "é".repeat(300));
    }

    #[test]
    fn the_nearest_word_is_named_only_when_it_is_near() {
        assert_eq!(nearest("clientid", ["client-id", "issuer"]), Some("client-id"));
        assert_eq!(nearest("zzz", ["client-id", "issuer"]), None);
    }

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        assert_eq!(shell_quoted("https://id.example.com/a"), "https://id.example.com/a");
        assert_eq!(shell_quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shell_quoted(""), "''");
    }
}
