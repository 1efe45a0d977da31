//! `cargo xtask torture`: kills busy processes at random moments, and checks every answer that
//! their callers received.

mod event;
mod journal;
mod judge;
mod plan;
mod process;
mod report;
mod round;
mod schedule;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::stage;
use report::{Report, print_faults};
use round::Round;

/// How long the short run takes, in seconds.
const SHORT: u64 = 20;
/// How often the progress is printed.
const TELLING: Duration = Duration::from_secs(10);

/// How long, and how hard
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For how long processes are killed; then the rest is settled and checked
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1.0,
        conflicts_with = "seconds"
    )]
    minutes: f64,
    /// The same in seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Decides the messages, what their bodies do, and when processes are killed [default: a random
    /// one]
    #[arg(long)]
    seed: Option<u64>,
    /// How many calls are in flight
    #[arg(long, value_name = "N", default_value_t = 64)]
    callers: usize,
    /// How many messages one folder gets before it is judged and a new one is begun
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    messages: u64,
    /// Build it with optimizations
    #[arg(long)]
    release: bool,
    /// A data folder, new or empty, to keep; the data of a run that finds a fault are always kept
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Makes the short run, which is planned the same every time.
pub(crate) fn short() -> anyhow::Result<()> {
    let seconds = Some(SHORT);
    let args = Args {
        minutes: 0.0,
        seconds,
        seed: Some(1),
        callers: 64,
        messages: 100_000,
        release: false,
        data: None,
    };
    run(&args)
        .with_context(|| format!("to repeat it: cargo xtask torture --seconds {SHORT} --seed 1"))
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let seconds = args.seconds.map_or(Ok(Duration::ZERO), |seconds| {
        Ok(Duration::from_secs(seconds))
    });
    let long = match args.seconds {
        Some(_) => seconds,
        None => Duration::try_from_secs_f64(args.minutes * 60.0),
    }
    .context("`--minutes` is too large or negative")?;
    let program = build(args.release)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let data = args
        .data
        .clone()
        .unwrap_or_else(|| scratch.path().to_owned());
    if fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} is not empty; name a new folder", data.display());
    }
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    println!(
        "\n── Torture for {long:.0?}, seed {seed}, {} callers",
        args.callers
    );
    let start = Instant::now();
    let mut report = Report::of(seed);
    let mut right = true;
    while right && (report.rounds == 0 || start.elapsed() < long) {
        let number = report.rounds + 1;
        let folder = data.join(number.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let seed = plan::seed_of_round(seed, number);
        let mut round = Round::new(&program, &folder, seed, args.callers, args.messages)?;
        let mut told = Instant::now();
        round.run(start + long, |tally| {
            if told.elapsed() >= TELLING {
                told = Instant::now();
                let (took, calls, kills) = (start.elapsed(), tally.calls, tally.kills);
                println!("   {took:>6.0?}  folder {number}: {calls} calls, {kills} kills");
            }
        })?;
        report.add(&round.tally, &round.judge.counts, &round.judge.faults);
        right = round.judge.faults.is_empty();
        if !right {
            print_faults(&round.judge.faults, &mut round.journal)?;
            println!("\n   its data: {}", folder.display());
        } else if args.data.is_none() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    let took = start.elapsed();
    report.print(took);
    println!("{}", report.json(took)?);
    if !right {
        // For the search for the cause.
        let _kept = scratch.keep();
        bail!("the judge found faults; to repeat the plan: --seed {seed}");
    }
    Ok(())
}

/// Builds the process with the same features as the tests, so that it is built once.
fn build(release: bool) -> anyhow::Result<PathBuf> {
    let mut arguments = vec![
        "build",
        "--workspace",
        "--all-features",
        "--bin",
        "tortured",
    ];
    arguments.extend(release.then_some("--release"));
    stage::build("tortured", &arguments)
}
