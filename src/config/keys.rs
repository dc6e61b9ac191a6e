//! Describes keys as they appear in `config.toml`, as flags and in help. Callers' own flags are described in the same
//! way.

/// The form of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number.
    Number,
    /// A list of strings; the flag may be repeated.
    List,
    /// A table of strings; the flag may be repeated as `NAME=VALUE`.
    Pairs,
}

/// One key of a profile, or a caller's own flag.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// The name in `config.toml`.
    pub name: &'static str,
    /// The flag's name without the dashes; `None` if there must be no flag.
    pub flag: Option<&'static str>,
    /// A single letter for the flag.
    pub short: Option<char>,
    /// The placeholder for the value in help.
    pub value: &'static str,
    /// The form of the value.
    pub shape: Shape,
    /// One line of help.
    pub help: &'static str,
}

/// A key and flag of the same name with a string value.
pub const fn text(name: &'static str, value: &'static str, help: &'static str) -> Key {
    Key { name, flag: Some(name), short: None, value, shape: Shape::Text, help }
}

/// A key with a string value and no flag, for settings that decide what keyfob reads, runs or reveals: the arguments in
/// a kubeconfig may come from anyone.
pub(super) const fn in_file(name: &'static str, help: &'static str) -> Key {
    Key { flag: None, ..text(name, "", help) }
}

/// A key and flag of the same name whose value is one of these words.
pub const fn word(name: &'static str, words: &'static [&'static str], help: &'static str) -> Key {
    Key { shape: Shape::Word(words), ..text(name, "WORD", help) }
}

/// A key and flag of the same name whose value is a number of seconds.
pub(super) const fn seconds(name: &'static str, help: &'static str) -> Key {
    number(name, "SECONDS", help)
}

/// A key and flag of the same name whose value is a whole number.
pub(super) const fn number(name: &'static str, value: &'static str, help: &'static str) -> Key {
    Key { shape: Shape::Number, ..text(name, value, help) }
}
