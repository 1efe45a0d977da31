//! The relay's promises, tested with the queue in memory.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod replicas;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use idem_brokers::testing::Queue;
use idem_brokers::{BrokerError, Consumer, KEY_HEADER, Message, Publisher, Relay};
use idem_runtime::testing::Temporary;
use idem_runtime::{
    Error, Filter, Idem,
    clock::BoxFuture,
    dead_letters::Reason,
    idempotent,
    outbox::{Keyed, OutboxEntry, OutboxMessage},
};
use idem_test_support::{DEADLINE, within};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

fn idem() -> Temporary {
    idem_runtime::testing::temporary().unwrap()
}

/// Sends this many messages, with the ordering keys `a`, `b` and `c` in turn.
async fn fill(idem: &Idem, messages: usize) {
    for number in 0..messages {
        let ordering_key = ["a", "b", "c"][number % 3];
        let outgoing = OutboxMessage::new("orders.placed", format!("A-{number:04}"), "{}")
            .ordering_key(ordering_key);
        idem.outbox().send(outgoing).await.unwrap();
    }
}

fn key(message: &Message) -> &str {
    let (_, key) = message
        .headers
        .iter()
        .find(|(name, _)| name == KEY_HEADER)
        .unwrap();
    key
}

/// Returns the keys of the messages by ordering key, in the order of arrival.
fn by_ordering_key(messages: &[Message]) -> BTreeMap<&str, Vec<&str>> {
    let mut by_ordering_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for message in messages {
        by_ordering_key
            .entry(message.ordering_key.as_deref().unwrap())
            .or_default()
            .push(key(message));
    }
    by_ordering_key
}

fn in_order(messages: &[Message]) -> bool {
    by_ordering_key(messages)
        .values()
        .all(|keys| keys.is_sorted())
}

async fn until_empty(idem: &Idem) {
    let emptied = async {
        while !idem.outbox().pending(None, 1).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    within(emptied).await;
}

#[tokio::test]
async fn everything_is_published_once_and_in_order() {
    let (idem, queue) = (idem(), Queue::new("orders.placed"));
    fill(&idem, 600).await;
    let relay = Relay::new(&idem, queue.clone()).in_flight(2).start();
    let sent = within(queue.until_published(600)).await;
    until_empty(&idem).await;
    within(relay.stop(DEADLINE)).await;
    assert!(in_order(&sent), "{:?}", by_ordering_key(&sent));
    let ids: HashSet<_> = sent
        .iter()
        .map(|message| message.id.clone().unwrap())
        .collect();
    assert_eq!((ids.len(), sent.len()), (600, 600));
    // Another relay finds an empty outbox.
    let relay = Relay::new(&idem, queue.clone()).start();
    idem.outbox()
        .send(OutboxMessage::new("orders.placed", "last", "{}"))
        .await
        .unwrap();
    let sent = within(queue.until_published(601)).await;
    within(relay.stop(DEADLINE)).await;
    assert_eq!((sent.len(), key(&sent[600])), (601, "last"));
}

/// Panics at first, then publishes.
struct Shaky(Queue, AtomicBool);

impl Publisher for Shaky {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>> {
        assert!(self.1.swap(true, Ordering::SeqCst), "not yet");
        Publisher::publish(&self.0, message)
    }
}

#[tokio::test]
async fn the_relay_survives_a_panicking_publisher() {
    let (idem, queue) = (idem(), Queue::new("orders.placed"));
    fill(&idem, 6).await;
    let relay = Relay::new(&idem, Shaky(queue.clone(), AtomicBool::new(false))).start();
    let sent = within(queue.until_published(6)).await;
    within(relay.stop(DEADLINE)).await;
    assert!(in_order(&sent), "{:?}", by_ordering_key(&sent));
}

/// Publishes to a queue, refuses one ordering key, and counts the calls.
#[derive(Clone)]
struct Fussy {
    queue: Queue,
    refuses: Arc<Mutex<Option<&'static str>>>,
    asked: Arc<Semaphore>,
    /// Whether it publishes a message and returns an error.
    says_no: Arc<AtomicBool>,
}

impl Fussy {
    fn new(queue: &Queue) -> Self {
        let (refuses, says_no) = (Arc::default(), Arc::default());
        Self {
            queue: queue.clone(),
            refuses,
            asked: Arc::new(Semaphore::new(0)),
            says_no,
        }
    }

    /// Waits for this many more calls.
    async fn until_asked(&self, times: u32) {
        self.asked.forget_permits(self.asked.available_permits());
        within(self.asked.acquire_many(times))
            .await
            .unwrap()
            .forget();
    }
}

impl Publisher for Fussy {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            self.asked.add_permits(1);
            if message.ordering_key.as_deref() == *self.refuses.lock()
                && message.ordering_key.is_some()
            {
                return Err(BrokerError::new(
                    "fussy",
                    "publish",
                    "not with this ordering key",
                ));
            }
            Publisher::publish(&self.queue, message).await?;
            if self.says_no.load(Ordering::SeqCst) {
                return Err(BrokerError::new("fussy", "publish", "the answer was lost"));
            }
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_broker_that_was_down_gets_everything() {
    let (idem, queue) = (idem(), Queue::new("orders.placed"));
    queue.go_down();
    fill(&idem, 30).await;
    let broker = Fussy::new(&queue);
    let relay = Relay::new(&idem, broker.clone()).start();
    broker.until_asked(9).await;
    queue.come_back();
    let sent = within(queue.until_published(30)).await;
    within(relay.stop(DEADLINE)).await;
    assert!(in_order(&sent), "{:?}", by_ordering_key(&sent));
}

#[tokio::test]
async fn a_refused_message_pauses_only_its_ordering_key() {
    let (idem, queue) = (idem(), Queue::new("orders.placed"));
    let broker = Fussy::new(&queue);
    *broker.refuses.lock() = Some("b");
    // More than one page, so that the key's next messages are on another one.
    fill(&idem, 900).await;
    let relay = Relay::new(&idem, broker.clone()).start();
    let sent = within(queue.until_published(600)).await;
    assert!(
        !by_ordering_key(&sent).contains_key("b") && in_order(&sent),
        "{:?}",
        by_ordering_key(&sent)
    );
    broker.until_asked(2).await;
    assert_eq!(idem.outbox().pending(None, 1000).await.unwrap().len(), 300);
    *broker.refuses.lock() = None;
    let sent = within(queue.until_published(900)).await;
    within(relay.stop(DEADLINE)).await;
    assert!(in_order(&sent), "{:?}", by_ordering_key(&sent));
}

#[tokio::test]
async fn an_unconfirmed_message_is_sent_again_with_its_id() {
    let (idem, queue) = (idem(), Queue::new("orders.placed"));
    let broker = Fussy::new(&queue);
    broker.says_no.store(true, Ordering::SeqCst);
    fill(&idem, 1).await;
    let relay = Relay::new(&idem, broker.clone()).start();
    let sent = within(queue.until_published(2)).await;
    assert!(sent[0].id.is_some() && sent[0] == sent[1], "{sent:?}");
    broker.says_no.store(false, Ordering::SeqCst);
    until_empty(&idem).await;
    within(relay.stop(DEADLINE)).await;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct PlaceOrder {
    order_no: String,
    customer: String,
}

impl Keyed for PlaceOrder {
    fn key(&self) -> String {
        self.order_no.clone()
    }

    fn ordering_key(&self) -> String {
        self.customer.clone()
    }
}

fn order(number: usize) -> PlaceOrder {
    PlaceOrder {
        order_no: format!("A-{number:04}"),
        customer: ["Ann", "Bob"][number % 2].to_owned(),
    }
}

#[idempotent(name = "orders.accept", key = order.key(), skip(idem))]
async fn accept(idem: Idem, order: PlaceOrder) -> anyhow::Result<()> {
    Ok(idem
        .outbox()
        .enqueue(OutboxMessage::from_keyed("orders", &order)?)?)
}

#[idempotent(name = "orders.place", key = order.key(), skip(placed))]
async fn place(placed: Arc<Mutex<Vec<PlaceOrder>>>, order: PlaceOrder) -> Result<(), Error> {
    placed.lock().push(order);
    Ok(())
}

#[idempotent(name = "orders.accept_all", key = id, skip(idem))]
async fn accept_all(idem: Idem, id: usize) -> anyhow::Result<()> {
    for number in 0..50 {
        idem.outbox().enqueue(
            OutboxMessage::new("orders", format!("{id}/{number:02}"), vec![7; 500])
                .ordering_key("Ann"),
        )?;
    }
    Ok(())
}

/// Many concurrent handlers enqueue messages with one ordering key, which are published in the
/// order in which they became readable.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_with_one_ordering_key_are_published_as_recorded() {
    const ALL: usize = 200 * 50;
    let (shop, queue) = (idem(), Queue::new("orders"));
    queue.go_down();
    let relay = Relay::new(&shop, queue.clone()).start();
    let calls = (0..ALL / 50).map(|id| {
        let shop = (*shop).clone();
        tokio::spawn(async move { shop.scope(accept_all(shop.clone(), id)).await.unwrap() })
    });
    let calls: Vec<_> = calls.collect();
    let mut read = Vec::<OutboxEntry>::new();
    let reading = async {
        loop {
            // Checked before reading, so that the last read follows the last result.
            let ended = calls.iter().all(JoinHandle::is_finished);
            let page = shop.outbox().pending(read.last(), 100).await.unwrap();
            if ended && page.is_empty() {
                break;
            }
            read.extend(page);
            tokio::task::yield_now().await;
        }
    };
    within(reading).await;
    let read: Vec<_> = read.iter().map(|queued| &*queued.message.key).collect();
    assert_eq!(
        read.len(),
        ALL,
        "some messages appeared before the last one that was read"
    );
    assert!(
        read.chunks(50).all(<[_]>::is_sorted),
        "the messages of a handler are in the order in which it enqueued them"
    );
    queue.come_back();
    let sent = within(queue.until_published(ALL)).await;
    within(relay.stop(DEADLINE)).await;
    assert!(
        sent.iter().map(key).eq(read),
        "messages were published in the recorded order"
    );
}

/// A whole service: handlers fill the outbox, two replicas relay it, and a consumer takes the
/// messages.
#[tokio::test]
async fn an_enqueued_message_takes_effect_once_at_the_consumer() {
    let (shop, warehouse, queue) = (idem(), idem(), Queue::new("orders"));
    let relays = [(); 2].map(|()| Relay::new(&shop, queue.clone()).start());
    for number in (0..50).chain(0..50) {
        shop.scope(accept(shop.clone(), order(number)))
            .await
            .unwrap();
    }
    let placed = Arc::new(Mutex::new(Vec::new()));
    let orders = Arc::clone(&placed);
    let consumer = Consumer::new(&warehouse, queue.clone()).keyed();
    let consumer = consumer.start(move |order: PlaceOrder| place(Arc::clone(&orders), order));
    within(queue.until_published(50)).await;
    until_empty(&shop).await;
    for relay in relays {
        within(relay.stop(DEADLINE)).await;
    }
    within(queue.until_empty()).await;
    within(consumer.stop(DEADLINE)).await;
    let placed = placed.lock();
    let of = |customer| {
        placed
            .iter()
            .filter(|order| order.customer == customer)
            .map(Keyed::key)
            .collect::<Vec<_>>()
    };
    assert_eq!(placed.len(), 50);
    assert!(of("Ann").is_sorted() && of("Bob").is_sorted(), "{placed:?}");
}

#[tokio::test]
async fn a_header_that_contradicts_the_content_is_a_dead_letter() {
    let (idem, queue) = (idem(), Queue::new("orders"));
    let mut wrong = Message::from_keyed("orders", &order(1)).unwrap();
    wrong.headers = vec![("Idempotency-Key".to_owned(), "A-0002".to_owned())];
    queue.push(wrong);
    queue.push(Message::from_keyed("orders", &order(3)).unwrap());
    let placed = Arc::new(Mutex::new(Vec::new()));
    let orders = Arc::clone(&placed);
    let consumer = Consumer::new(&idem, queue.clone()).keyed();
    let consumer = consumer.start(move |order: PlaceOrder| place(Arc::clone(&orders), order));
    within(queue.until_empty()).await;
    within(consumer.stop(DEADLINE)).await;
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert_eq!((letters.len(), letters[0].reason), (1, Reason::Refused));
    assert!(
        format!("{letters:?}").contains("names the key `A-0002`, and its content `A-0001`"),
        "{letters:?}"
    );
    assert_eq!(
        placed.lock().iter().map(Keyed::key).collect::<Vec<_>>(),
        ["A-0003"]
    );
}
