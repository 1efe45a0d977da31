//! `idem stats`: the figures of calls, attempts and alerts.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::Cell;
use indicatif::BinaryBytes;
use serde::Serialize;

use super::format::line;
use super::out::Out;
use super::pauses;
use super::problem::Problem;
use super::target::Target;
use idem_ops::monitor::AlertState;
use idem_ops::service::{Count, Latency, Stats};
use idem_runtime::clock::Timestamp;

/// The figures, and the state of the alerts.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    stats: Stats,
    alerts: AlertState,
}

pub(crate) async fn run(target: &Target, out: Out) -> Result<(), Problem> {
    let report = Report {
        stats: target.stats().await?,
        alerts: target.alerts().await?,
    };
    let runs = target.runs();
    out.answer(&report, |out| page(&report, runs, out))
}

fn page(Report { stats, alerts }: &Report, runs: bool, out: Out) -> String {
    let size = stats.ledger_bytes.map_or_else(
        || "not known".to_owned(),
        |bytes| BinaryBytes(bytes).to_string(),
    );
    let mut text = format!(
        "Open letters  {} in {} groups\nLedger        {size}\n",
        stats.open, stats.groups
    );
    text.push_str(&waiting(stats));
    for pause in &stats.pauses {
        let _ = writeln!(text, "Paused        {}", pauses::line_of(pause, stats.at));
    }
    let _ = writeln!(text, "Alerts        {}", alert_state(alerts));
    // A ledger without its service has no figures.
    if !runs {
        return text;
    }
    let _ = writeln!(text, "Counted       since {:.0}", stats.since);
    if let Some(why) = &stats.no_figures {
        let _ = writeln!(text, "\nNo figures of calls: {}", line(why));
        return text;
    }
    let _ = writeln!(text, "\n{}", counts("Calls", &stats.calls, out));
    let _ = writeln!(text, "\n{}", counts("Attempts", &stats.attempts, out));
    let mut table = out.table([
        ("Latency", false),
        ("Measured", true),
        ("p50", true),
        ("p90", true),
        ("p99", true),
        ("Longest", true),
    ]);
    for (
        what,
        Latency {
            count,
            p50,
            p90,
            p99,
            max,
            ..
        },
    ) in [("body", stats.body), ("group commit", stats.commit)]
    {
        table.add_row(vec![
            what.to_owned(),
            count.to_string(),
            took(p50),
            took(p90),
            took(p99),
            took(max),
        ]);
    }
    let _ = writeln!(text, "\n{table}");
    text
}

/// Returns what waits, a line each.
fn waiting(stats: &Stats) -> String {
    let backlog = &stats.backlog;
    let since = |oldest: Option<Timestamp>| {
        let age = oldest.map(|oldest| stats.at.duration_since(oldest).as_secs().max(0));
        age.map_or_else(String::new, |age| format!(", the oldest for {age} s"))
    };
    let mut text = String::new();
    if let Some(attempts) = backlog.attempts {
        let since = since(backlog.oldest_attempt);
        let _ = writeln!(
            text,
            "Waiting       {attempts} for their next attempt{since}"
        );
    }
    let since = since(backlog.oldest_in_outbox);
    let _ = writeln!(text, "Outbox        {} not sent{since}", backlog.outbox);
    for (source, count) in &backlog.delayed {
        let _ = writeln!(
            text,
            "Delayed       {count} at the broker, of {}",
            line(source)
        );
    }
    text
}

/// Returns the state of the alerts in a line; `doctor` says more.
fn alert_state(alerts: &AlertState) -> String {
    let channels: Vec<_> = alerts
        .channels
        .iter()
        .map(|channel| {
            format!(
                "`{}` {}",
                line(&channel.name),
                if channel.failing_since.is_some() {
                    "fails"
                } else {
                    "works"
                }
            )
        })
        .collect();
    let channels = if channels.is_empty() {
        "no channel was ever used".to_owned()
    } else {
        channels.join(", ")
    };
    let at_least = if alerts.more_untold { "at least " } else { "" };
    format!(
        "{channels}; open letters in no notice: {at_least}{}",
        alerts.untold
    )
}

fn counts(what: &str, counts: &[Count], out: Out) -> String {
    let mut table = out.table([(what, false), ("Outcome", false), ("Count", true)]);
    for Count {
        handler,
        outcome,
        count,
        ..
    } in counts
    {
        table.add_row(vec![
            Cell::new(line(handler)),
            Cell::new(line(outcome)),
            Cell::new(count),
        ]);
    }
    table.to_string()
}

fn took(seconds: f64) -> String {
    // Three digits are all that a quantile is good for.
    match Duration::try_from_secs_f64(seconds) {
        Ok(took) => format!("{took:.2?}"),
        Err(_) => "not known".to_owned(),
    }
}
