//! The crates that are published: each one must be whole in its package.

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::stage::{Stage, output};

/// Files that each package must hold.
const FILES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// What `cargo metadata` says of the workspace.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    /// The registries it may go to: all if absent, none if empty.
    publish: Option<Vec<String>>,
}

/// The crate that switches the failpoints on.
const CRASHTEST: &str = "idem-crashtest";

/// Packages each published crate, and builds it from its package alone.
pub(crate) fn check() -> anyhow::Result<()> {
    let crates = published()?;
    // Quiet, or cargo warns of each test that stays out of a package.
    let mut arguments = vec!["package", "--quiet", "--allow-dirty"];
    arguments.extend(crates.iter().flat_map(|name| ["--package", name]));
    Stage::cargo("Packages", &arguments).run()?;
    no_failpoints(&crates)?;
    crates.iter().try_for_each(|name| {
        let list = output(&[
            "package",
            "--quiet",
            "--allow-dirty",
            "--list",
            "--package",
            name,
        ])?;
        FILES.iter().try_for_each(|file| {
            let is_there = list.lines().any(|line| line == *file);
            ensure!(is_there, "the package of {name} holds no {file}");
            Ok(())
        })
    })
}

/// Returns the names of the workspace's published crates.
fn published() -> anyhow::Result<Vec<String>> {
    let metadata = output(&["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Metadata =
        serde_json::from_str(&metadata).context("cannot read the output of `cargo metadata`")?;
    let published = metadata.packages.into_iter().filter(|package| {
        package
            .publish
            .as_ref()
            .is_none_or(|registries| !registries.is_empty())
    });
    let names: Vec<_> = published.map(|package| package.name).collect();
    ensure!(!names.is_empty(), "cargo metadata names no published crate");
    Ok(names)
}

/// Checks that a service gets no failpoints from any crate but the one for crash tests.
fn no_failpoints(crates: &[String]) -> anyhow::Result<()> {
    let mut arguments = vec!["tree", "--edges", "normal", "--prefix", "none"];
    let others = crates.iter().filter(|name| *name != CRASHTEST);
    arguments.extend(others.flat_map(|name| ["--package", name]));
    println!(
        "\n── No failpoints without {CRASHTEST}\n   cargo {}",
        arguments.join(" ")
    );
    let tree = output(&arguments)?;
    ensure!(
        tree.starts_with("idem-"),
        "cargo tree names no crate of idem: {tree}"
    );
    ensure!(
        !tree.lines().any(|line| line.starts_with("fail ")),
        "a published crate depends on `fail`: its failpoints would be in a service"
    );
    Ok(())
}
