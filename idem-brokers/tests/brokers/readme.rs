//! Checks the README's table of causes and brokers against the tests.

use std::collections::BTreeSet;

use libtest_mimic::Failed;

/// Columns of brokers that this build does not have are skipped.
pub(crate) fn each_cell_is_a_test(tests: &BTreeSet<String>) -> Result<(), Failed> {
    let readme = include_str!("../../README.md");
    let mut rows = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let head = rows
        .find_map(|row| row.strip_prefix("cause | test | "))
        .ok_or("no table")?;
    let built = |broker: &str| {
        tests
            .iter()
            .any(|test| test.starts_with(&format!("{broker}::")))
    };
    let (mut cells, mut wrong) = (0, Vec::new());
    for row in rows.take_while(|row| row.contains("| `")) {
        let mut columns = row.split(" | ").skip(1);
        let test = columns.next().unwrap_or_default().trim_matches('`');
        for (broker, cell) in head
            .split(" | ")
            .zip(columns)
            .filter(|(broker, _)| built(broker))
        {
            cells += 1;
            let name = format!("{broker}::{test}");
            if (cell == "✓") != tests.contains(&name) {
                wrong.push(format!("{name} is `{cell}`"));
            }
        }
    }
    if cells == 0 || !wrong.is_empty() {
        Err(format!("of {cells} cells: {wrong:?}").into())
    } else {
        Ok(())
    }
}
