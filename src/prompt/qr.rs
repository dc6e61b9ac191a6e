//! An address as a QR code, drawn with half blocks: two modules in a character, since those are twice as high as wide.

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around a code. Four are asked for; readers, phones' too, take two. One less below makes the rows even.
const MARGIN: usize = 2;

/// The rows of the code. `painted`: they are to be black on white; else it is the light modules that are drawn, for a
/// terminal that is dark. `None`: the text is too long for a code.
pub(super) fn lines(text: &str, painted: bool) -> Option<Vec<String>> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let modules = code.width();
    let drawn = |x: usize, y: usize| {
        let inside = |at: usize| at.checked_sub(MARGIN).filter(|at| *at < modules);
        let dark = matches!((inside(x), inside(y)), (Some(x), Some(y)) if code[(x, y)] == Color::Dark);
        dark == painted
    };
    let character = |x, y| match (drawn(x, y), drawn(x, y + 1)) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    };
    let row = |y| (0..modules + 2 * MARGIN).map(|x| character(x, y)).collect();
    Some((0..modules + 2 * MARGIN - 1).step_by(2).map(row).collect())
}
