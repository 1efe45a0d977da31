//! A duplicate gets what the first call got, exactly, for as long as it is remembered.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::time::Duration;

use idem_runtime::testing::{ManualClock, temporary};
use idem_runtime::{Error, idempotent};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::common::{Body, on};

#[idempotent(name = "replays.give", key = "id", skip(value, body))]
async fn give<T: Serialize + DeserializeOwned + Clone>(id: &str, value: T, body: &Body) -> Result<T, Error> {
    body.start();
    Ok(value)
}

/// The second call would give something else, if it ran.
async fn replays<T>(value: T, other: T)
where
    T: Serialize + DeserializeOwned + Clone + PartialEq + Debug,
{
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert_eq!(give("1", value.clone(), &body).await.unwrap(), value);
        for _ in 0..3 {
            assert_eq!(give("1", other.clone(), &body).await.unwrap(), value);
        }
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn nothing_is_a_result_like_any_other() {
    replays((), ()).await;
}

#[tokio::test]
async fn false_and_zero_and_empty_are_not_taken_for_no_result() {
    replays(false, true).await;
    replays(0_u64, 1).await;
    replays(-0.0_f64, 1.0).await;
    replays(String::new(), "other".to_owned()).await;
    replays(Vec::<u8>::new(), vec![1]).await;
    replays('\0', 'x').await;
}

#[tokio::test]
async fn none_is_not_taken_for_no_result() {
    replays(None, Some(1_u8)).await;
    replays(Some(false), None).await;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Outcome {
    Placed { order_no: String, lines: Vec<(u32, Option<String>)>, notes: BTreeMap<String, Outcome> },
    Refused(String),
    Nothing,
}

#[tokio::test]
async fn a_nested_result_comes_back_whole() {
    let inner = Outcome::Refused("“quoted”, \\ and \u{1F980}\n\0".to_owned());
    let notes = BTreeMap::from([("why".to_owned(), inner), (String::new(), Outcome::Nothing)]);
    let lines = vec![(1, None), (2, Some(String::new()))];
    replays(Outcome::Placed { order_no: "A-1".to_owned(), lines, notes }, Outcome::Nothing).await;
    replays(HashMap::from([(1_u32, "one".to_owned()), (2, "two".to_owned())]), HashMap::new()).await;
}

#[tokio::test]
async fn integers_come_back_to_the_last_digit() {
    replays((u64::MAX, i64::MIN, u128::MAX, i128::MIN), (0, 0, 0, 0)).await;
}

#[tokio::test]
async fn a_result_of_a_megabyte_is_replayed() {
    let text: String = (0..200_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    replays(vec![text; 5], vec![]).await;
}

#[idempotent(name = "replays.short", key = "id", ttl = "1m", retries = 0, skip(body))]
async fn short(id: u32, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[tokio::test]
async fn a_result_is_remembered_for_its_time_to_live_and_then_the_message_is_new() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    idem.scope(async {
        assert_eq!(short(1, &body).await.unwrap(), 1);
        clock.advance(Duration::from_millis(59_999));
        assert_eq!(short(1, &body).await.unwrap(), 1);
        clock.advance(Duration::from_millis(1));
        assert_eq!(short(1, &body).await.unwrap(), 2);
        // A time to live of its own.
        clock.advance(Duration::from_millis(59_999));
        assert_eq!(short(1, &body).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_replay_does_not_prolong_the_time_to_live() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    idem.scope(async {
        for _ in 0..4 {
            assert_eq!(short(1, &body).await.unwrap(), 1);
            clock.advance(Duration::from_secs(15));
        }
        assert_eq!(short(1, &body).await.unwrap(), 2);
    })
    .await;
}

#[idempotent(name = "replays.week", key = "id", skip(body))]
async fn week(id: u32, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[tokio::test]
async fn a_week_is_the_default_and_sweeping_keeps_what_is_not_over() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let (clock, body) = (ManualClock::default(), Body::open());
    let idem = on(&clock);
    idem.scope(async {
        assert_eq!(week(1, &body).await.unwrap(), 1);
        clock.advance(6 * DAY);
        idem.sweep().await.unwrap();
        assert_eq!(week(1, &body).await.unwrap(), 1);
        clock.advance(DAY);
        idem.sweep().await.unwrap();
        assert_eq!(week(1, &body).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn floats_come_back_to_the_last_bit() {
    // An arithmetic walk through the bit patterns, so that short and long decimal forms are both in it.
    let floats: Vec<f64> = (1..=20_000_u64)
        .map(|step| f64::from_bits(step.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
        .filter(|float| float.is_finite())
        .collect();
    let (idem, body) = (temporary().unwrap(), Body::open());
    let replayed = idem.scope(async {
        give("1", floats.clone(), &body).await.unwrap();
        give("1", floats.clone(), &body).await.unwrap()
    });
    let replayed = replayed.await;
    let changed = floats.iter().zip(&replayed).filter(|(first, again)| first.to_bits() != again.to_bits());
    assert_eq!((body.starts(), replayed.len(), changed.count()), (1, floats.len(), 0), "starts, floats, changed ones");
}
