//! The overview: figures, plots and the largest groups.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;

use super::forms::Fields;
use super::groups::query;
use super::page::{Answer, Page, Tab, show as answer};
use super::plot::{Fold, Plot, Series, Shape, Unit};
use super::render::filters;
use super::session_guard::Visit;
use super::state::Dashboard;
use crate::monitor;
use crate::service::{Count, GroupQuery, Latency, Minute, Pause, PauseState, Stats, StatsQuery};

/// The number of groups that are shown, the largest first.
const GROUPS: usize = 5;

const SPANS: [(usize, &str); 3] = [(60, "an hour"), (360, "6 hours"), (1440, "a day")];

#[derive(Template)]
#[template(path = "dashboard/overview.html")]
struct Overview<'a> {
    page: Page,
    stats: &'a Stats,
    open: u64,
    pauses: Vec<PauseLine<'a>>,
    /// The ledger's handlers, to choose from.
    handlers: Vec<String>,
    /// The names of the failing channels.
    failing: Vec<String>,
    groups: Vec<GroupLine>,
    tiles: Vec<(&'static str, String)>,
    spans: [(usize, &'static str); 3],
    span: usize,
    figures: Vec<String>,
    tables: [(&'static str, &'a [Count]); 2],
    latencies: [(&'static str, Vec<String>); 2],
}

struct PauseLine<'a> {
    pause: &'a Pause,
    lasts: String,
    state: &'static str,
}

struct GroupLine {
    handler: String,
    error: String,
    count: u64,
    query: String,
}

pub(super) async fn show(State(dashboard): State<Dashboard>, visit: Visit, parts: Parts) -> Answer {
    let asked = Fields::from_query(&parts)
        .get("minutes")
        .and_then(|minutes| minutes.parse().ok());
    let span = SPANS
        .iter()
        .map(|(minutes, _)| *minutes)
        .find(|minutes| Some(*minutes) == asked)
        .unwrap_or(SPANS[0].0);
    let stats = dashboard
        .service
        .stats(&StatsQuery {
            minutes: Some(span),
        })
        .await?;
    let groups = dashboard
        .service
        .groups(&GroupQuery {
            handler: None,
            limit: Some(GROUPS),
        })
        .await?
        .groups;
    let groups = groups.into_iter().map(|group| GroupLine {
        query: query(&group),
        handler: group.handler,
        error: group.error,
        count: group.count,
    });
    let channels = monitor::channels(&dashboard.service.idem().notes()).await?;
    let failing = channels
        .into_iter()
        .filter(|channel| channel.failing_since.is_some());
    let figures = plots(&stats)
        .into_iter()
        .map(Plot::figure)
        .collect::<Result<_, _>>()?;
    answer(&Overview {
        page: Page::new(&dashboard, &visit, Tab::Overview),
        open: stats.open,
        pauses: stats
            .pauses
            .iter()
            .map(|pause| paused(pause, &stats))
            .collect(),
        handlers: dashboard.service.idem().handlers().await?,
        failing: failing.map(|channel| channel.name).collect(),
        groups: groups.collect(),
        tiles: tiles(&stats),
        spans: SPANS,
        span,
        figures,
        tables: [("Calls", &stats.calls), ("Attempts", &stats.attempts)],
        latencies: [
            ("a body, one attempt", quantiles(stats.body)),
            ("a commit of the ledger", quantiles(stats.commit)),
        ],
        stats: &stats,
    })
}

fn paused<'a>(pause: &'a Pause, stats: &Stats) -> PauseLine<'a> {
    let lasts = stats.at.duration_since(pause.since).as_secs_f64().max(0.0);
    PauseLine {
        pause,
        lasts: Unit::Seconds.show(lasts),
        state: match pause.state {
            PauseState::Probing => "one message runs to see",
            PauseState::Recovering => "it recovers",
            _ => "its messages wait",
        },
    }
}

fn tiles(stats: &Stats) -> Vec<(&'static str, String)> {
    let sum = |counts: &[Count]| {
        Unit::Count.show(counts.iter().map(|count| count.count).sum::<u64>() as f64)
    };
    let backlog = &stats.backlog;
    let mut tiles = vec![
        ("Open dead letters", Unit::Count.show(stats.open as f64)),
        ("Kinds of error", Unit::Count.show(stats.groups as f64)),
        ("Calls", sum(&stats.calls)),
        ("Attempts", sum(&stats.attempts)),
        ("Ledger on the disk", size(stats.ledger_bytes)),
    ];
    let count = |count: u64| Unit::Count.show(count as f64);
    tiles.extend(
        backlog
            .attempts
            .map(|waiting| ("Waiting for an attempt", count(waiting))),
    );
    tiles.push(("In the outbox", count(backlog.outbox)));
    if !backlog.delayed.is_empty() {
        let delayed = backlog.delayed.values().sum();
        tiles.push(("Delayed at the broker", count(delayed)));
    }
    let age = backlog
        .oldest()
        .map(|oldest| stats.at.duration_since(oldest));
    tiles.extend(age.map(|age| {
        let seconds = age.as_secs_f64().max(0.0);
        ("Oldest that waits", Unit::Seconds.show(seconds))
    }));
    tiles
}

/// Formats a size in bytes.
pub(super) fn size(bytes: Option<u64>) -> String {
    bytes.map_or("unknown".into(), |bytes| Unit::Bytes.show(bytes as f64))
}

fn quantiles(of: Latency) -> Vec<String> {
    [of.p50, of.p90, of.p99, of.max]
        .map(|value| {
            if of.count == 0 {
                "–".into()
            } else {
                Unit::Seconds.show(value)
            }
        })
        .into()
}

fn plots(stats: &Stats) -> Vec<Plot> {
    let minutes = stats.minutes.as_slice();
    let plot = |id, title, unit, shape, series| Plot {
        id,
        title,
        unit,
        shape,
        times: minutes.iter().map(|minute| minute.at).collect(),
        series,
    };
    let one = |name: &str, fold, value: fn(&Minute) -> Option<f64>| {
        vec![Series {
            name: name.into(),
            colour: 0,
            values: minutes.iter().map(value).collect(),
            fold,
        }]
    };
    vec![
        plot(
            "calls",
            "Calls by outcome",
            Unit::Count,
            Shape::Columns,
            counted(minutes, |minute| &minute.calls),
        ),
        plot(
            "open",
            "Open dead letters",
            Unit::Count,
            Shape::Lines,
            one("open", Fold::Last, |minute| Some(minute.open as f64)),
        ),
        plot(
            "attempts",
            "Attempts by outcome",
            Unit::Count,
            Shape::Columns,
            counted(minutes, |minute| &minute.attempts),
        ),
        plot(
            "body",
            "Latency of the bodies",
            Unit::Seconds,
            Shape::Lines,
            latency(minutes, |minute| minute.body),
        ),
        plot(
            "commit",
            "Latency of commits",
            Unit::Seconds,
            Shape::Lines,
            latency(minutes, |minute| minute.commit),
        ),
        plot(
            "ledger",
            "Size of the ledger",
            Unit::Bytes,
            Shape::Lines,
            one("on the disk", Fold::Last, |minute| {
                minute.ledger_bytes.map(|bytes| bytes as f64)
            }),
        ),
    ]
}

/// Outcomes from the best to the worst, each with the same colour in every plot.
const OUTCOMES: [(&str, usize); 4] = [
    ("done", 2),
    ("replayed", 5),
    ("failed", 3),
    ("dead_lettered", 1),
];
/// The colours of the other outcomes.
const OTHERS: [usize; 4] = [4, 6, 7, 0];

fn counted(minutes: &[Minute], counts: impl Fn(&Minute) -> &BTreeMap<String, u64>) -> Vec<Series> {
    let mut present: BTreeSet<&str> = minutes
        .iter()
        .flat_map(|minute| counts(minute).keys().map(String::as_str))
        .collect();
    let known: Vec<_> = OUTCOMES
        .into_iter()
        .filter(|(outcome, _)| present.remove(outcome))
        .collect();
    let of = |(outcome, colour): (&str, usize)| {
        let values = minutes
            .iter()
            .map(|minute| Some(counts(minute).get(outcome).copied().unwrap_or(0) as f64));
        Series {
            name: outcome.to_owned(),
            colour,
            values: values.collect(),
            fold: Fold::Sum,
        }
    };
    known
        .into_iter()
        .chain(present.into_iter().zip(OTHERS.into_iter().cycle()))
        .map(of)
        .collect()
}

fn latency(minutes: &[Minute], of: impl Fn(&Minute) -> Latency) -> Vec<Series> {
    let one = |name: &str, colour, quantile: fn(Latency) -> f64| {
        let values = minutes
            .iter()
            .map(|minute| Some(of(minute)).filter(|of| of.count > 0).map(quantile));
        Series {
            name: name.into(),
            colour,
            values: values.collect(),
            fold: Fold::Highest,
        }
    };
    vec![one("median", 0, |of| of.p50), one("99 %", 3, |of| of.p99)]
}
