//! What a key looks like: in `config.toml`, as a flag, and in help. A caller's own flags are described in the same way.

/// What the value of a key looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number.
    Number,
    /// A list of strings; the flag is repeated.
    List,
    /// A table of strings; the flag is repeated as `NAME=VALUE`.
    Pairs,
}

/// One key of a profile, or a caller's own flag.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// As written in `config.toml`.
    pub name: &'static str,
    /// As written on the command line, without the dashes. `None`: it must not stand there.
    pub flag: Option<&'static str>,
    /// A letter for the same flag.
    pub short: Option<char>,
    /// What stands for the value in help.
    pub value: &'static str,
    /// What values look like.
    pub shape: Shape,
    /// One line of help.
    pub help: &'static str,
}

/// A key and flag of the same name that take a string.
pub const fn text(name: &'static str, value: &'static str, help: &'static str) -> Key {
    Key { name, flag: Some(name), short: None, value, shape: Shape::Text, help }
}

/// A key that takes a string, and stands in `config.toml` alone: a kubeconfig's arguments may come from anyone, and this says
/// what keyfob reads, runs, or shows of itself.
pub(super) const fn in_file(name: &'static str, help: &'static str) -> Key {
    Key { flag: None, ..text(name, "", help) }
}

/// A key and flag of the same name that take one of these words.
pub const fn word(name: &'static str, words: &'static [&'static str], help: &'static str) -> Key {
    Key { shape: Shape::Word(words), ..text(name, "WORD", help) }
}

/// A key and flag of the same name that take a number of seconds.
pub(super) const fn seconds(name: &'static str, help: &'static str) -> Key {
    number(name, "SECONDS", help)
}

/// A key and flag of the same name that take a whole number.
pub(super) const fn number(name: &'static str, value: &'static str, help: &'static str) -> Key {
    Key { shape: Shape::Number, ..text(name, value, help) }
}
