//! `cargo xtask check`: everything that can be said without running the code.

use crate::stage::{Stage, has_cargo};

pub(crate) fn run() -> anyhow::Result<()> {
    Stage::cargo("Format", &["fmt", "--all", "--check"]).run()?;
    Stage::cargo("Format of the fuzz targets", &["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]).run()?;
    Stage::cargo("Format of the peers", &["fmt", "--manifest-path", "benches/peers/Cargo.toml", "--check"]).run()?;
    Stage::cargo("Lints", &["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"])
        .run()?;
    Stage::cargo("Docs", &["doc", "--workspace", "--no-deps", "--all-features"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    if has_cargo("deny") {
        // Not the advisories: their database needs a network.
        Stage::cargo("Licences, bans and sources", &["deny", "--all-features", "check", "licenses", "bans", "sources"])
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
