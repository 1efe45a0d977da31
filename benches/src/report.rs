//! Ratios from criterion's own estimates: a table for people, JSON lines for programs.

use std::path::{Path, PathBuf};

/// Two benches of one run, side by side.
pub struct Pair {
    /// What the pair is about.
    pub bench: String,
    /// Criterion's group, with a bench called `idem` and one called `bare` in it.
    pub group: String,
    /// Whether more is better: calls a second in place of time a call.
    pub throughput: bool,
}

impl Pair {
    /// Prints the pair, if both sides ran.
    pub fn print(&self) {
        let (Some(idem), Some(bare)) = (nanoseconds(&self.group, "idem"), nanoseconds(&self.group, "bare")) else {
            return;
        };
        let (ours, reference, unit) = match self.throughput {
            true => (1e9 / idem, 1e9 / bare, "calls/s"),
            false => (idem / 1e3, bare / 1e3, "µs"),
        };
        let ratio = ours / reference;
        println!("{:<44} idem {ours:>10.1} {unit:<8} bare {reference:>10.1} {unit:<8} ratio {ratio:.2}", self.bench);
        let line = serde_json::json!({
            "bench": self.bench, "unit": unit, "ours": ours, "reference": reference, "ratio": ratio,
        });
        println!("{line}");
    }
}

/// The median time that criterion estimated in this run.
fn nanoseconds(group: &str, bench: &str) -> Option<f64> {
    let file = criterion_folder().join(group).join(bench).join("new/estimates.json");
    let estimates: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

fn criterion_folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")).join("criterion")
}
