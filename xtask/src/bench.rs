//! `cargo xtask bench`: runs the benches, and prints their rows as one table.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Deserialize;

use crate::stage::cargo;

/// Runs a bench that is a workspace of its own. One of the peers asks for a later Rust than it needs. Not
/// `--locked`, because new dependencies of idem must enter its lock file.
fn apart(name: &str) -> anyhow::Result<Vec<Row>> {
    measure(
        cargo()
            .args(["run", "--quiet", "--release", "--ignore-rust-version"])
            .args(["--manifest-path", &format!("benches/{name}/Cargo.toml")]),
    )
}

/// A row that a bench prints as a line of JSON.
#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) bench: String,
    unit: String,
    pub(crate) ours: f64,
    beside: Option<String>,
    reference: Option<f64>,
    ratio: Option<f64>,
    to_reach: String,
}

/// Which benches to run
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Then compare idem with other crates, which are fetched and built: some minutes
    #[arg(long)]
    peers: bool,
    /// Then compare the embedded ledger's engine with others: an hour
    #[arg(long)]
    engines: bool,
    /// Arguments for `cargo bench`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn run(
    Args {
        peers,
        engines,
        args,
    }: &Args,
) -> anyhow::Result<()> {
    let mut rows = measure(
        cargo()
            .args(["bench", "--quiet", "-p", "idem-benches"])
            .args(args),
    )?;
    if *peers {
        rows.extend(apart("peers")?);
    }
    if *engines {
        rows.extend(apart("engines")?);
    }
    println!("\n{}", table(&rows));
    Ok(())
}

/// Runs benches, and returns their rows.
pub(crate) fn measure(command: &mut Command) -> anyhow::Result<Vec<Row>> {
    let line = command
        .get_args()
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ");
    let mut benches = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `cargo {line}`"))?;
    let mut rows = Vec::new();
    for printed in benches
        .stdout
        .take()
        .map(|out| BufReader::new(out).lines())
        .into_iter()
        .flatten()
    {
        let printed = printed.context("cannot read what the benches print")?;
        println!("{printed}");
        rows.extend(serde_json::from_str::<Row>(&printed).ok());
    }
    let status = benches.wait()?;
    if !status.success() {
        bail!("`cargo {line}` failed ({status})");
    }
    Ok(rows)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "what",
        "idem",
        "beside it",
        "",
        "ratio",
        "to reach",
    ]);
    for row in rows {
        let figure = |figure: f64| format!("{} {}", rounded(figure), row.unit);
        table.add_row([
            row.bench.clone(),
            figure(row.ours),
            row.beside.clone().unwrap_or_default(),
            row.reference.map(figure).unwrap_or_default(),
            row.ratio
                .map(|ratio| format!("{ratio:.2}"))
                .unwrap_or_default(),
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
    if figure.abs() < 100.0 {
        format!("{figure:.2}")
    } else {
        format!("{figure:.0}")
    }
}
