//! The places of all marks in a plot.

use super::scale::ticks;
use super::{Plot, Shape};

pub(super) const WIDTH: f64 = 560.0;
pub(super) const HEIGHT: f64 = 200.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// The marks in the picture's units, ready for the template.
pub(super) struct Drawing {
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
    /// Height and label of each line across.
    pub across: Vec<(String, String)>,
    /// Place, anchor and label of the times below.
    pub below: Vec<(String, &'static str, String)>,
    pub columns: Vec<Column>,
    pub lines: Vec<Line>,
}

pub(super) struct Column {
    pub class: String,
    pub x: String,
    pub y: String,
    pub width: String,
    pub height: String,
}

pub(super) struct Line {
    pub class: String,
    pub points: String,
    /// A single point has no line, so it is a dot.
    pub dot: Option<(String, String)>,
}

impl Drawing {
    pub(super) fn new(plot: &Plot) -> Self {
        let ticks = ticks(plot.unit, highest(plot));
        let top = ticks.last().copied().unwrap_or(1.0);
        let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
        let slot = (WIDTH - LEFT - RIGHT) / plot.times.len().max(1) as f64;
        let middle = |at: usize| LEFT + (at as f64 + 0.5) * slot;
        let (columns, lines) = match plot.shape {
            Shape::Columns => (columns(plot, &y, slot), Vec::new()),
            Shape::Lines => (Vec::new(), lines(plot, &y, &middle)),
        };
        Self {
            width: WIDTH,
            height: HEIGHT,
            left: LEFT,
            right: WIDTH - RIGHT,
            across: ticks
                .iter()
                .map(|tick| (place(y(*tick)), plot.unit.show(*tick)))
                .collect(),
            below: below(plot, middle),
            columns,
            lines,
        }
    }
}

fn highest(plot: &Plot) -> f64 {
    let at = |at: usize| {
        plot.series
            .iter()
            .filter_map(move |series| series.values.get(at).copied().flatten())
    };
    let of = |column: usize| match plot.shape {
        Shape::Columns => at(column).sum(),
        Shape::Lines => at(column).fold(0.0, f64::max),
    };
    (0..plot.times.len()).map(of).fold(0.0, f64::max)
}

fn columns(plot: &Plot, y: &impl Fn(f64) -> f64, slot: f64) -> Vec<Column> {
    let width = (slot * 0.8).min(40.0);
    let mut columns = Vec::new();
    for at in 0..plot.times.len() {
        let mut below = 0.0;
        for series in &plot.series {
            let Some(value) = series
                .values
                .get(at)
                .copied()
                .flatten()
                .filter(|value| *value > 0.0)
            else {
                continue;
            };
            columns.push(Column {
                class: series.class(),
                x: place(LEFT + at as f64 * slot + (slot - width) / 2.0),
                y: place(y(below + value)),
                width: place(width),
                height: place(y(below) - y(below + value)),
            });
            below += value;
        }
    }
    columns
}

/// A gap in the values is a gap in the line.
fn lines(plot: &Plot, y: &impl Fn(f64) -> f64, x: &impl Fn(usize) -> f64) -> Vec<Line> {
    let mut lines = Vec::new();
    for series in &plot.series {
        let points: Vec<_> = series
            .values
            .iter()
            .enumerate()
            .map(|(at, value)| value.map(|value| (place(x(at)), place(y(value)))))
            .collect();
        for run in points.split(Option::is_none).filter(|run| !run.is_empty()) {
            let known: Vec<_> = run.iter().flatten().collect();
            let dot = match known.as_slice() {
                [only] => Some((*only).clone()),
                _ => None,
            };
            let points = known
                .iter()
                .map(|(x, y)| format!("{x},{y}"))
                .collect::<Vec<_>>()
                .join(" ");
            lines.push(Line {
                class: series.class(),
                points,
                dot,
            });
        }
    }
    lines
}

/// The first time, the last, and one between.
fn below(plot: &Plot, x: impl Fn(usize) -> f64) -> Vec<(String, &'static str, String)> {
    let last = plot.times.len().saturating_sub(1);
    let places = match last {
        0 => vec![(0, "middle")],
        1 => vec![(0, "start"), (1, "end")],
        _ => vec![(0, "start"), (last / 2, "middle"), (last, "end")],
    };
    let text = |at: usize| {
        plot.times
            .get(at)
            .map(|time| time.strftime("%H:%M").to_string())
    };
    places
        .into_iter()
        .filter_map(|(at, anchor)| Some((place(x(at)), anchor, text(at)?)))
        .collect()
}

fn place(value: f64) -> String {
    format!("{value:.1}")
}
