//! `config.toml`: read by position, so that whatever is wrong in it is named with its line and the nearest right word.

use super::keys::{KEYS, Shape, key};
use super::settings::{Origin, Settings, meant};
use crate::failure::Failure;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Largest configuration file read, in bytes.
const LARGEST: u64 = 1 << 20;

/// What the file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    /// The profile to use when nothing names one.
    pub(super) default_profile: Option<String>,
    /// `[profile.NAME]`, by name.
    pub(super) profiles: BTreeMap<String, Settings>,
}

/// `KEYFOB_CONFIG`, else `keyfob/config.toml` in the user's configuration folder; `None` without a home.
pub fn path() -> Option<PathBuf> {
    match std::env::var_os("KEYFOB_CONFIG").filter(|p| !p.is_empty()) {
        Some(named) => Some(named.into()),
        None => dirs::config_dir().map(|folder| folder.join("keyfob/config.toml")),
    }
}

/// Reads the file at [`path`]. A file that is not there is an empty one, unless `KEYFOB_CONFIG` names it.
pub(super) fn load() -> Result<File> {
    let Some(path) = path() else { return Ok(File::default()) };
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|f| f.take(LARGEST + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > LARGEST => {
            Err(Failure::usage(format!("{}: larger than 1 MiB", path.display())).into())
        }
        Ok(_) => parse(&path, &text).map_err(|e| Failure::usage(e).into()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && std::env::var_os("KEYFOB_CONFIG").is_none() => {
            Ok(File::default())
        }
        Err(e) => Err(Failure::usage(e.to_string()))
            .with_context(|| format!("could not read configuration {}", path.display())),
    }
}

/// Parses the text of the file at `path`. The error is one line: `FILE:LINE: what is wrong`.
pub(super) fn parse(path: &Path, text: &str) -> Result<File, String> {
    let reader = Reader { path: path.display().to_string(), text };
    let table = DeTable::parse(text)
        .map_err(|e| reader.error(e.span().map_or(0, |s| s.start), &format!("not valid TOML: {}", e.message())))?;
    let mut file = File::default();
    for (name, value) in table.get_ref() {
        match name.get_ref().as_ref() {
            "default-profile" => file.default_profile = Some(reader.string("default-profile", value)?),
            "profile" => {
                for (name, value) in reader.table("profile", value)? {
                    let settings = reader.profile(value)?;
                    file.profiles.insert(name.get_ref().to_string(), settings);
                }
            }
            unknown => {
                let meant = meant(unknown, ["default-profile", "profile"]);
                return Err(reader.error(name.span().start, &format!("unknown key `{unknown}`; {meant}")));
            }
        }
    }
    if let Some(default) = &file.default_profile
        && !file.profiles.contains_key(default)
    {
        let at = table.get_ref().get("default-profile").map_or(0, |v| v.span().start);
        let meant = meant(default, file.profiles.keys().map(String::as_str));
        return Err(reader.error(at, &format!("`default-profile`: there is no profile {default:?}; {meant}")));
    }
    Ok(file)
}

struct Reader<'a> {
    path: String,
    text: &'a str,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count()
    }

    fn error(&self, at: usize, message: &str) -> String {
        format!("{}:{}: {message}", self.path, self.line(at))
    }

    fn wrong(&self, name: &str, value: &Spanned<DeValue<'_>>, wanted: &str) -> String {
        self.error(value.span().start, &format!("`{name}` must be {wanted}, not {}", described(value.get_ref())))
    }

    fn string(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<String, String> {
        value.get_ref().as_str().map(str::to_owned).ok_or_else(|| self.wrong(name, value, "a string"))
    }

    fn table<'t, 'v>(&self, name: &str, value: &'t Spanned<DeValue<'v>>) -> Result<&'t DeTable<'v>, String> {
        value.get_ref().as_table().ok_or_else(|| self.wrong(name, value, "a table"))
    }

    fn profile(&self, value: &Spanned<DeValue<'_>>) -> Result<Settings, String> {
        let mut settings = Settings::default();
        for (name, value) in self.table("profile", value)? {
            let word = name.get_ref().as_ref();
            let Some(key) = key(word) else {
                let meant = meant(word, KEYS.iter().map(|k| k.name));
                return Err(self.error(name.span().start, &format!("unknown key `{word}`; {meant}")));
            };
            let items = match key.shape {
                Shape::Text | Shape::Word(_) => vec![self.string(word, value)?],
                Shape::Seconds => vec![
                    value
                        .get_ref()
                        .as_integer()
                        .map(ToString::to_string)
                        .ok_or_else(|| self.wrong(word, value, "a number"))?,
                ],
                Shape::List => value
                    .get_ref()
                    .as_array()
                    .ok_or_else(|| self.wrong(word, value, "a list of strings"))?
                    .iter()
                    .map(|item| self.string(word, item))
                    .collect::<Result<_, _>>()?,
                Shape::Pairs => self
                    .table(word, value)?
                    .iter()
                    .map(|(name, item)| Ok(format!("{}={}", name.get_ref(), self.string(word, item)?)))
                    .collect::<Result<_, String>>()?,
            };
            settings.set(key, items, Origin::Line(self.path.clone(), self.line(name.span().start)))?;
        }
        Ok(settings)
    }
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<File, String> {
        parse(Path::new("config.toml"), text)
    }

    #[test]
    fn a_whole_file() {
        let file = parsed(
            "default-profile = 'lab'\n[profile.lab]\nissuer = 'https://id.example.com'\nclient-id = 'kubernetes'\n\
             scopes = ['openid', 'groups']\nmin-ttl = 60\nextra = { login_hint = 'ada' }\n",
        )
        .unwrap();
        assert_eq!(file.default_profile.as_deref(), Some("lab"));
        let lab = &file.profiles["lab"];
        assert_eq!(lab.one("issuer"), Some("https://id.example.com"));
        assert_eq!(lab.all("scopes"), ["openid", "groups"]);
        assert_eq!(lab.one("min-ttl"), Some("60"));
        assert_eq!(lab.all("extra"), ["login_hint=ada"]);
        assert_eq!(lab.place("min-ttl"), "config.toml:6");
    }

    #[test]
    fn whatever_is_wrong_is_named_with_its_line_and_the_nearest_word() {
        for (text, error) in [
            ("[profile.lab]\nclientid = 'x'\n", "config.toml:2: unknown key `clientid`; did you mean `client-id`?"),
            ("\n\n[profil.lab]\n", "config.toml:3: unknown key `profil`; did you mean `profile`?"),
            (
                "[profile.lab]\nprompt = 'allways'\n",
                "config.toml:2: `prompt` cannot be \"allways\"; did you mean `always`?",
            ),
            ("[profile.lab]\nscopes = 'openid'\n", "config.toml:2: `scopes` must be a list of strings, not a string"),
            ("[profile.lab]\nscopes = ['a', 3]\n", "config.toml:2: `scopes` must be a string, not a number"),
            ("[profile.lab]\nmin-ttl = 'soon'\n", "config.toml:2: `min-ttl` must be a number, not a string"),
            ("[profile.lab]\nmin-ttl = -1\n", "config.toml:2: `min-ttl` must be a whole number of seconds, not \"-1\""),
            ("[profile.lab]\nissuer = ''\n", "config.toml:2: `issuer` is empty"),
            ("[profile.lab]\nissuer = \"a\\u001b\"\n", "config.toml:2: `issuer` holds a control character"),
            (
                "default-profile = 'lap'\n[profile.lab]\n",
                "config.toml:1: `default-profile`: there is no profile \"lap\"; did you mean `lab`?",
            ),
            ("profile = 3\n", "config.toml:1: `profile` must be a table, not a number"),
        ] {
            assert_eq!(parsed(text).unwrap_err(), error);
        }
        let broken = parsed("[profile.lab]\nissuer = https://id\n").unwrap_err();
        assert!(broken.starts_with("config.toml:2: not valid TOML: "), "{broken}");
        assert!(!broken.contains('\n'), "{broken}");
    }
}
