//! The crates that are published: each one must be whole in its package.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::stage::{Stage, output, root};

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
    version: String,
    /// The registries it may go to: all if absent, none if empty.
    publish: Option<Vec<String>>,
}

/// The crate that switches the failpoints on.
const CRASHTEST: &str = "idem-crashtest";

/// Packages each published crate, and checks that the packages compile without the tree.
pub(crate) fn check() -> anyhow::Result<()> {
    let crates = published()?;
    // Quiet, or cargo warns of each test that stays out of a package.
    let mut arguments = vec!["package", "--quiet", "--allow-dirty", "--no-verify"];
    arguments.extend(crates.iter().flat_map(|one| ["--package", &one.name]));
    Stage::cargo("Packages", &arguments).run()?;
    let folder = unpack(&crates)?;
    for one in &crates {
        for file in FILES {
            let path = folder.join(one.folder()).join(file);
            ensure!(path.is_file(), "the package of {} has no {file}", one.name);
        }
    }
    let manifest = folder.join("Cargo.toml").display().to_string();
    let target = root().join("target").display().to_string();
    Stage::cargo(
        "Packages without the tree",
        &[
            "check",
            "--manifest-path",
            &manifest,
            "--target-dir",
            &target,
        ],
    )
    .run()?;
    no_failpoints(&crates)
}

/// Unpacks the packages into a workspace of their own. Cargo's own verification is not used: it
/// does not unpack a package again whose version it has seen.
fn unpack(crates: &[Package]) -> anyhow::Result<PathBuf> {
    let folder = root().join("target/package/unpacked");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove the packages of an earlier run")?;
    }
    fs::create_dir_all(&folder).context("cannot make a folder for the packages")?;
    let mut manifest =
        "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n\n[patch.crates-io]\n".to_owned();
    for one in crates {
        let package = root().join(format!("target/package/{}.crate", one.folder()));
        // With the time of now: cargo would take files of an earlier run for these.
        let status = Command::new("tar")
            .arg("-xzmf")
            .arg(&package)
            .arg("-C")
            .arg(&folder)
            .status()
            .context("cannot run `tar`")?;
        ensure!(status.success(), "cannot unpack {}", package.display());
        manifest += &format!("{} = {{ path = \"{}\" }}\n", one.name, one.folder());
    }
    fs::write(folder.join("Cargo.toml"), manifest).context("cannot write a manifest")?;
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))
        .context("cannot copy Cargo.lock")?;
    Ok(folder)
}

/// Returns the workspace's published crates.
fn published() -> anyhow::Result<Vec<Package>> {
    let metadata = output(&["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Metadata =
        serde_json::from_str(&metadata).context("cannot read the output of `cargo metadata`")?;
    let mut published = metadata.packages;
    published.retain(|package| {
        let registries = package.publish.as_ref();
        registries.is_none_or(|registries| !registries.is_empty())
    });
    Ok(published)
}

impl Package {
    /// Returns the folder that its package unpacks to.
    fn folder(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }
}

/// Checks that a service gets no failpoints from any crate but the one for crash tests.
fn no_failpoints(crates: &[Package]) -> anyhow::Result<()> {
    let mut arguments = vec!["tree", "--edges", "normal", "--prefix", "none"];
    let others = crates.iter().filter(|one| one.name != CRASHTEST);
    arguments.extend(others.flat_map(|one| ["--package", &one.name]));
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
