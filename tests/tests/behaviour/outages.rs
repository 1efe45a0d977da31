//! What a body needs is down, and it says so: the message pays nothing for it.

use std::time::Duration;

use idem_runtime::clock::Clock;
use idem_runtime::dead_letters::AttemptOutcome::{Failed, Outage, Permanent};
use idem_runtime::pause::PauseRules;
use idem_runtime::protocol::{Live, Record, RecordId};
use idem_runtime::testing::{ManualClock, temporary};
use idem_runtime::{Idem, Origin, Verdict, idempotent};

use crate::common::{Body, Folder, Log, Oops, on, only_letter, soon};

/// The bodies' errors, the next one last: one without is a success.
pub(crate) type Script = Log<&'static str>;

fn is_outage(error: &Oops) -> bool {
    matches!(error, Oops::Own(text) if text == "down")
}

fn may_pass(error: &Oops) -> bool {
    !matches!(error, Oops::Own(text) if text == "refused" || text == "down")
}

fn run(body: &Body, script: &Script) -> Result<u32, Oops> {
    let number = body.start();
    let mut script_left = script.take();
    let error = script_left.pop();
    script_left.into_iter().for_each(|error| script.push(error));
    error.map_or(Ok(number), |error| Err(Oops::own(error)))
}

#[idempotent(
    name = "outages.inline",
    key = "id",
    retries = 2,
    outage = is_outage,
    retry_if = may_pass,
    backoff(initial = "1s", factor = 2, max = "10s"),
    skip(body, script)
)]
async fn inline(id: &str, body: &Body, script: &Script) -> Result<u32, Oops> {
    run(body, script)
}

#[idempotent(
    name = "outages.redeliver",
    key = "id",
    retries = 1,
    retry = "redeliver",
    outage = is_outage,
    backoff(initial = "0ms"),
    skip(body, script)
)]
async fn redeliver(id: &str, body: &Body, script: &Script) -> Result<u32, Oops> {
    run(body, script)
}

#[idempotent(
    name = "outages.sync",
    key = "id",
    retries = 0,
    outage = is_outage,
    backoff(initial = "0ms"),
    skip(body, script)
)]
fn sync(id: &str, body: &Body, script: &Script) -> Result<u32, Oops> {
    run(body, script)
}

async fn live(idem: &Idem, handler: &str) -> Live {
    match idem.record(&RecordId::new(handler, "A-1")).await.unwrap() {
        Some(Record::Live(live)) => live,
        other => panic!("{other:?}"),
    }
}

fn script(errors: impl IntoIterator<Item = &'static str>) -> Script {
    let mut errors: Vec<_> = errors.into_iter().collect();
    errors.reverse();
    let script = Script::default();
    errors.into_iter().for_each(|error| script.push(error));
    script
}

#[tokio::test]
async fn a_call_that_meets_an_outage_ends_at_once_with_the_bodys_error() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let (idem, script) = (on(&clock), script(["down"]));
    // No pause is waited for: the clock stands still.
    let call = soon(idem.scope(inline("A-1", &body, &script)));
    assert_eq!(call.await.unwrap_err().into_own(), "down");
    assert_eq!(body.starts(), 1);
    let past = live(&idem, "outages.inline").await.past;
    assert_eq!((past[0].number, past[0].outcome), (1, Outage));
}

/// `retry_if` calls it permanent, and is not asked.
#[tokio::test]
async fn the_pause_grows_from_outage_to_outage_up_to_its_limit() {
    let (clock, body) = (ManualClock::default(), Body::open());
    let (idem, script) = (on(&clock), script(["down"; 6]));
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let origin = Origin::new("rabbitmq", "orders");
        let delivered = idem.deliver(origin, inline("A-1", &body, &script)).await;
        let Verdict::Again { after } = delivered.verdict else {
            panic!("{:?}", delivered.verdict)
        };
        pauses.push(after.as_secs());
        clock.advance(after);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
}

#[tokio::test]
async fn an_outage_costs_no_attempt_of_the_budget() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let script = script(["no", "down", "down", "down", "no"]);
    let mut errors = Vec::new();
    for _ in 0..5 {
        let call = idem.scope(redeliver("A-1", &body, &script)).await;
        errors.push(call.unwrap_err().into_own());
    }
    assert_eq!(errors, ["no", "down", "down", "down", "no"]);
    let letter = only_letter(&idem).await;
    let told = letter.attempts.iter();
    let told: Vec<_> = told
        .map(|past| (past.number, past.outcome, past.times()))
        .collect();
    assert_eq!(told, [(1, Failed, 1), (2, Outage, 3), (2, Failed, 1)]);
    assert_eq!(letter.attempts[1].summary(), "outage ×3, not charged");
    assert!(letter.attempts[1].start <= letter.attempts[1].end.unwrap());
}

#[tokio::test]
async fn a_message_without_retries_outlives_an_outage() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let script = script(["down", "down"]);
    for _ in 0..2 {
        let call = idem.sync_scope(|| sync("A-1", &body, &script));
        assert_eq!(call.unwrap_err().into_own(), "down");
    }
    assert_eq!(idem.sync_scope(|| sync("A-1", &body, &script)).unwrap(), 3);
}

#[tokio::test]
async fn an_error_that_is_no_outage_is_judged_by_retry_if() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let script = script(["refused"]);
    let call = idem.scope(inline("A-1", &body, &script)).await;
    assert_eq!(call.unwrap_err().into_own(), "refused");
    assert_eq!(only_letter(&idem).await.attempts[0].outcome, Permanent);
}

/// A record of a message whose outage lasted for days is as small as one of minutes.
#[tokio::test]
async fn a_hundred_thousand_outages_leave_a_small_record() {
    use idem_runtime::protocol::{
        Budget, Change, Claim, DeadLetterId, Facts, Failed, Reply, Step, decide,
    };
    let (id, clock) = (RecordId::new("outages.long", "A-1"), ManualClock::default());
    let (mut record, mut sizes) = (None, Vec::new());
    for token in 1..=100_000_u64 {
        let now = clock.now();
        let facts = Facts::new(now, token * 2, DeadLetterId::from_bytes([0; 16]), "one");
        let budget = Budget::new(1, Duration::from_secs(60));
        let claim = Claim::new("one", b"{}".as_slice(), budget, Duration::from_secs(30));
        let claimed = decide(&id, record.take(), &Step::Claim(claim), &facts);
        let (Change::Put(running), Reply::Run(grant)) = (claimed.record, claimed.reply) else {
            panic!("attempt {token} does not run")
        };
        let failed = Failed::new(grant.token, Outage, Duration::ZERO).error("down");
        let failed = decide(&id, Some(running), &Step::Fail(failed), &facts);
        let Change::Put(waiting) = failed.record else {
            panic!("attempt {token} is not recorded")
        };
        if [1, 100_000].contains(&token) {
            sizes.push(waiting.encode().unwrap().len());
        }
        record = Some(waiting);
        clock.advance(Duration::from_secs(50));
        // Each attempt renews the time to live.
        let now = clock.now();
        let facts = Facts::new(now, token * 2 + 1, DeadLetterId::from_bytes([0; 16]), "one");
        let swept = decide(&id, record.clone(), &Step::Sweep, &facts);
        assert_eq!(swept.reply, Reply::Unchanged, "after attempt {token}");
    }
    assert!(sizes[1] < sizes[0] + 40, "{sizes:?}");
    // A broker may hold the message back for a week, whatever the time to live is.
    for (days, letter) in [(6, false), (2, true)] {
        clock.advance(Duration::from_secs(days * 24 * 60 * 60));
        let now = clock.now();
        let facts = Facts::new(now, u64::MAX, DeadLetterId::from_bytes([0; 16]), "one");
        let swept = decide(&id, record.clone(), &Step::Sweep, &facts).reply;
        assert_eq!(matches!(swept, Reply::DeadLettered(_)), letter, "{swept:?}");
    }
}

/// The process is stopped and started again in an outage.
#[tokio::test]
async fn a_restart_in_an_outage_keeps_the_budget() {
    let (folder, body) = (Folder::new(), Body::open());
    let script = script(["down", "down", "down", "no"]);
    let mut numbers = Vec::new();
    for opening in 0..2 {
        let idem = folder.open();
        for _ in 0..=opening {
            let call = idem.scope(redeliver("A-1", &body, &script)).await;
            assert_eq!(call.unwrap_err().into_own(), "down");
        }
        numbers.push(live(&idem, "outages.redeliver").await.past.len());
        idem.close().await.unwrap();
    }
    assert_eq!(numbers, [1, 1]);
    let idem = folder.open();
    let call = idem.scope(redeliver("A-1", &body, &script)).await;
    assert_eq!(call.unwrap_err().into_own(), "no");
    let call = idem.scope(redeliver("A-1", &body, &script)).await;
    assert_eq!(call.unwrap(), 5);
}

#[tokio::test]
async fn a_handler_that_panics_in_its_judgement_meets_no_outage() {
    fn undecided(_: &Oops) -> bool {
        panic!("not today")
    }
    #[idempotent(name = "outages.undecided", key = "id", retries = 0, outage = undecided)]
    async fn failing(id: &str) -> Result<(), Oops> {
        Err(Oops::own("down"))
    }
    let idem = temporary().unwrap();
    let call = idem.scope(failing("A-1")).await;
    assert_eq!(call.unwrap_err().into_own(), "down");
    assert_eq!(only_letter(&idem).await.attempts[0].outcome, Failed);
}

/// A handler that is off the rules pauses nothing, and still charges nothing.
#[tokio::test]
async fn without_the_pause_an_outage_is_not_charged_either() {
    let idem = Idem::builder().pause(PauseRules::default().off());
    let (idem, body) = (
        idem_runtime::testing::temporary_with(idem).unwrap(),
        Body::open(),
    );
    for key in 0..20 {
        let script = script(["down"]);
        let key = key.to_string();
        let call = idem.scope(redeliver(&key, &body, &script));
        assert_eq!(call.await.unwrap_err().into_own(), "down");
    }
    assert!(idem.pauses().await.unwrap().is_empty());
}
