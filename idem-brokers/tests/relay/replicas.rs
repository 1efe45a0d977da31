//! Several relays on one ledger, as replicas of a service have them: one leads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use idem_brokers::testing::Queue;
use idem_brokers::{BrokerError, Message, Publisher, Relay, Relaying};
use idem_runtime::testing::{ManualClock, MemoryLedger, open_on};
use idem_runtime::{Idem, clock::BoxFuture, notes::Note, outbox::OutboxMessage};
use idem_test_support::{DEADLINE, within};
use parking_lot::Mutex;
use tokio::runtime::{self, Runtime};
use tokio::sync::Semaphore;

use crate::{key, until_empty};

/// A lease that lapses soon, on the system's clock.
const SHORT: Duration = Duration::from_millis(600);

/// Replicas of one service. On a clock that stands still no lease lapses.
struct Service {
    ledger: MemoryLedger,
    stands_still: Option<ManualClock>,
}

impl Service {
    /// One whose leases lapse.
    fn new() -> Self {
        Self {
            ledger: MemoryLedger::new(Arc::new(ManualClock::default())),
            stands_still: None,
        }
    }

    /// One whose leases never lapse: the lead passes on only by being given up.
    fn standing_still() -> Self {
        Self {
            stands_still: Some(ManualClock::default()),
            ..Self::new()
        }
    }

    fn replica(&self) -> Idem {
        let mut builder = Idem::builder();
        if let Some(clock) = &self.stands_still {
            builder = builder.clock(Arc::new(clock.clone()));
        }
        open_on(builder, self.ledger.clone()).unwrap()
    }
}

/// Sends the numbers with one ordering key.
async fn send(idem: &Idem, ordering_key: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let outgoing = OutboxMessage::new("orders", format!("{number:04}"), "{}");
        let outgoing = outgoing.ordering_key(ordering_key);
        idem.outbox().send(outgoing).await.unwrap();
    }
}

/// Returns the first copies. Asserts that those of each ordering key are in order.
fn first_copies(sent: &[Message]) -> Vec<&Message> {
    let (mut seen, mut last) = (HashSet::new(), HashMap::new());
    let first: Vec<_> = sent
        .iter()
        .filter(|message| seen.insert(message.id.clone().unwrap()))
        .collect();
    for message in &first {
        let ordering_key = message.ordering_key.as_deref().unwrap();
        if let Some(earlier) = last.insert(ordering_key, key(message)) {
            assert!(
                earlier < key(message),
                "{ordering_key}: {earlier} came first"
            );
        }
    }
    first
}

fn keys(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(key).collect()
}

/// Returns the notes of the lead.
async fn lease(idem: &Idem) -> Vec<Note> {
    let mut notes = idem.notes().list("leases/", None, 10).await.unwrap();
    notes.extend(idem.notes().list("beats/", None, 10).await.unwrap());
    notes
}

/// Waits until a relay leads.
async fn until_led(idem: &Idem) {
    let led = async {
        while lease(idem).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    within(led).await;
}

async fn stop(relays: impl IntoIterator<Item = Relaying>) {
    for relay in relays {
        within(relay.stop(DEADLINE)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_relays_send_each_message_once() {
    const KEYS: u32 = 60;
    const EACH: u32 = 100;
    let (service, queue) = (Service::standing_still(), Queue::new("orders"));
    let replicas = [(); 3].map(|()| service.replica());
    let relays = replicas
        .each_ref()
        .map(|idem| Relay::new(idem, queue.clone()).start());
    until_led(&replicas[0]).await;
    let held = lease(&replicas[0]).await;
    let senders = (0..KEYS).map(|customer| {
        let idem = replicas[customer as usize % 3].clone();
        tokio::spawn(async move { send(&idem, &format!("customer {customer}"), 0..EACH).await })
    });
    for sender in join_all(senders).await {
        sender.unwrap();
    }
    within(queue.until_published((KEYS * EACH) as usize)).await;
    until_empty(&replicas[0]).await;
    assert_eq!(
        lease(&replicas[0]).await,
        held,
        "no message writes the lease"
    );
    stop(relays).await;
    assert_eq!(lease(&replicas[0]).await, []);
    let sent = queue.until_published(0).await;
    assert_eq!(sent.len(), (KEYS * EACH) as usize);
    assert_eq!(first_copies(&sent).len(), sent.len());
}

#[tokio::test]
async fn a_relay_that_stops_passes_the_lead_on_at_once() {
    let (service, one, other) = (Service::standing_still(), Queue::new("1"), Queue::new("2"));
    let idem = service.replica();
    let leader = Relay::new(&idem, one.clone()).start();
    until_led(&idem).await;
    let next = Relay::new(&service.replica(), other.clone()).start();
    send(&idem, "Ann", 0..3).await;
    within(one.until_published(3)).await;
    stop([leader]).await;
    send(&idem, "Ann", 3..6).await;
    let sent = within(other.until_published(3)).await;
    assert_eq!(keys(&sent), ["0003", "0004", "0005"]);
    stop([next]).await;
}

/// Publishes to a queue, and stands still at one message of its own accord.
#[derive(Clone)]
struct Stalling {
    queue: Queue,
    at: &'static str,
    /// Whether the queue gets the message before it stalls.
    after_publishing: bool,
    /// Whether it blocks its thread, and all of its relay with it.
    blocks: bool,
    stalls: Arc<Semaphore>,
    goes_on: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stalling {
    fn at(at: &'static str, queue: &Queue) -> Self {
        Self {
            queue: queue.clone(),
            at,
            after_publishing: false,
            blocks: false,
            stalls: Arc::new(Semaphore::new(0)),
            goes_on: Arc::default(),
            asked: Arc::default(),
        }
    }

    async fn until_stalled(&self, times: u32) {
        within(self.stalls.acquire_many(times))
            .await
            .unwrap()
            .forget();
    }

    async fn stall(&self) {
        self.stalls.add_permits(1);
        if !self.blocks {
            return std::future::pending().await;
        }
        while !self.goes_on.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Publisher for Stalling {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            self.asked.lock().push(key(&message).to_owned());
            let stalls = key(&message) == self.at;
            if stalls && !self.after_publishing {
                self.stall().await;
            }
            Publisher::publish(&self.queue, message).await?;
            if stalls && self.after_publishing {
                self.stall().await;
            }
            Ok(())
        })
    }
}

/// A process of its own, which dies when this is dropped.
fn process() -> Runtime {
    runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_dead_leader_is_followed_when_its_lease_lapses() {
    let (service, queue) = (Service::new(), Queue::new("orders"));
    let idem = service.replica();
    for customer in ["Ann", "Bob", "Cid"] {
        send(&idem, customer, 0..100).await;
    }
    let dying = Stalling::at("0050", &queue);
    let process = process();
    let leader = {
        let _in_it = process.enter();
        Relay::new(&service.replica(), dying.clone())
            .lease(SHORT)
            .start()
    };
    dying.until_stalled(3).await;
    process.shutdown_background();
    let next = Relay::new(&idem, queue.clone()).lease(SHORT).start();
    until_empty(&idem).await;
    stop([next]).await;
    drop(leader);
    let sent = queue.until_published(0).await;
    assert_eq!(first_copies(&sent).len(), 300);
    // Only what the dead one had sent is sent again.
    assert!(
        sent.len() <= 300 + dying.asked.lock().len(),
        "{}",
        sent.len()
    );
}

/// The leader stalls as a whole, and wakes up when another has sent everything.
async fn a_leader_wakes_up(after_publishing: bool) {
    let (service, queue) = (Service::new(), Queue::new("orders"));
    let idem = service.replica();
    send(&idem, "Ann", 0..3).await;
    let stalling = Stalling {
        blocks: true,
        after_publishing,
        ..Stalling::at("0001", &queue)
    };
    let process = process();
    let woken = {
        let _in_it = process.enter();
        Relay::new(&service.replica(), stalling.clone())
            .lease(SHORT)
            .start()
    };
    stalling.until_stalled(1).await;
    let next = Relay::new(&idem, queue.clone()).lease(SHORT).start();
    until_empty(&idem).await;
    send(&idem, "Ann", 3..6).await;
    until_empty(&idem).await;
    stalling.goes_on.store(true, Ordering::SeqCst);
    stop([next]).await;
    send(&idem, "Ann", 6..7).await;
    until_empty(&idem).await;
    stop([woken]).await;
    process.shutdown_background();
    // Awake, it sends the message that was in flight, and nothing more until it leads again.
    assert_eq!(*stalling.asked.lock(), ["0000", "0001", "0006"]);
    let sent = queue.until_published(0).await;
    assert_eq!(first_copies(&sent).len(), 7);
    let late = if after_publishing {
        [
            "0000", "0001", "0000", "0001", "0002", "0003", "0004", "0005", "0006",
        ]
    } else {
        [
            "0000", "0000", "0001", "0002", "0003", "0004", "0005", "0001", "0006",
        ]
    };
    assert_eq!(keys(&sent), late);
}

#[tokio::test]
async fn a_leader_that_stalls_before_the_broker_has_the_message() {
    a_leader_wakes_up(false).await;
}

#[tokio::test]
async fn a_leader_that_stalls_before_it_acknowledges() {
    a_leader_wakes_up(true).await;
}

/// The clock of the leases stands still, and the relays' timers run as soon as all wait.
#[tokio::test(start_paused = true)]
async fn a_leader_whose_broker_never_answers_gives_the_lead_up() {
    let (service, queue) = (Service::standing_still(), Queue::new("orders"));
    let idem = service.replica();
    send(&idem, "Ann", 0..3).await;
    send(&idem, "Bob", 0..3).await;
    let stalling = Stalling::at("0000", &queue);
    let hung = Relay::new(&idem, stalling.clone()).start();
    stalling.until_stalled(1).await;
    let next = Relay::new(&service.replica(), queue.clone()).start();
    let sent = within(queue.until_published(6)).await;
    assert_eq!(first_copies(&sent).len(), 6);
    assert_eq!(*stalling.asked.lock(), ["0000", "0000"]);
    stop([hung, next]).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_broker_refuses_everything_gives_the_lead_up() {
    let (service, broken, queue) = (
        Service::standing_still(),
        Queue::new("orders"),
        Queue::new("orders"),
    );
    broken.go_down();
    let idem = service.replica();
    let relay = Relay::new(&idem, broken.clone()).start();
    until_led(&idem).await;
    let next = Relay::new(&service.replica(), queue.clone()).start();
    send(&idem, "Ann", 0..3).await;
    let sent = within(queue.until_published(3)).await;
    assert_eq!(keys(&sent), ["0000", "0001", "0002"]);
    stop([next]).await;
    // Alone, it tries again and again.
    send(&idem, "Ann", 3..4).await;
    broken.come_back();
    let sent = within(broken.until_published(1)).await;
    assert_eq!(keys(&sent), ["0003"]);
    stop([relay]).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_wait_acknowledges_what_is_confirmed() {
    let (service, queue) = (Service::standing_still(), Queue::new("orders"));
    let idem = service.replica();
    send(&idem, "Ann", 0..3).await;
    let stalling = Stalling::at("0001", &queue);
    let hung = Relay::new(&idem, stalling.clone()).start();
    stalling.until_stalled(1).await;
    let next = Relay::new(&service.replica(), queue.clone()).start();
    within(hung.stop(Duration::ZERO)).await;
    let sent = within(queue.until_published(3)).await;
    until_empty(&idem).await;
    assert_eq!(keys(&sent), ["0000", "0001", "0002"]);
    stop([next]).await;
}

/// Holds up its relay at Ann's second message, and takes its time for the other ordering key.
struct Sluggish(Queue);

impl Publisher for Sluggish {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            match (message.ordering_key.as_deref(), key(&message)) {
                (Some("Al"), _) => tokio::time::sleep(2 * SHORT).await,
                (Some("Ann"), "0001") => std::thread::sleep(SHORT),
                _ => {}
            }
            Publisher::publish(&self.0, message).await
        })
    }
}

/// The rest of a page is left when the term ends, and comes before the next page when the lead is
/// renewed after all.
#[tokio::test]
async fn a_lead_that_is_renewed_late_keeps_the_order() {
    let (service, queue) = (Service::standing_still(), Queue::new("orders"));
    let idem = service.replica();
    send(&idem, "Al", 0..1).await;
    send(&idem, "Ann", 0..400).await;
    let relay = Relay::new(&idem, Sluggish(queue.clone()))
        .lease(SHORT)
        .start();
    within(queue.until_published(401)).await;
    stop([relay]).await;
    let sent = queue.until_published(0).await;
    assert_eq!((first_copies(&sent).len(), sent.len()), (401, 401));
}
