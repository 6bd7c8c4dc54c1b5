//! Tables for people: aligned, coloured on a terminal, plain in a pipe.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Color, ContentArrangement, Table};

/// What a cell says about the state of things.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing.
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Not as it should be.
    Bad,
}

fn cell(text: &str, tone: Tone) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::Green),
        Tone::Warn => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Names and values, one a line.
pub(crate) fn facts(facts: &[(&str, String, Tone)]) -> Table {
    let mut table = table();
    for (name, value, tone) in facts {
        table.add_row(vec![
            cell(&format!("{name}:"), Tone::Plain),
            cell(value, *tone),
        ]);
    }
    table
}

/// Rows below a header; the tone is that of the last column.
pub(crate) fn rows(header: &[&str], rows: impl Iterator<Item = (Vec<String>, Tone)>) -> Table {
    let mut table = table();
    table.set_header(header);
    for (row, tone) in rows {
        let last = row.len().saturating_sub(1);
        let cells = row.iter().enumerate();
        table
            .add_row(cells.map(|(i, text)| cell(text, if i == last { tone } else { Tone::Plain })));
    }
    table
}
