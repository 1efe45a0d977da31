//! Thousands of keys at once, and one key thousands of times.

use futures_util::future::join_all;
use http::StatusCode;

use crate::common::{Service, Version, created, post, soon};

#[tokio::test]
async fn of_thousands_of_keys_in_flight_a_bounded_number_runs_and_the_rest_leaves_nothing() {
    const RUNNING: usize = 16;
    let service = Service::start(
        Version::Http2,
        |layer| layer.most_running(RUNNING),
        async |_, _| created(),
    )
    .await;
    service.runs.hold();
    let keys: Vec<_> = (0..2000).map(|key| format!("A-{key}")).collect();
    let ask = async |key: &String| (key.clone(), service.client.send(post(key, "{}")).await);
    let (first, rest) = keys.split_at(RUNNING);
    let first = join_all(first.iter().map(ask));
    let shed = async {
        service.runs.starts(RUNNING as u32).await;
        let shed = join_all(rest.iter().map(ask)).await;
        for (key, got) in shed {
            assert_eq!(got.problem(), "overloaded", "{key}");
        }
        assert_eq!(service.runs.started() as usize, RUNNING);
        service.runs.let_go();
    };
    let (first, ()) = soon(async { tokio::join!(first, shed) }).await;
    assert!(
        first
            .iter()
            .all(|(_, got)| got.status == StatusCode::CREATED)
    );
    // Each is free for other content.
    for key in rest.iter().take(100) {
        let got = service.client.send(post(key, "[]")).await;
        assert_eq!((got.status, got.is_replay()), (StatusCode::CREATED, false));
    }
    service.idem.close().await.unwrap();
}

#[tokio::test]
async fn one_key_thousands_of_times_is_one_run() {
    let service = Service::orders(Version::Http2).await;
    service.runs.hold();
    let first = service.client.post("A-1", "{}");
    let others = async {
        service.runs.starts(1).await;
        let others = (0..2000).map(|n| match n % 2 {
            0 => service.client.post("A-1", "{}"),
            _ => service.client.post("A-1", "[]"),
        });
        for (n, got) in join_all(others).await.into_iter().enumerate() {
            // A request of another content is refused as such, whether the first one is done or not.
            assert_eq!(got.problem(), ["in-progress", "key-reused"][n % 2]);
        }
        service.runs.let_go();
    };
    let (first, ()) = soon(async { tokio::join!(first, others) }).await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(service.runs.started(), 1);
}
