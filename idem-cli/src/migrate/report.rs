//! What a migration says when it is done.

use std::fmt::Write as _;

use comfy_table::Cell;
use jiff::Timestamp;
use serde::Serialize;

use super::tally::{Kind, Tally};
use crate::format::line;
use crate::out::Out;

/// What became of a migration.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) from: String,
    pub(super) to: String,
    /// Both as people write them.
    #[serde(skip)]
    pub(super) names: [String; 2],
    /// Whether nothing was to be written.
    pub(super) dry_run: bool,
    /// When an earlier run had done it; nothing was written then.
    pub(super) done_before: Option<Timestamp>,
    #[serde(flatten)]
    pub(super) tally: Tally,
}

/// Returns it for people.
pub(super) fn page(report: &Report, out: Out) -> String {
    let [from, to] = report.names.each_ref().map(|name| line(name));
    if let Some(done) = report.done_before {
        return format!("`{from}` was migrated to `{to}` at {done:.0}: nothing was left to do");
    }
    let tally = &report.tally;
    let copied = if report.dry_run { "To copy" } else { "Copied" };
    let mut table = out.table([("What", false), (copied, true), ("There before", true)]);
    for kind in Kind::ALL.into_iter().filter(|kind| tally.of(*kind) > 0) {
        let copied = tally.copied.get(&kind).copied().unwrap_or(0);
        let there = tally.of(kind) - copied;
        table.add_row(vec![
            Cell::new(kind.name()),
            Cell::new(copied),
            Cell::new(there),
        ]);
    }
    let mut text = format!("{table}\n");
    for (skip, count) in &tally.skipped {
        let _ = writeln!(text, "left out: {count} {}", skip.why());
    }
    if tally.crashed > 0 {
        let _ = writeln!(
            text,
            "attempts that ran when the service ended, and count as crashed: {}",
            tally.crashed
        );
    }
    if tally.buried > 0 {
        let _ = writeln!(
            text,
            "dead letters written, as after a restart, where no attempt or no time was left: {}",
            tally.buried
        );
    }
    let _ = if report.dry_run {
        writeln!(
            text,
            "nothing was changed: this is what `{from}` would bring to `{to}`"
        )
    } else {
        writeln!(
            text,
            "`{from}` is copied to `{to}`, and is as it was: start the services on `{to}`, and none on `{from}`"
        )
    };
    text
}
