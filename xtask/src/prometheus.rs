//! Prometheus's own checker reads the files that are made for it.

use std::fs;

use anyhow::Context;
use serde_json::{Value, json};

use crate::stage::{Stage, root};

const DASHBOARD: &str = "deploy/grafana/idem.json";

/// Checks the alert rules, runs their tests, and checks the queries of the dashboard.
pub(crate) fn check() -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let queries = folder.path().join("dashboard.rules.yml");
    fs::write(&queries, as_rules()?).with_context(|| format!("cannot write {queries:?}"))?;
    let queries = queries.to_str().context("a folder's name is not UTF-8")?;
    for (heading, what, file) in [
        ("Alert rules", "check", "deploy/prometheus/idem.rules.yml"),
        (
            "Tests of the alert rules",
            "test",
            "deploy/prometheus/idem.test.yml",
        ),
        ("Queries of the dashboard", "check", queries),
    ] {
        Stage::program(heading, "promtool", &[what, "rules", file]).run()?;
    }
    Ok(())
}

/// Returns the queries of all panels as recording rules. JSON is YAML, too.
fn as_rules() -> anyhow::Result<String> {
    let text = fs::read_to_string(root().join(DASHBOARD))
        .with_context(|| format!("cannot read {DASHBOARD}"))?;
    let dashboard: Value =
        serde_json::from_str(&text).with_context(|| format!("{DASHBOARD} is not JSON"))?;
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries = targets.filter_map(|target| target["expr"].as_str());
    let rules = queries.enumerate().map(|(number, query)| {
        // Grafana puts a duration there.
        let query = query.replace("$__rate_interval", "5m");
        json!({ "record": format!("dashboard:{number}"), "expr": query })
    });
    let rules: Vec<_> = rules.collect();
    anyhow::ensure!(!rules.is_empty(), "{DASHBOARD} has no query");
    Ok(json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string())
}
