//! `cargo xtask test`: everything that runs.

use crate::browser;
use crate::smoke;
use crate::stage::{Stage, has_cargo};
use crate::torture;

/// Not `--all-targets`, which would run the benches too.
const TARGETS: [&str; 6] = ["--workspace", "--all-features", "--lib", "--bins", "--tests", "--examples"];

pub(crate) fn run() -> anyhow::Result<()> {
    let missing = browser::provide()?;
    let runner: &[&str] =
        if has_cargo("nextest") { &["nextest", "run", "--no-fail-fast"] } else { &["test", "--no-fail-fast"] };
    Stage::cargo("Unit, integration and ui tests", &[runner, TARGETS.as_slice()].concat()).run()?;
    // `--doc` overrides `doctest = false`: the attribute's examples need the runtime, so idem-tests has them.
    Stage::cargo("Doc tests", &["test", "--workspace", "--exclude", "idem-macros", "--all-features", "--doc"]).run()?;
    smoke::run()?;
    torture::short()?;
    match missing {
        Some(missing) => println!("\nAll tests that were run passed. Not run: {missing}."),
        None => println!("\nAll tests passed."),
    }
    Ok(())
}
