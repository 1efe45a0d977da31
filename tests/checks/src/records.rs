//! Any record and any dead letter.

use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use idem_runtime::protocol::{
    Budget, BuryCause, Change, DeadLetter, DeadLetterId, Decision, Facts, Fingerprint, Holder,
    LetterChange, Live, OnCrash, Origin, PastAttempt, Phase, Record, RecordId, RedrivenFrom, Reply,
    Reused, Sealed, Settled, Settlement, Step, StoredResult, decide,
};
use idem_runtime::trace::TraceParent;
use idem_runtime::{
    LetterState,
    clock::Timestamp,
    dead_letters::{AttemptOutcome, Reason},
};
use serde_json::{Value, json};

use crate::envelope::{record_again, same_again};
use crate::fields::{DEAD_LETTER, LIVE, SETTLED};

const REASONS: [Reason; 8] = [
    Reason::BudgetSpent,
    Reason::PermanentError,
    Reason::UnknownOutcome,
    Reason::Abandoned,
    Reason::ResultNotStorable,
    Reason::Undecodable,
    Reason::KeyReused,
    Reason::Refused,
];

/// The bytes choose a record and a letter: written and read they are the same, also with fields of
/// a newer version. The sweep leaves the record alone until it is due.
pub fn records(bytes: &[u8]) {
    let mut from = Unstructured::new(bytes);
    // Where the bytes run out, zeros and empty lists stand for more of them.
    let mut records = Vec::new();
    if let Ok(live) = live(&mut from) {
        same_again(&live, &LIVE, bytes);
        records.push(Record::Live(live));
    }
    if let Ok(settled) = settled(&mut from) {
        same_again(&settled, &SETTLED, bytes);
        records.push(Record::Settled(settled));
    }
    if let Ok(letter) = letter(&mut from) {
        same_again(&letter, &DEAD_LETTER, bytes);
    }
    for record in records {
        record_again(&record, bytes);
        if let Ok(now) = time(&mut from) {
            nothing_happens_before_it_is_due(&record, now);
        }
    }
}

/// At this time, or at the last moment before the record is due, a sweep leaves it as it is.
fn nothing_happens_before_it_is_due(record: &Record, now: Timestamp) {
    let before = record
        .due()
        .map(|due| due.checked_sub(Duration::from_millis(1)));
    let now = match before {
        None => now,
        Some(Ok(before)) => now.min(before),
        Some(Err(_)) => return,
    };
    let session = match record {
        Record::Live(Live {
            phase: Phase::Running { session, .. },
            ..
        }) => *session,
        _ => 0,
    };
    let facts = Facts::new(now, u64::MAX, DeadLetterId::from_bytes([0; 16]), "checks")
        .session(session)
        .leases(true);
    let id = RecordId::new("handler", "key");
    let swept = decide(&id, Some(record.clone()), &Step::Sweep, &facts);
    assert_eq!(
        swept,
        Decision::new(Change::Keep, LetterChange::Keep, Reply::Unchanged),
        "{record:?} was not due at {now}"
    );
}

fn live(from: &mut Unstructured<'_>) -> Result<Live> {
    // The order of the fields is the meaning of the inputs that are kept.
    let id = RecordId::new(from.arbitrary::<Arc<str>>()?, from.arbitrary::<Arc<str>>()?);
    let (token, fingerprint) = (from.arbitrary()?, fingerprint(from)?);
    let retries = from.arbitrary()?;
    let on_crash = *from.choose(&[OnCrash::Rerun, OnCrash::Bury])?;
    let budget = Budget::new(retries, millis(from)?).on_crash(on_crash);
    let (payload, past) = (from.arbitrary()?, several(from, past)?);
    let mut live = Live::new(&id, payload, budget, time(from)?);
    (live.token, live.fingerprint, live.past) = (token, fingerprint, past);
    live.phase = match from.arbitrary()? {
        true => Phase::Running {
            number: from.arbitrary()?,
            since: time(from)?,
            owner: from.arbitrary()?,
            session: from.arbitrary()?,
            until: time(from)?,
            nonce: from.arbitrary()?,
        },
        false => Phase::Waiting {
            since: time(from)?,
            until: time(from)?,
        },
    };
    live.redacted = Some(several(from, text)?)
        .filter(|paths| !paths.is_empty())
        .map(Into::into);
    live.origin = maybe(from, origin)?.map(Arc::new);
    live.redriven = maybe(from, redriven)?.map(Box::new);
    live.sealed = maybe(from, sealed)?.map(Arc::new);
    live.trace = trace(from)?;
    Ok(live)
}

fn origin(from: &mut Unstructured<'_>) -> Result<Origin> {
    let mut origin = Origin::new(text(from)?, text(from)?);
    (origin.message_id, origin.position) = (maybe(from, text)?, maybe(from, text)?);
    origin.headers = several(from, |from| Ok((text(from)?, text(from)?)))?;
    origin.redelivered = from.arbitrary()?;
    origin.ordering_key = maybe(from, text)?;
    Ok(origin)
}

/// Of ids that are not zero.
fn trace(from: &mut Unstructured<'_>) -> Result<Option<TraceParent>> {
    let (trace, span, flags) = from.arbitrary::<(u128, u64, u8)>()?;
    Ok(format!("00-{trace:032x}-{span:016x}-{flags:02x}")
        .parse()
        .ok())
}

fn redriven(from: &mut Unstructured<'_>) -> Result<RedrivenFrom> {
    let (letter, fingerprint) = (id(from)?, fingerprint(from)?);
    let mut redriven = RedrivenFrom::new(letter, from.arbitrary()?);
    redriven.fingerprint = fingerprint;
    redriven.cause = maybe(from, unread)?;
    redriven.arguments = from.arbitrary()?;
    Ok(redriven)
}

fn unread(from: &mut Unstructured<'_>) -> Result<BuryCause> {
    let reason = maybe(from, |from| Ok(*from.choose(&REASONS)?))?;
    let key = from.arbitrary()?;
    let reused = maybe(from, reused)?.map(Box::new);
    let mut cause = BuryCause::undecodable(text(from)?, from.arbitrary()?);
    (cause.reason, cause.key, cause.reused) = (reason, key, reused);
    Ok(cause)
}

fn reused(from: &mut Unstructured<'_>) -> Result<Reused> {
    let by = match from.int_in_range(0..=5)? {
        0 => Holder::Running { since: time(from)? },
        1 => Holder::Waiting { until: time(from)? },
        2 => Holder::Done { at: time(from)? },
        3 => Holder::Dead { letter: id(from)? },
        4 => Holder::Discarded { letter: id(from)? },
        _ => Holder::Gone,
    };
    let difference = |from: &mut Unstructured<'_>| {
        let (path, theirs, ours) = from.arbitrary::<(String, Option<String>, Option<String>)>()?;
        Ok(json!({ "path": path, "theirs": theirs, "ours": ours }))
    };
    let differences = maybe(from, |from| several(from, difference))?;
    Ok(read(
        json!({ "by": by, "differences": differences, "more": from.arbitrary::<u64>()? }),
    ))
}

fn sealed(from: &mut Unstructured<'_>) -> Result<Sealed> {
    let (key, places) = (text(from)?, several(from, text)?);
    Ok(read(json!({ "key": key, "places": places })))
}

fn settled(from: &mut Unstructured<'_>) -> Result<Settled> {
    let (token, fingerprint) = (from.arbitrary()?, fingerprint(from)?);
    let (at, ttl, attempts) = (time(from)?, millis(from)?, from.arbitrary()?);
    let end = match from.int_in_range(0..=4)? {
        0 => Settlement::Done(StoredResult::Json {
            json: from.arbitrary()?,
            version: from.arbitrary()?,
            trace: None,
        }),
        1 => Settlement::Done(StoredResult::TooLarge(from.arbitrary()?)),
        2 => Settlement::Dead(id(from)?),
        3 => Settlement::Discarded(id(from)?),
        _ => Settlement::Issued,
    };
    let mut settled = Settled::new(token, at, ttl, attempts, end);
    settled.fingerprint = fingerprint;
    if let Settlement::Done(StoredResult::Json { trace: of, .. }) = &mut settled.end {
        *of = trace(from)?;
    }
    Ok(settled)
}

fn letter(from: &mut Unstructured<'_>) -> Result<DeadLetter> {
    use LetterState::{Discarded, Open, Redriven};
    // Only the runtime can make one directly.
    let letter = json!({
        "id": id(from)?,
        "handler": from.arbitrary::<String>()?,
        "key": from.arbitrary::<String>()?,
        "payload": payload(from, 0)?,
        "reason": from.choose(&REASONS)?,
        "attempts": several(from, past)?,
        "state": from.choose(&[Open, Redriven, Discarded])?,
        "first_seen": time(from)?,
        "died_at": time(from)?,
        "closed_at": maybe(from, time)?,
        "closed_why": from.arbitrary::<Option<String>>()?,
        "instance": from.arbitrary::<String>()?,
        "redacted": several(from, text)?,
        "origin": maybe(from, origin)?,
        "error": maybe(from, text)?,
        "cut_from": from.arbitrary::<Option<u64>>()?,
        "record_key": from.arbitrary::<Option<String>>()?,
        "reused": maybe(from, reused)?,
        "sealed": maybe(from, sealed)?,
        "trace": trace(from)?,
    });
    Ok(read(letter))
}

fn past(from: &mut Unstructured<'_>) -> Result<PastAttempt> {
    use AttemptOutcome::{
        Crashed, Dropped, Failed, LeaseLapsed, Panicked, Permanent, ResultNotStorable, TimedOut,
    };
    let outcomes = [
        Failed,
        Permanent,
        Panicked,
        TimedOut,
        Dropped,
        Crashed,
        LeaseLapsed,
        ResultNotStorable,
    ];
    Ok(read(json!({
        "number": from.arbitrary::<u32>()?,
        "start": time(from)?,
        "end": maybe(from, time)?,
        "outcome": from.choose(&outcomes)?,
        "error": from.arbitrary::<Option<String>>()?,
        "token": from.arbitrary::<Option<u64>>()?,
    })))
}

fn read<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json)
        .unwrap_or_else(|error| panic!("what was written as JSON is no longer read: {error}"))
}

fn payload(from: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    Ok(match from.int_in_range(0..=6)? {
        0 => Value::Null,
        1 => from.arbitrary::<bool>()?.into(),
        2 => from.arbitrary::<i64>()?.into(),
        3 => from.arbitrary::<f64>()?.into(),
        4 => from.arbitrary::<String>()?.into(),
        _ if depth == 8 => Value::Null,
        5 => several(from, |from| payload(from, depth + 1))?.into(),
        _ => several(from, |from| {
            Ok((from.arbitrary::<String>()?, payload(from, depth + 1)?))
        })?
        .into_iter()
        .collect(),
    })
}

fn fingerprint(from: &mut Unstructured<'_>) -> Result<Option<Fingerprint>> {
    Ok(from.arbitrary::<Option<[u8; 16]>>()?.map(Fingerprint))
}

fn id(from: &mut Unstructured<'_>) -> Result<DeadLetterId> {
    from.arbitrary().map(DeadLetterId::from_bytes)
}

fn text(from: &mut Unstructured<'_>) -> Result<String> {
    from.arbitrary()
}

/// Records hold milliseconds.
fn time(from: &mut Unstructured<'_>) -> Result<Timestamp> {
    let (first, last) = (
        Timestamp::MIN.as_millisecond(),
        Timestamp::MAX.as_millisecond(),
    );
    Ok(Timestamp::from_millisecond(from.int_in_range(first..=last)?).unwrap_or_default())
}

fn millis(from: &mut Unstructured<'_>) -> Result<Duration> {
    from.arbitrary().map(Duration::from_millis)
}

fn maybe<T>(
    from: &mut Unstructured<'_>,
    one: impl Fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<T>> {
    if bool::arbitrary(from)? {
        one(from).map(Some)
    } else {
        Ok(None)
    }
}

fn several<T>(
    from: &mut Unstructured<'_>,
    one: impl Fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    while all.len() < 8 && from.arbitrary()? {
        all.push(one(from)?);
    }
    Ok(all)
}
