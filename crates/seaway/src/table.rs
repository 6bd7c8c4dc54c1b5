//! Tables for people: aligned, coloured on a terminal, plain in a pipe.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};

/// What a cell says about the state of things.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing.
    Plain,
    /// For whoever wants to know more.
    Dim,
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
        Tone::Dim => cell.add_attribute(Attribute::Dim),
        Tone::Good => cell.fg(Color::Green),
        Tone::Warn => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
    }
}

/// One line, coloured on a terminal.
pub(crate) fn paint(line: &str, tone: Tone) -> String {
    let mut table = table();
    table.add_row(vec![cell(line, tone)]);
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 0));
    }
    table.to_string().trim_end().to_owned()
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

/// Rows below a header, each cell with its own tone.
pub(crate) fn toned_rows(
    header: &[&str],
    rows: impl Iterator<Item = Vec<(String, Tone)>>,
) -> Table {
    let mut table = table();
    table.set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|(text, tone)| cell(text, *tone)));
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
