//! `cargo xtask check`: everything that can be said without running the code.

use anyhow::{Context, ensure};

use crate::packages;
use crate::stage::{Stage, cargo, has_cargo};

pub(crate) fn run() -> anyhow::Result<()> {
    // All features are linted, and one of them is built with it.
    packages::provide(&[packages::MAKE])?;
    Stage::cargo("Format", &["fmt", "--all", "--check"]).run()?;
    Stage::cargo(
        "Format of the fuzz targets",
        &["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"],
    )
    .run()?;
    Stage::cargo(
        "Format of the peers",
        &[
            "fmt",
            "--manifest-path",
            "benches/peers/Cargo.toml",
            "--check",
        ],
    )
    .run()?;
    Stage::cargo(
        "Format of RocketMQ's package",
        &[
            "fmt",
            "--manifest-path",
            "idem-brokers/rocketmq/Cargo.toml",
            "--check",
        ],
    )
    .run()?;
    Stage::cargo(
        "Lints",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ],
    )
    .run()?;
    Stage::cargo(
        "Docs",
        &["doc", "--workspace", "--no-deps", "--all-features"],
    )
    .env("RUSTDOCFLAGS", "-D warnings")
    .run()?;
    no_fail_points()?;
    if has_cargo("deny") {
        // Not the advisories: their database needs a network.
        Stage::cargo(
            "Licences, bans and sources",
            &[
                "deny",
                "--all-features",
                "check",
                "licenses",
                "bans",
                "sources",
            ],
        )
        .run()?;
    } else {
        println!(
            "\n── Licences, bans and sources\n   not checked: cargo-deny is not installed \
             (`cargo install cargo-deny --locked`)"
        );
    }
    println!("\nAll checks passed.");
    Ok(())
}

/// The places where a test lets the ledger die are a feature that no service gets unasked.
fn no_fail_points() -> anyhow::Result<()> {
    let arguments = [
        "tree",
        "--package",
        "idem-runtime",
        "--edges",
        "normal",
        "--prefix",
        "none",
    ];
    println!(
        "\n── No fail points without their feature\n   cargo {}",
        arguments.join(" ")
    );
    let tree = cargo()
        .args(arguments)
        .output()
        .context("cannot run `cargo tree`")?;
    ensure!(
        tree.status.success(),
        "cargo tree failed: {}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let crates = String::from_utf8_lossy(&tree.stdout);
    ensure!(
        crates.starts_with("idem-runtime "),
        "cargo tree shows no idem-runtime: {crates}"
    );
    ensure!(
        !crates.lines().any(|line| line.starts_with("fail ")),
        "idem-runtime depends on `fail` without being asked: its points would be in release builds"
    );
    Ok(())
}
