//! `cargo xtask check`: everything that can be checked without running the tests.

use crate::packages;
use crate::publish;
use crate::stage::{Stage, has_cargo};

/// The manifests outside of the workspace.
const OUTSIDE: [&str; 4] = [
    "fuzz/Cargo.toml",
    "benches/engines/Cargo.toml",
    "benches/peers/Cargo.toml",
    "idem-brokers/rocketmq/Cargo.toml",
];

pub(crate) fn run() -> anyhow::Result<()> {
    // All features are linted, and one of them needs `make`.
    packages::provide(&[packages::MAKE])?;
    Stage::cargo("Format", &["fmt", "--all", "--check"]).run()?;
    for manifest in OUTSIDE {
        Stage::cargo(
            "Format of a package outside of the workspace",
            &["fmt", "--manifest-path", manifest, "--check"],
        )
        .run()?;
    }
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
    for (name, features) in [
        (
            "Lints of a service on a ledger of its own",
            "macros,testing",
        ),
        ("Lints of a service on sled alone", "macros,sled"),
        ("Lints of a service on fjall alone", "macros,fjall"),
    ] {
        Stage::cargo(
            name,
            &[
                "clippy",
                "-p",
                "idem-runtime",
                "--no-default-features",
                "--features",
                features,
                "--",
                "-D",
                "warnings",
            ],
        )
        .run()?;
    }
    Stage::cargo(
        "Lints of a client without a ledger",
        &[
            "clippy",
            "-p",
            "idem-http",
            "--no-default-features",
            "--features",
            "reqwest-middleware",
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
    publish::check()?;
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
