//! Reads the part of `config.toml` that one answer needs, so that a cached answer does not get slower with every
//! unrelated profile and line of `[hosts]`.
//!
//! The sections are found by their lines, without parsing. Only the needed sections are parsed, by the same parser and
//! with their original line numbers; of `[hosts]`, only the lines that may be about the host. If the lines are not
//! plain enough, [`part`] returns `None` and the whole file is parsed. A mistake in an unneeded part goes unnoticed
//! here; everything but a cached answer parses the whole file.

use super::file::{File, Reader, Texts};
use super::hosts::Target;
use super::system;
use crate::sorted;
use std::path::Path;

/// What an answer needs of the configuration.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// The profile of this name, otherwise the default or only profile.
    Profile(Option<&'a str>),
    /// The profile of this name, otherwise the one that `[az]` names.
    Az(Option<&'a str>),
    /// The profiles that this host is mapped to.
    Host(&'a Target),
}

/// The name of a section.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name<'t> {
    /// The lines before the first header.
    Top,
    Az,
    Hosts,
    /// The profile of this name, or a table inside it.
    Profile(&'t str),
}

struct Section<'t> {
    name: Name<'t>,
    /// The section's lines, including its header.
    text: &'t str,
    /// The number of the first line.
    line: usize,
}

/// The configuration for `asked`; `None` if the whole files have to be parsed.
pub(super) fn part(texts: &Texts, asked: Asked<'_>) -> Option<File> {
    let mut layouts = vec![Layout::of(&texts.own.0, &texts.own.1)?];
    if let Some(text) = &texts.system {
        layouts.push(Layout::of(Path::new(system::PATH), text)?);
    }
    let mut file = layouts[0].first(asked)?;
    if let Some(system) = layouts.get(1) {
        file = file.over(system.first(asked)?);
    }
    let names = || layouts.iter().flat_map(Layout::profiles).map(|(name, _)| name);
    let mut needed = match asked {
        Asked::Profile(Some(name)) | Asked::Az(Some(name)) => sorted::set([name]),
        Asked::Profile(None) => {
            let default = file.default_profile.as_deref();
            let name = default.or_else(|| names().next())?;
            if default.is_none() && names().any(|another| another != name) {
                return None;
            }
            sorted::set([name])
        }
        Asked::Az(None) => sorted::set([file.az.profile.as_deref()?]),
        Asked::Host(_) => sorted::set(file.hosts.iter().map(|rule| rule.profile.as_str())),
    };
    let count = needed.len();
    let mut lines = Vec::new();
    for layout in &layouts {
        let mut second = Lines::default();
        let mut found = Vec::new();
        for (name, section) in layout.profiles().filter(|(name, _)| needed.contains(name)) {
            second.add(section.text, section.line);
            found.push(name);
        }
        // The user's profile replaces the system's of the same name.
        for name in found {
            needed.remove(name);
        }
        lines.push((layout.path, second));
    }
    for (path, lines) in lines {
        lines.read(path, &mut file)?;
    }
    // A profile with `source-profile` may need any other profile.
    let leads_on = file.profiles.values().flatten().any(|said| said.has("source-profile"));
    (file.profiles.len() == count && !leads_on).then_some(file)
}

/// A file, split into sections.
struct Layout<'t> {
    path: &'t Path,
    sections: Vec<Section<'t>>,
}

impl<'t> Layout<'t> {
    fn of(path: &'t Path, text: &'t str) -> Option<Self> {
        Some(Self { path, sections: sections(text)? })
    }

    fn profiles(&self) -> impl Iterator<Item = (&'t str, &Section<'t>)> {
        self.sections.iter().filter_map(|section| match section.name {
            Name::Profile(name) => Some((name, section)),
            _ => None,
        })
    }

    /// What the file says apart from profiles, as far as `asked` needs it.
    fn first(&self, asked: Asked<'_>) -> Option<File> {
        let mut lines = Lines::default();
        for section in &self.sections {
            match (section.name, asked) {
                (Name::Top, _) | (Name::Az, Asked::Az(_)) => lines.add(section.text, section.line),
                (Name::Hosts, Asked::Host(target)) => lines.add_rules(section, target)?,
                _ => {}
            }
        }
        let mut file = File::default();
        lines.read(self.path, &mut file)?;
        if let Asked::Host(target) = asked {
            file.hosts.retain(|rule| rule.pattern.matches_host(target));
        }
        // A profile could also be at the top, as `profile.NAME.KEY`.
        file.profiles.is_empty().then_some(file)
    }
}

/// Splits a file into sections; `None` unless every line that may be a header plainly is one.
fn sections(text: &str) -> Option<Vec<Section<'_>>> {
    let is_tripled = |quote: u8| {
        text.match_indices(char::from(quote)).any(|(at, _)| text.as_bytes()[at + 1..].starts_with(&[quote; 2]))
    };
    if is_tripled(b'"') || is_tripled(b'\'') {
        // A string of several lines may contain lines that look like headers.
        return None;
    }
    let mut sections = Vec::with_capacity(16);
    let (mut name, mut begin, mut begin_line) = (Name::Top, 0, 1);
    let (mut at, mut line) = (0, 1);
    for row in text.split_inclusive('\n') {
        if row.trim_start_matches(BLANK).starts_with('[') {
            sections.push(Section { name, text: &text[begin..at], line: begin_line });
            (name, begin, begin_line) = (header(row)?, at, line);
        }
        at += row.len();
        line += 1;
    }
    sections.push(Section { name, text: &text[begin..], line: begin_line });
    Some(sections)
}

/// The characters between words, and at the end of lines.
const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// The section that a header line begins; `None` if the line is not plainly a header, e.g. part of a list over several
/// lines.
fn header(row: &str) -> Option<Name<'_>> {
    let (inner, behind) = row.trim_matches(BLANK).strip_prefix('[')?.split_once(']')?;
    let behind = behind.trim_start_matches(BLANK);
    if !behind.is_empty() && !behind.starts_with('#') {
        return None;
    }
    match inner {
        "az" => Some(Name::Az),
        "hosts" => Some(Name::Hosts),
        _ => {
            let key = inner.strip_prefix("profile.")?;
            let (name, rest) = match key.strip_prefix(['"', '\'']) {
                Some(quoted) => quoted.split_once(&key[..1]).filter(|(name, _)| !name.contains('\\'))?,
                None => key
                    .split_at(key.find(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)).unwrap_or(key.len())),
            };
            (rest.is_empty() || rest.starts_with('.')).then_some(Name::Profile(name))
        }
    }
}

/// Lines of a file, and their numbers in it.
#[derive(Default)]
struct Lines {
    text: String,
    numbers: Vec<usize>,
}

impl Lines {
    fn add(&mut self, text: &str, first: usize) {
        self.text.push_str(text);
        self.numbers.extend(first..first + text.split_inclusive('\n').count());
    }

    /// Adds the header of `[hosts]`, and its lines that may be about this host; `None` unless each line is plainly one
    /// rule.
    fn add_rules(&mut self, section: &Section<'_>, target: &Target) -> Option<()> {
        let host = target.host().as_bytes();
        let is_hosts = |word: &[u8]| word[0].to_ascii_lowercase() == host[0] && word.eq_ignore_ascii_case(host);
        for (number, row) in (section.line..).zip(section.text.split_inclusive('\n')) {
            let rule = row.trim_matches(BLANK).as_bytes();
            let (Some(first), Some(last)) = (rule.first(), rule.last()) else { continue };
            let needed = match first {
                b'[' => true,
                b'#' => false,
                // A wildcard or an escaped name may also stand for this host.
                b'"' | b'\'' if b"\"'}".contains(last) => {
                    rule.iter().any(|byte| b"*\\".contains(byte)) || rule.windows(host.len()).any(is_hosts)
                }
                // This may be one of several lines of a rule.
                _ => return None,
            };
            if needed {
                self.add(row, number);
            }
        }
        Some(())
    }

    /// Parses these lines into `file`; `None` if anything is wrong with them.
    fn read(self, path: &Path, file: &mut File) -> Option<()> {
        Reader::of_lines(path, &self.text, self.numbers).read(&self.text, file).is_ok().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::hosts::{find, of_host};
    use super::*;
    use proptest::prelude::*;

    const PLAIN: &str = "\
default-profile = 'lab'
[profile.lab]
issuer = 'https://id.example.com'
scopes = [
  'openid', # and
  'email',
]
extra = { a = 'b' }
[profile.\"my hub\"]
provider = 'github'
  [profile.\"my hub\".extra] # below it
  c = 'd'
[az]
profile = 'lab'
[hosts]
# Both
'https://git.example.com' = 'lab'
'https://*.example.com' = { profile = 'lab', callers = ['git', 'docker'] }

\"https://ada@GitHub.com:443/team\" = 'my hub'
";

    fn texts(own: &str, system: Option<&str>) -> Texts {
        Texts { own: ("config.toml".into(), own.to_owned()), system: system.map(str::to_owned) }
    }

    fn read(text: &str, asked: Asked<'_>) -> Option<File> {
        part(&texts(text, None), asked)
    }

    fn names(file: Option<File>) -> Option<Vec<String>> {
        Some(file?.profiles.into_keys().collect())
    }

    #[test]
    fn what_one_answer_needs_is_read_with_its_lines() {
        let lab = read(PLAIN, Asked::Profile(None)).unwrap();
        assert_eq!((lab.profiles.len(), lab.hosts.len(), lab.az), (1, 0, super::super::Az::default()));
        let said = lab.profiles["lab"].as_ref().unwrap();
        assert_eq!(
            (said.items("scopes"), said.place("extra")),
            (&["openid".into(), "email".into()][..], "config.toml:8".into())
        );
        let hub = read(PLAIN, Asked::Profile(Some("my hub"))).unwrap();
        assert_eq!(hub.profiles["my hub"].as_ref().unwrap().place("extra"), "config.toml:11");
        let az = read(PLAIN, Asked::Az(None)).unwrap();
        assert_eq!((az.az.profile.as_deref(), az.profiles.len()), (Some("lab"), 1));
        for (host, profile, count) in
            [("git.example.com", "lab", 2), ("x.example.com", "lab", 1), ("github.com", "my hub", 1)]
        {
            let target = Target::parse("https", host, None, None).unwrap();
            let file = read(PLAIN, Asked::Host(&target)).unwrap();
            assert_eq!((file.hosts.len(), names(Some(file)).unwrap()), (count, vec![profile.to_owned()]), "{host}");
        }
        let elsewhere = Target::parse("https", "elsewhere.example", None, None).unwrap();
        assert_eq!(names(read(PLAIN, Asked::Host(&elsewhere))), Some(vec![]));
    }

    #[test]
    fn what_the_user_does_not_say_the_system_says() {
        let system = "default-profile = 'hub'\n[profile.lab]\nprovider = 'gitea'\n[profile.hub]\nprovider = 'github'\n\
                      [hosts]\n'https://github.com' = 'hub'\n'https://git.example.com/team' = 'lab'\n";
        let own = PLAIN.trim_start_matches("default-profile = 'lab'\n");
        let read = |asked| part(&texts(own, Some(system)), asked).unwrap();
        let said = |file: &File, name: &str| file.profiles[name].as_ref().unwrap().place("provider");
        let hub = read(Asked::Profile(None));
        assert_eq!((hub.profiles.len(), said(&hub, "hub")), (1, format!("{}:5", system::PATH)));
        let lab = read(Asked::Profile(Some("lab")));
        assert_eq!(
            (lab.profiles.len(), said(&lab, "lab")),
            (1, "`provider`".to_owned()),
            "the user's replaces it whole"
        );
        let target = Target::parse("https", "git.example.com", Some("team/a"), None).unwrap();
        let file = read(Asked::Host(&target));
        assert_eq!((file.hosts.iter().filter(|rule| rule.system).count(), file.hosts.len()), (1, 3));
        assert_eq!(names(Some(file)).unwrap(), ["lab"]);
    }

    #[test]
    fn a_file_of_another_layout_is_left_to_the_whole_parse() {
        for text in [
            "[profile]\nlab = {}\n",
            "profile.lab.issuer = 'https://id.example.com'\n",
            "[ profile.lab ]\n",
            "[profile.'l\\ab']\n[profile.lab]\n",
            "[profile.lab]\nlogin-hint = '''\n'''\n",
            "[profile.lab]\nlogin-hint = \"\"\"\n\"\"\"\n",
            "[profile.lab]\nscopes = [\n['a']\n]\n",
            "[profile.lab]\n[[hosts]]\n",
            "[profile.lab] x\n",
            "[profile.lab]\n[profile.lab]\n",
            "[profile.lab]\nsource-profile = 'other'\n[profile.other]\n",
            "[profile.lab\n",
            "nonsense\n[profile.lab]\n",
        ] {
            assert_eq!(names(read(text, Asked::Profile(Some("lab")))), None, "{text}");
        }
        let target = Target::parse("https", "a.example", None, None).unwrap();
        for rules in [
            "'https://b.example' = { profile = 'lab', callers = [\n'git'] }\n",
            "https.x = 'lab'\n",
            "'https://a.example' = 'lab' # mine\n",
            "'https://a.example' = 'lab'\n'https://A.example' = 'lab'\n",
            "'https://a.example' = 'another'\n",
        ] {
            let text = format!("[profile.lab]\n[hosts]\n{rules}");
            assert_eq!(names(read(&text, Asked::Host(&target))), None, "{rules}");
        }
        for (text, asked) in [
            ("[profile.a]\n[profile.b]\n", Asked::Profile(None)),
            ("[profile.a]\n", Asked::Profile(Some("b"))),
            ("[profile.a]\nprovider = 'entra'\n", Asked::Az(None)),
            ("", Asked::Profile(None)),
        ] {
            assert_eq!(names(read(text, asked)), None, "{text}");
        }
    }

    /// Sections as people write them, including forms that are hard to tell apart.
    fn written() -> impl Strategy<Value = String> {
        let rows = prop::sample::select(
            &[
                "",
                "# [hosts]",
                "  ",
                "default-profile = 'a'",
                "store = 'file'",
                "[profile.a]",
                "[profile.b]",
                "[profile.'c d']",
                "[profile.\"a\"]",
                " [profile.b] # b",
                "[profile.a.extra]",
                "[profile]",
                "[profile . b]",
                "[hosts]",
                "[az]",
                "profile = 'a'",
                "profile.a.account = 'x'",
                "a.account = 'y'",
                "account = 'x # [hosts]'",
                "account = \"[az]\"",
                "account = '''",
                "[hosts]'''",
                "account = \"\"\"\\",
                "scopes = ['a',",
                "scopes = [",
                "'x'",
                "['x'],",
                "[az],",
                "]",
                "  'y' ]",
                "extra = { p = 'q' }",
                "p = 'q'",
                "issuer = 'http://wrong.example'",
                "source-profile = 'b'",
                "nonsense",
                "'https://git.example' = 'a'",
                "\"https://GIT.example/team\" = \"b\"",
                "'https://u@git.example' = 'c d'",
                "'https://*.example' = { profile = 'a', callers = ['git', 'docker'] }",
                "'https://git.example:444' = 'b'",
                "\"https://\\u0067it.example/x\" = 'b'",
                "'https://one.example' = { profile = 'b', callers = [",
                "'docker' ] }",
                "'https://one.example' = { # '",
                "profile = 'b' }",
                "'profile' = 'a' }",
                "'https://one.example' = 'a' # one",
                "'https://one.example' = 'a'",
                "[hosts] [az]",
                "\u{feff}",
                "\u{a0}[az]",
            ][..],
        );
        let end = prop::sample::select(&["\n", "\n", "\n", "\r\n"][..]);
        prop::collection::vec((rows, end), 0..14)
            .prop_map(|rows| rows.iter().flat_map(|(row, end)| [*row, *end]).collect())
    }

    /// A profile's settings, and where each was set.
    fn said(file: &File, name: &str) -> String {
        match file.profiles.get(name) {
            None => "nothing".to_owned(),
            Some(Err(failure)) => failure.message.clone(),
            Some(Ok(said)) => {
                let all = said.all().map(|(key, items)| format!("{}: {} {items:?}", said.place(key.name), key.name));
                all.collect::<Vec<_>>().join("\n")
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// If the whole file can be read, the part says the same.
        #[test]
        fn the_part_says_what_the_whole_says(own in written(), system in prop::option::of(written())) {
            let texts = texts(&own, system.as_deref());
            let Ok(whole) = texts.whole() else { return Ok(()) };
            let read = |asked: Asked<'_>| part(&texts, asked);
            for name in ["a", "b", "c d", "none"] {
                for (asked, is_az) in [(Asked::Profile(Some(name)), false), (Asked::Az(Some(name)), true)] {
                    let Some(part) = read(asked) else { continue };
                    prop_assert_eq!(said(&part, name), said(&whole, name));
                    prop_assert!(!is_az || part.az == whole.az);
                }
            }
            if let Some(part) = read(Asked::Profile(None)) {
                let only = || whole.profiles.keys().next().filter(|_| whole.profiles.len() == 1);
                let name = whole.default_profile.as_ref().or_else(only).unwrap();
                prop_assert_eq!((&part.default_profile, said(&part, name)), (&whole.default_profile, said(&whole, name)));
                prop_assert_eq!(part.profiles.len(), 1);
            }
            if let Some(part) = read(Asked::Az(None)) {
                prop_assert_eq!(&part.az, &whole.az);
                let name = whole.az.profile.as_deref().unwrap();
                prop_assert_eq!(said(&part, name), said(&whole, name));
            }
            for (host, path) in [("git.example", None), ("git.example", Some("team/x")), ("one.example", None), ("git.example:444", None)] {
                let target = Target::parse("https", host, path, Some("u")).unwrap();
                let Some(part) = read(Asked::Host(&target)) else { continue };
                for caller in ["git", "docker"] {
                    prop_assert_eq!(find(&part.hosts, &target, caller), find(&whole.hosts, &target, caller));
                    prop_assert!(of_host(&part.hosts, &target, caller).eq(of_host(&whole.hosts, &target, caller)));
                }
                for rule in &part.hosts {
                    prop_assert_eq!(said(&part, &rule.profile), said(&whole, &rule.profile));
                }
            }
        }
    }
}
