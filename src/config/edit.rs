//! Edits the text of `config.toml`, and leaves the rest of it as the person wrote it.

use super::hosts::GIT;
use super::keys::Shape;
use super::{HostPattern, Settings, StoreKind};
use std::fmt::Write;
use toml_edit::{DocumentMut, InlineTable, Item, Key, Table, TableLike, TomlError, Value, value};

/// The comment above a profile that `setup` added, followed by which setup it was.
pub const ADDED_BY: &str = "# Added by keyfob ";

/// Appends the profile `name` to `text`, below a comment that says that `by` (e.g. `setup git`) added it.
pub fn with_profile(text: &str, name: &str, settings: &Settings, by: &str) -> Result<String, TomlError> {
    let mut added = text.to_owned();
    if !text.is_empty() {
        added.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
    }
    let _ = writeln!(added, "{ADDED_BY}{by}\n{}", header(name));
    for (key, items) in settings.all() {
        let text = || Value::from(items.first().map_or("", String::as_str));
        let said = match key.shape {
            Shape::Text | Shape::Word(_) => text(),
            Shape::Number => items.first().and_then(|item| item.parse::<i64>().ok()).map_or_else(text, Value::from),
            Shape::List => items.iter().collect(),
            Shape::Pairs => {
                let pairs = items.iter().filter_map(|item| item.split_once('='));
                Value::InlineTable(pairs.collect::<InlineTable>())
            }
        };
        let _ = writeln!(added, "{} = {}", key.name, said.to_string().trim());
    }
    let added = as_before(text, added);
    added.parse::<DocumentMut>().map(|_| added)
}

/// Which setup added the profile `name`, as it was passed to [`with_profile`]; `None` if none did.
pub fn profile_added_by<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let header = header(name);
    let mut lines = text.lines().zip(text.lines().skip(1));
    lines.find_map(|(line, next)| line.strip_prefix(ADDED_BY).filter(|_| next.trim_end() == header))
}

/// Removes the profile `name` from `text`, if [`with_profile`] added it.
pub fn without_profile(text: &str, name: &str) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let header = header(name);
    let is_it = |pair: &[&str]| pair[0].starts_with(ADDED_BY) && pair[1].trim_end() == header;
    let Some(marker) = lines.windows(2).position(is_it) else { return text.to_owned() };
    let is_next = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with(['[', '#']);
    let body = &lines[marker + 2..];
    let end = marker + 2 + body.iter().position(is_next).unwrap_or(body.len());
    let blank = marker > 0 && lines[marker - 1].trim().is_empty();
    let left = [&lines[..marker - usize::from(blank)], &lines[end..]].concat().concat();
    as_before(text, left)
}

/// The header line of a profile.
fn header(name: &str) -> String {
    format!("[profile.{}]", Key::new(name).display_repr())
}

/// Maps `pattern` to `profile` in `[hosts]`.
pub fn with_host(text: &str, pattern: &HostPattern, profile: &str) -> Result<String, TomlError> {
    edited(text, |document| {
        if let Some(hosts) = section(document, "hosts", text.is_empty()) {
            hosts.insert(&pattern.canonical(), value(profile));
        }
    })
}

/// Maps `pattern` to `profile` for one caller, in addition to the callers that its rule already has.
pub fn with_host_for(text: &str, pattern: &HostPattern, profile: &str, caller: &str) -> Result<String, TomlError> {
    edited(text, |document| {
        let Some(hosts) = section(document, "hosts", text.is_empty()) else { return };
        let callers = |names: &[&str]| Value::Array(names.iter().copied().collect());
        let rule = |names: &[&str]| {
            let mut rule = InlineTable::new();
            rule.insert("profile", profile.into());
            rule.insert("callers", callers(names));
            value(rule)
        };
        let Some(known) = key_of(hosts, pattern).and_then(|key| hosts.get_mut(&key)) else {
            hosts.insert(&pattern.canonical(), rule(&[caller]));
            return;
        };
        match known.as_table_like_mut() {
            None => *known = rule(&[GIT, caller]),
            Some(known) => match known.get_mut("callers").and_then(Item::as_array_mut) {
                Some(names) => names.push(caller),
                None => drop(known.insert("callers", value(callers(&[GIT, caller])))),
            },
        }
    })
}

/// Removes one caller from the rule for `pattern`. If no caller is left, removes the rule, and `[hosts]` as in
/// [`without_host`].
pub fn without_host_for(text: &str, pattern: &HostPattern, caller: &str, section: bool) -> Result<String, TomlError> {
    let mut others = false;
    let changed = edited(text, |document| {
        let Some(hosts) = document.get_mut("hosts").and_then(Item::as_table_like_mut) else { return };
        let Some(key) = key_of(hosts, pattern) else { return };
        let names = hosts.get_mut(&key).and_then(|rule| rule.as_table_like_mut()?.get_mut("callers")?.as_array_mut());
        // A rule without `callers` is for git.
        let Some(names) = names else {
            others = caller != GIT;
            return;
        };
        names.retain(|name| name.as_str() != Some(caller));
        others = !names.is_empty();
    })?;
    if others { Ok(changed) } else { without_host(text, pattern, section) }
}

/// The key under which `pattern` is mapped, however it is written.
fn key_of(hosts: &dyn TableLike, pattern: &HostPattern) -> Option<String> {
    let is_it = |key: &str| HostPattern::parse(key).is_ok_and(|known| known == *pattern);
    hosts.iter().map(|(key, _)| key.to_owned()).find(|key| is_it(key))
}

/// Removes the rule for `pattern`; also removes `[hosts]`, if it is then empty and `section` is true.
pub fn without_host(text: &str, pattern: &HostPattern, section: bool) -> Result<String, TomlError> {
    edited(text, |document| {
        let Some(hosts) = document.get_mut("hosts").and_then(Item::as_table_like_mut) else { return };
        let Some(key) = key_of(hosts, pattern) else { return };
        hosts.remove(&key);
        if section && hosts.is_empty() {
            document.remove("hosts");
        }
    })
}

/// Sets `profile` in `[az]`.
pub fn with_az_profile(text: &str, profile: &str) -> Result<String, TomlError> {
    edited(text, |document| {
        if let Some(az) = section(document, "az", text.is_empty()) {
            az.insert("profile", value(profile));
        }
    })
}

/// Removes `profile` from `[az]`, if it has this value; also removes `[az]`, if it is then empty and `section` is true.
pub fn without_az_profile(text: &str, profile: &str, section: bool) -> Result<String, TomlError> {
    edited(text, |document| {
        let Some(az) = document.get_mut("az").and_then(Item::as_table_like_mut) else { return };
        if az.get("profile").and_then(Item::as_str) == Some(profile) {
            az.remove("profile");
        }
        if section && az.is_empty() {
            document.remove("az");
        }
    })
}

/// Sets `store`, which says how sessions are kept, at the top of the file.
pub fn with_store(text: &str, kind: StoreKind) -> Result<String, TomlError> {
    let said = format!("store = {:?}\n", kind.word());
    let mut document: DocumentMut = text.parse()?;
    if let Some(word) = document.get_mut("store").and_then(Item::as_value_mut) {
        let around = word.decor().clone();
        *word = kind.word().into();
        *word.decor_mut() = around;
        return Ok(as_before(text, document.to_string()));
    }
    // Insert it at the beginning, because after a table's header it would belong to that table.
    let with = format!("{said}{}{text}", if text.is_empty() || text.starts_with(['\n', '\r']) { "" } else { "\n" });
    with.parse::<DocumentMut>().map(|_| as_before(text, with))
}

/// Whether the file has this table.
pub fn has_section(text: &str, name: &str) -> bool {
    text.parse::<DocumentMut>().is_ok_and(|document| document.contains_key(name))
}

/// The table of this name at the top level, made if it does not exist.
fn section<'d>(document: &'d mut DocumentMut, name: &str, first: bool) -> Option<&'d mut dyn TableLike> {
    let made = || {
        let mut table = Table::new();
        // Add an empty line before it, unless it is the first line of the file.
        table.decor_mut().set_prefix(if first { "" } else { "\n" });
        Item::Table(table)
    };
    document.entry(name).or_insert_with(made).as_table_like_mut()
}

/// Edits the document. Line endings are kept, and a missing line break at the end stays missing.
pub fn edited(text: &str, edit: impl FnOnce(&mut DocumentMut)) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    edit(&mut document);
    Ok(as_before(text, document.to_string()))
}

/// Gives `edited` the line endings of `text`, and no line break at the end if `text` has none.
fn as_before(text: &str, mut edited: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        edited.truncate(edited.trim_end_matches('\n').len());
    }
    let dos =
        text.contains('\n') && text.split_inclusive('\n').all(|line| line.ends_with("\r\n") || !line.ends_with('\n'));
    if dos { edited.replace("\r\n", "\n").replace('\n', "\r\n") } else { edited }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_comes_and_goes_and_the_rest_stays_byte_for_byte() {
        let pattern = HostPattern::parse("https://GitHub.com").unwrap();
        for (before, after) in [
            ("", "[hosts]\n\"https://github.com\" = \"gh\"\n"),
            (
                "# mine\n[profile.gh]  # yes\nprovider='github'\n",
                "# mine\n[profile.gh]  # yes\nprovider='github'\n\n[hosts]\n\"https://github.com\" = \"gh\"\n",
            ),
            (
                "[hosts]\n'https://a.example'  =  'a' # a\n\n[profile.a]\nissuer = 'x'\n# end\n",
                "[hosts]\n'https://a.example'  =  'a' # a\n\"https://github.com\" = \"gh\"\n\n[profile.a]\nissuer = 'x'\n# end\n",
            ),
        ] {
            let with = with_host(before, &pattern, "gh").unwrap();
            assert_eq!(with, after);
            assert_eq!(without_host(&with, &pattern, true).unwrap(), before);
        }
        for odd in
            ["[profile.gh]\nprovider = 'github'", "[profile.gh]\r\nprovider = 'github'\r\n", "[profile.gh]\n\n# end"]
        {
            let with = with_host(odd, &pattern, "gh").unwrap();
            assert_eq!(without_host(&with, &pattern, true).unwrap(), odd, "{with:?}");
        }
        assert_eq!(without_host("[profile.a]\n", &pattern, true).unwrap(), "[profile.a]\n");
        for (section, left) in [(true, ""), (false, "[hosts]\n")] {
            assert_eq!(without_host("[hosts]\n'https://github.com' = 'gh'\n", &pattern, section).unwrap(), left);
        }
    }

    #[test]
    fn a_host_is_for_one_caller_more_or_less() {
        let pattern = HostPattern::parse("https://ghcr.io").unwrap();
        let alone = "[hosts]\n\"https://ghcr.io\" = { profile = \"gh\", callers = [\"docker\"] }\n";
        for (before, after, left) in [
            ("", alone, ""),
            (
                "[hosts]\n'https://GHCR.io/' = 'gh'\n",
                "[hosts]\n'https://GHCR.io/' = { profile = \"gh\", callers = [\"git\", \"docker\"] }\n",
                "[hosts]\n'https://GHCR.io/' = { profile = \"gh\", callers = [\"git\"] }\n",
            ),
            (
                "[hosts]\n'https://ghcr.io' = { profile = 'gh', auth = 'basic' }\n",
                "[hosts]\n'https://ghcr.io' = { profile = 'gh', auth = 'basic' , callers = [\"git\", \"docker\"] }\n",
                "[hosts]\n'https://ghcr.io' = { profile = 'gh', auth = 'basic' , callers = [\"git\"] }\n",
            ),
            (
                "[hosts]\n'https://ghcr.io' = { profile = 'gh', callers = ['cargo'] }\n",
                "[hosts]\n'https://ghcr.io' = { profile = 'gh', callers = ['cargo', \"docker\"] }\n",
                "[hosts]\n'https://ghcr.io' = { profile = 'gh', callers = ['cargo'] }\n",
            ),
        ] {
            let with = with_host_for(before, &pattern, "gh", "docker").unwrap();
            assert_eq!(with, after);
            assert_eq!(without_host_for(&with, &pattern, "docker", true).unwrap(), left);
        }
        let gits = "[hosts]\n'https://ghcr.io' = 'gh'\n";
        assert_eq!(without_host_for(gits, &pattern, "docker", true).unwrap(), gits);
        assert_eq!(without_host_for(gits, &pattern, "git", true).unwrap(), "");
    }

    #[test]
    fn a_profile_comes_and_goes_and_the_rest_stays_byte_for_byte() {
        let mut settings = Settings::default();
        for (name, items) in [
            ("issuer", &["https://id.example.com/\"x\""][..]),
            ("scopes", &["openid", "a\\b"]),
            ("extra", &["login hint=ada=1", "x=y"]),
            ("min-ttl", &["60"]),
        ] {
            let key = super::super::KEYS.iter().find(|key| key.name == name).unwrap();
            settings.set(key, items.iter().map(|&i| i.to_owned()).collect(), super::super::Origin::Flag("x")).unwrap();
        }
        let block = "# Added by keyfob setup git\n[profile.lab]\nissuer = 'https://id.example.com/\"x\"'\n\
                     scopes = [\"openid\", 'a\\b']\nextra = { \"login hint\" = \"ada=1\", x = \"y\" }\nmin-ttl = 60\n";
        for (before, after) in [
            ("", block.to_owned()),
            ("# mine\n", format!("# mine\n\n{block}")),
            ("[hosts]\n'https://a.example' = 'a'\n\n", format!("[hosts]\n'https://a.example' = 'a'\n\n\n{block}")),
            ("[az]", format!("[az]\n\n{}", block.trim_end())),
            ("[az]\r\n", format!("[az]\r\n\r\n{}", block.replace('\n', "\r\n"))),
        ] {
            let with = with_profile(before, "lab", &settings, "setup git").unwrap();
            assert_eq!(with, after);
            assert_eq!(profile_added_by(&with, "lab"), Some("setup git"));
            assert_eq!(without_profile(&with, "lab"), before);
            let more = with_profile(&with, "a b", &settings, "setup az").unwrap();
            assert!(more.contains("[profile.\"a b\"]"), "{more}");
            assert_eq!(without_profile(&without_profile(&more, "lab"), "a b"), before);
        }
        let mine = "[profile.lab]\nissuer = 'x'\n";
        assert_eq!((profile_added_by(mine, "lab"), without_profile(mine, "lab").as_str()), (None, mine));
    }

    #[test]
    fn how_sessions_are_kept_is_said_at_the_top() {
        for (before, after) in [
            ("", "store = \"kernel\"\n"),
            ("[az]\n", "store = \"kernel\"\n\n[az]\n"),
            ("# mine\r\n[az]\r\n", "store = \"kernel\"\r\n\r\n# mine\r\n[az]\r\n"),
            ("a = 1\nstore = 'file' # here\n[az]\n", "a = 1\nstore = \"kernel\" # here\n[az]\n"),
        ] {
            assert_eq!(with_store(before, StoreKind::Kernel).unwrap(), after);
        }
    }

    #[test]
    fn azs_profile_comes_and_goes_and_the_rest_stays() {
        for (before, after) in [
            ("[profile.w]\n", "[profile.w]\n\n[az]\nprofile = \"w\"\n"),
            ("[az]\nsubscription = 's' # mine\n", "[az]\nsubscription = 's' # mine\nprofile = \"w\"\n"),
        ] {
            assert_eq!(with_az_profile(before, "w").unwrap(), after);
            assert_eq!(without_az_profile(after, "w", true).unwrap(), before);
            assert_eq!(without_az_profile(after, "other", true).unwrap(), after);
        }
        assert_eq!(without_az_profile("[az]\nprofile = 'w'\n", "w", false).unwrap(), "[az]\n");
    }
}
