//! Paused handlers: one notice when it begins, some while it lasts, one when it is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use idem_ops::alert::{Notice, NoticeKind};
use idem_ops::monitor::{Monitor, Route};
use idem_runtime::protocol::Actor;
use idem_runtime::testing::ManualClock;
use idem_runtime::{Error, Filter, Idem, Origin, Verdict, idempotent};
use mail_parser::MessageParser;

use crate::common::smtp::{Mode, SmtpServer, Through};
use crate::common::within;
use crate::{idem, pager};

const HOUR: Duration = Duration::from_secs(3600);
/// Time enough for the monitor's next look.
const LOOK: Duration = Duration::from_secs(5);

/// Lets time pass by seconds until there is a notice or a mail.
async fn next<T>(clock: &ManualClock, what: impl Future<Output = T>) -> T {
    let mut what = std::pin::pin!(what);
    within(async {
        loop {
            let soon = tokio::time::timeout(Duration::from_millis(20), &mut what);
            match soon.await {
                Ok(what) => return what,
                Err(_) => clock.advance(Duration::from_secs(1)),
            }
        }
    })
    .await
}

fn shown(notice: &Notice) -> (NoticeKind, &str, &str) {
    let paused = &notice.paused[0];
    assert_eq!(notice.paused.len(), 1);
    (notice.kind, &paused.handler, &paused.why)
}

#[tokio::test]
async fn a_pause_is_told_when_it_begins_each_hour_and_when_it_is_over() {
    let clock = ManualClock::default();
    let (idem, (pager, mut told)) = (idem(&clock), pager("pager"));
    let monitor = Monitor::new(&idem, "orders").channel(pager);
    let watch = monitor.start().unwrap();
    let ann = Actor {
        who: Some("ann".to_owned()),
        why: Some("the bank moves".to_owned()),
    };
    idem.pause("orders.pay", ann.clone()).await.unwrap();
    let begun = next(&clock, told.recv()).await.unwrap().unwrap();
    let of = |kind| (kind, "orders.pay", "the bank moves");
    assert_eq!(shown(&begun), of(NoticeKind::Paused));
    assert_eq!(
        begun.subject(),
        "[idem] orders: orders.pay is paused — the bank moves"
    );
    let text = begun.text();
    assert!(
        text.contains("by ann") && text.contains("0 calls were turned away"),
        "{text}"
    );

    // Another replica takes over, and says nothing again.
    watch.stop().await;
    let (other, mut others) = crate::pager("pager");
    let watch = Monitor::new(&idem, "orders")
        .channel(other)
        .start()
        .unwrap();
    clock.advance(HOUR - 60 * LOOK);
    clock.asleep(1).await;
    assert!(others.try_recv().is_err());
    clock.advance(60 * LOOK);
    let still = next(&clock, others.recv()).await.unwrap().unwrap();
    assert_eq!(shown(&still), of(NoticeKind::StillPaused));
    assert!(still.paused[0].seconds >= 3600, "{still:?}");

    idem.resume("orders.pay", ann).await.unwrap();
    let over = next(&clock, others.recv()).await.unwrap().unwrap();
    assert_eq!(shown(&over), of(NoticeKind::Resumed));
    assert!(
        over.subject()
            .starts_with("[idem] orders: orders.pay is no longer paused — 1 h 0 min"),
        "{}",
        over.subject()
    );
    watch.stop().await;
    assert!(told.try_recv().is_err() && others.try_recv().is_err());
}

#[tokio::test]
async fn a_pause_goes_to_the_people_of_its_handler() {
    let clock = ManualClock::default();
    let idem = idem(&clock);
    let ((bank, mut banks), (rest, mut rests)) = (pager("bank"), pager("rest"));
    let monitor = Monitor::new(&idem, "orders")
        .channel_for(Route::matching().handler("orders.pay"), bank)
        .channel_for(Route::Rest, rest);
    for handler in ["orders.pay", "orders.ship"] {
        idem.pause(handler, Actor::default()).await.unwrap();
    }
    let watch = monitor.start().unwrap();
    for (told, handler) in [(&mut banks, "orders.pay"), (&mut rests, "orders.ship")] {
        let notice = next(&clock, told.recv()).await.unwrap().unwrap();
        let why = "a person paused it";
        assert_eq!(shown(&notice), (NoticeKind::Paused, handler, why));
    }
    watch.stop().await;
    assert!(banks.try_recv().is_err() && rests.try_recv().is_err());
}

#[derive(Debug, thiserror::Error)]
enum PayError {
    #[error("the bank cannot be reached")]
    Away,
    #[error(transparent)]
    Idem(#[from] Error),
}

impl PayError {
    fn is_outage(&self) -> bool {
        matches!(self, Self::Away)
    }
}

#[derive(Default)]
struct Bank {
    away: AtomicBool,
    paid: AtomicU32,
}

#[idempotent(
    name = "pauses.pay",
    key = "order_no",
    retries = 1,
    retry = "redeliver",
    outage = PayError::is_outage,
    backoff(initial = "0ms"),
    skip(bank)
)]
async fn pay(order_no: u32, bank: Arc<Bank>) -> Result<(), PayError> {
    if bank.away.load(Ordering::SeqCst) {
        return Err(PayError::Away);
    }
    bank.paid.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

/// Consumes one message of a queue in this process, until it is done.
async fn consume(idem: &Idem, order_no: u32, bank: &Arc<Bank>) {
    let mut turn = None;
    loop {
        let origin = Origin::new("memory", "orders");
        let message = pay(order_no, Arc::clone(bank));
        let verdict = idem.deliver(origin, message).await.verdict;
        drop(turn.take());
        match verdict {
            Verdict::Settled => return,
            Verdict::Paused { handler, .. } => turn = Some(idem.admitted(&handler).await),
            _ => tokio::task::yield_now().await,
        }
    }
}

/// Everything fails for a while: one mail that it began, one that it ended, and each order once.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_two_mails_and_every_order_is_paid_once() {
    const ORDERS: u32 = 500;
    let clock = ManualClock::default();
    let (idem, mut server) = (idem(&clock), SmtpServer::start(Mode::StartTls).await);
    let mail = server.email().to("oncall@example.com").build().unwrap();
    let watch = Monitor::new(&idem, "orders").channel(mail).start().unwrap();
    let bank = Arc::new(Bank::default());
    bank.away.store(true, Ordering::SeqCst);
    let queue = {
        let (idem, bank) = (idem.clone(), Arc::clone(&bank));
        tokio::spawn(async move {
            let orders = (0..ORDERS).map(|order_no| consume(&idem, order_no, &bank));
            join_all(orders).await;
        })
    };
    let subject = |data: &[u8]| {
        let mail = MessageParser::default().parse(data).unwrap();
        mail.subject().unwrap().to_owned()
    };
    let begun = next(&clock, server.mail()).await;
    let begun = subject(&begun.data);
    let why = "[idem] orders: pauses.pay is paused — 5 attempts in a row met an outage";
    assert!(begun.starts_with(why), "{begun}");
    bank.away.store(false, Ordering::SeqCst);
    let over = next(&clock, server.mail()).await;
    let over = subject(&over.data);
    assert!(
        over.starts_with("[idem] orders: pauses.pay is no longer paused"),
        "{over}"
    );
    within(queue).await.unwrap();
    watch.stop().await;
    assert_eq!(server.rest().len(), 0);
    assert_eq!(bank.paid.load(Ordering::SeqCst), ORDERS);
    let (letters, all) = (idem.dead_letters(), Filter::default().any_state());
    assert!(letters.list(&all).await.unwrap().is_empty());
}
