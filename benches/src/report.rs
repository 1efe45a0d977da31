//! Two figures side by side, as a JSON line. `cargo xtask bench` makes a table of these lines.

use serde_json::json;

/// A measurement and its reference.
pub struct Row {
    /// What was measured.
    pub bench: String,
    /// Its unit.
    pub unit: &'static str,
    /// Idem's figure.
    pub ours: f64,
    /// The reference and its figure, which is NaN if it was not run.
    pub beside: Option<(&'static str, f64)>,
    /// The target of the ratio, or of our figure if there is no reference.
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

/// Prints a row with a reference.
pub fn row(
    bench: String,
    unit: &'static str,
    ours: f64,
    beside: (&'static str, f64),
    to_reach: &'static str,
) {
    let beside = Some(beside);
    Row {
        bench,
        unit,
        ours,
        beside,
        to_reach,
    }
    .print();
}
