//! README.md and docs/ say what is true of the source: keys and their flags, providers, commands, variables and examples.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use keyfob::callers::{CALLERS, Caller};
use keyfob::config::{self, KEYS, Profile};
use keyfob::failure::Exit;
use keyfob::providers::{OPENID, PRESETS};

const REFERENCE: &str = include_str!("../../docs/reference.md");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page for people, by its path.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let others = ["README.md", "SECURITY.md", "CHANGELOG.md", "benches/README.md", "fuzz/README.md"];
    let pages = docs.chain(others.map(|page| root().join(page)));
    pages.map(|page| (page.clone(), fs::read_to_string(page).unwrap())).collect()
}

/// The blocks of code in this language.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let start = format!("```{language}\n");
    page.split(&start).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// The rows of the table with this heading, as their cells.
fn table<'p>(page: &'p str, heading: &str) -> Vec<Vec<&'p str>> {
    let rows = page.split(heading).nth(1).unwrap_or_else(|| panic!("no table {heading:?}")).lines().skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn every_key_of_a_profile_is_in_the_table_with_its_flag_and_its_help() {
    let rows: Vec<_> =
        table(REFERENCE, "| key | flag | what it is | default |").iter().map(|row| row[..3].join(" | ")).collect();
    let keys = KEYS.iter().map(|key| {
        let flag = key.flag.map(|flag| format!("`--{flag} {}`", key.value)).unwrap_or_default();
        let (help, _) = key.help.split_once(" [default").unwrap_or((key.help, ""));
        format!("`{}` | {flag} | {help}", key.name)
    });
    assert_eq!(rows, keys.collect::<Vec<_>>());
}

#[test]
fn every_provider_is_named() {
    let named = REFERENCE.split("or a `provider`: ").nth(1).unwrap().split('.').next().unwrap();
    let named: Vec<_> = named.split(',').map(str::trim).collect();
    let able = PRESETS.iter().filter(|preset| preset.name != OPENID.name);
    assert_eq!(named, able.map(|preset| preset.name).collect::<Vec<_>>());
}

#[test]
fn every_command_is_in_the_table() {
    let rows = table(REFERENCE, "| command | what it does |");
    let command = keyfob::cli::command();
    let is_caller = |name: &str| CALLERS.iter().any(|caller| caller.name == name);
    for name in command.get_subcommands().map(clap::Command::get_name).filter(|name| !is_caller(name)) {
        let name = format!("`keyfob {name}");
        assert!(rows.iter().any(|row| row[0].contains(&name)), "{name}");
    }
}

/// `KEYFOB_WRITE_REFERENCE=1 cargo test --test cli the_table_of_callers` writes the table anew.
#[test]
fn the_table_of_callers_is_that_of_their_rows() {
    let mut rows = String::new();
    for Caller { name, alias, link, about, .. } in CALLERS {
        let alias = alias.map(|alias| format!("`keyfob {alias}`"));
        let link = link.map(|link| format!("`{}`, by link", link.name));
        let others: Vec<_> = alias.into_iter().chain(link).collect();
        let _ = writeln!(rows, "| `keyfob {name}` | {about} | {} |", others.join("; "));
    }
    let table = format!("| caller | what it does | also as |\n|---|---|---|\n{rows}\n");
    if std::env::var_os("KEYFOB_WRITE_REFERENCE").is_some() {
        let (before, rest) = REFERENCE.split_once("| caller |").unwrap();
        let (_, after) = rest.split_once("|\n\n").unwrap();
        fs::write(root().join("docs/reference.md"), format!("{before}{table}{after}")).unwrap();
    } else {
        let how = "write it anew: KEYFOB_WRITE_REFERENCE=1 cargo test --test cli the_table_of_callers";
        assert!(REFERENCE.contains(&table), "the table of callers in docs/reference.md is not current; {how}");
    }
}

#[test]
fn every_exit_code_is_in_the_table() {
    let codes: Vec<_> =
        table(REFERENCE, "| exit code | meaning |").iter().map(|row| row[0].parse::<u8>().unwrap()).collect();
    let exits = [Exit::Failed, Exit::Usage, Exit::SignInNeeded, Exit::Refused, Exit::Unreachable];
    assert_eq!(codes, [0].into_iter().chain(exits.map(|exit| exit as u8)).collect::<Vec<_>>());
}

#[test]
fn every_configuration_shown_can_be_read() {
    for (page, text) in pages() {
        for block in blocks(&text, "toml") {
            // A piece may map hosts to profiles that it does not show.
            let said = block.lines().filter(|line| line.starts_with('"')).filter_map(|line| {
                let rest = line.split_once("profile = \"").or_else(|| line.split_once("= \""))?.1;
                rest.split('"').next()
            });
            let mut names: Vec<_> = said.filter(|name| !block.contains(&format!("[profile.{name}]"))).collect();
            names.sort_unstable();
            names.dedup();
            let profiles = names.iter().fold(String::new(), |text, name| text + "\n[profile." + name + "]\n");
            let read = config::read(&page, &format!("{block}{profiles}"), None);
            assert!(read.is_ok(), "{}: {}", page.display(), read.unwrap_err());
        }
    }
}

#[test]
fn every_profile_of_a_provider_can_be_used() {
    let (page, text) = pages().into_iter().find(|(page, _)| page.ends_with("providers.md")).unwrap();
    for block in blocks(&text, "toml") {
        for profile in Profile::all_of(config::read(&page, block, None).unwrap()).into_values() {
            assert!(profile.is_ok(), "{block}\n{}", profile.unwrap_err());
        }
    }
}

/// What is bold on the screen, in SVG.
fn span(row: &str) -> String {
    let escaped = row.replace('&', "&amp;").replace('<', "&lt;");
    let pieces = escaped.split("**").enumerate();
    pieces
        .map(|(at, text)| if at % 2 == 1 { format!("<tspan class=\"b\">{text}</tspan>") } else { text.to_owned() })
        .collect()
}

/// README's picture of a prompt is the screen that `screens` holds, with the address of README's examples.
/// `KEYFOB_WRITE_PICTURE=1 cargo test --test cli the_picture` draws it anew.
#[test]
fn the_picture_of_the_prompt_is_current() {
    let screen = fs::read_to_string(root().join("tests/cli/screens/prompt-80x24.snap")).unwrap();
    let screen = screen.split("---\n").nth(2).unwrap().replace("http://127.0.0.1:54321", "https://id.example.com");
    let rows: Vec<&str> = screen.trim_end().lines().collect();
    let height = 32 + 20 * rows.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"{height}\" role=\"img\" aria-label=\"keyfob's prompt\">\n\
         <style>text{{font:14px ui-monospace,monospace;fill:#ddd;white-space:pre}}.b{{font-weight:bold;fill:#fff}}</style>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1e1e1e\"/>\n"
    );
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| !row.is_empty()) {
        let _ = writeln!(svg, "<text x=\"20\" y=\"{}\" xml:space=\"preserve\">{}</text>", 34 + 20 * at, span(row));
    }
    svg += "</svg>\n";
    let file = root().join("docs/prompt.svg");
    if std::env::var_os("KEYFOB_WRITE_PICTURE").is_some() {
        fs::write(&file, &svg).unwrap();
    }
    let how = "draw it anew: KEYFOB_WRITE_PICTURE=1 cargo test --test cli the_picture";
    assert_eq!(fs::read_to_string(&file).unwrap_or_default(), svg, "docs/prompt.svg is not current; {how}");
}

#[test]
fn every_command_line_shown_is_one() {
    let mut lines = 0;
    for (page, text) in pages() {
        for line in blocks(&text, "sh").into_iter().flat_map(str::lines).filter(|line| line.starts_with("keyfob ")) {
            let words = line.split("  #").next().unwrap().split(" | ").next().unwrap().split_whitespace();
            if let Err(error) = keyfob::cli::command().try_get_matches_from(words) {
                panic!("{}: {line}\n{error}", page.display());
            }
            lines += 1;
        }
    }
    assert!(lines > 5, "{lines} command lines were found");
}

/// How GitHub calls a heading in an address.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
}

#[test]
fn every_link_leads_somewhere() {
    for (page, text) in pages() {
        for rest in text.split("](").skip(1) {
            let link = rest.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let target =
                fs::read_to_string(&target).unwrap_or_else(|error| panic!("{}: {link}: {error}", page.display()));
            let there = place.is_empty()
                || target
                    .lines()
                    .any(|line| line.starts_with('#') && anchor(line.trim_start_matches(['#', ' '])) == place);
            assert!(there, "{}: {link}", page.display());
        }
    }
}
