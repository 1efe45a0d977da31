//! `cargo xtask torture`: kills busy processes at random moments, and checks every answer that
//! their callers received.

mod event;
mod journal;
mod judge;
mod pipe;
mod plan;
mod process;
mod report;
mod round;
mod running;
mod schedule;
mod server;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::stage;
use plan::Ledger;
use report::{Report, print_faults};
use round::{Plan, Round};

/// How long the short runs take, in seconds, without the rest that is settled.
const SHORT: [(Ledger, &str, u64); 3] = [
    (Ledger::Sled, "", 20),
    (Ledger::Fjall, "--ledger fjall ", 10),
    (Ledger::Postgres, "--ledger postgres ", 12),
];
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
    /// Where the processes keep their records
    #[arg(long, value_enum, default_value_t)]
    ledger: Ledger,
    /// How many processes share the PostgreSQL, which is ended now and then too
    #[arg(long, value_name = "N", default_value_t = 4)]
    processes: usize,
    /// How many calls are in flight
    #[arg(long, value_name = "N", default_value_t = 64)]
    callers: usize,
    /// How many messages one ledger gets before it is judged and a new one is begun
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    messages: u64,
    /// Build it with optimizations
    #[arg(long)]
    release: bool,
    /// A data folder, new or empty, to keep; the data of a run that finds a fault are always kept.
    /// Of a PostgreSQL that is the journal
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Makes the short runs, which are planned the same every time: on PostgreSQL only where it is
/// installed.
pub(crate) fn short(with_postgres: bool) -> anyhow::Result<()> {
    for (ledger, option, seconds) in SHORT {
        if ledger == Ledger::Postgres && !with_postgres {
            continue;
        }
        let args = Args {
            minutes: 0.0,
            seconds: Some(seconds),
            seed: Some(1),
            ledger,
            processes: 4,
            callers: 64,
            messages: 100_000,
            release: false,
            data: None,
        };
        run(&args).with_context(|| {
            format!("to repeat it: cargo xtask torture {option}--seconds {seconds} --seed 1")
        })?;
    }
    Ok(())
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
    let plan = Plan {
        program,
        ledger: args.ledger,
        processes: match args.ledger {
            Ledger::Sled | Ledger::Fjall => 1,
            Ledger::Postgres => args.processes.max(1),
        },
        callers: args.callers,
        messages: args.messages,
    };
    println!(
        "\n── Torture for {long:.0?}, seed {seed}, {:?}, processes: {}, callers: {}",
        plan.ledger, plan.processes, plan.callers
    );
    let start = Instant::now();
    let mut report = Report::of(seed);
    let mut right = true;
    while right && (report.rounds == 0 || start.elapsed() < long) {
        let number = report.rounds + 1;
        let folder = data.join(number.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let seed = plan::seed_of_round(seed, number);
        let mut round = Round::new(plan.clone(), &folder, seed)?;
        let mut told = Instant::now();
        round.run(start + long, |tally| {
            if told.elapsed() >= TELLING {
                told = Instant::now();
                let (took, calls, kills) = (start.elapsed(), tally.calls, tally.kills);
                println!("   {took:>6.0?}  ledger {number}: {calls} calls, {kills} kills");
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
