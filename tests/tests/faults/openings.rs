//! One call that the system refuses while a folder opens, once: it is told as what it is, and costs
//! nothing.

use fastrand::Rng;

use crate::ledger::{LOG, Ledger};
use crate::shim::{Disk, EIO, ENOSPC, Fault, Life, WAITS};
use crate::{complain, seed};

const SYNCS: [&str; 3] = ["fdatasync", "fsync", "sync_file_range"];

/// Fails each call of some kinds, or a sample of them, each in an opening of its own.
async fn each(ledger: &Ledger, kinds: &[(&'static str, i32)], sample: usize) {
    let whole = Disk::default().live(ledger.copy().path(), &["hold"]);
    assert_eq!(whole.lines, ["open"]);
    let mut random = Rng::with_seed(seed());
    let (mut tried, mut hits, mut wrong) = (0, 0, Vec::new());
    for (kind, error) in kinds {
        let all = whole.count(kind, "");
        for nth in random.choose_multiple(1..=all, sample.min(all)) {
            let fault = Fault {
                kind,
                nth,
                error: *error,
                file: "",
            };
            tried += 1;
            match one(&ledger.copy(), fault).await {
                Ok(hit) => hits += usize::from(hit),
                Err(complaint) => wrong.push(format!("{fault} of {all}: {complaint}")),
            }
        }
    }
    // What sled does in the background comes a little earlier or later each time.
    assert!(
        hits + wrong.len() > tried / 2,
        "{hits} calls of {tried} were made to fail"
    );
    complain(&wrong, tried);
}

/// Whether the call was reached.
async fn one(ledger: &Ledger, fault: Fault) -> Result<bool, String> {
    let life = all(ledger, vec![fault]).await?;
    Ok(life.failed() > 0)
}

/// Lets an opening meet faults, of which the last one is an error, and checks what is there afterwards.
async fn all(ledger: &Ledger, faults: Vec<Fault>) -> Result<Life, String> {
    let last = *faults.last().unwrap();
    // What the shim keeps of an unsynced log is of sled's.
    let is_on_sled = !ledger.path().join("fjall").exists();
    let log = (is_on_sled && SYNCS.contains(&last.kind)).then(|| ledger.disk());
    let life = Disk {
        faults,
        log: log.clone(),
    }
    .live(ledger.path(), &["hold"]);
    let told = judge(&life, last.error);
    if log.is_some() {
        let next = Disk {
            faults: Vec::new(),
            log,
        }
        .live_until(ledger.path(), &["hold"], |line| line == "open");
        if next.lines != ["open"] {
            return Err(format!("the next opening says {:?}", next.lines));
        }
        ledger.cut();
    }
    ledger.check_after(told).await.map(|()| life)
}

/// It opens all the same, or says what failed; it never speaks of damage, nor of removing anything.
fn judge(life: &Life, error: i32) -> Result<(), String> {
    let told = |said: &str| match error {
        ENOSPC => said.contains("no room left"),
        _ => said.contains("Input/output error") || said.contains("os error 5"),
    };
    match &life.lines[..] {
        [line] if line == "open" => Ok(()),
        [line]
            if line.starts_with("closed")
                && told(line)
                && !line.contains("damaged")
                && !line.contains("remove") =>
        {
            Ok(())
        }
        lines => Err(format!("it says {lines:?}")),
    }
}

#[tokio::test]
async fn a_read_that_fails_while_a_closed_folder_opens() {
    each(&Ledger::closed().await, &[("read", EIO)], usize::MAX).await;
}

#[tokio::test]
async fn a_read_that_fails_while_the_folder_of_a_killed_process_opens() {
    each(&Ledger::killed(), &[("read", EIO)], 60).await;
}

#[tokio::test]
async fn a_read_that_fails_while_a_folder_without_a_snapshot_opens() {
    each(&Ledger::without_snapshot(), &[("read", EIO)], 60).await;
}

#[tokio::test]
async fn a_read_that_fails_while_a_young_folder_opens() {
    each(&Ledger::young(), &[("read", EIO)], usize::MAX).await;
}

#[tokio::test]
async fn a_file_or_a_list_of_files_that_cannot_be_had_while_a_folder_opens() {
    each(
        &Ledger::killed(),
        &[("open", EIO), ("readdir", EIO)],
        usize::MAX,
    )
    .await;
    // Its last segment is not its first, so sled is kept from reading it.
    each(&Ledger::closed().await, &[("readdir", EIO)], usize::MAX).await;
}

#[tokio::test]
async fn a_read_that_fails_while_a_folder_on_fjall_opens() {
    let kinds = ["read", "open", "readdir"].map(|kind| (kind, EIO));
    each(&Ledger::killed_on_fjall(), &kinds, 12).await;
}

#[tokio::test]
async fn a_write_or_a_sync_that_fails_while_a_folder_on_fjall_opens() {
    let ledger = Ledger::killed_on_fjall();
    let kinds = [
        ("write", EIO),
        ("write", ENOSPC),
        ("fdatasync", EIO),
        ("fsync", EIO),
    ];
    each(&ledger, &kinds, 5).await;
}

const WRITES: [(&str, i32); 2] = [("write", EIO), ("write", ENOSPC)];

#[tokio::test]
async fn a_write_that_fails_while_the_folder_of_a_killed_process_opens() {
    each(&Ledger::killed(), &WRITES, usize::MAX).await;
}

#[tokio::test]
async fn a_write_that_fails_while_a_closed_folder_opens() {
    each(&Ledger::closed().await, &WRITES, usize::MAX).await;
}

#[tokio::test]
async fn a_sync_that_fails_while_the_folder_of_a_killed_process_opens() {
    each(
        &Ledger::killed(),
        &SYNCS.map(|kind| (kind, EIO)),
        usize::MAX,
    )
    .await;
}

#[tokio::test]
async fn a_sync_that_fails_while_a_closed_folder_opens() {
    each(
        &Ledger::closed().await,
        &SYNCS.map(|kind| (kind, EIO)),
        usize::MAX,
    )
    .await;
}

#[tokio::test]
async fn a_sync_that_fails_while_a_folder_without_a_snapshot_opens() {
    each(
        &Ledger::without_snapshot(),
        &SYNCS.map(|kind| (kind, EIO)),
        usize::MAX,
    )
    .await;
}

/// sled's background syncs the log now and then, and keeps the error to itself: a file that is opened
/// later is not told of it, and what should have come to the disk is missing there.
#[tokio::test]
async fn a_sync_of_the_background_that_fails_before_the_log_is_synced() {
    let fault = |kind, nth, error, file| Fault {
        kind,
        nth,
        error,
        file,
    };
    let faults = vec![
        // sled starts, opens its log, and writes to it; then the ledger comes to sync it.
        fault("open", 1, 0, "sled/conf"),
        fault("open", 2, WAITS, LOG),
        fault("fsync", 1, EIO, LOG),
    ];
    for ledger in [
        Ledger::new(),
        Ledger::young(),
        Ledger::killed(),
        Ledger::closed().await,
        Ledger::without_snapshot(),
    ] {
        let life = all(&ledger, faults.clone()).await.unwrap();
        assert_eq!(life.failed(), 1);
        assert!(life.lines[0].starts_with("closed: "), "{:?}", life.lines);
    }
}
