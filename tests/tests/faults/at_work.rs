//! One call that the system refuses while a ledger works, once. What was acknowledged before and
//! after it stays: in this process, in the next one, and when the power is cut after that.

use fail::FailScenario;
use fastrand::Rng;
use idem_runtime::{Filter, Idem};

use crate::ledger::{LOG, Ledger};
use crate::shim::{Disk, EIO, ENOSPC, Fault, Life};
use crate::{complain, seed};

/// How many calls of a kind an opening makes, so that those at work are known.
fn at_opening(ledger: &Ledger, kind: &str, file: &str) -> usize {
    let life = Disk::default().live(ledger.copy().path(), &["hold"]);
    assert_eq!(life.lines, ["open"]);
    life.count(kind, file)
}

/// Fails one of the next calls of a kind on the log, and then another one, each in a folder of its
/// own.
async fn each(kind: &'static str, error: i32, judge: fn(&Life) -> Result<(), String>) {
    let ledger = Ledger::killed();
    let opening = at_opening(&ledger, kind, LOG);
    let mut random = Rng::with_seed(seed());
    let mut wrong = Vec::new();
    let later = (0..5).map(|_| random.usize(5..30));
    let tried: Vec<_> = (1..5)
        .chain(later)
        .map(|nth| Fault {
            kind,
            nth: opening + nth,
            error,
            file: LOG,
        })
        .collect();
    for fault in &tried {
        if let Err(complaint) = one(ledger.copy(), *fault, judge).await {
            wrong.push(format!("{fault}, {opening} at the opening: {complaint}"));
        }
    }
    complain(&wrong, tried.len());
}

async fn one(
    mut ledger: Ledger,
    fault: Fault,
    judge: fn(&Life) -> Result<(), String>,
) -> Result<(), String> {
    let log = Some(ledger.disk());
    let life = ledger.work(
        &Disk {
            faults: vec![fault],
            log: log.clone(),
        },
        20,
    )?;
    assert_eq!(life.failed(), 1, "{fault} was not reached");
    judge(&life)?;
    // The next process brings everything again, and goes on.
    let end = ledger.next() + 5 * 16;
    let next = ledger.bring(
        &Disk {
            faults: Vec::new(),
            log,
        },
        0..end,
        "finished",
    )?;
    never_refused(&next)?;
    ledger.cut();
    ledger
        .check()
        .await
        .map_err(|complaint| format!("when the power was cut: {complaint}"))
}

/// Nothing is acknowledged after a round in which a call was refused.
fn poisoned(life: &Life) -> Result<(), String> {
    never_damaged(life)?;
    if is_at_opening(life) {
        return Ok(());
    }
    let mut rounds = life.lines.split(|line| line == "round");
    if !rounds.any(|round| round.iter().any(|line| line.starts_with("refused"))) {
        return Err("no call is refused".to_owned());
    }
    match rounds.flatten().find(|line| line.starts_with("answered")) {
        Some(line) => Err(format!("it goes on: {line}")),
        None => Ok(()),
    }
}

/// An opening makes a few calls more or less from one time to the next, so the one that fails may
/// still be one of its own.
fn is_at_opening(life: &Life) -> bool {
    matches!(&life.lines[..], [line] if line.starts_with("closed: "))
}

/// It works through all its rounds; no error speaks of damage, and none says to remove anything.
fn never_damaged(life: &Life) -> Result<(), String> {
    if !is_at_opening(life) && life.lines.last().is_none_or(|line| line != "finished") {
        return Err(format!("it ends with {:?}", life.lines.last()));
    }
    match life
        .errors()
        .find(|said| said.contains("damaged") || said.contains("remove"))
    {
        Some(said) => Err(format!("it says {said}")),
        None => Ok(()),
    }
}

/// The next process opens the folder and is refused nothing.
fn never_refused(next: &Life) -> Result<(), String> {
    match next.errors().next() {
        Some(error) => Err(format!("the next process says {error}")),
        None if next.lines.last().is_none_or(|line| line != "finished") => Err(format!(
            "the next process ends with {:?}",
            next.lines.last()
        )),
        None => Ok(()),
    }
}

#[tokio::test]
async fn after_a_failed_fdatasync_nothing_is_acknowledged_and_nothing_is_lost() {
    each("fdatasync", EIO, poisoned).await;
}

#[tokio::test]
async fn after_a_failed_sync_file_range_nothing_is_acknowledged_and_nothing_is_lost() {
    each("sync_file_range", EIO, poisoned).await;
}

#[tokio::test]
async fn after_a_failed_write_of_the_log_nothing_is_lost() {
    each("write", EIO, never_damaged).await;
    each("write", ENOSPC, never_damaged).await;
}

/// sled writes a full buffer in another thread, and does not always wake those who wait for it when
/// that fails.
#[tokio::test]
async fn a_write_that_fails_in_the_midst_of_a_large_result_leaves_no_call_waiting() {
    let ledger = Ledger::young();
    let opening = at_opening(&ledger, "write", LOG);
    let mut wrong = Vec::new();
    for nth in 1..=10 {
        let (ledger, fault) = (
            ledger.copy(),
            Fault {
                kind: "write",
                nth: opening + nth,
                error: ENOSPC,
                file: LOG,
            },
        );
        let life = Disk::failing(fault).live(ledger.path(), &["large", "3"]);
        let next = Disk::default().live(ledger.path(), &["large", "3"]);
        if let Err(complaint) = ledger
            .check_after(never_damaged(&life).and_then(|()| never_refused(&next)))
            .await
        {
            wrong.push(format!("{fault}, {opening} at the opening: {complaint}"));
        }
    }
    complain(&wrong, 10);
}

/// sled syncs in the background, too, and only logs that it failed; the system tells the ledger's
/// next sync of it.
#[tokio::test]
async fn after_a_failed_sync_in_the_background_nothing_is_acknowledged_and_nothing_is_lost() {
    let mut ledger = Ledger::killed();
    let log = Some(ledger.disk());
    let opened = at_opening(&ledger, "fdatasync", LOG) + 1;
    let first_group = Fault {
        kind: "fdatasync",
        nth: opened,
        error: 0,
        file: LOG,
    };
    let background = Fault {
        kind: "fsync",
        nth: 1,
        error: EIO,
        file: LOG,
    };
    let disk = Disk {
        faults: vec![first_group, background],
        log: log.clone(),
    };
    let life = ledger.work(&disk, 20_000).unwrap();
    assert_eq!(life.failed(), 1);
    poisoned(&life).unwrap();
    let end = ledger.next() + 5 * 16;
    let next = ledger
        .bring(
            &Disk {
                faults: Vec::new(),
                log,
            },
            0..end,
            "finished",
        )
        .unwrap();
    never_refused(&next).unwrap();
    ledger.cut();
    ledger.check().await.unwrap();
}

#[tokio::test]
async fn a_read_that_fails_while_the_ledger_opens_again_after_a_refused_write() {
    let ledger = Ledger::killed();
    let reads = at_opening(&ledger, "read", "");
    let refused = Fault {
        kind: "write",
        nth: at_opening(&ledger, "write", LOG) + 5,
        error: ENOSPC,
        file: LOG,
    };
    let mut random = Rng::with_seed(seed());
    let mut wrong = Vec::new();
    let tried = random.choose_multiple(1..=reads, 40);
    for nth in &tried {
        let faults = vec![
            refused,
            Fault {
                kind: "read",
                nth: *nth,
                error: EIO,
                file: "",
            },
        ];
        let mut ledger = ledger.copy();
        let life = ledger.work(&Disk { faults, log: None }, 12);
        let said =
            life.and_then(|life| never_damaged(&life).and_then(|()| works_in_the_end(&life)));
        if let Err(complaint) = ledger.check_after(said).await {
            wrong.push(format!("read {nth} of {reads}: {complaint}"));
        }
    }
    complain(&wrong, tried.len());
}

/// It opens again with the next call.
fn works_in_the_end(life: &Life) -> Result<(), String> {
    match life.errors().last() {
        Some(error)
            if life
                .lines
                .iter()
                .rev()
                .take(17)
                .any(|line| line.starts_with("refused")) =>
        {
            Err(format!("it is refused to the end: {error}"))
        }
        Some(_) => Ok(()),
        None => Err("no call is refused".to_owned()),
    }
}

#[tokio::test]
async fn a_read_that_fails_at_work() {
    let ledger = Ledger::killed();
    let opening = at_opening(&ledger, "read", "");
    let all = Disk::default().live(
        ledger.copy().path(),
        &["rounds", "0", &ledger.next().to_string()],
    );
    let reads = all.count("read", "");
    assert!(reads > opening, "everything was read when it opened");
    let mut random = Rng::with_seed(seed());
    let mut wrong = Vec::new();
    let tried = random.choose_multiple(opening + 1..=reads, 40);
    for nth in &tried {
        let mut ledger = ledger.copy();
        let disk = Disk::failing(Fault {
            kind: "read",
            nth: *nth,
            error: EIO,
            file: "",
        });
        let all = 0..ledger.next() + 32;
        let said = ledger
            .bring(&disk, all, "")
            .and_then(|life| never_damaged(&life));
        if let Err(complaint) = ledger.check_after(said).await {
            wrong.push(format!(
                "read {nth} of {reads}, {opening} at the opening: {complaint}"
            ));
        }
    }
    complain(&wrong, tried.len());
}

/// The witness is refused a write right after a claim was made durable, whose body must never run
/// again: it was not an attempt, so it is not a crash either.
#[tokio::test]
async fn a_message_that_must_not_run_on_a_guess_runs_once_when_the_witness_cannot_be_written() {
    let ledger = Ledger::young();
    let writes = at_opening(&ledger, "write", "witness");
    let mut wrong = Vec::new();
    for error in [EIO, ENOSPC] {
        // The opening's own, the claim's, the result's, and whatever follows.
        for nth in 1..=writes + 3 {
            // Called again at once, or only by the next process.
            for calls in ["3", "1"] {
                let ledger = ledger.copy();
                let disk = Disk::failing(Fault {
                    kind: "write",
                    nth,
                    error,
                    file: "witness",
                });
                if let Err(complaint) = runs_once(&ledger, &disk, calls).await {
                    wrong.push(format!("witness {nth}, {writes} at the opening, {calls} calls, {error}: {complaint}"));
                }
            }
        }
    }
    complain(&wrong, 4 * (writes + 3));
}

async fn runs_once(ledger: &Ledger, disk: &Disk, calls: &str) -> Result<(), String> {
    let lives = [
        disk.live(ledger.path(), &["once", calls]),
        Disk::default().live(ledger.path(), &["once", "1"]),
    ];
    let lines: Vec<_> = lives.iter().flat_map(|life| &life.lines).collect();
    let ran = lines.iter().filter(|line| **line == "ran 1").count();
    if ran != 1 || lines.last().is_none_or(|line| *line != "answered 1") {
        return Err(format!("it ran {ran} times: {lines:?}"));
    }
    let _alone = FailScenario::setup();
    let idem = Idem::open(ledger.path()).map_err(|error| error.to_string())?;
    let letters = idem
        .dead_letters()
        .list(&Filter::default().handler("victim.once"))
        .await;
    match letters.map_err(|error| error.to_string())?.len() {
        0 => Ok(()),
        _ => Err(format!("it is a dead letter: {lines:?}")),
    }
}
