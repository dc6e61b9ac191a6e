//! An address as a QR code, drawn with half blocks: one character shows two modules, because characters are twice as
//! high as wide.

use qrcode::{Color, EcLevel, QrCode};

/// The margin of light modules around a code. The standard asks for four; readers, even in phones, accept two. The
/// bottom margin is one less, so that the number of rows is even.
const MARGIN: usize = 2;

/// The rows of the code; `None` if the text is too long for one. `painted` means that the rows will be shown black on
/// white; otherwise the light modules are drawn, for a dark terminal.
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
