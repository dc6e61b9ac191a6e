//! The one table: what was measured, what it may be, and whether it is.

use std::fmt::Write as _;

/// What a figure may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Budget {
    /// This or less.
    AtMost(f64),
    /// Less than this.
    Below(f64),
    /// It is shown for comparison.
    None,
}

impl Budget {
    fn meets(self, figure: f64) -> &'static str {
        let met = match self {
            Self::AtMost(most) => figure <= most,
            Self::Below(bound) => figure < bound,
            Self::None => return "",
        };
        if met { "yes" } else { "**no**" }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most} {unit}"),
            Self::Below(bound) => format!("< {bound} {unit}"),
            Self::None => String::new(),
        }
    }
}

/// Rows as they come.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<[String; 4]>);

impl Table {
    /// A figure in its unit (`×`, `µs`, `MB` or none), what it was made from, and what it may be.
    pub(crate) fn figure(&mut self, what: &str, figure: f64, unit: &str, from: &str, budget: Budget) {
        let digits = match unit {
            // What is a hundred times faster should not look like nothing.
            "×" if figure < 0.1 => 4,
            "×" | "" => 2,
            "µs" => 0,
            // A binary that is over its budget by a page should look it.
            _ => 3,
        };
        let from = if from.is_empty() { String::new() } else { format!(" ({from})") };
        let measured = format!("{figure:.digits$} {unit}").trim_end().to_owned() + &from;
        self.row([what, &measured, budget.text(unit).trim_end(), budget.meets(figure)]);
    }

    /// What could not be measured here.
    pub(crate) fn missing(&mut self, what: &str, why: &str) {
        self.row([what, &format!("not measured: {}", why.replace(['\n', '|'], " ")), "", ""]);
    }

    fn row(&mut self, cells: [&str; 4]) {
        eprintln!("  {}: {} {}", cells[0], cells[1], cells[3]);
        self.0.push(cells.map(str::to_owned));
    }

    /// The table as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let head = ["what", "measured", "budget", "met"].map(str::to_owned);
        let rows: Vec<&[String; 4]> = std::iter::once(&head).chain(&self.0).collect();
        let widths: Vec<usize> =
            (0..4).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for (number, row) in rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(text, "| {cell:width$} ");
            }
            text.push_str("|\n");
            if number == 0 {
                for width in &widths {
                    let _ = write!(text, "|{}", "-".repeat(width + 2));
                }
                text.push_str("|\n");
            }
        }
        text
    }
}
