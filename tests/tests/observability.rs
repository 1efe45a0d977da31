//! Logs and metrics. One scenario runs once in this process, and each test checks a part of its
//! output.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what is wrong by panicking"
)]

mod written;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use idem_runtime::pause::PauseRules;
use idem_runtime::protocol::Actor;
use idem_runtime::testing::{ManualClock, MemoryLedger, open_on, temporary_with};
use idem_runtime::{Error, Filter, Idem, Origin, idempotent};
use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tracing_subscriber::fmt::format::FmtSpan;

use written::Written;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const SECRET: &str = "4111-1111-1111-1111";

#[derive(Debug, thiserror::Error)]
enum Oops {
    #[error("the shop is shut")]
    Shut,
    #[error(transparent)]
    Idem(#[from] Error),
}

#[idempotent(
    name = "seen.pay",
    key = "order_no",
    retries = 1,
    backoff(initial = "0ms")
)]
async fn pay(order_no: &str, card: &str) -> Result<String, Oops> {
    tracing::info!("in the body of {order_no}");
    match order_no {
        "shut" => Err(Oops::Shut),
        "panic" => panic!("the till is stuck"),
        _ => Ok(card.to_owned()),
    }
}

#[idempotent(name = "seen.now", key = "id", retries = 0)]
fn now(id: u32) -> Result<u32, Oops> {
    Ok(id)
}

/// It pauses after five calls, and stays so until it is resumed.
#[idempotent(
    name = "seen.away",
    key = "id",
    outage = Oops::is_outage,
    backoff(initial = "0ms")
)]
async fn away(id: u32) -> Result<u32, Oops> {
    let _ = id;
    Err(Oops::Shut)
}

impl Oops {
    fn is_outage(&self) -> bool {
        matches!(self, Self::Shut)
    }
}

/// One path is there, one is absent, and one is spelled as no message has it.
#[idempotent(
    name = "seen.redacted",
    key = "id",
    redact(card, "buyer.phoneNo", "buyer.coupon")
)]
fn redacted(id: u32, card: &str, buyer: &Buyer) -> Result<usize, Oops> {
    let _ = (id, buyer);
    Ok(card.len())
}

#[derive(serde::Serialize)]
struct Buyer {
    phone_no: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon: Option<&'static str>,
}

#[idempotent(name = "seen.traced", key = "id")]
async fn traced(id: u32) -> Result<u32, Oops> {
    tracing::info!("in the body of {id}");
    Ok(id)
}

struct Seen {
    metrics: BTreeMap<String, DebugValue>,
    lines: Vec<String>,
}

static SEEN: LazyLock<Seen> = LazyLock::new(|| {
    let recorder = DebuggingRecorder::new();
    let metrics = recorder.snapshotter();
    recorder.install().unwrap();
    let log = Written::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_span_events(FmtSpan::NEW | FmtSpan::CLOSE)
        .with_writer(move || writer.clone())
        .init();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            waits_for_a_folder(&log);
            story().await;
        });
    let metrics = metrics
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let mut labels: Vec<_> = key
                .key()
                .labels()
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            labels.sort();
            assert!(matches!(
                (key.kind(), &value),
                (MetricKind::Counter, DebugValue::Counter(_))
                    | (MetricKind::Gauge, DebugValue::Gauge(_))
                    | (MetricKind::Histogram, DebugValue::Histogram(_))
            ));
            (
                format!("{} {}", key.key().name(), labels.join(" "))
                    .trim_end()
                    .to_owned(),
                value,
            )
        });
    let metrics = metrics.collect();
    let lines = log.text().lines().map(str::to_owned).collect();
    Seen { metrics, lines }
});

/// Opens a folder that is released once the opening is seen to wait.
fn waits_for_a_folder(log: &Written) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let first = Idem::open(&path).unwrap();
    let next = std::thread::spawn(move || {
        let longest = Duration::from_secs(600);
        Idem::builder().wait_for(longest).open(path)
    });
    log.until(|text| text.contains("waiting for the folder to be released"));
    pollster::block_on(first.close()).unwrap();
    let next = next.join().unwrap().unwrap();
    pollster::block_on(next.close()).unwrap();
}

async fn story() {
    undecodable().await;
    let hour = Duration::from_secs(3600);
    let builder = Idem::builder().payload_limit(1000);
    let builder = builder.pause(PauseRules::default().wait(hour, hour));
    let idem = temporary_with(builder).unwrap();
    idem.scope(async {
        for _ in 0..3 {
            pay("fine", SECRET).await.unwrap();
        }
        pay("fine", "another card").await.unwrap_err();
        pay("shut", SECRET).await.unwrap_err();
        pay("shut", SECRET).await.unwrap_err();
        pay("panic", SECRET).await.unwrap_err();
        pay("", SECRET).await.unwrap_err();
        pay("large", &SECRET.repeat(1000)).await.unwrap_err();
        now(1).unwrap();
        for id in 1..=2 {
            redacted(
                id,
                SECRET,
                &Buyer {
                    phone_no: None,
                    coupon: None,
                },
            )
            .unwrap();
        }
        for _ in 0..2 {
            let origin = Origin::new("memory", "orders").header("traceparent", TRACEPARENT);
            idem.deliver(origin, traced(7)).await.output.unwrap();
        }
        let letters = idem.dead_letters();
        let letter = letters
            .list(&Filter::default().key("shut"))
            .await
            .unwrap()
            .remove(0);
        letters.redrive(&letter.id).await.unwrap();
        for id in 0..15 {
            away(id).await.unwrap_err();
        }
        idem.resume("seen.away", Actor::default()).await.unwrap();
    })
    .await;
    idem.close().await.unwrap();
}

#[idempotent(name = "seen.price", key = "order_no")]
async fn price(order_no: &str) -> Result<String, Oops> {
    Ok(format!("{order_no} {SECRET}"))
}

/// The same handler after a deploy.
#[idempotent(name = "seen.price", key = "order_no")]
async fn price_today(order_no: &str) -> Result<u64, Oops> {
    unreachable!("{order_no} is done")
}

/// Three results that do not decode, the last one of a minute later.
async fn undecodable() {
    let clock = ManualClock::default();
    let ledger = MemoryLedger::new(Arc::new(clock.clone()));
    let process = || {
        let builder = Idem::builder().clock(Arc::new(clock.clone()));
        open_on(builder, ledger.clone()).unwrap()
    };
    let (before, after) = (process(), process());
    for order_no in ["A-1", "A-2"] {
        before.scope(price(order_no)).await.unwrap();
        after.scope(price_today(order_no)).await.unwrap_err();
    }
    clock.advance(Duration::from_secs(60));
    after.scope(price_today("A-1")).await.unwrap_err();
    before.close().await.unwrap();
    after.close().await.unwrap();
}

#[track_caller]
fn counter(name: &str) -> u64 {
    match SEEN.metrics.get(name) {
        Some(DebugValue::Counter(count)) => *count,
        other => panic!("{name} is {other:?} among {:#?}", SEEN.metrics.keys()),
    }
}

#[track_caller]
fn histogram(name: &str) -> Vec<f64> {
    match SEEN.metrics.get(name) {
        Some(DebugValue::Histogram(values)) => values.iter().map(|value| value.0).collect(),
        other => panic!("{name} is {other:?} among {:#?}", SEEN.metrics.keys()),
    }
}

/// The lines that hold all of these.
fn lines(parts: &[&str]) -> Vec<&'static String> {
    SEEN.lines
        .iter()
        .filter(|line| parts.iter().all(|part| line.contains(part)))
        .collect()
}

#[test]
fn an_opening_that_waits_says_once_for_whom() {
    let waits = lines(&["INFO", "waiting for the folder to be released"]);
    assert_eq!(waits.len(), 1, "{waits:#?}");
    assert!(waits[0].contains("this process"), "{waits:#?}");
}

#[test]
fn recorded_results_that_do_not_decode_are_counted_and_logged_once_a_minute() {
    assert_eq!(
        counter("idem_results_undecodable_total handler=seen.price"),
        3
    );
    let warnings = lines(&["WARN", "handler=\"seen.price\"", "no longer decodes"]);
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(warnings.iter().all(|line| line.contains("key=\"A-1\"")));
}

#[test]
fn calls_are_counted_by_handler_and_by_what_the_caller_got() {
    assert_eq!(counter("idem_calls_total handler=seen.pay outcome=done"), 1);
    assert_eq!(
        counter("idem_calls_total handler=seen.pay outcome=replayed"),
        2
    );
    assert_eq!(
        counter("idem_calls_total handler=seen.pay outcome=key_reused"),
        1
    );
    assert_eq!(
        counter("idem_calls_total handler=seen.pay outcome=failed"),
        1
    );
    assert_eq!(
        counter("idem_calls_total handler=seen.pay outcome=dead_lettered"),
        2
    );
    assert_eq!(counter("idem_calls_total handler=seen.now outcome=done"), 1);
}

#[test]
fn attempts_are_counted_by_outcome_and_each_has_its_time_in_the_body() {
    assert_eq!(
        counter("idem_attempts_total handler=seen.pay outcome=done"),
        1
    );
    assert_eq!(
        counter("idem_attempts_total handler=seen.pay outcome=failed"),
        2
    );
    assert_eq!(
        counter("idem_attempts_total handler=seen.pay outcome=panicked"),
        2
    );
    assert_eq!(histogram("idem_body_seconds handler=seen.pay").len(), 5);
    assert_eq!(histogram("idem_body_seconds handler=seen.now").len(), 1);
}

#[test]
fn group_commits_are_timed_and_their_sizes_known() {
    let (times, sizes) = (
        histogram("idem_commit_seconds"),
        histogram("idem_commit_group_size"),
    );
    assert_eq!(times.len(), sizes.len());
    // Six claims, six ends, a redrive.
    assert!(sizes.iter().sum::<f64>() >= 13.0, "{sizes:?}");
    assert!(times.iter().all(|time| *time >= 0.0));
}

#[test]
fn the_open_letters_are_known() {
    match SEEN.metrics.get("idem_dead_letters_open") {
        Some(DebugValue::Gauge(open)) => assert!((open.0 - 1.0).abs() < f64::EPSILON, "{open}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pause_is_one_warning_and_one_line_when_it_is_over() {
    assert_eq!(
        counter("idem_attempts_total handler=seen.away outcome=outage"),
        5
    );
    assert_eq!(counter("idem_calls_paused_total handler=seen.away"), 10);
    assert_eq!(
        counter("idem_calls_total handler=seen.away outcome=paused"),
        10
    );
    match SEEN.metrics.get("idem_handler_paused handler=seen.away") {
        Some(DebugValue::Gauge(paused)) => assert!(paused.0.abs() < f64::EPSILON, "{paused}"),
        other => panic!("{other:?}"),
    }
    let of_it = ["handler=\"seen.away\""];
    assert_eq!(
        lines(&[" WARN ", of_it[0], "is paused", "the shop is shut"]).len(),
        1
    );
    let over = lines(&[" INFO ", of_it[0], "no longer paused", "turned_away=10"]);
    assert_eq!(over.len(), 1, "{:#?}", lines(&of_it));
    // Five attempts, the pause, its end, and the person: none for a call that was turned away.
    let told = lines(&of_it).into_iter();
    let told = told.filter(|line| !line.contains(" DEBUG ") && !line.contains(" TRACE "));
    let told = told.filter(|line| !line.contains("attempt{"));
    assert_eq!(told.count(), 8, "{:#?}", lines(&of_it));
}

#[test]
fn neither_payloads_nor_results_nor_metrics_labels_hold_what_people_sent() {
    assert!(SEEN.lines.len() > 10);
    assert_eq!(lines(&[SECRET]), Vec::<&String>::new());
    assert!(
        SEEN.metrics
            .keys()
            .all(|name| !name.contains(SECRET) && !name.contains("shut"))
    );
}

#[test]
fn a_failed_attempt_can_be_followed_by_handler_key_number_and_error() {
    for number in [1, 2] {
        let attempt = format!("attempt={number}");
        let found = lines(&[
            " WARN ",
            "handler=\"seen.pay\"",
            "key=\"shut\"",
            &attempt,
            "failed",
            "the shop is shut",
        ]);
        assert_eq!(found.len(), 1, "{:#?}", SEEN.lines);
    }
    assert_eq!(
        lines(&[" WARN ", "key=\"panic\"", "panicked", "the till is stuck"]).len(),
        2
    );
}

#[test]
fn what_a_caller_got_can_be_followed() {
    for (key, outcome, times) in [
        ("fine", "done", 1),
        ("fine", "replayed", 2),
        ("fine", "key_reused", 1),
        ("shut", "dead_lettered", 1),
    ] {
        let (key, outcome) = (format!("key=\"{key}\""), format!("outcome=\"{outcome}\""));
        assert_eq!(
            lines(&["call ended", "handler=\"seen.pay\"", &key, &outcome]).len(),
            times,
            "{key} {outcome}"
        );
    }
}

#[test]
fn a_death_is_an_error_that_names_the_letter() {
    let found = lines(&[" ERROR ", "handler=\"seen.pay\"", "key=\"shut\"", "letter="]);
    assert_eq!(found.len(), 1, "{:#?}", SEEN.lines);
    assert_eq!(
        lines(&[" ERROR "]).len(),
        2,
        "the panic's death is the other, and nothing else is an error"
    );
    assert_eq!(
        lines(&["key=\"shut\"", "letter=", "act=\"redriven\""]).len(),
        1
    );
}

#[test]
fn the_body_runs_in_a_span_that_says_whose_attempt_it_is() {
    for number in [1, 2] {
        let number = format!("number={number}");
        let found = lines(&[
            "in the body of shut",
            "handler=\"seen.pay\"",
            "key=\"shut\"",
            &number,
            "of=2",
        ]);
        assert_eq!(found.len(), 1, "{:#?}", SEEN.lines);
    }
}

#[test]
fn a_call_that_is_refused_before_it_reaches_the_ledger_is_counted_and_can_be_followed_too() {
    assert_eq!(
        counter("idem_calls_total handler=seen.pay outcome=invalid_key"),
        1
    );
    assert_eq!(
        counter("idem_calls_total handler=seen.pay outcome=payload_too_large"),
        1
    );
    assert_eq!(lines(&["handler=\"seen.pay\"", "invalid_key"]).len(), 1);
    assert_eq!(
        lines(&["handler=\"seen.pay\"", "key=\"large\"", "payload_too_large"]).len(),
        1
    );
}

#[test]
fn lines_of_a_delivery_name_its_trace_and_a_replay_that_of_the_run() {
    let trace = "trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"";
    let delivery = "idem.delivery{otel.name=process orders";
    let body = lines(&["in the body of 7", delivery, "idem.attempt{", trace]);
    assert_eq!(body.len(), 1, "{:#?}", lines(&["seen.traced"]));
    let replay = format!("recorded_{trace}");
    let replays = lines(&["idem.replay{", "handler=\"seen.traced\"", &replay, "close"]);
    assert_eq!(replays.len(), 1, "{:#?}", lines(&["idem.replay"]));
}

#[test]
fn a_misspelt_path_is_told_of_once_and_an_absent_part_never() {
    assert_eq!(
        lines(&[" WARN ", "seen.redacted", "nothing to redact", "phoneNo"]).len(),
        1,
        "{:#?}",
        SEEN.lines
    );
    assert_eq!(lines(&["nothing to redact"]).len(), 1);
}
