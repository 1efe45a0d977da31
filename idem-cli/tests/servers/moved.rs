//! What the tests of migrations have in common.

use std::time::Duration;

use idem_runtime::ledger::shared::{Runner, Store, Write, first_write};
use idem_runtime::notes::NoteChange;
use idem_runtime::outbox::OutboxMessage;
use idem_runtime::protocol::{Budget, Change, Claim, DeadLetterId, Facts, RecordId, Step, decide};
use idem_runtime::{Filter, Idem};
use idem_test_support::within;
use tokio::process::Command;
use tokio::time::sleep;

use crate::support::{PlaceOrder, Said, bury, command, ended, order, place_order};

/// An order that can be placed.
pub(crate) fn small(order_no: impl Into<String>) -> PlaceOrder {
    PlaceOrder {
        order_no: order_no.into(),
        qty: 2,
        note: String::new(),
    }
}

/// Returns the command that migrates.
pub(crate) fn migration(from: &str, to: &str, more: &[&str]) -> Command {
    let mut command = command();
    command.args(["migrate", "--from", from, "--to", to]);
    command.args(more);
    command
}

pub(crate) async fn migrate(from: &str, to: &str, more: &[&str]) -> Said {
    ended(&mut migration(from, to, more)).await
}

/// Begins a migration and kills it, again and again: at first before there is anything, later in the middle.
pub(crate) async fn kill(from: &str, to: &str, more: &[&str]) -> anyhow::Result<()> {
    let mut killed = 0;
    for _ in 0..10 {
        let mut child = migration(from, to, more).spawn()?;
        sleep(Duration::from_millis(fastrand::u64(5..300))).await;
        if child.try_wait()?.is_none() {
            child.start_kill()?;
            killed += 1;
        }
        within(child.wait()).await?;
    }
    eprintln!("killed {killed} times");
    Ok(())
}

/// Fills a ledger with a bit of all, and closes it. `D-1` is a letter.
pub(crate) async fn fill(idem: Idem, results: usize) -> anyhow::Result<()> {
    let calls = (0..results).map(|n| idem.scope(place_order(small(format!("S-{n}")))));
    for call in futures_util::future::join_all(calls).await {
        call?;
    }
    let ids = bury(&idem, ["D-1", "D-2"].map(|key| order(key, "out of stock"))).await;
    idem.dead_letters().discard(&ids[1], "a test").await?;
    idem.issuer("orders").issue().await?;
    idem.outbox()
        .send(OutboxMessage::json("orders", "S-1", &1)?)
        .await?;
    let notes = [("jobs/~", "1"), ("jobs/~", "2"), ("leases/monitor", "it")];
    let notes = notes.map(|(key, value)| NoteChange::put(key, value));
    idem.notes().write(notes.into()).await?;
    Ok(idem.close().await?)
}

/// Returns how much there is of each kind, after [`fill`] and a [`claim`].
pub(crate) fn kinds(results: usize) -> [(&'static str, usize); 8] {
    [
        ("results", results),
        ("unfinished", 1),
        ("dead", 1),
        ("discarded", 1),
        ("issued_keys", 1),
        ("open_letters", 1),
        ("closed_letters", 1),
        ("outbox", 1),
    ]
}

/// Leaves a claim of a process that was killed, and whose lease has ended.
pub(crate) async fn claim(store: impl Store, key: &str) -> anyhow::Result<()> {
    const TTL: Duration = Duration::from_secs(3600);
    let (id, runner): (_, Runner) = (RecordId::new("orders.place", key), "killed/1".into());
    let number = store.reserve(1).await?;
    let now = store
        .beat(&runner, Duration::from_millis(1), number)
        .await?;
    let facts = Facts::new(now, number, DeadLetterId::from_token(now, number), "killed");
    let claim = Claim::new("killed", *b"{}", Budget::new(3, TTL), TTL);
    let decided = decide(&id, None, &Step::Claim(claim), &facts);
    let Change::Put(record) = decided.record else {
        anyhow::bail!("{decided:?}")
    };
    let write = Write {
        owner: Some(Runner::clone(&runner)),
        ..first_write(id, number, &record)?
    };
    let written = store.write(&runner, vec![write]).await?;
    anyhow::ensure!(written.versions == [number]);
    store.close().await;
    Ok(())
}

/// Checks that services go on with what [`fill`] left. It leaves it changed.
pub(crate) async fn goes_on(idem: Idem, results: usize) -> anyhow::Result<()> {
    for number in [0, results - 1] {
        let key = format!("S-{number}");
        let reused = PlaceOrder {
            qty: 3,
            ..small(&*key)
        };
        assert!(
            idem.scope(place_order(reused)).await.is_err(),
            "its fingerprint went over"
        );
        assert_eq!(idem.scope(place_order(small(key))).await?, 200);
    }
    let open = idem.dead_letters().list(&Filter::default()).await?;
    let keys: Vec<_> = open.iter().map(|letter| &*letter.key).collect();
    assert_eq!(keys, ["D-1"]);
    assert!(idem.scope(place_order(small("D-2"))).await.is_err());
    idem.outbox()
        .send(OutboxMessage::json("orders", "S-2", &2)?)
        .await?;
    let pending = idem.outbox().pending(None, 9).await?;
    let keys: Vec<_> = pending.iter().map(|entry| &*entry.message.key).collect();
    assert_eq!(keys, ["S-1", "S-2"]);
    idem.notes()
        .write(vec![NoteChange::put("jobs/~", "3")])
        .await?;
    let jobs = idem.notes().list("jobs/", None, 9).await?;
    let jobs: Vec<_> = jobs.iter().map(|job| &*job.value).collect();
    assert_eq!(jobs, [b"1", b"2", b"3"]);
    assert_eq!(idem.scope(place_order(small("N-1"))).await?, 200);
    Ok(idem.close().await?)
}
