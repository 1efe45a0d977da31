//! A duplicate gets what the first call got, exactly, for as long as it is remembered.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use idem_runtime::testing::{ManualClock, temporary};
use idem_runtime::{Error, dead_letters::Reason, idempotent};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::common::{Body, on, only_letter};

#[idempotent(name = "replays.give", key = "id", skip(value, body))]
async fn give<T: Serialize + DeserializeOwned + Clone>(
    id: &str,
    value: T,
    body: &Body,
) -> Result<T, Error> {
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
    Placed {
        order_no: String,
        lines: Vec<(u32, Option<String>)>,
        notes: BTreeMap<String, Outcome>,
    },
    Refused(String),
    Nothing,
}

#[tokio::test]
async fn a_nested_result_comes_back_whole() {
    let inner = Outcome::Refused("“quoted”, \\ and \u{1F980}\n\0".to_owned());
    let notes = BTreeMap::from([("why".to_owned(), inner), (String::new(), Outcome::Nothing)]);
    let lines = vec![(1, None), (2, Some(String::new()))];
    replays(
        Outcome::Placed {
            order_no: "A-1".to_owned(),
            lines,
            notes,
        },
        Outcome::Nothing,
    )
    .await;
    replays(
        HashMap::from([(1_u32, "one".to_owned()), (2, "two".to_owned())]),
        HashMap::new(),
    )
    .await;
}

#[tokio::test]
async fn integers_come_back_to_the_last_digit() {
    replays((u64::MAX, i64::MIN, u128::MAX, i128::MIN), (0, 0, 0, 0)).await;
}

#[tokio::test]
async fn a_result_of_a_megabyte_is_replayed() {
    let text: String = (0..200_000)
        .map(|n| char::from(b'a' + (n % 26) as u8))
        .collect();
    replays(vec![text; 5], vec![]).await;
}

#[idempotent(
    name = "replays.short",
    key = "id",
    ttl = "1m",
    retries = 0,
    skip(body)
)]
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
    // An arithmetic walk through the bit patterns, so that short and long decimal forms are both in
    // it.
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
    let changed = floats
        .iter()
        .zip(&replayed)
        .filter(|(first, again)| first.to_bits() != again.to_bits());
    assert_eq!(
        (body.starts(), replayed.len(), changed.count()),
        (1, floats.len(), 0),
        "starts, floats, changed ones"
    );
}

/// The first caller hears what duplicates hear, also where other results of the handler were
/// recorded before.
async fn told_alike<T: Serialize + DeserializeOwned + Clone>(good: T, bad: T) {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert!(give("good", good.clone(), &body).await.is_ok());
        let first = give("bad", bad, &body).await.map(drop).unwrap_err();
        assert!(
            matches!(&first, Error::Codec { key, .. } if key == "bad"),
            "{first:?}"
        );
        let letter = only_letter(&idem).await;
        assert_eq!(
            (letter.reason, &*letter.key),
            (Reason::ResultNotStorable, "bad")
        );
        let second = give("bad", good.clone(), &body)
            .await
            .map(drop)
            .unwrap_err();
        assert!(
            matches!(second, Error::DeadLettered { id, .. } if id == letter.id),
            "{second:?}"
        );
    })
    .await;
    assert_eq!(body.starts(), 2);
}

#[tokio::test]
async fn a_number_that_json_does_not_have_is_no_result() {
    told_alike(1.5, f64::NAN).await;
    told_alike(1.5, f32::NEG_INFINITY).await;
    told_alike(
        HashMap::from([("a", 1.0)].map(owned)),
        HashMap::from([("a", f64::INFINITY)].map(owned)),
    )
    .await;
}

fn owned<V>((key, value): (&str, V)) -> (String, V) {
    (key.to_owned(), value)
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged<T> {
    Some { value: T },
    None,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged<T> {
    Some(T),
    None,
}

#[derive(Clone, Serialize, Deserialize)]
struct Flattened<T> {
    #[serde(flatten)]
    inner: T,
}

#[derive(Clone, Serialize, Deserialize)]
struct Inner<T> {
    value: T,
}

#[tokio::test]
async fn what_tagged_untagged_and_flattened_types_write_and_do_not_read_is_no_result() {
    let beyond = u128::from(u64::MAX) + 1;
    told_alike(Tagged::None, Tagged::Some { value: beyond }).await;
    told_alike(Tagged::None, Tagged::Some { value: 1_u128 }).await;
    told_alike(Untagged::None, Untagged::Some(beyond)).await;
    let flattened = |value| Flattened {
        inner: Inner { value },
    };
    told_alike(flattened(None), flattened(Some(i128::MIN))).await;
    let keys = HashMap::from([(1_u32, 1)]);
    told_alike(
        Tagged::Some {
            value: HashMap::new(),
        },
        Tagged::Some {
            value: keys.clone(),
        },
    )
    .await;
    told_alike(Untagged::Some(HashMap::new()), Untagged::Some(keys)).await;
    let raw: Box<RawValue> = to_raw_value(&1).unwrap();
    told_alike(Tagged::None, Tagged::Some { value: raw }).await;
    // Where they are on their own they come back.
    replays(Inner { value: beyond }.value, 1).await;
    replays(HashMap::from([(1_u32, Some(1))]), HashMap::new()).await;
}

/// Nested so many levels deep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Nest(Vec<Nest>);

fn nest(levels: usize) -> Nest {
    (1..levels).fold(Nest(Vec::new()), |inner, _| Nest(vec![inner]))
}

#[tokio::test]
async fn a_result_of_more_than_a_hundred_levels_is_no_result() {
    replays(nest(100), nest(1)).await;
    told_alike(nest(1), nest(101)).await;
    told_alike(nest(1), nest(200)).await;
    told_alike(
        to_raw_value(&1).unwrap(),
        RawValue::from_string("[".repeat(101) + &"]".repeat(101)).unwrap(),
    )
    .await;
}

/// Writes less than it reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lopsided {
    #[serde(skip_serializing)]
    card_no: String,
    paid: bool,
}

#[tokio::test]
async fn a_type_that_does_not_read_what_it_writes_is_found_with_its_first_result() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let value = Lopsided {
        card_no: "4111".to_owned(),
        paid: true,
    };
    assert!(value.paid && !value.card_no.is_empty());
    idem.scope(async {
        let first = give("1", value.clone(), &body).await.unwrap_err();
        assert!(
            matches!(&first, Error::Codec { problem, .. } if problem.contains("does not read")),
            "{first:?}"
        );
        assert!(matches!(
            give("1", value, &body).await.unwrap_err(),
            Error::DeadLettered { .. }
        ));
    })
    .await;
    assert_eq!(body.starts(), 1);
}

static READ: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Clone, Serialize)]
struct Counted(Option<u32>);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        READ.fetch_add(1, SeqCst);
        Option::deserialize(from).map(Self)
    }
}

#[tokio::test]
async fn only_a_first_result_and_one_that_may_not_read_back_are_read_when_they_are_recorded() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        for (id, value, read) in [
            ("1", Some(1), 1),
            ("2", Some(2), 1),
            ("3", None, 2),
            ("4", Some(4), 2),
        ] {
            give(id, Counted(value), &body).await.unwrap();
            assert_eq!(READ.load(SeqCst), read, "{id}");
        }
    })
    .await;
}
