//! Answers: tables for people, JSON for programs.

use std::io::{self, IsTerminal, Write};

use comfy_table::{
    Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, presets,
};
use serde::Serialize;

use super::format;
use super::problem::Problem;

/// The standard output, in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    json: bool,
    colour: bool,
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        // https://no-color.org: any value but an empty one.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            json,
            colour: io::stdout().is_terminal() && !refused,
        }
    }

    /// Writes the value as one JSON document where that was asked for, else the text of `people`.
    pub(crate) fn answer<T: Serialize>(
        self,
        value: &T,
        people: impl FnOnce(Self) -> String,
    ) -> Result<(), Problem> {
        if self.json {
            self.text(&format::json(value, true)?)
        } else {
            self.text(&people(self))
        }
    }

    /// Tells people something before the answer, on the error output.
    pub(crate) fn ahead(self, text: &str) {
        if !self.json {
            note(text);
        }
    }

    /// Writes a JSON value on a line of its own.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Result<(), Problem> {
        self.text(&format::json(value, false)?)
    }

    /// Writes text that is escaped already.
    pub(crate) fn text(self, text: &str) -> Result<(), Problem> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", text.trim_end_matches('\n'))?;
        Ok(stdout.flush()?)
    }

    /// Returns a table with these columns; those given as `(name, true)` are numbers.
    pub(crate) fn table<const N: usize>(self, columns: [(&str, bool); N]) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .set_header(columns.map(|(name, _)| name));
        // In a pipe a row is a line, for `grep`.
        if table.is_tty() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        if !self.colour {
            table.force_no_tty();
        }
        for (column, (_, number)) in table.column_iter_mut().zip(columns) {
            if number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    /// Returns a cell in a colour, where colours are shown.
    pub(crate) fn cell(self, text: impl ToString, colour: Color) -> Cell {
        let cell = Cell::new(text);
        if self.colour { cell.fg(colour) } else { cell }
    }
}

/// Keeps a column on one line, so that its ids can be copied.
pub(crate) fn unbroken(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
}

/// Writes a warning or a hint to the error output.
pub(crate) fn note(text: &str) {
    // A failure here cannot be reported anywhere.
    let _ = writeln!(io::stderr().lock(), "{}", format::lines(text));
}
