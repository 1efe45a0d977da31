//! The summary as tables.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};

use crate::summary::{Letter, Summary, Unit};

/// Draws the counts, and the dead letters if there are any.
pub(crate) fn draw(summary: &Summary) -> String {
    let mut text = format!("{}\n", counts(summary));
    if !summary.dead_letters.is_empty() {
        text += &format!("\nOpen dead letters\n{}\n", letters(&summary.dead_letters));
    }
    text
}

fn counts(summary: &Summary) -> Table {
    let mut table = empty(["Deliveries", "", ""]);
    let mut row = |what: &str, count: usize, meaning: &str| {
        table.add_row([what, &count.to_string(), meaning]);
    };
    let unit = match summary.unit {
        Unit::Lines => "lines of the file",
        Unit::Messages => "messages of the queue",
    };
    row("delivered", summary.delivered, unit);
    let written = format!("written to {} by this run", summary.book);
    row("placed", summary.placed, &written);
    if summary.found > 0 {
        row(
            "found",
            summary.found,
            "were in the order book, without a recorded result",
        );
    }
    row(
        "replayed",
        summary.replayed,
        "got the recorded result; the body did not run",
    );
    row(
        "dead letters",
        summary.dead_lettered,
        "deliveries of the orders listed below",
    );
    row("refused", summary.refusals(), "");
    for (reason, refusals) in &summary.refused {
        let first = format!("line {}: {}", refusals.first_line, refusals.first);
        row(&format!("  {reason}"), refusals.count, &first);
    }
    if summary.unanswered > 0 {
        let first_error = summary.first_error.as_deref().unwrap_or_default();
        row("unanswered", summary.unanswered, first_error);
    }
    row("retried", summary.retried, "made more than one attempt");
    align_right(&mut table, 1);
    table
}

fn letters(letters: &[Letter]) -> Table {
    let mut table = empty(["Key", "Attempts", "Last error", "Reason"]);
    for letter in letters {
        let last_error = letter
            .last_error
            .as_deref()
            .unwrap_or("no error was reported");
        table.add_row([
            &letter.key,
            &letter.attempts.to_string(),
            last_error,
            &letter.reason,
        ]);
    }
    align_right(&mut table, 1);
    table
}

fn empty<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    if !table.is_tty() {
        table.set_width(100);
    }
    table
}

fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
