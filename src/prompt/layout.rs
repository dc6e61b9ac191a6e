//! What the prompt says, and its layout on a terminal of any width. Nothing here writes or asks the system.

use super::{SignIn, Way, qr};
use crate::clock::{minutes, roughly};
use crate::text::one_line;
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

/// The width of labels, including the indentation, in columns.
const LABELS: usize = 16;
const INDENTATION: &str = "    ";

/// What the prompt says, in the order in which a person needs it; cleaned for display.
#[derive(Debug)]
pub(super) struct Page {
    parts: Vec<Part>,
    /// The address to show as a QR code, if one is wanted.
    qr: Option<String>,
    /// The sign-in waits for a browser, not for a code.
    by_browser: bool,
}

#[derive(Debug)]
enum Part {
    Empty,
    Text(String),
    /// A text that the person should consider before going on.
    Warning(String),
    /// A label, and a value that has to be read or copied letter by letter.
    Value(&'static str, String),
}

/// What the layout needs to know about a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Whether colours and bold letters are wanted.
    pub colour: bool,
    /// Whether the terminal shows more than ASCII.
    pub unicode: bool,
}

/// One row of a terminal, or several if a value is wider than the terminal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The text, including the escape sequences for its style.
    pub(super) text: String,
    /// The visible width, in columns.
    pub(super) width: usize,
}

/// A sentence in every prompt for a code.
pub const ONLY_YOURS: &str = "Enter the code only if you started this yourself.";

/// Where to open the address of a browser sign-in.
const OPENS: &str = "A browser window opens by itself; if none does, open the address in a browser on this machine.";
const OPEN_HERE: &str = "Open the address in a browser on this machine.";
const OPEN_THERE: &str = "Open the address in a browser on this machine, or on yours with that port forwarded.";

/// The warning about an address whose host is not the provider's.
pub fn foreign_note(host: &str) -> String {
    format!("Note: {host} is not the provider's own host. Go on only if you know it.")
}

impl Page {
    pub(super) fn of(sign_in: &SignIn<'_>) -> Self {
        let mut parts = Vec::new();
        let account = sign_in.account.map(|a| format!(" as {a}")).unwrap_or_default();
        let profile = if sign_in.profile == sign_in.authority {
            String::new()
        } else {
            format!(" (profile {})", sign_in.profile)
        };
        parts.push(Part::Text(format!("Sign in to {}{account}{profile}", sign_in.authority)));
        match sign_in.asked_by {
            Some(who) if sign_in.joined => {
                let since = sign_in.open_for.map(|time| format!(", {} ago", roughly(time))).unwrap_or_default();
                parts.push(Part::Text(format!("This sign-in was started for {who}{since}.")));
            }
            Some(who) => parts.push(Part::Text(format!("A token is asked for by {who}."))),
            None => {}
        }
        if let Some(because) = sign_in.because {
            parts.push(Part::Text(format!("Why now: {because}.")));
        }
        parts.push(Part::Empty);
        let address = sign_in.way.add_to(&mut parts);
        for part in &mut parts {
            if let Part::Text(text) | Part::Warning(text) | Part::Value(_, text) = part {
                *text = one_line(text);
            }
        }
        let qr = address.filter(|_| sign_in.qr).map(str::to_owned);
        if sign_in.qr && qr.is_none() {
            parts.push(Part::Text("There is no QR code: no other device can open that address.".into()));
        }
        Self { parts, qr, by_browser: matches!(sign_in.way, Way::Browser { .. }) }
    }

    /// The time left, in three forms from long to short.
    pub(super) fn waiting(&self, left: Duration) -> [String; 3] {
        let left = minutes(left);
        let long = if self.by_browser {
            format!("Waiting for the browser, {left} more. Ctrl-C stops.")
        } else {
            format!("Waiting; the code ends in {left}. Ctrl-C stops; the code stays good.")
        };
        [long, format!("{left} left. Ctrl-C stops."), format!("{left} left")]
    }

    /// The prompt as plain lines, which are not wrapped.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |part: &Part| match part {
            Part::Empty => String::new(),
            Part::Text(text) | Part::Warning(text) => text.clone(),
            Part::Value(label, value) => labelled(label, value),
        };
        let no_qr =
            self.qr.as_ref().map(|_| "There is no QR code here: it needs a terminal that can be rewritten.".to_owned());
        self.parts.iter().map(line).chain(no_qr).collect()
    }

    /// The prompt as rows for this terminal, whose last row is kept for the countdown. Empty rows are left out if the
    /// prompt would not fit otherwise.
    pub(super) fn rows(&self, on: &Terminal) -> Vec<Row> {
        let in_columns = self.parts.iter().all(|part| match part {
            Part::Value(_, value) => LABELS + value.width() <= on.width,
            _ => true,
        });
        let rows = |parts: &[Part]| parts.iter().flat_map(|part| part.rows(on, in_columns)).collect::<Vec<_>>();
        let values = self.parts.iter().rposition(|part| matches!(part, Part::Value(..))).map_or(0, |at| at + 1);
        let (above, below) = self.parts.split_at(values);
        let (mut above, mut below) = (rows(above), rows(below));
        if let Some(address) = &self.qr {
            match with_qr(address, on, [&above, &below]) {
                Ok((code, spacious)) => {
                    above.retain(|row| spacious || row.width > 0);
                    below.retain(|row| spacious || row.width > 0);
                    above.extend(code);
                }
                Err(why) => below.extend(wrapped(&why, on.width).into_iter().map(|line| Row::new("", &line, ""))),
            }
        }
        above.append(&mut below);
        let widths: Vec<usize> = above.iter().map(|row| row.width).collect();
        if height(&widths, on.width) + 1 > on.height {
            above.retain(|row| row.width > 0);
        }
        above
    }
}

impl<'a> Way<'a> {
    /// Adds what to do. Returns the address, if another device can open it.
    fn add_to(self, parts: &mut Vec<Part>) -> Option<&'a str> {
        match self {
            Self::Code { message, verification_uri, verification_uri_complete, foreign_host, user_code } => {
                if let Some(message) = message {
                    parts.push(Part::Text(message.to_owned()));
                    parts.push(Part::Empty);
                }
                parts.push(Part::Value("Open", verification_uri.into()));
                parts.push(Part::Value("Enter code", user_code.into()));
                if let Some(complete) = verification_uri_complete {
                    parts.push(Part::Value("Or open", complete.into()));
                }
                parts.push(Part::Empty);
                if let Some(host) = foreign_host {
                    parts.push(Part::Warning(foreign_note(host)));
                }
                parts.push(Part::Text(ONLY_YOURS.into()));
                Some(verification_uri_complete.unwrap_or(verification_uri))
            }
            Self::Browser { address, opening, remote, by_code } => {
                parts.push(Part::Value("Open", address.into()));
                if let Some(host) = remote {
                    let port = address.split(':').nth(2).and_then(|rest| rest.split('/').next()).unwrap_or_default();
                    parts.push(Part::Value("Over ssh", format!("ssh -L {port}:127.0.0.1:{port} {host}")));
                }
                parts.push(Part::Empty);
                let opens = if opening { OPENS } else { remote.map_or(OPEN_HERE, |_| OPEN_THERE) };
                parts.push(Part::Text(opens.into()));
                if let Some(command) = by_code {
                    parts.push(Part::Text(format!("If the page shows an error, sign in by a code: {command}")));
                }
                parts.push(Part::Text("Go on only if you started this yourself.".into()));
                None
            }
        }
    }
}

impl Part {
    fn rows(&self, on: &Terminal, in_columns: bool) -> Vec<Row> {
        let (bold, yellow) = if on.colour { ("1", "33") } else { ("", "") };
        let prose = |text, style| wrapped(text, on.width).iter().map(|line| Row::new("", line, style)).collect();
        match self {
            Self::Empty => vec![Row::new("", "", "")],
            Self::Text(text) => prose(text, ""),
            Self::Warning(text) => prose(text, yellow),
            Self::Value(label, value) if in_columns => vec![Row::new(&labelled(label, ""), value, bold)],
            Self::Value(label, value) => {
                let indentation = if INDENTATION.len() + value.width() <= on.width { INDENTATION } else { "" };
                vec![Row::new(label, "", ""), Row::new(indentation, value, bold)]
            }
        }
    }
}

impl Row {
    /// A row whose second half has a style: the parameters between `\x1b[` and `m`.
    fn new(plain: &str, styled: &str, style: &str) -> Self {
        let width = plain.width() + styled.width();
        let text = if style.is_empty() || styled.is_empty() {
            format!("{plain}{styled}")
        } else {
            format!("{plain}\u{1b}[{style}m{styled}\u{1b}[0m")
        };
        Self { text, width }
    }
}

/// The rows of the QR code, and whether the empty rows fit too. The error says why there is no QR code.
fn with_qr(address: &str, on: &Terminal, others: [&[Row]; 2]) -> Result<(Vec<Row>, bool), String> {
    if !on.unicode {
        return Err("There is no QR code here: this terminal's locale is not UTF-8.".into());
    }
    let widths = |spacious: bool| {
        let rows = others.into_iter().flatten().map(|row| row.width);
        rows.filter(|width| spacious || *width > 0).collect::<Vec<_>>()
    };
    let style = if on.colour { "30;47" } else { "" };
    let code = qr::lines(address, on.colour).ok_or("The address is too long for a QR code.")?;
    let code: Vec<Row> = code.iter().map(|line| Row::new("", line, style)).collect();
    let needed = |spacious| height(&widths(spacious), on.width) + code.len() + 1;
    match [true, false].into_iter().find(|spacious| needed(*spacious) <= on.height) {
        Some(spacious) if code[0].width <= on.width => Ok((code, spacious)),
        _ => {
            let columns = code[0].width;
            Err(format!("The QR code needs a terminal of {columns} columns and {} rows.", needed(false)))
        }
    }
}

/// How many terminal rows these take after wrapping.
pub(super) fn height(widths: &[usize], width: usize) -> usize {
    widths.iter().map(|row| row.div_ceil(width.max(1)).max(1)).sum()
}

fn labelled(label: &str, value: &str) -> String {
    format!("{INDENTATION}{label:<12}{value}")
}

/// Wraps text at spaces; a word that is wider than the terminal gets its own line.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The first form that fits into a line; the last form is cut if necessary. The last column stays free, because some
/// terminals wrap as soon as it is filled.
pub(super) fn fitting(forms: &[String], width: usize) -> String {
    let room = width.saturating_sub(1);
    let fits = forms.iter().find(|form| form.width() <= room);
    fits.cloned().unwrap_or_else(|| forms.last().into_iter().flat_map(|form| form.chars()).take(room).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: Way<'static> = code("https://id.example.com/device", None, None);

    const fn code<'a>(address: &'a str, complete: Option<&'a str>, foreign_host: Option<&'a str>) -> Way<'a> {
        Way::Code {
            message: None,
            verification_uri: address,
            verification_uri_complete: complete,
            foreign_host,
            user_code: "WDJB-MJHT",
        }
    }

    fn sign_in() -> SignIn<'static> {
        SignIn {
            profile: "lab",
            authority: "https://id.example.com",
            account: None,
            asked_by: Some("kubectl for https://10.0.0.1:6443"),
            joined: false,
            open_for: None,
            because: None,
            way: CODE,
            left: Duration::from_secs(899),
            qr: false,
        }
    }

    fn on(width: usize, height: usize) -> Terminal {
        Terminal { width, height, colour: false, unicode: true }
    }

    /// The rows on this terminal, line by line, with a bar where the terminal wraps.
    fn rows(sign_in: &SignIn<'_>, on: &Terminal) -> Vec<String> {
        let wrapped = |row: Row| {
            let letters: Vec<char> = row.text.chars().collect();
            letters.chunks(on.width).map(|part| part.iter().collect()).collect::<Vec<String>>().join("|")
        };
        Page::of(sign_in).rows(on).into_iter().map(wrapped).collect()
    }

    #[test]
    fn the_prompt_names_profile_and_asker_and_shows_address_and_code_plainly() {
        let lines = [
            "Sign in to https://id.example.com (profile lab)",
            "A token is asked for by kubectl for https://10.0.0.1:6443.",
            "",
            "    Open        https://id.example.com/device",
            "    Enter code  WDJB-MJHT",
            "",
            "Enter the code only if you started this yourself.",
        ];
        assert_eq!(Page::of(&sign_in()).lines(), lines);
        for width in [80, 300] {
            assert_eq!(rows(&sign_in(), &on(width, 24)), lines);
        }
    }

    #[test]
    fn what_explains_or_warns_stands_where_it_is_read() {
        let sign_in = SignIn {
            account: Some("ada"),
            joined: true,
            open_for: Some(Duration::from_secs(150)),
            because: Some("the provider ended the session"),
            way: code(
                "https://id.example.com/device",
                Some("https://other.example/device?c=WDJB-MJHT"),
                Some("other.example"),
            ),
            ..sign_in()
        };
        let lines = [
            "Sign in to https://id.example.com as ada (profile lab)",
            "This sign-in was started for kubectl for https://10.0.0.1:6443, 2 min ago.",
            "Why now: the provider ended the session.",
            "",
            "    Open        https://id.example.com/device",
            "    Enter code  WDJB-MJHT",
            "    Or open     https://other.example/device?c=WDJB-MJHT",
            "",
            "Note: other.example is not the provider's own host. Go on only if you know it.",
            "Enter the code only if you started this yourself.",
        ];
        assert_eq!(Page::of(&sign_in).lines(), lines);
    }

    #[test]
    fn a_browser_is_given_an_address_of_this_machine() {
        let shown = |opening, remote: Option<&str>| {
            let address = "http://127.0.0.1:8400/hYd93kd0sKdj20dk";
            let by_code = remote.map(|_| "keyfob login --flow device lab");
            let way = Way::Browser { address, opening, remote, by_code };
            let of = |qr| Page::of(&SignIn { asked_by: None, way, qr, ..sign_in() });
            let no_qr = of(true);
            assert!(no_qr.qr.is_none(), "no other device can open it");
            assert!(no_qr.lines().pop().unwrap().starts_with("There is no QR code"), "and that is said");
            let page = of(false);
            let last = page.waiting(Duration::from_secs(899))[0].clone();
            [page.lines(), vec![last]].concat()
        };
        assert_eq!(
            shown(true, None),
            [
                "Sign in to https://id.example.com (profile lab)",
                "",
                "    Open        http://127.0.0.1:8400/hYd93kd0sKdj20dk",
                "",
                "A browser window opens by itself; if none does, open the address in a browser on this machine.",
                "Go on only if you started this yourself.",
                "Waiting for the browser, 14:59 more. Ctrl-C stops.",
            ]
        );
        assert_eq!(
            shown(false, Some("build7"))[3..7],
            [
                "    Over ssh    ssh -L 8400:127.0.0.1:8400 build7",
                "",
                "Open the address in a browser on this machine, or on yours with that port forwarded.",
                "If the page shows an error, sign in by a code: keyfob login --flow device lab",
            ]
        );
    }

    #[test]
    fn a_narrow_terminal_gets_labels_and_values_in_turn_and_values_unbroken() {
        assert_eq!(
            rows(&sign_in(), &on(40, 24)),
            [
                "Sign in to https://id.example.com",
                "(profile lab)",
                "A token is asked for by kubectl for",
                "https://10.0.0.1:6443.",
                "",
                "Open",
                "    https://id.example.com/device",
                "Enter code",
                "    WDJB-MJHT",
                "",
                "Enter the code only if you started this",
                "yourself.",
            ]
        );
        assert_eq!(
            rows(&sign_in(), &on(20, 24)),
            [
                "Sign in to",
                "https://id.example.c|om",
                "(profile lab)",
                "A token is asked for",
                "by kubectl for",
                "https://10.0.0.1:644|3.",
                "",
                "Open",
                "https://id.example.c|om/device",
                "Enter code",
                "    WDJB-MJHT",
                "",
                "Enter the code only",
                "if you started this",
                "yourself.",
            ]
        );
    }

    #[test]
    fn address_and_code_are_bold_and_a_warning_is_yellow_where_colour_is_wanted() {
        let way = code("https://id.example.com/device", None, Some("other.example"));
        let sign_in = SignIn { way, ..sign_in() };
        let rows = Page::of(&sign_in).rows(&Terminal { colour: true, ..on(80, 24) });
        let styled: Vec<_> = rows.iter().map(|row| row.text.as_str()).filter(|t| t.contains('\u{1b}')).collect();
        assert_eq!(
            styled,
            [
                "    Open        \u{1b}[1mhttps://id.example.com/device\u{1b}[0m",
                "    Enter code  \u{1b}[1mWDJB-MJHT\u{1b}[0m",
                "\u{1b}[33mNote: other.example is not the provider's own host. Go on only if you know it.\u{1b}[0m",
            ]
        );
        assert_eq!(rows[3].width, 45, "what is seen of it");
    }

    #[test]
    fn a_qr_code_stands_below_the_code_if_everything_fits() {
        let way = code("https://a.example/d", None, None);
        let sign_in = SignIn { asked_by: None, way, qr: true, ..sign_in() };
        let code = qr::lines("https://a.example/d", false).unwrap();
        assert_eq!((code.len(), code[0].chars().count()), (14, 29));
        let mut lines = vec![
            "Sign in to https://id.example.com (profile lab)",
            "",
            "    Open        https://a.example/d",
            "    Enter code  WDJB-MJHT",
        ];
        lines.extend(code.iter().map(String::as_str));
        lines.extend(["", "Enter the code only if you started this yourself."]);
        assert_eq!(rows(&sign_in, &on(80, 21)), lines);
        lines.retain(|line| !line.is_empty());
        assert_eq!(rows(&sign_in, &on(80, 19)), lines);
        assert_eq!(
            rows(&sign_in, &on(80, 18)).last().unwrap(),
            "The QR code needs a terminal of 29 columns and 19 rows."
        );
        assert!(rows(&sign_in, &on(28, 50)).join(" ").contains("The QR code needs a terminal of 29 columns"));
        assert_eq!(
            rows(&sign_in, &Terminal { unicode: false, ..on(80, 50) }).last().unwrap(),
            "There is no QR code here: this terminal's locale is not UTF-8."
        );
    }

    #[test]
    fn wide_letters_take_two_columns_and_marks_none() {
        assert_eq!(Row::new("", "日本", "").width, 4);
        assert_eq!(Row::new("", "e\u{301}", "").width, 1);
        assert_eq!(wrapped("日本 日本", 8), ["日本", "日本"]);
        assert_eq!(height(&[0, 20, 21], 20), 4);
    }

    #[test]
    fn the_time_left_is_told_in_as_many_words_as_fit() {
        let page = Page::of(&sign_in());
        let told = |width| fitting(&page.waiting(Duration::from_secs(599)), width);
        assert_eq!(told(80), "Waiting; the code ends in 9:59. Ctrl-C stops; the code stays good.");
        assert_eq!(told(45), "9:59 left. Ctrl-C stops.");
        assert_eq!(told(20), "9:59 left");
        assert_eq!(told(5), "9:59");
    }

    #[test]
    fn r11_control_characters_reach_no_terminal() {
        let way = Way::Code {
            message: None,
            verification_uri: "https://id.example.com/device",
            verification_uri_complete: None,
            foreign_host: None,
            user_code: "A\u{1b}[2J\u{202e}B",
        };
        let sign_in = SignIn { way, ..sign_in() };
        let mut lines = Page::of(&sign_in).lines();
        lines.extend(rows(&sign_in, &on(20, 24)));
        assert!(lines.iter().all(|l| !l.contains(['\u{1b}', '\u{202e}'])), "{lines:?}");
    }
}
