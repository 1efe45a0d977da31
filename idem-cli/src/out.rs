//! Where answers go: tables for people, JSON for programs.

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

    /// The value as one JSON document where that was asked for, else what `people` makes of it.
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

    /// One JSON value on a line of its own.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Result<(), Problem> {
        self.text(&format::json(value, false)?)
    }

    /// Text that is clean already.
    pub(crate) fn text(self, text: &str) -> Result<(), Problem> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", text.trim_end_matches('\n'))?;
        Ok(stdout.flush()?)
    }

    /// A table with these columns; those that come as `(name, true)` are numbers.
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

    /// A cell in a colour, where colours are shown.
    pub(crate) fn cell(self, text: impl ToString, colour: Color) -> Cell {
        let cell = Cell::new(text);
        if self.colour { cell.fg(colour) } else { cell }
    }
}

/// Ids are copied from here, so they stay on one line.
pub(crate) fn unbroken(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
}

/// What is not the answer: warnings, and what will happen. It goes where errors go.
pub(crate) fn note(text: &str) {
    // Nobody is left to tell when this fails.
    let _ = writeln!(io::stderr().lock(), "{}", format::lines(text));
}
