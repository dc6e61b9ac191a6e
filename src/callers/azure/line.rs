//! The command lines of az and azd: words that name a command, followed by flags.

/// A flag and its values.
pub(super) struct Flag {
    /// The name used in this program.
    pub(super) name: &'static str,
    /// Every spelling.
    pub(super) spellings: &'static [&'static str],
    /// How many values it takes.
    pub(super) takes: Takes,
}

/// How many values a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// None.
    Nothing,
    /// One value; if the flag is repeated, the last value counts.
    One,
    /// One value each time; the flag may be repeated.
    Several,
    /// All words up to the next flag.
    Rest,
}

/// A parsed command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The words before the first flag, joined by spaces.
    pub(super) command: String,
    values: Vec<(&'static str, String)>,
    /// The first mistake.
    pub(super) mistake: Option<String>,
}

impl Line {
    /// Parses a command line. Flags are written `--flag VALUE`, `--flag=VALUE`, `-f VALUE`, `-f=VALUE` or `-fVALUE`.
    pub(super) fn read(words: &[String], flags: &[Flag]) -> Self {
        let is_flag = |word: &&String| word.starts_with('-');
        let named = words.iter().take_while(|word| !is_flag(word)).count();
        let mut line = Self { command: words[..named].join(" "), ..Self::default() };
        let mut words = words[named..].iter().peekable();
        while let Some(word) = words.next() {
            let Some((flag, inline)) = find(word, flags) else {
                line.mistake.get_or_insert_with(|| format!("unrecognized arguments: {word}"));
                continue;
            };
            let mut values: Vec<String> = inline.map(str::to_owned).into_iter().collect();
            match flag.takes {
                Takes::Nothing => values.push(String::new()),
                Takes::One | Takes::Several if values.is_empty() => {
                    values.extend(words.next_if(|word| !is_flag(word)).cloned());
                }
                Takes::One | Takes::Several => {}
                Takes::Rest => {
                    while let Some(word) = words.next_if(|word| !is_flag(word)) {
                        values.push(word.clone());
                    }
                }
            }
            if values.is_empty() && flag.takes != Takes::Rest {
                line.mistake.get_or_insert_with(|| format!("argument {word}: expected one argument"));
            }
            if flag.takes == Takes::One {
                line.values.retain(|(name, _)| *name != flag.name);
            }
            line.values.extend(values.into_iter().map(|value| (flag.name, value)));
        }
        line
    }

    /// The value of a flag. An empty value, as from an unset shell variable, counts as missing.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// All values of a flag.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// The flag that a word names, and the value in the same word, if any.
fn find<'f, 'w>(word: &'w str, flags: &'f [Flag]) -> Option<(&'f Flag, Option<&'w str>)> {
    let value_in = |spelling: &str| {
        let rest = word.strip_prefix(spelling)?;
        match rest.strip_prefix('=') {
            _ if rest.is_empty() => Some(None),
            Some(value) => Some(Some(value)),
            None if !spelling.starts_with("--") => Some(Some(rest)),
            None => None,
        }
    };
    let (flag, value) =
        flags.iter().find_map(|flag| Some((flag, flag.spellings.iter().find_map(|spelling| value_in(spelling))?)))?;
    (value.is_none() || flag.takes != Takes::Nothing).then_some((flag, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag { name: "output", spellings: &["--output", "-o"], takes: Takes::One },
        Flag { name: "scope", spellings: &["--scope"], takes: Takes::Rest },
        Flag { name: "claims", spellings: &["--claims"], takes: Takes::Several },
        Flag { name: "quiet", spellings: &["--quiet"], takes: Takes::Nothing },
    ];

    fn read(words: &[&str]) -> Line {
        Line::read(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>(), FLAGS)
    }

    #[test]
    fn every_way_to_write_a_flag() {
        for words in [&["--output", "json"][..], &["--output=json"], &["-o", "json"], &["-o=json"], &["-ojson"]] {
            let line = read(&[&["account", "show"], words].concat());
            assert_eq!((line.command.as_str(), line.one("output")), ("account show", Some("json")), "{words:?}");
            assert_eq!(line.mistake, None);
        }
        let line =
            read(&["x", "--scope", "a", "b", "--quiet", "-o=tsv", "--output", "json", "--claims=1", "--claims", "2"]);
        assert_eq!(line.all("scope").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(line.all("claims").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((line.one("output"), line.one("quiet"), line.mistake.as_deref()), (Some("json"), None, None));
        assert_eq!(read(&["--claims="]).one("claims"), None);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (words, mistake) in [
            (&["--outputs"][..], "unrecognized arguments: --outputs"),
            (&["--output"], "argument --output: expected one argument"),
            (&["--output", "--quiet"], "argument --output: expected one argument"),
            (&["--quiet=yes"], "unrecognized arguments: --quiet=yes"),
            (&["--quiet", "word"], "unrecognized arguments: word"),
            (&["--output=json", "word"], "unrecognized arguments: word"),
            (&["-"], "unrecognized arguments: -"),
        ] {
            assert_eq!(read(words).mistake.as_deref(), Some(mistake), "{words:?}");
        }
    }
}
