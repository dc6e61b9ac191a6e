//! What several fuzz targets assert.

/// Panics if a terminal would obey any of `text`, or show it on more than one line.
pub fn assert_shown_as_it_is(text: &str) {
    let deceptive = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}');
    assert!(!text.chars().any(|c| c.is_control() || deceptive(c)), "{text:?}");
}
