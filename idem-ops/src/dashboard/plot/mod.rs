//! Plots, drawn on the server as inline SVG without script: colours come from the style sheet, so
//! that they follow light and dark, and each plot has its numbers in words and in a table.
//!
//! Crates that draw SVG write colours into style attributes, which the content security policy
//! forbids.

mod downsample;
mod draw;
mod scale;

use askama::Template;
use jiff::Timestamp;

use draw::Drawing;
pub(super) use scale::Unit;

/// The maximum number of columns that a phone can show.
const COLUMNS: usize = 60;

/// Values over time.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    /// The id of the plot; the ids of its parts begin with it.
    pub id: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    pub shape: Shape,
    /// The time of each value, earliest first.
    pub times: Vec<Timestamp>,
    pub series: Vec<Series>,
}

/// The marks of a plot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Stacked columns: parts of a whole.
    Columns,
    /// A line for each series.
    Lines,
}

/// One value for each time.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub name: String,
    /// Its colour in the style sheet, which has eight.
    pub colour: usize,
    pub values: Vec<Option<f64>>,
    pub fold: Fold,
}

/// How several values are joined into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    /// Their sum, for counts.
    Sum,
    /// The last one, for levels.
    Last,
    /// The highest one.
    Highest,
}

#[derive(Template)]
#[template(path = "dashboard/plot.html")]
struct Figure<'a> {
    plot: &'a Plot,
    drawing: Drawing,
    /// Each series in words, with its class.
    words: Vec<(String, String)>,
}

impl Series {
    fn class(&self) -> String {
        format!("s{}", self.colour % 8)
    }
}

impl Plot {
    /// Renders the figure as escaped HTML.
    pub(super) fn figure(mut self) -> Result<String, askama::Error> {
        downsample::downsample(&mut self, COLUMNS);
        let drawing = Drawing::new(&self);
        let words = self
            .series
            .iter()
            .map(|series| (series.class(), in_words(series, self.unit)))
            .collect();
        Figure {
            plot: &self,
            drawing,
            words,
        }
        .render()
    }

    fn is_empty(&self) -> bool {
        self.times.is_empty()
            || self
                .series
                .iter()
                .all(|series| series.values.iter().all(Option::is_none))
    }

    fn rows(&self) -> impl Iterator<Item = (String, Vec<String>)> {
        self.times.iter().enumerate().rev().map(|(at, time)| {
            let value = |series: &Series| series.values.get(at).copied().flatten();
            let cells = self
                .series
                .iter()
                .map(|series| value(series).map_or("–".into(), |v| self.unit.show(v)));
            (time.strftime("%Y-%m-%d %H:%M").to_string(), cells.collect())
        })
    }
}

/// Describes a series to a person who does not see the plot.
fn in_words(series: &Series, unit: Unit) -> String {
    let known = || series.values.iter().copied().flatten();
    let Some(last) = known().next_back() else {
        return format!("{}: nothing yet", series.name);
    };
    let highest = known().fold(f64::MIN, f64::max);
    match series.fold {
        Fold::Sum => {
            format!(
                "{}: {} in all, at most {} at a time",
                series.name,
                unit.show(known().sum()),
                unit.show(highest)
            )
        }
        Fold::Last | Fold::Highest => {
            format!(
                "{}: {} now, at most {}",
                series.name,
                unit.show(last),
                unit.show(highest)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(shape: Shape, values: Vec<Option<f64>>) -> Plot {
        let minute = |at| Timestamp::from_second(60 * i64::try_from(at).unwrap()).unwrap();
        let times = (0..values.len()).map(minute).collect();
        let series = vec![Series {
            name: "<b>done</b>".into(),
            colour: 0,
            values,
            fold: Fold::Sum,
        }];
        Plot {
            id: "calls",
            title: "Calls & more",
            unit: Unit::Count,
            shape,
            times,
            series,
        }
    }

    #[test]
    fn names_are_escaped_and_no_style_is_inline() {
        for shape in [Shape::Columns, Shape::Lines] {
            let html = plot(shape, vec![Some(1.0), None, Some(3.0)])
                .figure()
                .unwrap();
            assert!(!html.contains("<b>"), "{html}");
            assert!(!html.contains("style="), "{html}");
            assert!(html.contains("4 in all, at most 3 at a time"), "{html}");
        }
    }

    #[test]
    fn an_empty_plot_says_so_in_words() {
        let html = plot(Shape::Lines, vec![None, None]).figure().unwrap();
        assert!(html.contains("Nothing yet"), "{html}");
        assert!(!html.contains("<svg"), "{html}");
    }

    #[test]
    fn a_day_of_minutes_has_as_many_columns_as_can_be_seen() {
        let html = plot(Shape::Columns, vec![Some(1.0); 1440])
            .figure()
            .unwrap();
        assert_eq!(
            html.matches("<rect").count(),
            COLUMNS + 1,
            "the columns and the legend's"
        );
        assert!(
            html.contains("1,440 in all, at most 24 at a time"),
            "{html}"
        );
    }
}
