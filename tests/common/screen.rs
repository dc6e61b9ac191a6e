//! A terminal that has been sent some bytes: its text, and the QR code on it as a camera sees it.

use std::process::Command;

use keyfob_test_support::Output;

/// A terminal of this size, in columns and rows, that has been sent these bytes.
pub fn terminal(bytes: &str, (columns, rows): (u16, u16)) -> vt100::Parser {
    let mut screen = vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0);
    screen.process(bytes.as_bytes());
    screen
}

/// The text that these bytes show, without the empty rows at the end.
pub fn seen_in(bytes: &str, size: (u16, u16)) -> String {
    terminal(bytes, size).screen().contents().trim_end().to_owned()
}

/// Checks that there is a QR code reader on this machine; the error says what is missing.
pub fn qr_reader() -> Result<(), &'static str> {
    Command::new("zbarimg").arg("--version").output().map(drop).map_err(|_| "zbarimg is not here")
}

/// The text in the QR code on a screen.
#[track_caller]
pub fn qr_code(screen: &vt100::Screen) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("screen.pgm");
    std::fs::write(&file, picture(screen)).unwrap();
    let mut reader = Command::new("zbarimg");
    reader.args(["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", "-Stest-inverted"]).arg(&file);
    let read = Output::of(&mut reader, b"");
    let text = read.stdout.strip_suffix('\n');
    text.unwrap_or_else(|| panic!("no QR code: {}\n{}", read.stderr, screen.contents())).to_owned()
}

/// A screen as an image file: dark and light pixels, four by eight per character.
fn picture(screen: &vt100::Screen) -> Vec<u8> {
    let (rows, columns) = screen.size();
    let (rows, columns) = (rows.get(), columns.get());
    let mut pixels = format!("P5 {} {} 255\n", columns * 4, rows * 8).into_bytes();
    for y in 0..rows * 8 {
        for x in 0..columns * 4 {
            let cell = screen.cell(y / 8, x / 4).unwrap();
            let upper = y % 8 < 4;
            let drawn = match cell.contents() {
                "█" => true,
                "▀" => upper,
                "▄" => !upper,
                _ => false,
            };
            // Text without a colour is light on dark.
            let light = drawn != (cell.bgcolor() == vt100::Color::Idx(7));
            pixels.push(if light { 255 } else { 0 });
        }
    }
    pixels
}
