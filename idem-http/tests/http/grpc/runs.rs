//! When a call runs, and when it runs again.

use idem_http::Grpc;
use idem_runtime::Filter;
use idem_runtime::dead_letters::RunOutcome;
use tonic::{Code, Status};

use super::{Answer, PLACE, Shop, call, channel, order, placed, problem, routes};
use crate::common::{Runs, soon};

async fn until_done(shop: &Shop, key: &str) -> Answer {
    soon(async {
        loop {
            match shop.place(key).await {
                Err(status) if status.code() == Code::Aborted => {}
                done => return done,
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_call_in_flight_is_aborted_and_one_whose_client_goes_runs_on() {
    let shop = Shop::orders().await;
    shop.runs.hold();
    let channel = channel(shop.at).await;
    let gone = tokio::spawn(call(channel, order("A-1", "TEA")));
    shop.runs.starts(1).await;
    let busy = shop.place("A-1").await.unwrap_err();
    let expected = (Code::Aborted, "in-progress", "1000");
    assert_eq!(problem(&busy), expected);
    // RST_STREAM: tonic drops what it serves.
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    shop.runs.let_go();
    shop.runs.ends(1).await;
    let done = until_done(&shop, "A-1").await.unwrap();
    assert_eq!((done.get_ref().order_no, shop.runs.started()), (1, 1));
}

#[tokio::test]
async fn a_panic_is_an_attempt() {
    let shop = Shop::start(
        |it| it,
        Grpc::methods([PLACE]),
        async |run, _| match run {
            1 => panic!("with a secret"),
            _ => placed(idem_runtime::attempt().unwrap().number.into()),
        },
    )
    .await;
    let broken = shop.place("A-1").await.unwrap_err();
    let expected = (Code::Internal, "interrupted", "1000");
    assert_eq!(problem(&broken), expected);
    assert!(!broken.message().contains("secret"));
    assert_eq!(shop.place("A-1").await.unwrap().get_ref().order_no, 2);
}

#[tokio::test]
async fn the_last_failure_is_replayed_until_a_person_runs_the_letter() {
    let shop = Shop::start(
        |layer| layer.handler(|it| it.retries(1)),
        Grpc::methods([PLACE]),
        async |run, _| {
            Err(Status::unavailable(format!(
                "{run}: 50% of Zürich\n\nis away"
            )))
        },
    )
    .await;
    let first = shop.place("A-1").await.unwrap_err();
    // Its own failure says nothing of another try; the one that is given up says that it has no effect.
    assert_eq!(problem(&first), (Code::Unavailable, "", ""));
    shop.place("A-1").await.unwrap_err();
    for _ in 0..2 {
        let last = shop.place("A-1").await.unwrap_err();
        assert_eq!(problem(&last), (Code::Unavailable, "", "-1"));
        assert_eq!(last.message(), "2: 50% of Zürich\n\nis away");
        assert_eq!(last.metadata().get("idempotency-replayed").unwrap(), "true");
    }
    assert_eq!(shop.runs.started(), 2);

    let letters = shop.idem.dead_letters().by("ann");
    let letter = letters.list(&Filter::default()).await.unwrap().remove(0);
    let mended = routes(
        &Runs::new(),
        async |_, request: tonic::Request<super::PlaceOrder>| {
            placed(request.get_ref().sku.len() as u64)
        },
    );
    shop.layer.register(mended);
    let ran = letters.run(&letter.id).await.unwrap();
    assert!(matches!(ran, RunOutcome::Done(_)), "{ran:?}");
    let answer = shop.place("A-1").await.unwrap();
    assert_eq!(answer.get_ref().order_no, 3);
    assert!(answer.metadata().contains_key("idempotency-replayed"));
}
