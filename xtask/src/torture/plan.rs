//! The plan: every message, and the fate of every process, from the seed alone.

use std::time::Duration;

use fastrand::Rng;

use super::event::{Act, Handler};

/// What the processes keep their records in.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ledger {
    /// A folder, which belongs to one process at a time
    #[default]
    Sled,
    /// The same on fjall
    Fjall,
    /// A PostgreSQL, which several processes share
    Postgres,
}

/// The plan of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) handler: Handler,
    /// Two contents are delivered under its key, and one of them wins.
    pub(crate) contended: bool,
    pub(crate) payload: u32,
    pub(crate) result: u32,
    pub(crate) acts: Vec<Act>,
    /// What the attempts do after a redrive.
    pub(crate) acts_when_redriven: Vec<Act>,
}

/// When a process is stopped, and how it ends, counted from its start or from its ledger's opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) from_opening: bool,
    pub(crate) after: Duration,
    /// Whether it is asked to close instead of being killed.
    pub(crate) gently: bool,
    /// When it is stopped, and for how long.
    pub(crate) stopped: Option<(Duration, Duration)>,
}

/// When the server is ended after its start, with which signal, and for how long it is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) after: Duration,
    pub(crate) signal: &'static str,
    pub(crate) pause: Duration,
}

/// Returns a generator of its own for each numbered thing.
fn random(seed: u64, what: u64, number: u64) -> Rng {
    let mut mixed = Rng::with_seed(seed ^ what.rotate_left(48));
    Rng::with_seed(mixed.u64(..) ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Returns the seed of one folder; the first one has the run's own seed.
pub(crate) fn seed_of_round(seed: u64, round: u32) -> u64 {
    if round == 1 {
        seed
    } else {
        random(seed, 1, round.into()).u64(..)
    }
}

pub(crate) fn message(seed: u64, ledger: Ledger, n: u64) -> Message {
    let mut random = random(seed, 2, n);
    let (handler, acts) = handled(&mut random, ledger);
    let redriven = if random.u32(..4) == 0 {
        acts.clone()
    } else {
        vec![Act::Work]
    };
    let may_be_contended = matches!(
        handler,
        Handler::Plain | Handler::Sync | Handler::Redeliver | Handler::Existing
    );
    Message {
        handler,
        contended: may_be_contended && random.u32(..100) < 4,
        payload: size(&mut random),
        result: size(&mut random),
        acts,
        acts_when_redriven: redriven,
    }
}

fn handled(random: &mut Rng, ledger: Ledger) -> (Handler, Vec<Act>) {
    let of = match ledger {
        Ledger::Sled | Ledger::Fjall => 1000,
        // As many are transactional.
        Ledger::Postgres => 2000,
    };
    let handler = match random.u32(..of) {
        0..330 => Handler::Plain,
        330..430 => Handler::Timed,
        430..433 => Handler::Hung,
        433..560 => Handler::Sync,
        560..640 => Handler::Bury,
        640..740 => Handler::Redeliver,
        740..880 => Handler::Existing,
        880..940 => Handler::Brief,
        940..1000 => Handler::Reject,
        1000..1400 => Handler::Counted,
        1400..1800 => Handler::Single,
        _ => Handler::Fresh,
    };
    let acts = match handler {
        Handler::Hung => times(random.usize(1..=3), Act::Hang),
        // Each abort ends its process. A `Single` that is not counted would do so for ever.
        _ if !matches!(handler, Handler::Brief | Handler::Single) && random.u32(..2000) == 0 => {
            times(random.usize(1..=5), Act::Abort)
        }
        _ => ordinary(handler, random),
    };
    (handler, acts)
}

fn ordinary(handler: Handler, random: &mut Rng) -> Vec<Act> {
    match (handler, random.u32(..100)) {
        (Handler::Timed, 0..15) => times(random.usize(1..=3), Act::Hang),
        (Handler::Existing, 0..10) => times(random.usize(1..=5), Act::FailToLook),
        (
            Handler::Plain
            | Handler::Sync
            | Handler::Redeliver
            | Handler::Counted
            | Handler::Single
            | Handler::Fresh,
            15..19,
        ) => vec![Act::Permanent],
        (_, 19..44) => times(random.usize(1..=3), Act::Fail),
        (_, 44..48) => vec![Act::Fail],
        (_, 48..54) => times(random.usize(1..=4), Act::Panic),
        (_, 54..64) => vec![Act::Linger],
        _ => vec![Act::Work],
    }
}

/// Returns `times` of this act, and then the work.
fn times(times: usize, act: Act) -> Vec<Act> {
    let mut acts = vec![act; times];
    acts.push(Act::Work);
    acts
}

/// Returns a size: mostly small, some over the ledger's 4 KiB, a few over sled's 128 KiB.
fn size(random: &mut Rng) -> u32 {
    match random.u32(..1000) {
        0..900 => random.u32(..100),
        900..980 => random.u32(100..4_000),
        980..997 => random.u32(4_000..20_000),
        _ => random.u32(128_000..200_000),
    }
}

pub(crate) fn fate(seed: u64, ledger: Ledger, process: u32) -> Fate {
    let mut random = random(seed, 3, process.into());
    // As many short processes as long ones: from 20 ms to 4 s.
    let mut after = Duration::from_millis(20).mul_f64(200_f64.powf(random.f64()));
    if ledger == Ledger::Postgres {
        // It opens more slowly, and what it does takes longer.
        after *= 3;
    }
    let mut stopped = (random.u32(..5) == 0).then(|| {
        // Some are still stopped when they are killed.
        (
            after.mul_f64(random.f64()),
            Duration::from_millis(random.u64(10..400)),
        )
    });
    if ledger == Ledger::Postgres
        && random.u32(..3) == 0
        && let Some((_, pause)) = &mut stopped
    {
        // Past its lease, and then most go on.
        *pause = Duration::from_millis(random.u64(2_200..5_000));
        after += Duration::from_millis(random.u64(2_000..8_000));
    }
    Fate {
        from_opening: random.u32(..8) > 0,
        after,
        gently: random.u32(..12) == 0,
        stopped,
    }
}

pub(crate) fn outage(seed: u64, number: u32) -> Outage {
    let mut random = random(seed, 4, number.into());
    let signals = ["KILL", "KILL", "QUIT", "INT"];
    Outage {
        after: Duration::from_secs(2).mul_f64(20_f64.powf(random.f64())),
        signal: signals[random.usize(..signals.len())],
        // Seldom for longer than a lease.
        pause: Duration::from_millis(random.u64(..10).pow(4) / 2),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const LEDGERS: [Ledger; 2] = [Ledger::Sled, Ledger::Postgres];

    #[test]
    fn a_seed_is_a_plan() {
        for ledger in LEDGERS {
            let message = |seed, number| message(seed, ledger, number);
            let fate = |seed, process| fate(seed, ledger, process);
            for number in 0..200 {
                assert_eq!(message(7, number), message(7, number));
            }
            assert!((0..20).any(|number| message(7, number) != message(8, number)));
            assert!((0..20).any(|process| fate(7, process) != fate(8, process)));
        }
        assert!((0..20).any(|number| outage(7, number) != outage(8, number)));
        assert_eq!(
            (seed_of_round(7, 1), seed_of_round(7, 2)),
            (7, seed_of_round(7, 2))
        );
        assert_ne!(seed_of_round(7, 2), seed_of_round(7, 3));
    }

    #[test]
    fn every_handler_and_act_is_planned() {
        for (ledger, handlers) in LEDGERS.into_iter().zip([9, 12]) {
            let messages: Vec<_> = (0..10_000)
                .map(|number| message(1, ledger, number))
                .collect();
            let planned: HashSet<_> = messages.iter().map(|message| message.handler).collect();
            assert_eq!(planned.len(), handlers);
            let all = [
                Act::Work,
                Act::Linger,
                Act::Fail,
                Act::Permanent,
                Act::Panic,
                Act::Abort,
                Act::Hang,
                Act::FailToLook,
            ];
            for act in all {
                assert!(
                    messages.iter().any(|message| message.acts.contains(&act)),
                    "{act:?}"
                );
            }
            assert!(messages.iter().any(|message| message.contended));
            assert!(messages.iter().any(|message| message.result > 128 << 10));
            assert!(messages.iter().any(|message| message.payload > 128 << 10));
        }
    }
}
