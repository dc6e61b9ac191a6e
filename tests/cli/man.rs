//! The man pages in `man/`: made from the same definition as `--help`, and current.
//!
//! `KEYFOB_WRITE_MAN=1 cargo test --test cli man::` writes them anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use keyfob_test_support::{Output, skip};

const REFERENCE: &str = include_str!("../../docs/reference.md");

/// Every page: its file's name and what it holds.
fn pages() -> BTreeMap<String, String> {
    fn add(pages: &mut BTreeMap<String, String>, command: &clap::Command) {
        let mut page = Vec::new();
        let man = Man::new(command.clone()).manual("keyfob").source(concat!("keyfob ", env!("CARGO_PKG_VERSION")));
        man.render_title(&mut page).unwrap();
        man.render_name_section(&mut page).unwrap();
        man.render_synopsis_section(&mut page).unwrap();
        man.render_description_section(&mut page).unwrap();
        man.render_options_section(&mut page).unwrap();
        if command.has_subcommands() {
            man.render_subcommands_section(&mut page).unwrap();
        }
        notes(command).to_writer(&mut page).unwrap();
        if man.get_filename() == "keyfob.1" {
            for (heading, table) in [("ENVIRONMENT", "| variable |"), ("FILES", "| file or folder |")] {
                section(heading, table).to_writer(&mut page).unwrap();
            }
        }
        pages.insert(man.get_filename(), String::from_utf8(page).unwrap());
        for subcommand in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            add(pages, subcommand);
        }
    }
    let mut command = keyfob::cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = BTreeMap::new();
    add(&mut pages, &command);
    pages
}

/// A table of docs/reference.md as a section: its first column names, its second says.
fn section(heading: &str, table: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    let rows = REFERENCE.lines().skip_while(|line| !line.starts_with(table)).skip(2);
    for row in rows.take_while(|line| line.starts_with('|')) {
        let mut cells = row.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', ""));
        roff.control("TP", []);
        roff.text([bold(cells.next().unwrap())]);
        roff.text([roman(cells.next().unwrap())]);
    }
    roff
}

/// What help says below the flags. Indented lines are examples, which must not be filled.
fn notes(command: &clap::Command) -> Roff {
    let mut roff = Roff::new();
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if !text.is_empty() {
        roff.control("SH", ["NOTES"]);
    }
    let mut filled = true;
    for line in text.lines() {
        if line.starts_with(' ') == filled {
            filled = !filled;
            roff.control(if filled { "fi" } else { "nf" }, []);
        }
        if line.is_empty() {
            roff.control("PP", []);
        } else {
            roff.text([roman(line)]);
        }
    }
    if !filled {
        roff.control("fi", []);
    }
    roff
}

#[test]
fn the_pages_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let there = || -> BTreeMap<String, String> {
        let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        files.map(|f| (f.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&f).unwrap())).collect()
    };
    let pages = pages();
    if std::env::var_os("KEYFOB_WRITE_MAN").is_some() {
        for name in there().keys() {
            fs::remove_file(folder.join(name)).unwrap();
        }
        for (name, page) in &pages {
            fs::write(folder.join(name), page).unwrap();
        }
    }
    assert!(there() == pages, "man/ is not current; write it anew: KEYFOB_WRITE_MAN=1 cargo test --test cli man::");
}

#[test]
fn the_pages_render_without_a_warning() {
    if Command::new("man").arg("--version").output().is_err() {
        skip!("man is not here");
    }
    for (name, page) in pages() {
        let mut man = Command::new("man");
        man.args(["--warnings", "--local-file", "-"]).env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
        let output = Output::of(man.stdin(Stdio::piped()), page.as_bytes());
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{name}");
        for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] {
            assert!(output.stdout.lines().any(|line| line == heading), "{name}: {}", output.stdout);
        }
    }
}
