//! `cargo xtask kill-orders`: the example, killed at random moments, and what is left of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fastrand::Rng;

use crate::deliveries::{self, Plan};
use crate::orders;
use crate::verdict::{Verdict, judge};

/// How often, and on which file
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many times the process is killed
    #[arg(long, default_value_t = 10)]
    kills: u32,
    #[command(flatten)]
    plan: Plan,
    /// A data folder to keep and look at afterwards, new or empty [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let program = orders::build()?;
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = scratch.path().join("deliveries.jsonl");
    let deliveries = deliveries::make(&args.plan);
    fs::write(&file, deliveries::lines(&deliveries)?).context("cannot write the deliveries")?;
    let data = args
        .data
        .clone()
        .unwrap_or_else(|| scratch.path().join("data"));
    if data.join("orders.jsonl").exists() {
        bail!(
            "{} holds orders of an earlier run; name an empty folder",
            data.display()
        );
    }
    let on = |data: &Path| {
        let mut command = Command::new(&program);
        command
            .arg("--data")
            .arg(data)
            .arg("--deliveries")
            .arg(&file);
        command
    };

    println!("\n── Without a kill, {} deliveries", deliveries.len());
    let clean = scratch.path().join("clean");
    let start = Instant::now();
    let summary = orders::finish(&mut on(&clean))?;
    let whole = start.elapsed();
    println!("   {whole:.1?}");
    judge(&deliveries, &orders::placed(&clean)?, &summary).say()?;

    println!("\n── With {} kills, seed {}", args.kills, args.plan.seed);
    // On average a run gets so far that all of them together do most of the work, and the last one
    // the rest.
    let mut window = 2 * whole / (args.kills + 1);
    let mut random = Rng::with_seed(args.plan.seed);
    let mut killed = 0;
    while killed < args.kills {
        let after = window.mul_f64(random.f64());
        let child = on(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run the example")?;
        if kill(child, after)? {
            killed += 1;
            println!(
                "   killed after {after:>8.1?}, {} lines in orders.jsonl",
                lines(&data)
            );
        } else {
            println!("   it was through in less than {after:.1?}");
            window /= 2;
        }
    }

    println!("\n── The run that may finish");
    let summary = orders::finish(&mut on(&data))?;
    let verdict = judge(&deliveries, &orders::placed(&data)?, &summary);
    println!(
        "   placed {}, found {}, replayed {}, retried {}, dead letters {}",
        summary.placed,
        summary.found,
        summary.replayed,
        summary.retried,
        summary.dead_letters.len()
    );

    println!("\n── And once more, for nothing");
    let again = orders::finish(&mut on(&data))?;
    if again.placed + again.found + again.retried > 0 {
        bail!("a run after the last one did something: {again:?}");
    }
    println!(
        "   replayed {}, dead letters {}",
        again.replayed, again.dead_lettered
    );
    let after = judge(&deliveries, &orders::placed(&data)?, &again);
    if after != verdict {
        bail!("a run after the last one changed something");
    }
    verdict.say()
}

/// Whether it was still running when it was killed; what it was told to do, it had not finished.
fn kill(mut child: Child, after: Duration) -> anyhow::Result<bool> {
    thread::sleep(after);
    if let Some(status) = child.try_wait().context("cannot ask for the example")? {
        if !status.success() {
            bail!("the example `orders` ended by itself with {status}");
        }
        return Ok(false);
    }
    // SIGKILL on Unix.
    child.kill().context("cannot kill the example")?;
    let status = child.wait().context("cannot wait for the example")?;
    Ok(!status.success())
}

/// Whole lines and torn ones; the book may not be there yet.
fn lines(data: &Path) -> usize {
    fs::read(data.join("orders.jsonl"))
        .map_or(0, |book| book.split(|byte| *byte == b'\n').count() - 1)
}

impl Verdict {
    fn say(&self) -> anyhow::Result<()> {
        println!("{self}");
        if self.faults.is_empty() {
            return Ok(());
        }
        bail!("{} orders are not as they have to be", self.faults.len())
    }
}
