//! Two figures side by side, as a JSON line: `cargo xtask bench` makes the table of them.

use serde_json::json;

/// A measurement and what it is held against.
pub struct Row {
    /// What was measured.
    pub bench: String,
    /// What it is counted in.
    pub unit: &'static str,
    /// Idem's figure.
    pub ours: f64,
    /// What it is held against, and that figure: not a number where that was not run.
    pub beside: Option<(&'static str, f64)>,
    /// What the ratio is to reach; where there is none, what our figure is to.
    pub to_reach: &'static str,
}

impl Row {
    /// Prints the line.
    pub fn print(&self) {
        let Self {
            bench,
            unit,
            ours,
            beside,
            to_reach,
        } = self;
        let (beside, reference) = beside.unzip();
        let ratio = reference.map(|reference| ours / reference);
        println!(
            "{}",
            json!({
                "bench": bench, "unit": unit, "ours": ours, "beside": beside, "reference": reference, "ratio": ratio,
                "to_reach": to_reach,
            })
        );
    }
}
