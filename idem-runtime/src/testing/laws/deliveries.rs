//! Laws of what a broker brings: where it came from, and what no handler can take.

use std::sync::Arc;

use super::{PAUSE, Subject, TTL, claim, complete, discard, id, redrive};
use crate::ledger::Filter;
use crate::protocol::{
    Actor, AttemptOutcome, Bury, BuryCause, Claim, DeadLetter, DeadLetterId, Fingerprint,
    LetterState, Origin, Reason, RedrivePayload, Reply, Step,
};
use crate::trace::TraceParent;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn origin() -> Origin {
    Origin::new("rabbitmq", "orders")
        .message_id("m-1")
        .position("offset 17")
        .header("traceparent", TRACE)
}

fn trace() -> Option<TraceParent> {
    origin().trace().map(|trace| trace.parent())
}

fn brought() -> Claim {
    Claim {
        origin: Some(Arc::new(origin())),
        trace: trace(),
        ..claim()
    }
}

fn bury(message: u8) -> Step {
    Step::Bury(Box::new(Bury {
        fingerprint: Fingerprint([message; 16]),
        payload: "{\"sku".into(),
        cause: BuryCause::undecodable("EOF while parsing", Some(7)),
        redacted: vec!["sku".to_owned()],
        sealed: None,
        origin: origin(),
        ttl: TTL,
    }))
}

fn rearm(letter: DeadLetterId) -> Step {
    let cause = BuryCause::undecodable("EOF while parsing", Some(7));
    let payload = RedrivePayload {
        payload: br#""{\"sku""#.as_slice().into(),
        redacted: vec!["sku".to_owned()],
        sealed: None,
        origin: Some(Arc::new(origin())),
        cause: Some(cause),
        arguments: None,
        trace: trace(),
    };
    Step::Redrive {
        letter,
        payload: Some(Box::new(payload)),
        by: Actor::default(),
    }
}

/// A redrive that waits for no claim.
fn forget(letter: DeadLetterId) -> Step {
    Step::Redrive {
        letter,
        payload: None,
        by: Actor::default(),
    }
}

fn restore(letter: DeadLetterId) -> Step {
    Step::Restore {
        letter,
        by: Actor::default(),
    }
}

impl Subject {
    async fn buried(&self, key: &str, message: u8) -> DeadLetter {
        match self.step(key, bury(message)).await {
            Reply::DeadLettered(letter) => *letter,
            other => panic!("expected a letter of `{key}`, got {other:?}"),
        }
    }

    async fn only_letter(&self) -> DeadLetter {
        let mut letters = self.ledger.letters(&Filter::default()).await.unwrap();
        assert_eq!(
            self.ledger.open_letters().await.unwrap(),
            letters.len() as u64
        );
        assert_eq!(letters.len(), 1, "{letters:?}");
        letters.remove(0)
    }
}

/// The origin and the trace of a message are kept through its attempts, unreported ones and ones
/// claimed without them included. Its letter has both, and so has the letter of a redrive that no
/// claim followed.
pub async fn a_letter_says_where_its_message_came_from(on: Arc<Subject>) {
    let started = on.start_as("A", brought()).await;
    on.fail("A", started.token, AttemptOutcome::Failed).await;
    on.clock.advance(PAUSE);
    // The owner's second claim is one whose end it could not record.
    on.start_as("A", claim()).await;
    let started = on.start_as("A", claim()).await;
    on.fail("A", started.token, AttemptOutcome::Failed).await;
    let letter = on.only_letter().await;
    assert_eq!((letter.attempts.len(), letter.origin), (3, Some(origin())));
    assert!(letter.trace.is_some() && letter.trace == trace());
    assert_eq!(on.step("A", rearm(letter.id)).await, Reply::Recorded);
    on.clock.advance(TTL);
    on.ledger.sweep(0, TTL * 2).await.unwrap();
    let again = on.only_letter().await;
    assert_eq!((again.origin, again.trace), (Some(origin()), trace()));
    let started = on.start("B").await;
    let Reply::DeadLettered(letter) = on.fail("B", started.token, AttemptOutcome::Permanent).await
    else {
        panic!("expected a letter")
    };
    assert_eq!((letter.origin, letter.trace), (None, None), "of no claim");
}

/// A message that no handler can take gets a letter with its error, and the same one however often
/// it comes.
pub async fn an_unreadable_message_is_one_letter(on: Arc<Subject>) {
    let letter = on.buried("A", 1).await;
    assert_eq!(
        (&*letter.handler, &*letter.key, letter.reason),
        ("laws", "A", Reason::Undecodable)
    );
    assert_eq!(
        (&letter.payload, letter.last_error()),
        (&"{\"sku".into(), Some("EOF while parsing"))
    );
    assert_eq!(
        (letter.attempts.len(), letter.cut_from, &letter.origin),
        (0, Some(7), &Some(origin()))
    );
    assert_eq!(letter.trace, trace());
    for _ in 0..3 {
        on.clock.advance(TTL);
        on.ledger.sweep(100, TTL).await.unwrap();
        assert_eq!(
            on.step("A", bury(1)).await,
            Reply::Dead {
                letter: letter.id,
                discarded: false
            }
        );
    }
    assert_eq!(on.only_letter().await, letter);
    assert_eq!(
        on.step("A", Step::Claim(claim_of(1))).await,
        Reply::Dead {
            letter: letter.id,
            discarded: false
        }
    );
}

fn claim_of(message: u8) -> Claim {
    claim().fingerprint(Fingerprint([message; 16]))
}

/// A key that another message has stays as it is, whatever state that one is in.
pub async fn a_burial_leaves_another_message_alone(on: Arc<Subject>) {
    let running = on.start("running").await;
    let waiting = on.start("waiting").await;
    on.fail("waiting", waiting.token, AttemptOutcome::Failed)
        .await;
    let done = on.start("done").await;
    on.step("done", complete(done.token, "1")).await;
    let dead = on.kill("dead").await;
    let discarded = on.kill("discarded").await;
    on.step("discarded", discard(discarded.id, "")).await;
    on.buried("buried", 3).await;
    for key in ["running", "waiting", "done", "dead", "discarded", "buried"] {
        let before = on.ledger.record(&id(key)).await.unwrap();
        assert_eq!(on.step(key, bury(2)).await, Reply::KeyReused, "{key}");
        assert_eq!(on.ledger.record(&id(key)).await.unwrap(), before, "{key}");
    }
    // A result is not a letter, even if the two messages look the same.
    assert_eq!(on.step("done", bury(1)).await, Reply::KeyReused);
    assert_eq!(
        on.step("running", complete(running.token, "1")).await,
        Reply::Recorded
    );
    assert_eq!(on.ledger.letter(dead.id).await.unwrap(), Some(dead));
    on.clock.advance(TTL);
    on.buried("done", 2).await;
}

/// A redrive that waits for no claim leaves the key absent: the next message runs, or is buried
/// again.
pub async fn a_redriven_unreadable_message_is_forgotten(on: Arc<Subject>) {
    let first = on.buried("A", 1).await.id;
    assert_eq!(on.step("A", forget(first)).await, Reply::Recorded);
    assert_eq!(on.ledger.record(&id("A")).await.unwrap(), None);
    assert_eq!(
        on.ledger.letter(first).await.unwrap().unwrap().state,
        LetterState::Redriven
    );
    on.clock.advance(TTL * 2);
    assert_eq!(
        on.ledger.sweep(100, TTL * 9).await.unwrap().dead_lettered,
        []
    );
    assert_eq!(on.step("A", restore(first)).await, Reply::LetterNotOpen);
    let second = on.buried("A", 1).await.id;
    assert_ne!(first, second);
    on.step("A", forget(second)).await;
    let started = on.start("A").await;
    assert_eq!(started.number, 1);
    assert_eq!(
        on.step("A", complete(started.token, "1")).await,
        Reply::Recorded
    );
    assert_eq!(on.ledger.open_letters().await.unwrap(), 0);
}

/// A discard keeps such a message out until its time is over, also where the key had a result
/// before.
pub async fn a_discarded_unreadable_message_stays_out_for_its_time(on: Arc<Subject>) {
    let started = on.start("A").await;
    on.step("A", complete(started.token, "1")).await;
    on.clock.advance(TTL);
    let letter = on.buried("A", 1).await.id;
    on.step("A", discard(letter, "junk")).await;
    assert_eq!(
        on.step("A", bury(1)).await,
        Reply::Dead {
            letter,
            discarded: true
        }
    );
    assert_eq!(on.step("A", restore(letter)).await, Reply::Recorded);
    assert_eq!(
        on.step("A", bury(1)).await,
        Reply::Dead {
            letter,
            discarded: false
        }
    );
    on.step("A", discard(letter, "junk after all")).await;
    on.clock.advance(TTL);
    assert_ne!(on.buried("A", 1).await.id, letter);
}

/// A redrive that no call has followed can be undone, and everything is as it was; one that a call
/// followed cannot.
pub async fn a_redrive_without_a_claim_can_be_undone(on: Arc<Subject>) {
    let letter = on.kill("A").await.id;
    let before = on.ledger.letter(letter).await.unwrap().unwrap();
    on.step("A", redrive(letter)).await;
    assert_eq!(on.step("A", restore(letter)).await, Reply::Recorded);
    let restored = on.only_letter().await;
    assert_eq!(
        (restored.state, &restored.attempts),
        (LetterState::Open, &before.attempts)
    );
    assert_eq!(
        on.step("A", Step::Claim(claim())).await,
        Reply::Dead {
            letter,
            discarded: false
        }
    );
    assert_eq!(
        on.step("A", Step::Claim(claim_of(9))).await,
        Reply::KeyReused
    );
    on.step("A", redrive(letter)).await;
    let started = on.start("A").await;
    assert_eq!(on.step("A", restore(letter)).await, Reply::LetterNotOpen);
    assert_eq!(
        on.step("A", complete(started.token, "1")).await,
        Reply::Recorded
    );
    assert_eq!(on.step("A", restore(letter)).await, Reply::LetterNotOpen);
    // Of two letters of one key, the one that was redriven last is the one to restore.
    let older = on.kill("B").await.id;
    on.step("B", redrive(older)).await;
    let newer = on.kill("B").await.id;
    on.step("B", redrive(newer)).await;
    assert_eq!(on.step("B", restore(older)).await, Reply::LetterNotOpen);
    assert_eq!(on.step("B", restore(newer)).await, Reply::Recorded);
}

/// A redrive whose first claim was given back is waited for as before: it can be undone, other
/// content is welcome, and it is a letter again if no claim follows.
pub async fn a_redrive_whose_claim_is_given_back_waits_again(on: Arc<Subject>) {
    let letter = on.kill("A").await.id;
    let follow = async |message| {
        let started = on.start_as("A", claim_of(message)).await;
        assert_eq!(started.number, 1);
        assert_eq!(
            on.step("A", restore(letter)).await,
            Reply::LetterNotOpen,
            "it runs"
        );
        assert_eq!(
            on.step("A", forget(letter)).await,
            Reply::LetterNotOpen,
            "it runs"
        );
        assert_eq!(on.step("A", bury(3)).await, Reply::KeyReused, "it runs");
        started.token
    };
    on.step("A", redrive(letter)).await;
    for message in [1, 2] {
        let token = follow(message).await;
        assert_eq!(
            on.step("A", Step::GiveBack { token }).await,
            Reply::Recorded
        );
    }
    assert_eq!(on.step("A", restore(letter)).await, Reply::Recorded);
    assert_eq!(on.only_letter().await.id, letter);
    assert_eq!(
        on.step("A", Step::Claim(claim_of(2))).await,
        Reply::KeyReused,
        "it is what it was"
    );
    on.step("A", redrive(letter)).await;
    let token = follow(2).await;
    on.step("A", Step::GiveBack { token }).await;
    on.clock.advance(TTL);
    on.ledger.sweep(0, TTL * 9).await.unwrap();
    let again = on.only_letter().await;
    assert_ne!(again.id, letter);
    assert_eq!((again.reason, again.attempts.len()), (Reason::Abandoned, 0));
    // Once an attempt has ended, there is nothing to undo.
    on.step("A", redrive(again.id)).await;
    let started = on.start("A").await;
    on.fail("A", started.token, AttemptOutcome::Failed).await;
    assert_eq!(on.step("A", restore(again.id)).await, Reply::LetterNotOpen);
}

/// A buried message keeps its cause through a redrive, whether no claim followed, it was restored,
/// it was delivered again, or no claim is waited for any longer.
pub async fn a_rearmed_unreadable_message_is_what_it_was(on: Arc<Subject>) {
    let first = on.buried("A", 1).await;
    on.step("A", rearm(first.id)).await;
    on.clock.advance(TTL);
    on.ledger.sweep(0, TTL * 9).await.unwrap();
    let second = on.only_letter().await;
    assert_ne!(second.id, first.id);
    assert_eq!(
        (second.reason, second.error, second.cut_from),
        (Reason::Undecodable, first.error, first.cut_from)
    );
    assert_eq!(
        (second.payload, second.origin),
        (first.payload, first.origin)
    );
    let letter = second.id;
    assert_eq!(
        on.step("A", bury(1)).await,
        Reply::Dead {
            letter,
            discarded: false
        }
    );
    on.step("A", rearm(letter)).await;
    assert_eq!(on.step("A", restore(letter)).await, Reply::Recorded);
    assert_eq!(
        on.step("A", bury(1)).await,
        Reply::Dead {
            letter,
            discarded: false
        }
    );
    on.step("A", rearm(letter)).await;
    let third = on.buried("A", 1).await.id;
    assert_eq!(on.step("A", restore(letter)).await, Reply::LetterNotOpen);
    on.step("A", rearm(third)).await;
    assert_eq!(
        on.step("A", forget(letter)).await,
        Reply::LetterNotOpen,
        "another one waits"
    );
    assert_eq!(on.step("A", forget(third)).await, Reply::Recorded);
    assert_eq!(on.ledger.record(&id("A")).await.unwrap(), None);
    assert_eq!(on.ledger.open_letters().await.unwrap(), 0);
}
