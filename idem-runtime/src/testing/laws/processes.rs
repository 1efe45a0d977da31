//! Laws of several processes on one ledger. They hold for a subject that can be
//! [opened again](Subject::opened_again).

use std::sync::Arc;

use jiff::SignedDuration;

use super::{LEASE, Subject, TTL, claim, complete, id, of_another};
use crate::protocol::{ExpectedNote, Grant, NoteChange, Reply, Step};

/// How far the clock of another process is ahead.
const CLOCKS: [SignedDuration; 3] = [
    SignedDuration::ZERO,
    SignedDuration::from_mins(5),
    SignedDuration::from_mins(-5),
];

/// Of the claims that two processes make at once, whatever their clocks say, one runs.
pub async fn of_the_claims_of_two_processes_one_runs(on: Arc<Subject>) {
    for ahead in CLOCKS {
        let Some(other) = on.another(ahead) else {
            return;
        };
        for round in 0..8 {
            let key = format!("{ahead} {round}");
            let claims = (0..4).map(|owner| {
                let mut claim = claim();
                claim.owner = format!("owner {owner}").into();
                let ledger = [&on.ledger, &other.ledger][owner % 2];
                tokio::spawn(ledger.apply(&id(&key), Step::Claim(claim)))
            });
            let claims: Vec<_> = claims.collect();
            let mut ran = 0;
            for claim in claims {
                match claim.await.unwrap().unwrap() {
                    Reply::Run(_) => ran += 1,
                    Reply::Busy { .. } => {}
                    reply => panic!("unexpected {reply:?}"),
                }
            }
            assert_eq!(ran, 1, "{key}");
        }
    }
}

/// A lease is neither shorter nor longer for a process whose clock is minutes ahead, or behind; the
/// owner that lost it can no longer report.
pub async fn a_lease_is_as_long_for_a_process_with_another_clock(on: Arc<Subject>) {
    for ahead in CLOCKS {
        let Some(other) = on.another(ahead) else {
            return;
        };
        let key = ahead.to_string();
        for (from, to) in [(&*on, &other), (&other, &*on)] {
            let first = from.start_as(&key, claim()).await;
            on.clock.advance(LEASE / 2);
            let reply = to.step(&key, Step::Claim(of_another())).await;
            assert!(matches!(reply, Reply::Busy { .. }), "{ahead}: {reply:?}");
            on.clock.advance(LEASE / 2);
            let second = to.start_as(&key, of_another()).await;
            assert_eq!(second.number, first.number + 1, "{ahead}");
            assert_eq!(
                from.step(&key, complete(first.token, "1")).await,
                Reply::LeaseLost,
                "{ahead}"
            );
            let token = second.token;
            let recorded = to.step(&key, Step::GiveBack { token }).await;
            assert_eq!(recorded, Reply::Recorded, "{ahead}");
        }
    }
}

/// What one process was answered, every other one sees from then on.
pub async fn a_process_sees_what_another_one_was_answered(on: Arc<Subject>) {
    let Some(other) = on.another(SignedDuration::ZERO) else {
        return;
    };
    let notes = async |on: &Subject| on.ledger.notes("", None, 10).await.unwrap();
    for (index, (from, to)) in [(&*on, &other), (&other, &*on)].into_iter().enumerate() {
        let key = format!("key {index}");
        let Grant { token, .. } = from.start(&key).await;
        let reply = to.step(&key, Step::Claim(of_another())).await;
        assert!(matches!(reply, Reply::Busy { .. }), "{reply:?}");
        from.step(&key, complete(token, "1")).await;
        let reply = to.step(&key, Step::Claim(of_another())).await;
        assert!(matches!(reply, Reply::Replay { .. }), "{reply:?}");
        let letter = from.kill(&format!("dead {index}")).await;
        assert_eq!(
            to.ledger.letter(letter.id).await.unwrap().as_ref(),
            Some(&letter)
        );
        let note = vec![NoteChange::put(format!("note {index}"), *b"1")];
        from.ledger.write_notes(note, Vec::new()).await.unwrap();
        assert_eq!(notes(to).await, notes(from).await);
    }
}

/// The claims of a process that was killed pass on after their leases, and count as attempts.
pub async fn a_killed_process_leaves_its_claims_to_the_others(on: Arc<Subject>) {
    let Some(other) = on.another(SignedDuration::ZERO) else {
        return;
    };
    assert_eq!(other.start_as("A", of_another()).await.number, 1);
    drop(other);
    let reply = on.step("A", Step::Claim(claim())).await;
    assert!(matches!(reply, Reply::Busy { .. }), "{reply:?}");
    on.clock.advance(LEASE);
    on.ledger.sweep(0, TTL).await.unwrap();
    let Grant { token, number, .. } = on.start("A").await;
    assert_eq!(number, 2);
    assert_eq!(on.step("A", complete(token, "1")).await, Reply::Recorded);
}

/// Of the guarded writes that two processes make at once, one happens.
pub async fn of_the_guarded_writes_of_two_processes_one_happens(on: Arc<Subject>) {
    let Some(other) = on.another(SignedDuration::ZERO) else {
        return;
    };
    for round in 0..8_u8 {
        let expected = match round {
            0 => ExpectedNote::absent("next"),
            _ => ExpectedNote::value("next", [round - 1]),
        };
        let writes = [&on.ledger, &other.ledger].map(|ledger| {
            let changes = vec![NoteChange::put("next", [round])];
            tokio::spawn(ledger.write_notes(changes, vec![expected.clone()]))
        });
        let mut written = 0;
        for write in writes {
            written += u32::from(write.await.unwrap().unwrap());
        }
        assert_eq!(written, 1, "in round {round}");
    }
}
