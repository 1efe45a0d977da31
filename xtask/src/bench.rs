//! `cargo xtask bench`: runs the benches, and makes one table of what they print.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, bail};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Deserialize;

use crate::stage::cargo;

/// What a bench prints, each as a JSON line.
#[derive(Debug, Deserialize)]
struct Row {
    bench: String,
    unit: String,
    ours: f64,
    beside: Option<String>,
    reference: Option<f64>,
    ratio: Option<f64>,
    to_reach: String,
}

pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    let mut benches = cargo()
        .args(["bench", "--quiet", "-p", "idem-benches"])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run `cargo bench`")?;
    let mut rows: Vec<Row> = Vec::new();
    for line in benches.stdout.take().map(|out| BufReader::new(out).lines()).into_iter().flatten() {
        let line = line.context("cannot read what the benches print")?;
        println!("{line}");
        rows.extend(serde_json::from_str::<Row>(&line).ok());
    }
    let status = benches.wait()?;
    if !status.success() {
        bail!("`cargo bench` failed ({status})");
    }
    println!("\n{}", table(&rows));
    Ok(())
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["what", "idem", "beside it", "", "ratio", "to reach"]);
    for row in rows {
        let figure = |figure: f64| format!("{} {}", rounded(figure), row.unit);
        table.add_row([
            row.bench.clone(),
            figure(row.ours),
            row.beside.clone().unwrap_or_default(),
            row.reference.map(figure).unwrap_or_default(),
            row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            row.to_reach.clone(),
        ]);
    }
    for column in [1, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn rounded(figure: f64) -> String {
    if figure.abs() < 100.0 { format!("{figure:.2}") } else { format!("{figure:.0}") }
}
