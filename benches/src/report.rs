//! Two figures side by side: a line for people, a JSON line for programs.

use std::path::{Path, PathBuf};

/// A measurement and what it is held against.
pub struct Row {
    /// What was measured.
    pub bench: String,
    /// What it is counted in.
    pub unit: &'static str,
    /// Idem's figure.
    pub ours: f64,
    /// The figure it is held against.
    pub reference: f64,
    /// What that other figure is.
    pub beside: &'static str,
}

impl Row {
    /// Prints both lines.
    pub fn print(&self) {
        let Self { bench, unit, ours, reference, beside } = self;
        let ratio = ours / reference;
        println!("{bench:<48} idem {ours:>10.1} {unit:<12} {beside} {reference:>10.1} {unit:<12} ratio {ratio:.2}");
        let line = serde_json::json!({
            "bench": bench, "unit": unit, "ours": ours, "reference": reference, "ratio": ratio,
        });
        println!("{line}");
    }
}

/// Two of criterion's benches of one run.
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
    pub fn print(self) {
        let (Some(idem), Some(bare)) = (nanoseconds(&self.group, "idem"), nanoseconds(&self.group, "bare")) else {
            return;
        };
        let (ours, reference, unit) = match self.throughput {
            true => (1e9 / idem, 1e9 / bare, "calls/s"),
            false => (idem / 1e3, bare / 1e3, "µs"),
        };
        Row { bench: self.bench, unit, ours, reference, beside: "bare" }.print();
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
