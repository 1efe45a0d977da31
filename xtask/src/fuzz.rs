//! `cargo xtask fuzz`: runs the checks in `tests/checks` under libFuzzer.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::stage::{Stage, has_cargo, root};

/// Which checks, and how long
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For how long each one runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// One of the folders in `fuzz/corpus` [default: each, one after another]
    target: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(
        has_cargo("fuzz") && has_nightly(),
        "libFuzzer needs a nightly compiler, a C++ compiler and cargo-fuzz: \
         `rustup toolchain install nightly` and `cargo install cargo-fuzz --locked`"
    );
    let all = targets()?;
    let chosen = match &args.target {
        Some(target) if all.contains(target) => std::slice::from_ref(target),
        Some(target) => bail!(
            "unknown target `{target}`; the targets are {}",
            all.join(", ")
        ),
        None => &all,
    };
    for target in chosen {
        // Its findings go to the first folder, so that the corpus stays small.
        let found = format!("fuzz/target/corpus/{target}");
        fs::create_dir_all(root().join(&found))
            .with_context(|| format!("cannot make `{found}`"))?;
        let arguments = [
            "fuzz",
            "run",
            target,
            &found,
            &format!("fuzz/corpus/{target}"),
            "--",
        ];
        let seconds = format!("-max_total_time={}", args.seconds);
        // No check needs longer inputs, and none may take so long or allocate so much at once.
        let limits = [
            "-max_len=4096",
            "-timeout=10",
            "-malloc_limit_mb=64",
            "-print_final_stats=1",
        ];
        Stage::nightly(
            "Fuzzing",
            &[&arguments, [seconds.as_str()].as_slice(), &limits].concat(),
        )
        .run()
        .with_context(|| {
            format!("put a file on which the checks fail into fuzz/corpus/{target}")
        })?;
    }
    println!("\nNothing found.");
    Ok(())
}

fn targets() -> anyhow::Result<Vec<String>> {
    let corpus = root().join("fuzz/corpus");
    let folders =
        fs::read_dir(&corpus).with_context(|| format!("cannot read {}", corpus.display()))?;
    let mut names = folders
        .map(|folder| Ok(folder?.file_name().to_string_lossy().into_owned()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn has_nightly() -> bool {
    let mut asked = Command::new("rustup");
    asked
        .args(["run", "nightly", "rustc", "--version"])
        .stdin(Stdio::null());
    asked.output().is_ok_and(|output| output.status.success())
}
