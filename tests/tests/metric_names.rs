//! The metrics that the code describes, the page that explains them, and the files for Prometheus and
//! Grafana name the same ones, with the same labels.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use serde_json::Value;

/// Counted in crates that this one does not build.
const ELSEWHERE: [(&str, &str); 2] = [
    (
        "idem_postgres_timeline_changes_total",
        "idem-postgres/src/store/timeline.rs",
    ),
    ("idem_redis_losses_total", "idem-redis/src/call.rs"),
];
/// Of Prometheus itself.
const LABELS: [&str; 3] = ["instance", "job", "le"];

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Keeps what is described: the kind by name.
#[derive(Default)]
struct Described(Mutex<BTreeMap<String, &'static str>>);

impl Described {
    fn add(&self, name: &KeyName, kind: &'static str) {
        self.0
            .lock()
            .unwrap()
            .insert(name.as_str().to_owned(), kind);
    }
}

impl Recorder for Described {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.add(&name, "counter");
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.add(&name, "gauge");
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.add(&name, "histogram");
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// A metric as the page has it.
struct Explained {
    kind: String,
    labels: BTreeSet<String>,
}

/// Reads the page's tables: `| `name{label, …}` | kind | … |`.
fn explained() -> BTreeMap<String, Explained> {
    let page = read("docs/monitoring.md");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `idem_"));
    let rows = rows.map(|row| {
        let (metric, rest) = row.split_once("` | ").unwrap();
        let (name, labels) = metric.split_once('{').unwrap_or((metric, "}"));
        let labels = labels.trim_end_matches('}').split(", ");
        let explained = Explained {
            kind: rest.split(" | ").next().unwrap().to_owned(),
            labels: labels
                .filter(|label| !label.is_empty())
                .map(str::to_owned)
                .collect(),
        };
        (format!("idem_{name}"), explained)
    });
    rows.collect()
}

#[test]
fn the_page_explains_what_the_code_describes() {
    let described = Described::default();
    with_local_recorder(&described, || {
        idem_runtime::metrics::describe_metrics();
        idem_brokers::describe_metrics();
        idem_ops::metrics::describe_metrics();
    });
    let mut described = described.0.into_inner().unwrap();
    for (name, file) in ELSEWHERE {
        assert!(read(file).contains(&format!("\"{name}\"")));
        described.insert(name.to_owned(), "counter");
    }
    let explained: BTreeMap<_, _> = explained()
        .into_iter()
        .map(|(name, explained)| (name, explained.kind))
        .collect();
    let described: BTreeMap<_, _> = described
        .into_iter()
        .map(|(name, kind)| (name, kind.to_owned()))
        .collect();
    assert_eq!(explained, described);
}

/// Holds the names and labels of queries against the page. Returns the metrics that they use.
fn check(file: &str, queries: &str) -> BTreeSet<String> {
    let explained = explained();
    let (mut used, mut labels) = (BTreeSet::new(), BTreeSet::from(LABELS.map(str::to_owned)));
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    for (at, _) in queries.match_indices("idem_") {
        let word: String = queries[at..]
            .chars()
            .take_while(|char| is_word(*char))
            .collect();
        let ends = ["_bucket", "_sum", "_count"];
        let name = ends
            .iter()
            .find_map(|end| word.strip_suffix(end))
            .filter(|name| {
                explained
                    .get(*name)
                    .is_some_and(|it| it.kind == "histogram")
            })
            .unwrap_or(&word);
        let metric = explained
            .get(name)
            .unwrap_or_else(|| panic!("{file}: there is no metric {name}"));
        labels.extend(metric.labels.iter().cloned());
        used.insert(name.to_owned());
        let selector = queries[at + word.len()..].strip_prefix('{');
        let matchers = selector.map_or("", |rest| rest.split('}').next().unwrap());
        // A label of a series in a test is written `job="orders", instance="a"`.
        for matcher in matchers.split(',').filter(|matcher| !matcher.is_empty()) {
            let label = matcher
                .split(|char: char| !is_word(char) && char != ' ')
                .next();
            let label = label.unwrap().trim();
            assert!(
                metric.labels.contains(label) || LABELS.contains(&label),
                "{file}: {name} has no label {label}"
            );
        }
    }
    // What is grouped by and shown is a label of some metric of the file.
    let grouped = queries.match_indices("by (").map(|(at, by)| {
        let list = queries[at + by.len()..].split(')').next().unwrap();
        list.split(',')
            .map(|label| label.trim().to_owned())
            .collect::<Vec<_>>()
    });
    let shown = queries.match_indices("$labels.").map(|(at, before)| {
        let rest = queries[at + before.len()..].chars();
        vec![rest.take_while(|char| is_word(*char)).collect::<String>()]
    });
    for label in grouped.chain(shown).flatten() {
        assert!(
            labels.contains(&label),
            "{file}: no metric has a label {label}"
        );
    }
    used
}

#[test]
fn the_alert_rules_use_metrics_that_there_are() {
    let rules = check("idem.rules.yml", &read("deploy/prometheus/idem.rules.yml"));
    let tested = check("idem.test.yml", &read("deploy/prometheus/idem.test.yml"));
    assert_eq!(rules, tested, "each rule is tested");
}

#[test]
fn the_dashboard_for_grafana_uses_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/idem.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array());
    let mut queries = String::new();
    for target in targets.flatten() {
        let (query, legend) = (target["expr"].as_str().unwrap(), &target["legendFormat"]);
        queries.push_str(query);
        // `{{handler}}` shows a label.
        let shown = legend.as_str().unwrap().split("{{").skip(1);
        shown.for_each(|label| {
            let label = label.split("}}").next().unwrap();
            queries.push_str(&format!(" $labels.{label}"));
        });
        queries.push('\n');
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    for variable in variables {
        let query = variable["query"]["query"].as_str();
        queries.push_str(query.unwrap_or_default());
        queries.push('\n');
    }
    let used = check("idem.json", &queries);
    let all: BTreeSet<_> = explained().into_keys().collect();
    let left_out: Vec<_> = all.difference(&used).collect();
    // These happen so seldom that an alert says them, not a plot.
    let [(timelines, _), (losses, _)] = ELSEWHERE;
    assert_eq!(left_out, [timelines, losses, "idem_runner_lives_total"]);
}
