//! Answers that are lost, late, or another's: each step is made once, and its caller hears what it
//! would have heard.

use std::time::Duration;

use idem_runtime::ledger::Ledger;
use idem_runtime::protocol::{
    Actor, AttemptOutcome, Bury, BuryCause, DeadLetter, DeadLetterId, Fingerprint, NoteChange,
    Origin, RedrivePayload, Reply, Step,
};
use idem_runtime::testing::{StoreCall, StoreFault};

use crate::common::{LEASE, Member, Server, TTL, complete, fail, id};

/// What goes wrong with each write.
const FAULTS: [StoreFault; 6] = [
    StoreFault::Away,
    StoreFault::Lost,
    StoreFault::LostRequest,
    StoreFault::LateRequest(Duration::from_millis(300)),
    StoreFault::OtherAnswer,
    StoreFault::LateAnswer(Duration::from_secs(8)),
];

/// A life with each kind of step. Returns the replies, without what differs from time to time.
async fn live(server: &Server, member: &Member, fault: Option<StoreFault>) -> Vec<String> {
    let mut told = Vec::new();
    let mut step = async |key: &str, step: Step| {
        if let Some(fault) = fault {
            member.network.next(StoreCall::Write, fault);
        }
        let reply = server.until(member.step(key, step)).await;
        let clean = |letter: &DeadLetter| format!("{} {:?}", letter.key, letter.attempts.len());
        told.push(match &reply {
            Reply::Run(grant) => format!("run {}", grant.number),
            Reply::DeadLettered(letter) => format!("letter {}", clean(letter)),
            Reply::Waiting { .. } => "waiting".to_owned(),
            other => format!("{other:?}"),
        });
        // So that a write that is late comes before or after the next one.
        server.clock.advance(Duration::from_millis(200));
        reply
    };
    let token = |reply: Reply| match reply {
        Reply::Run(grant) => grant.token,
        other => panic!("expected to run, got {other:?}"),
    };
    let letter_of = |reply: Reply| match reply {
        Reply::DeadLettered(letter) => letter.id,
        other => panic!("expected a letter, got {other:?}"),
    };
    let by = Actor::default;

    let done = token(step("done", member.claim(1)).await);
    let renewal = Step::Renew {
        token: done,
        lease: LEASE,
    };
    step("done", renewal).await;
    let with_notes = Step::Complete {
        token: done,
        result: idem_runtime::protocol::StoredResult::TooLarge(9),
        notes: vec![NoteChange::put("outbox/~", *b"1")],
    };
    step("done", with_notes).await;

    let back = token(step("back", member.claim(2)).await);
    step("back", Step::GiveBack { token: back }).await;

    let failed = token(step("dead", member.claim(3)).await);
    step("dead", fail(failed, AttemptOutcome::Failed)).await;
    server.clock.advance(Duration::from_secs(10));
    let failed = token(step("dead", member.claim(4)).await);
    let letter = letter_of(step("dead", fail(failed, AttemptOutcome::Permanent)).await);
    let edit = Step::Edit {
        letter,
        sealed: None,
        payload: "{}".into(),
        by: by(),
    };
    step("dead", edit).await;
    step("dead", Step::Discard { letter, by: by() }).await;
    step("dead", Step::Restore { letter, by: by() }).await;
    let payload = Some(Box::new(RedrivePayload::new(b"{}".as_slice())));
    let redrive = Step::Redrive {
        letter,
        payload,
        by: by(),
    };
    step("dead", redrive).await;
    let again = token(step("dead", member.claim(5)).await);
    step("dead", complete(again)).await;

    let bury = Bury::new(
        Fingerprint([2; 16]),
        "{}",
        BuryCause::undecodable("not JSON", None),
        Origin::new("kafka", "orders"),
        TTL,
    );
    let buried = letter_of(step("buried", Step::Bury(Box::new(bury))).await);
    let redrive = Step::Redrive {
        letter: buried,
        payload: None,
        by: by(),
    };
    step("buried", redrive).await;

    step("issued", Step::Issue { ttl: TTL }).await;
    step("abandoned", member.claim(6)).await;
    server.clock.advance(TTL + TTL);
    step("abandoned", Step::Sweep).await;
    step("issued", Step::Sweep).await;
    told
}

/// What the store keeps at the end, without what differs from time to time.
async fn kept(server: &Server, member: &Member) -> Vec<String> {
    let mut kept = Vec::new();
    for key in ["done", "back", "dead", "buried", "issued", "abandoned"] {
        let record = server.until(member.ledger.record(&id(key))).await.unwrap();
        let is_live = matches!(record, Some(idem_runtime::protocol::Record::Live(_)));
        kept.push(format!("{key}: {} {is_live}", record.is_some()));
    }
    let filter = idem_runtime::ledger::Filter::default().any_state();
    let letters = server.until(member.ledger.letters(&filter)).await.unwrap();
    for letter in letters {
        let history: Vec<_> = letter.history.iter().map(|act| &act.kind).collect();
        kept.push(format!("{} {:?} {history:?}", letter.key, letter.state));
        let _: DeadLetterId = letter.id;
    }
    let notes = server
        .until(member.ledger.notes("", None, 100))
        .await
        .unwrap();
    let owners = notes
        .iter()
        .map(|note| note.key.split('/').next().unwrap().to_owned());
    kept.extend(owners);
    kept
}

#[tokio::test]
async fn a_step_whose_write_fails_is_made_once() {
    let server = Server::start();
    let member = server.member("P");
    let (well, kept_well) = (
        live(&server, &member, None).await,
        kept(&server, &member).await,
    );
    for fault in FAULTS {
        let server = Server::start();
        let member = server.member("P");
        assert_eq!(live(&server, &member, Some(fault)).await, well, "{fault:?}");
        assert_eq!(kept(&server, &member).await, kept_well, "{fault:?}");
    }
}

/// A claim that was not answered in time is not an attempt when it is asked again.
#[tokio::test]
async fn a_claim_that_may_have_been_written_is_no_attempt_when_it_is_asked_again() {
    for (fault, takes_place) in [
        (StoreFault::Lost, true),
        (StoreFault::LostRequest, false),
        (StoreFault::Silent, false),
    ] {
        let server = Server::start();
        let member = server.member("P");
        member.network.always(StoreCall::Write, fault);
        member.network.always(StoreCall::Read, StoreFault::Away);
        let lost = server.until(member.ask("A", member.claim(7))).await;
        let lost = lost.unwrap_err();
        assert!(lost.maybe_written() && lost.may_retry(), "{lost:?}");
        member.network.mend();
        let record = member.ledger.record(&id("A")).await.unwrap();
        assert_eq!(record.is_some(), takes_place);
        let grant = server.until(member.start("A", 7)).await;
        assert_eq!(grant.number, 1, "{fault:?}");
        assert_eq!(
            member.step("A", complete(grant.token)).await,
            Reply::Recorded
        );
    }
}

/// A later step of the key is right, although nobody knows what became of the one before.
#[tokio::test]
async fn a_report_after_one_that_was_given_up_is_recorded_once() {
    let server = Server::start();
    let member = server.member("P");
    for fault in [StoreFault::Lost, StoreFault::LostRequest] {
        let key = format!("{fault:?}");
        let grant = member.start(&key, 1).await;
        member.network.always(StoreCall::Write, fault);
        member.network.always(StoreCall::Read, StoreFault::Away);
        let report = fail(grant.token, AttemptOutcome::Failed);
        let lost = server.until(member.ask(&key, report.clone())).await;
        assert!(lost.unwrap_err().maybe_written());
        member.network.mend();
        let reply = server.until(member.step(&key, report)).await;
        assert!(
            matches!(reply, Reply::Waiting { .. }),
            "{fault:?}: {reply:?}"
        );
        server.clock.advance(Duration::from_secs(10));
        assert_eq!(member.start(&key, 2).await.number, 2, "{fault:?}");
    }
}
