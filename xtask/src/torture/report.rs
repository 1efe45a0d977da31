//! The report at the end, for people and for machines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::journal::Journal;
use super::judge::{Counts, Fault, RULES, Rule};
use super::round::Tally;

/// How many faults are printed, and histories of how many messages.
const SHOWN: usize = 20;
const STORIES: usize = 5;

/// The sum of all rounds.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) rounds: u32,
    tally: Tally,
    counts: Counts,
    faults: BTreeMap<Rule, usize>,
}

impl Report {
    pub(crate) fn of(seed: u64) -> Self {
        let faults = RULES.map(|rule| (rule, 0)).into();
        Self {
            seed,
            faults,
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, tally: &Tally, counts: &Counts, faults: &[Fault]) {
        self.rounds += 1;
        let (t, c) = (&mut self.tally, &mut self.counts);
        t.messages += tally.messages;
        t.calls += tally.calls;
        t.processes += tally.processes;
        t.kills += tally.kills;
        t.aborts += tally.aborts;
        t.closes += tally.closes;
        t.stops += tally.stops;
        t.outages += tally.outages;
        c.answers += counts.answers;
        c.bodies += counts.bodies;
        c.effects_again += counts.effects_again;
        c.results += counts.results;
        c.replays += counts.replays;
        c.redrives += counts.redrives;
        c.discards += counts.discards;
        c.letters += counts.letters;
        c.done += counts.done;
        c.dead += counts.dead;
        c.discarded += counts.discarded;
        c.expired += counts.expired;
        c.rows += counts.rows;
        c.lapses += counts.lapses;
        c.refused += counts.refused;
        for fault in faults {
            *self.faults.entry(fault.rule).or_default() += 1;
        }
    }

    /// Prints the table for people.
    pub(crate) fn print(&self, took: Duration) {
        let (t, c) = (&self.tally, &self.counts);
        println!(
            "\n── Verdict: seed {}, {} ledgers, {took:.0?}",
            self.seed, self.rounds
        );
        let row = |what: &str, count: u64, meaning: &str| {
            println!("   {what:<18}{count:>12}   {meaning}");
        };
        row("calls", t.calls, "deliveries, duplicates included");
        row("messages", t.messages, "each under a key of its own");
        row(
            "kills",
            t.kills.into(),
            "kill -9 at random moments, or right after an event",
        );
        row("aborts", t.aborts.into(), "a body ended its process");
        row(
            "restarts",
            (t.processes - self.rounds).into(),
            "on the same ledger",
        );
        row("closes", t.closes.into(), "on request");
        row("standstills", t.stops.into(), "SIGSTOP, SIGCONT");
        row("outages", t.outages.into(), "of the server, by its end");
        row("lapses", c.lapses, "a process lost all its claims");
        row("bodies started", c.bodies, "");
        row(
            "effects again",
            c.effects_again,
            "at least once, where there is no `existing`",
        );
        row("answers", c.answers, "");
        row(
            "  refused",
            c.refused,
            "no server, no commit or no lease any more",
        );
        row(
            "results checked",
            c.results,
            "each is what its body returned",
        );
        row(
            "replays equal",
            c.replays,
            "to the first answer, however long ago",
        );
        row(
            "letters",
            c.letters,
            "each matches its record, its operator and its attempts",
        );
        row(
            "rows",
            c.rows,
            "each is its record's, and no other is there",
        );
        row("redrives", c.redrives, "");
        row("discards", c.discards, "");
        println!("   in the end:");
        row("  done", c.done, "");
        row("  dead", c.dead, "with one open letter each");
        row("  discarded", c.discarded, "");
        row(
            "  expired",
            c.expired,
            "of the handler with the short time to live",
        );
        println!("   wrong:");
        for (rule, count) in &self.faults {
            row(&format!("  {}", rule.name()), *count as u64, rule.meaning());
        }
    }

    /// Returns the same as one line of JSON.
    pub(crate) fn json(&self, took: Duration) -> anyhow::Result<String> {
        #[derive(Serialize)]
        struct Line<'a> {
            seed: u64,
            seconds: u64,
            ledgers: u32,
            #[serde(flatten)]
            tally: &'a Tally,
            #[serde(flatten)]
            counts: &'a Counts,
            wrong: &'a BTreeMap<Rule, usize>,
        }
        let (tally, counts, wrong) = (&self.tally, &self.counts, &self.faults);
        let line = Line {
            seed: self.seed,
            seconds: took.as_secs(),
            ledgers: self.rounds,
            tally,
            counts,
            wrong,
        };
        Ok(serde_json::to_string(&line)?)
    }
}

impl Rule {
    fn name(self) -> &'static str {
        match self {
            Rule::Lost => "lost",
            Rule::Doubled => "doubled",
            Rule::Budget => "over budget",
            Rule::Fencing => "not fenced",
            Rule::Letters => "letters wrong",
            Rule::Refused => "refused",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Rule::Lost => "delivered or answered, and gone",
            Rule::Doubled => "two answers, or a start after the end",
            Rule::Budget => "more starts than allowed, or an uncounted one",
            Rule::Fencing => "tokens that do not grow, bodies that overlap",
            Rule::Letters => "without their record, operator or attempts",
            Rule::Refused => "an unexpected error",
        }
    }
}

/// Prints the faults, and the histories of their messages.
pub(crate) fn print_faults(faults: &[Fault], journal: &mut Journal) -> anyhow::Result<()> {
    println!();
    for fault in faults.iter().take(SHOWN) {
        println!("   WRONG {fault}");
    }
    if faults.len() > SHOWN {
        println!("   WRONG and {} more", faults.len() - SHOWN);
    }
    let messages: BTreeSet<_> = faults.iter().filter_map(|fault| fault.n).collect();
    let messages: Vec<_> = messages.into_iter().take(STORIES).collect();
    for (n, history) in journal.histories(&messages)? {
        println!("\n   message {n}: process, command (<) or event (>)");
        history.iter().for_each(|line| println!("   {line}"));
    }
    Ok(())
}
