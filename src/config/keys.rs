//! The keys of a profile, as a table: one row is a key of `[profile.NAME]`, a command-line flag and a line of help.
//! A caller's own flags are rows of the same kind.

/// What the value of a key looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number of seconds.
    Seconds,
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
    /// As written on the command line, without the dashes. `None`: a secret, which must not stand there.
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

/// A key and flag of the same name that take one of these words.
pub const fn word(name: &'static str, words: &'static [&'static str], help: &'static str) -> Key {
    Key { name, flag: Some(name), short: None, value: "WORD", shape: Shape::Word(words), help }
}

/// Every key, in the order in which help shows them.
pub const KEYS: &[Key] = &[
    text("provider", "NAME", "A provider that keyfob knows, e.g. entra, github, google"),
    text("issuer", "URL", "OpenID Connect issuer; its endpoints are discovered"),
    text("client-id", "ID", "Client (application) id registered at the provider"),
    Key { name: "client-secret", flag: None, short: None, value: "SECRET", shape: Shape::Text, help: "Client secret" },
    text("client-secret-file", "FILE", "File that holds the client secret"),
    Key {
        name: "scopes",
        flag: Some("scope"),
        short: None,
        value: "SCOPE",
        shape: Shape::List,
        help: "Scope to ask for; repeat for more",
    },
    word("token-kind", &["id", "access"], "Which token to hand out"),
    text("tenant", "TENANT", "Tenant id or domain"),
    text("authority", "URL", "Where the provider lives, if not at its usual address"),
    text("account", "NAME", "The only account that may sign in; separates the sessions of several accounts"),
    text("audience", "AUDIENCE", "`audience` parameter sent to the provider"),
    text("resource", "RESOURCE", "`resource` parameter sent to the provider (RFC 8707)"),
    Key {
        name: "extra",
        flag: Some("extra"),
        short: None,
        value: "NAME=VALUE",
        shape: Shape::Pairs,
        help: "Another parameter for the device authorization request; repeat for more",
    },
    Key {
        name: "min-ttl",
        flag: Some("min-ttl"),
        short: None,
        value: "SECONDS",
        shape: Shape::Seconds,
        help: "Least life a cached token must have left",
    },
    Key {
        name: "refusal-memory",
        flag: Some("refusal-memory"),
        short: None,
        value: "SECONDS",
        shape: Shape::Seconds,
        help: "How long a refused or expired sign-in is not asked for again [default: 30]",
    },
    word(
        "prompt",
        &["auto", "always", "never"],
        "Where to show a sign-in: on a terminal, on stderr in any case, nowhere",
    ),
    text("ca-file", "FILE", "PEM file with certificate authorities to trust besides the system's"),
    text("device-authorization-endpoint", "URL", "Device authorization endpoint, for servers that do not publish it"),
    text("token-endpoint", "URL", "Token endpoint, for servers that do not publish it"),
    text("revocation-endpoint", "URL", "Revocation endpoint, for servers that do not publish it"),
    word("token-endpoint-auth-method", &["client_secret_basic", "client_secret_post"], "How the client secret is sent"),
];

/// The row of this name.
pub(super) fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}
