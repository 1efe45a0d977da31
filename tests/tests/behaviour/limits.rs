//! What cannot be stored or read is refused with a name, and no body runs on it by mistake.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use futures_util::future::join;
use idem_runtime::testing::{temporary, temporary_with};
use idem_runtime::{
    Error, Filter, Idem,
    dead_letters::{AttemptOutcome, Reason},
    idempotent,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::common::{Body, Oops, only_letter, poll_once, soon};

#[idempotent(name = "limits.text", key = "id", skip(size, body))]
async fn text(id: &str, content: &str, size: usize, body: &Body) -> Result<String, Oops> {
    body.run().await;
    Ok("x".repeat(size))
}

#[tokio::test]
async fn a_payload_over_the_limit_is_refused_before_the_body_runs() {
    let (idem, body) = (
        temporary_with(Idem::builder().payload_limit(100)).unwrap(),
        Body::open(),
    );
    idem.scope(async {
        let error = text("1", &"y".repeat(100), 1, &body)
            .await
            .unwrap_err()
            .into_idem();
        let Error::PayloadTooLarge {
            handler,
            key,
            limit,
        } = error
        else {
            panic!("{error:?}")
        };
        assert_eq!(
            (handler.as_str(), key.as_str(), limit),
            ("limits.text", "1", 100)
        );
        assert_eq!(body.starts(), 0);
        // It left nothing behind: the key is free.
        assert_eq!(text("1", "y", 1, &body).await.unwrap(), "x");
    })
    .await;
}

#[tokio::test]
async fn a_payload_of_a_mebibyte_is_the_most_unless_said() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert_eq!(
            text("1", &"y".repeat((1 << 20) - 64), 1, &body)
                .await
                .unwrap(),
            "x"
        );
        let error = text("2", &"y".repeat(1 << 20), 1, &body)
            .await
            .unwrap_err()
            .into_idem();
        assert!(
            matches!(
                error,
                Error::PayloadTooLarge {
                    limit: 1_048_576,
                    ..
                }
            ),
            "{error:?}"
        );
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn a_result_over_the_limit_goes_to_its_own_caller_and_no_duplicate_runs() {
    let (idem, body) = (
        temporary_with(Idem::builder().result_limit(100)).unwrap(),
        Body::shut(),
    );
    idem.scope(async {
        let (mut first, mut second) = (
            Box::pin(text("1", "", 200, &body)),
            Box::pin(text("1", "", 200, &body)),
        );
        body.holds(&mut first, 1).await;
        assert!(poll_once(second.as_mut()).await.is_none());
        body.let_go();
        let (first, second) = soon(join(first, second)).await;
        assert_eq!(first.unwrap().len(), 200);
        for late in [second, text("1", "", 200, &body).await] {
            let error = late.unwrap_err().into_idem();
            let Error::ResultTooLarge { handler, key, size } = error else {
                panic!("{error:?}")
            };
            assert_eq!(
                (handler.as_str(), key.as_str(), size),
                ("limits.text", "1", 202)
            );
        }
    })
    .await;
    assert_eq!(body.starts(), 1);
    assert!(
        idem.dead_letters()
            .list(&Filter::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[derive(Debug, Clone)]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it has no form"))
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

#[idempotent(name = "limits.unwritable", key = "id", skip(body))]
async fn unwritable(id: u32, body: &Body) -> Result<Unwritable, Oops> {
    body.start();
    Ok(Unwritable)
}

#[tokio::test]
async fn a_result_that_cannot_be_stored_is_a_letter_and_never_runs_again() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        let error = unwritable(1, &body).await.unwrap_err().into_idem();
        let Error::Codec {
            handler,
            key,
            problem,
            ..
        } = error
        else {
            panic!("{error:?}")
        };
        assert_eq!((handler.as_str(), key.as_str()), ("limits.unwritable", "1"));
        assert_eq!(
            problem, "a rule of its type refuses it",
            "and not what the type says, which may quote the value"
        );
        let letter = only_letter(&idem).await;
        assert_eq!(letter.reason, Reason::ResultNotStorable);
        assert_eq!(
            letter.attempts[0].outcome,
            AttemptOutcome::ResultNotStorable
        );
        let error = unwritable(1, &body).await.unwrap_err().into_idem();
        assert!(
            matches!(error, Error::DeadLettered { id, .. } if id == letter.id),
            "{error:?}"
        );
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[idempotent(name = "limits.argument", key = "id", skip(body))]
async fn unwritable_argument(
    id: u32,
    by_pair: HashMap<(u8, u8), u8>,
    body: &Body,
) -> Result<u32, Oops> {
    Ok(body.start())
}

#[tokio::test]
async fn arguments_that_cannot_be_stored_are_refused_before_the_body_runs() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let error = idem
        .scope(unwritable_argument(1, HashMap::from([((1, 2), 3)]), &body))
        .await
        .unwrap_err()
        .into_idem();
    assert!(
        matches!(&error, Error::Codec { key, .. } if key == "1"),
        "{error:?}"
    );
    assert_eq!(body.starts(), 0);
}

#[idempotent(name = "limits.deep", key = "id", retries = 0, skip(body))]
async fn deep(id: u32, value: Box<RawValue>, body: &Body) -> Result<u32, Oops> {
    Err(Oops::own(body.start().to_string()))
}

#[idempotent(
    name = "limits.deep_off",
    key = "id",
    fingerprint = "off",
    retries = 0,
    skip(body)
)]
async fn deep_off(id: u32, value: Value, body: &Body) -> Result<u32, Oops> {
    Err(Oops::own(body.start().to_string()))
}

#[idempotent(
    name = "limits.deep_chosen",
    key = "id",
    fingerprint(id),
    retries = 0,
    skip(body)
)]
fn deep_chosen(id: u32, value: &Value, body: &Body) -> Result<u32, Oops> {
    Err(Oops::own(body.start().to_string()))
}

#[tokio::test]
async fn a_message_of_more_than_a_hundred_levels_is_refused_whatever_of_it_counts() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    // The message itself is an object.
    let nested = |levels: usize| (2..levels).fold(json!([]), |inner, _| Value::from(vec![inner]));
    let raw = |levels| to_raw_value(&nested(levels)).unwrap();
    idem.scope(async {
        for levels in [101, 120] {
            for refused in [
                deep(1, raw(levels), &body).await,
                deep_off(1, nested(levels), &body).await,
                deep_chosen(1, &nested(levels), &body),
            ] {
                let error = refused.unwrap_err().into_idem();
                assert!(
                    matches!(&error, Error::Codec { problem, .. } if problem.contains("100 is the limit")),
                    "{error:?}"
                );
            }
        }
        assert_eq!(body.starts(), 0);
        deep(1, raw(100), &body).await.unwrap_err().into_own();
        deep_off(1, nested(100), &body).await.unwrap_err().into_own();
        deep_chosen(1, &nested(100), &body).unwrap_err().into_own();
    })
    .await;
    // What was taken can be shown.
    let letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    let shown = serde_json::to_string(&json!({ "letters": letters })).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&shown).unwrap()["letters"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

/// A result type that a deploy makes stricter.
#[derive(Debug, Clone, Serialize)]
struct Strict(u32);

static DEPLOYED: AtomicBool = AtomicBool::new(false);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u32::deserialize(from)? {
            number if number < 10 || !DEPLOYED.load(SeqCst) => Ok(Self(number)),
            _ => Err(serde::de::Error::custom("not below ten")),
        }
    }
}

#[idempotent(name = "limits.strict", key = "id", skip(body))]
async fn strict(id: u32, body: &Body) -> Result<Strict, Oops> {
    body.start();
    Ok(Strict(id))
}

#[tokio::test]
async fn a_stored_result_that_no_longer_decodes_is_an_error_and_nothing_runs() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert_eq!(strict(42, &body).await.unwrap().0, 42);
        DEPLOYED.store(true, SeqCst);
        for _ in 0..2 {
            let error = strict(42, &body).await.unwrap_err().into_idem();
            assert!(
                matches!(&error, Error::Codec { key, problem, .. } if key == "42" && problem.contains("refuses it"))
            );
        }
    })
    .await;
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn an_empty_key_and_one_over_a_kibibyte_are_refused() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        for key in [String::new(), "k".repeat(1025), "é".repeat(513)] {
            let error = text(&key, "", 1, &body).await.unwrap_err().into_idem();
            assert!(
                matches!(&error, Error::InvalidKey { handler, .. } if handler == "limits.text"),
                "{error:?}"
            );
        }
        assert_eq!(body.starts(), 0);
        for key in [" ".to_owned(), "k".repeat(1024), "é".repeat(512)] {
            text(&key, "", 1, &body).await.unwrap();
        }
    })
    .await;
}

#[idempotent(name = "limits.parts", key = "tenant, order_no", skip(body))]
async fn parts(tenant: &str, order_no: Shown, body: &Body) -> Result<u32, Oops> {
    Ok(body.start())
}

/// A key part whose text the test chooses.
#[derive(Debug, Clone, Serialize)]
struct Shown(Result<&'static str, ()>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.map_err(|()| fmt::Error)?)
    }
}

#[tokio::test]
async fn a_key_with_an_empty_or_unprintable_part_is_refused() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        for (tenant, order_no) in [("", Ok("A")), ("t", Ok("")), ("", Ok("")), ("t", Err(()))] {
            let error = parts(tenant, Shown(order_no), &body)
                .await
                .unwrap_err()
                .into_idem();
            assert!(matches!(error, Error::InvalidKey { .. }), "{error:?}");
        }
    })
    .await;
    assert_eq!(body.starts(), 0);
}

#[idempotent(name = "limits.texts", key = "id", retries = 0)]
async fn fails_with(id: u32, text: String) -> Result<(), anyhow::Error> {
    Err(anyhow::anyhow!(text)
        .context("reserving stock")
        .context("placing the order"))
}

#[tokio::test]
async fn an_error_is_stored_with_its_causes() {
    let idem = temporary().unwrap();
    idem.scope(fails_with(1, "out of tea".to_owned()))
        .await
        .unwrap_err();
    let letter = only_letter(&idem).await;
    assert_eq!(
        letter.last_error(),
        Some("placing the order: reserving stock: out of tea")
    );
}

#[tokio::test]
async fn an_errors_text_is_cut_at_four_kibibytes_between_characters() {
    let idem = temporary().unwrap();
    idem.scope(fails_with(1, "é".repeat(5000)))
        .await
        .unwrap_err();
    let letter = only_letter(&idem).await;
    let stored = letter.last_error().unwrap();
    assert!((4095..=4096).contains(&stored.len()), "{}", stored.len());
    assert!(stored.starts_with("placing the order: reserving stock: é") && stored.ends_with('é'));
}

#[idempotent(name = "limits.panics", key = "id", retries = 0)]
async fn panics_with(id: u32, text: String) -> Result<(), Oops> {
    panic!("{text}")
}

#[tokio::test]
async fn a_panics_text_is_cut_at_four_kibibytes_too() {
    let idem = temporary().unwrap();
    idem.scope(panics_with(1, "é".repeat(5000)))
        .await
        .unwrap_err();
    assert_eq!(only_letter(&idem).await.last_error().unwrap().len(), 4096);
}
