//! `cargo xtask instructions`: counts the instructions of calls, and compares them with the changelog's.
//!
//! Instructions are exact where times are not, so a call that became more expensive is seen although the
//! machine is busy. One that may be more expensive gets a new figure in the changelog, with the reason.

use std::fs;
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use crate::bench::{Row, measure};
use crate::stage::{cargo, heading, root};

/// The heading of the changelog's list. Its lines are `- NAME: FIGURE`, and what comes behind is for
/// people.
const HEADING: &str = "### Instructions of a call";
/// How much more is too much.
const GROWTH: f64 = 1.03;

/// Counts them, and fails if one grew.
pub(crate) fn check() -> anyhow::Result<()> {
    heading("Instructions of a call", "cargo xtask instructions");
    let begun = Instant::now();
    if !cfg!(target_arch = "x86_64") {
        println!("not compared: the changelog has those of x86-64");
        return Ok(());
    }
    // As a service is built, but for the minutes of link-time optimization.
    let rows = measure(
        cargo()
            .env("CARGO_PROFILE_BENCH_LTO", "off")
            .args(["bench", "--quiet", "--package", "idem-benches"])
            .args([
                "--no-default-features",
                "--bench",
                "instructions",
                "--",
                "own",
            ]),
    )?;
    ensure!(!rows.is_empty(), "nothing was counted");
    let changelog = fs::read_to_string(root().join("CHANGELOG.md"))?;
    let listed = listed(&changelog);
    let mut grown = Vec::new();
    for Row { bench, ours, .. } in &rows {
        let was = listed.iter().find(|(name, _)| name == bench);
        let (_, was) = was.with_context(|| {
            format!("`{HEADING}` in CHANGELOG.md has no line `- {bench}: {ours:.0}`")
        })?;
        if *ours > was * GROWTH {
            grown.push(format!("- {bench}: {ours:.0} (was {was:.0})"));
        }
    }
    if !grown.is_empty() {
        bail!(
            "these calls take over 3 % more instructions than before:\n{}\nMake them fewer, or write the \
             new figures under `{HEADING}` in CHANGELOG.md, each with the reason",
            grown.join("\n")
        );
    }
    println!("none grew ({} s)", begun.elapsed().as_secs());
    Ok(())
}

/// Returns the figures of the newest list.
fn listed(changelog: &str) -> Vec<(&str, f64)> {
    let lines = changelog
        .lines()
        .skip_while(|line| *line != HEADING)
        .skip(1);
    let lines = lines.take_while(|line| !line.starts_with('#'));
    let figures = lines.filter_map(|line| {
        let (name, rest) = line.strip_prefix("- ")?.split_once(": ")?;
        let figure = rest.split(' ').next()?.replace(',', "");
        Some((name, figure.parse().ok()?))
    });
    figures.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_list_is_read() {
        let changelog = "# Changelog\n## [2]\n### Instructions of a call\n\nWhat they are.\n\n\
                         - first: 9,876 (why)\n- replay: 12\n\n## [1]\n### Instructions of a call\n- first: 1\n";
        assert_eq!(listed(changelog), [("first", 9876.0), ("replay", 12.0)]);
    }
}
