//! Changes to the text of `config.toml` that leave everything else as the person wrote it.

use super::HostPattern;
use toml_edit::{DocumentMut, Item, Table, TableLike, TomlError, value};

/// `text` with `pattern` mapped to `profile` in `[hosts]`.
pub fn with_host(text: &str, pattern: &HostPattern, profile: &str) -> Result<String, TomlError> {
    edited(text, |document| {
        if let Some(hosts) = section(document, "hosts", text.is_empty()) {
            hosts.insert(&pattern.canonical(), value(profile));
        }
    })
}

/// `text` without the line that maps `pattern`, and without `[hosts]` if that was all it held.
pub fn without_host(text: &str, pattern: &HostPattern) -> Result<String, TomlError> {
    edited(text, |document| {
        let Some(hosts) = document.get_mut("hosts").and_then(Item::as_table_like_mut) else { return };
        let is_it = |key: &str| HostPattern::parse(key).is_ok_and(|known| known == *pattern);
        let Some(key) = hosts.iter().map(|(key, _)| key.to_owned()).find(|key| is_it(key)) else { return };
        hosts.remove(&key);
        if hosts.is_empty() {
            document.remove("hosts");
        }
    })
}

/// `text` with `profile` in `[az]`.
pub fn with_az_profile(text: &str, profile: &str) -> Result<String, TomlError> {
    edited(text, |document| {
        if let Some(az) = section(document, "az", text.is_empty()) {
            az.insert("profile", value(profile));
        }
    })
}

/// `text` without the profile in `[az]`, if it is this one, and without `[az]` if that was all it held.
pub fn without_az_profile(text: &str, profile: &str) -> Result<String, TomlError> {
    edited(text, |document| {
        let Some(az) = document.get_mut("az").and_then(Item::as_table_like_mut) else { return };
        if az.get("profile").and_then(Item::as_str) == Some(profile) {
            az.remove("profile");
        }
        if az.is_empty() {
            document.remove("az");
        }
    })
}

/// A table at the top, made if need be.
fn section<'d>(document: &'d mut DocumentMut, name: &str, first: bool) -> Option<&'d mut dyn TableLike> {
    let made = || {
        let mut table = Table::new();
        // An empty line in front, unless it is the first thing in the file.
        table.decor_mut().set_prefix(if first { "" } else { "\n" });
        Item::Table(table)
    };
    document.entry(name).or_insert_with(made).as_table_like_mut()
}

/// Edits the document; line ends stay what they were, and a last line that had none gets none.
fn edited(text: &str, edit: impl FnOnce(&mut DocumentMut)) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    edit(&mut document);
    let mut edited = document.to_string();
    if !text.is_empty() && !text.ends_with('\n') {
        edited.truncate(edited.trim_end_matches('\n').len());
    }
    let dos =
        text.contains('\n') && text.split_inclusive('\n').all(|line| line.ends_with("\r\n") || !line.ends_with('\n'));
    Ok(if dos { edited.replace("\r\n", "\n").replace('\n', "\r\n") } else { edited })
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
            assert_eq!(without_host(&with, &pattern).unwrap(), before);
        }
        for odd in
            ["[profile.gh]\nprovider = 'github'", "[profile.gh]\r\nprovider = 'github'\r\n", "[profile.gh]\n\n# end"]
        {
            let with = with_host(odd, &pattern, "gh").unwrap();
            assert_eq!(without_host(&with, &pattern).unwrap(), odd, "{with:?}");
        }
        assert_eq!(without_host("[profile.a]\n", &pattern).unwrap(), "[profile.a]\n");
    }

    #[test]
    fn azs_profile_comes_and_goes_and_the_rest_stays() {
        for (before, after) in [
            ("[profile.w]\n", "[profile.w]\n\n[az]\nprofile = \"w\"\n"),
            ("[az]\nsubscription = 's' # mine\n", "[az]\nsubscription = 's' # mine\nprofile = \"w\"\n"),
        ] {
            assert_eq!(with_az_profile(before, "w").unwrap(), after);
            assert_eq!(without_az_profile(after, "w").unwrap(), before);
            assert_eq!(without_az_profile(after, "other").unwrap(), after);
        }
    }
}
