//! Monitors of replicas: one of them sends the alerts.

use std::collections::HashSet;
use std::time::Duration;

use idem_ops::alert::{Alert, AlertError, BoxFuture, Notice};
use idem_ops::monitor::{AlertState, Monitor, Policy, Watch};
use idem_runtime::Idem;
use idem_runtime::clock::Clock;
use idem_runtime::testing::ManualClock;
use tokio::sync::{mpsc, watch};

use crate::{Killable, Shared, TAKEOVER, die, settled, within};

const PERIOD: Duration = Duration::from_secs(60);
/// The longest time between two looks of a monitor.
const LOOK: Duration = Duration::from_secs(5);
/// The sleepers of one monitor with one channel: its look, its lease and its sender. The letters come
/// from a process on another clock, so that its calls' leases are not among them.
const SLEEPERS: usize = 3;

/// A channel of one replica, which can be made to hang.
struct Pager {
    sent: mpsc::UnboundedSender<Notice>,
    answers: watch::Receiver<bool>,
}

impl Alert for Pager {
    fn name(&self) -> &str {
        "pager"
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), AlertError>> {
        Box::pin(async move {
            let _ = self.sent.send(notice.clone());
            let _ = self.answers.clone().wait_for(|answers| *answers).await;
            Ok(())
        })
    }
}

struct Told {
    notices: mpsc::UnboundedReceiver<Notice>,
    answers: watch::Sender<bool>,
}

impl Told {
    async fn next(&mut self) -> Notice {
        within(self.notices.recv()).await.unwrap()
    }

    fn rest(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.notices.try_recv().ok()).collect()
    }
}

fn start(idem: &Idem) -> (Watch, Told) {
    let (sent, notices) = mpsc::unbounded_channel();
    let answers = watch::Sender::new(true);
    let pager = Pager {
        sent,
        answers: answers.subscribe(),
    };
    let watch = Monitor::new(idem, "orders")
        .policy(Policy::default().digest_every(PERIOD))
        .channel(pager)
        .start()
        .unwrap();
    (watch, Told { notices, answers })
}

/// Lets time pass in the steps of a look.
async fn passes(clock: &ManualClock, sleepers: usize, time: Duration) {
    for _ in 0..time.as_secs().div_ceil(LOOK.as_secs()) {
        settled().await;
        within(clock.asleep(sleepers)).await;
        clock.advance(LOOK);
    }
    settled().await;
    within(clock.asleep(sleepers)).await;
}

fn letters(notices: &[Notice]) -> u64 {
    let groups = notices.iter().flat_map(|notice| &notice.groups);
    groups.map(|group| group.count).sum()
}

#[tokio::test]
async fn two_monitors_tell_of_each_letter_once() {
    let shared = Shared::new();
    let (one, other, maker) = (shared.process(), shared.process(), shared.maker());
    die(&maker, 0..1, "card declined").await;
    let (first, mut told) = start(&one);
    let notice = told.next().await;
    let (second, mut told_other) = start(&other);
    // Letters of an old and of new groups, over many periods.
    let mut all = vec![notice];
    for round in 1..10 {
        die(&maker, round * 2..round * 2 + 1, "card declined").await;
        die(&maker, round * 2 + 1..round * 2 + 2, &"x".repeat(round)).await;
        passes(&shared.clock, 2 * SLEEPERS, PERIOD / 3).await;
        all.extend(told.rest());
    }
    passes(&shared.clock, 2 * SLEEPERS, PERIOD).await;
    all.extend(told.rest());
    assert_eq!(letters(&all), 19);
    let ids: HashSet<_> = all.iter().map(|notice| notice.id).collect();
    assert_eq!(ids.len(), all.len());
    assert_eq!(told_other.rest(), []);
    assert_eq!(AlertState::of(&other).await.unwrap().untold, 0);

    // One that stops gives its place up at once.
    first.stop().await;
    die(&maker, 20..21, "no stock").await;
    passes(&shared.clock, SLEEPERS, LOOK).await;
    assert_eq!(letters(&[told_other.next().await]), 1);
    second.stop().await;
    assert!(told.rest().is_empty() && told_other.rest().is_empty());
    for prefix in ["leases/", "beats/"] {
        assert_eq!(one.notes().list(prefix, None, 9).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_monitor_that_died_between_sending_and_recording_is_followed_by_one_copy() {
    let shared = Shared::new();
    let (one, other, maker) = (shared.process(), shared.process(), shared.maker());
    let dying = Killable::new();
    let (_first, mut told) = dying.run(async move { start(&one) }).await;
    told.answers.send_replace(false);
    within(shared.clock.asleep(SLEEPERS)).await;
    let (second, mut told_other) = start(&other);
    die(&maker, 0..3, "no stock").await;
    passes(&shared.clock, 2 * SLEEPERS, LOOK).await;
    let notice = told.next().await;
    dying.kill().await;

    // A letter that is in no notice yet.
    die(&maker, 3..4, "no stock").await;
    passes(&shared.clock, SLEEPERS, LOOK).await;
    assert_eq!(told_other.rest(), [], "the other one may be alive");
    passes(&shared.clock, SLEEPERS, TAKEOVER + PERIOD).await;
    let all = told_other.rest();
    assert_eq!(all.iter().filter(|copy| **copy == notice).count(), 1);
    assert_eq!(letters(&all), 4);
    second.stop().await;
}

#[tokio::test]
async fn a_monitor_that_stood_still_records_nothing_and_sends_nothing_more() {
    let (shared, frozen) = (Shared::new(), ManualClock::default());
    let (one, other) = (shared.process_at(&frozen), shared.process());
    let maker = shared.maker();
    die(&maker, 0..3, "no stock").await;
    let (first, mut told) = start(&one);
    told.answers.send_replace(false);
    within(frozen.asleep(SLEEPERS)).await;
    let notice = told.next().await;
    let (second, mut told_other) = start(&other);
    within(shared.clock.asleep(SLEEPERS)).await;

    passes(&shared.clock, SLEEPERS, TAKEOVER).await;
    assert_eq!(told_other.rest(), [notice]);
    let state = AlertState::of(&other).await.unwrap();
    let sent = state.channels[0].last_sent.unwrap();
    assert!(sent > frozen.now(), "the other one recorded it");

    // It wakes up in the middle of sending: its record is refused, and it stands by.
    told.answers.send_replace(true);
    passes(&frozen, SLEEPERS, 2 * LOOK).await;
    let state = AlertState::of(&one).await.unwrap();
    assert_eq!(state.channels[0].last_sent, Some(sent));
    die(&maker, 3..4, "no stock").await;
    die(&maker, 4..5, "another").await;
    passes(&frozen, SLEEPERS, 2 * LOOK).await;
    passes(&shared.clock, SLEEPERS, PERIOD).await;
    assert_eq!(letters(&told_other.rest()), 2);
    assert_eq!(told.rest(), []);
    first.stop().await;
    second.stop().await;
}
