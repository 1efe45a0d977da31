//! Ledgers that are wrong in one way each: the law that is named for it catches them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use idem_runtime::clock::{BoxFuture, Clock, Timestamp};
use idem_runtime::ledger::{
    Capabilities, ExpectedNote, Ledger, LedgerError, Note, NoteChange, Swept,
};
use idem_runtime::protocol::{Record, RecordId, Reply, Step};
use idem_runtime::testing::laws::{self, Subject, hold};
use idem_runtime::testing::{ManualClock, MemoryLedger};
use idem_runtime::{DeadLetter, DeadLetterId, Filter};
use tokio::sync::{mpsc, oneshot};

type Answer<T> = BoxFuture<'static, Result<T, LedgerError>>;
type Apply = dyn Fn(&MemoryLedger, &RecordId, Step) -> Answer<Reply> + Send + Sync;
type WriteNotes =
    dyn Fn(&MemoryLedger, Vec<NoteChange>, Vec<ExpectedNote>) -> Answer<bool> + Send + Sync;
type AfterSweep = dyn Fn(&mut MemoryLedger) + Send + Sync;

/// A ledger in memory that does one thing in a wrong way.
struct Wrong {
    ledger: Mutex<MemoryLedger>,
    apply: Box<Apply>,
    write_notes: Box<WriteNotes>,
    after_sweep: Box<AfterSweep>,
}

impl Wrong {
    fn on(clock: &ManualClock) -> Self {
        Self::over(MemoryLedger::new(Arc::new(clock.clone())))
    }

    fn over(ledger: MemoryLedger) -> Self {
        Self {
            ledger: Mutex::new(ledger),
            apply: Box::new(|ledger, id, step| ledger.apply(id, step)),
            write_notes: Box::new(|ledger, changes, expected| {
                ledger.write_notes(changes, expected)
            }),
            after_sweep: Box::new(|_| {}),
        }
    }

    fn applying(
        mut self,
        apply: impl Fn(&MemoryLedger, &RecordId, Step) -> Answer<Reply> + Send + Sync + 'static,
    ) -> Self {
        self.apply = Box::new(apply);
        self
    }

    fn writing_notes(
        mut self,
        write: impl Fn(&MemoryLedger, Vec<NoteChange>, Vec<ExpectedNote>) -> Answer<bool>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.write_notes = Box::new(write);
        self
    }

    fn right(&self) -> MemoryLedger {
        self.ledger.lock().unwrap().clone()
    }
}

impl Ledger for Wrong {
    fn capabilities(&self) -> Capabilities {
        self.right().capabilities()
    }

    fn apply(&self, id: &RecordId, step: Step) -> Answer<Reply> {
        (self.apply)(&self.right(), id, step)
    }

    fn record(&self, id: &RecordId) -> Answer<Option<Record>> {
        self.right().record(id)
    }

    fn letter(&self, id: DeadLetterId) -> Answer<Option<DeadLetter>> {
        self.right().letter(id)
    }

    fn letters(&self, filter: &Filter) -> Answer<Vec<DeadLetter>> {
        self.right().letters(filter)
    }

    fn open_letters(&self) -> Answer<u64> {
        self.right().open_letters()
    }

    fn sweep(&self, settled: usize, retention: Duration) -> Answer<Swept> {
        let swept = self.right().sweep(settled, retention);
        (self.after_sweep)(&mut self.ledger.lock().unwrap());
        swept
    }

    fn notes(&self, prefix: &str, after: Option<&str>, limit: usize) -> Answer<Vec<Note>> {
        self.right().notes(prefix, after, limit)
    }

    fn write_notes(&self, changes: Vec<NoteChange>, expected: Vec<ExpectedNote>) -> Answer<bool> {
        (self.write_notes)(&self.right(), changes, expected)
    }

    fn close(&self) -> Answer<()> {
        self.right().close()
    }
}

/// Opens a wrong ledger on a new clock.
fn subject(wrong: impl Fn(Wrong) -> Wrong) -> impl Fn() -> Subject {
    move || {
        let clock = ManualClock::default();
        Subject::new(Arc::new(wrong(Wrong::on(&clock))), clock).patience(Duration::from_secs(2))
    }
}

/// Asserts that the ledger breaks this law.
#[track_caller]
fn caught<F: Future<Output = ()>>(
    open: impl Fn() -> Subject,
    law: impl Fn(Arc<Subject>) -> F + Copy + Send + 'static,
) {
    let judged = catch_unwind(AssertUnwindSafe(|| hold(open, law)));
    assert!(judged.is_err(), "the law holds for a wrong ledger");
}

/// A ledger that makes another step than it was asked for.
fn instead(other: impl Fn(Step) -> Step + Clone + Send + Sync + 'static) -> impl Fn() -> Subject {
    subject(move |wrong| {
        let other = other.clone();
        wrong.applying(move |ledger, id, step| ledger.apply(id, other(step)))
    })
}

#[test]
fn a_right_one_is_not_caught() {
    let right = || subject(|right| right);
    hold(right(), laws::a_claim_asked_again_is_one_attempt);
    hold(
        right(),
        laws::a_dropped_step_has_no_effect_after_the_second_answer,
    );
    hold(right(), laws::a_reader_of_numbered_notes_misses_none);
}

#[test]
fn it_claims_again_for_a_number_that_it_has_seen() {
    let forgetful = || {
        instead(|mut step| {
            if let Step::Claim(claim) = &mut step {
                claim.nonce = 0;
            }
            step
        })
    };
    caught(forgetful(), laws::a_claim_asked_again_is_one_attempt);
    caught(forgetful(), laws::a_step_asked_twice_at_once_is_made_once);
}

#[test]
fn it_takes_every_claim_of_an_owner_for_the_same() {
    let wrong = instead(|mut step| {
        if let Step::Claim(claim) = &mut step {
            claim.nonce = 7;
        }
        step
    });
    caught(
        wrong,
        laws::a_claim_with_another_number_counts_the_one_before,
    );
}

#[test]
fn it_takes_the_claims_of_two_owners_for_the_same() {
    let wrong = instead(|mut step| {
        if let Step::Claim(claim) = &mut step {
            claim.owner = "anyone".into();
        }
        step
    });
    caught(
        wrong,
        laws::a_claim_asked_again_after_another_owner_took_the_key_waits,
    );
}

#[test]
fn it_answers_a_claim_as_it_did_the_first_time() {
    let wrong = subject(|wrong| {
        let answers = Mutex::new(HashMap::new());
        wrong.applying(move |ledger, id, step| {
            let Step::Claim(claim) = &step else {
                return ledger.apply(id, step);
            };
            let mut answers = answers.lock().unwrap();
            let first = answers
                .entry((id.clone(), claim.nonce))
                .or_insert_with(|| pollster::block_on(ledger.apply(id, step)).unwrap());
            Box::pin(ready(Ok(first.clone())))
        })
    });
    caught(
        wrong,
        laws::a_claim_asked_again_after_its_report_runs_nothing,
    );
}

/// The first asking of a step is held back, and made after the second one was answered.
#[test]
fn it_makes_a_lost_step_after_the_second_answer() {
    let wrong = subject(|wrong| {
        let held = Mutex::new(None::<(RecordId, Step)>);
        let seen = Mutex::new(Vec::<Step>::new());
        wrong.applying(move |ledger, id, step| {
            let (mut held, mut seen) = (held.lock().unwrap(), seen.lock().unwrap());
            let first = matches!(&step, Step::Claim(claim) if claim.nonce != 0);
            if first && !seen.contains(&step) {
                seen.push(step.clone());
                *held = Some((id.clone(), step));
                return Box::pin(std::future::pending());
            }
            let answer = ledger.apply(id, step.clone());
            if matches!(step, Step::GiveBack { .. })
                && let Some((id, late)) = held.take()
            {
                drop(ledger.apply(&id, late));
            }
            answer
        })
    });
    caught(
        wrong,
        laws::a_dropped_step_has_no_effect_after_the_second_answer,
    );
}

#[test]
fn it_does_nothing_once_its_answer_is_not_awaited() {
    let wrong = subject(|wrong| {
        wrong.applying(|ledger, id, step| {
            let (ledger, id) = (ledger.clone(), id.clone());
            Box::pin(async move {
                tokio::task::yield_now().await;
                ledger.apply(&id, step).await
            })
        })
    });
    caught(wrong, laws::a_step_happens_even_when_its_future_is_dropped);
}

#[test]
fn it_works_on_the_runtime_of_its_caller() {
    let spawning = || {
        subject(|wrong| {
            wrong.applying(|ledger, id, step| {
                let answer = ledger.apply(id, step);
                Box::pin(async { tokio::spawn(answer).await.unwrap() })
            })
        })
    };
    caught(spawning(), laws::a_thread_that_blocks_gets_its_answer);
    caught(spawning(), laws::an_answer_needs_no_runtime);
}

#[test]
fn it_lives_on_the_runtime_that_asked_it_first() {
    type Job = (MemoryLedger, RecordId, Step, oneshot::Sender<Reply>);
    let wrong = subject(|wrong| {
        let worker = Mutex::new(None::<mpsc::UnboundedSender<Job>>);
        wrong.applying(move |ledger, id, step| {
            let mut worker = worker.lock().unwrap();
            let jobs = worker.get_or_insert_with(|| {
                let (jobs, mut asked) = mpsc::unbounded_channel::<Job>();
                tokio::spawn(async move {
                    while let Some((ledger, id, step, answer)) = asked.recv().await {
                        let _ = answer.send(ledger.apply(&id, step).await.unwrap());
                    }
                });
                jobs
            });
            let (answer, answered) = oneshot::channel();
            let _ = jobs.send((ledger.clone(), id.clone(), step, answer));
            Box::pin(async { answered.await.map_err(|_| LedgerError::Closed) })
        })
    });
    caught(wrong, laws::a_ledger_outlives_the_runtime_that_asked_it);
}

#[test]
fn its_tokens_fall_once_it_has_forgotten_a_key() {
    let open = || {
        let clock = ManualClock::default();
        let fresh = clock.clone();
        let mut wrong = Wrong::on(&clock);
        wrong.after_sweep =
            Box::new(move |ledger| *ledger = MemoryLedger::new(Arc::new(fresh.clone())));
        Subject::new(Arc::new(wrong), clock)
    };
    caught(open, laws::tokens_of_a_key_only_grow);
}

#[test]
fn its_tokens_fall_when_it_is_opened_again() {
    let open = || {
        let clock = ManualClock::default();
        let empty = |clock: ManualClock| Subject::new(Arc::new(Wrong::on(&clock)), clock);
        empty(clock).opened_again(empty)
    };
    caught(open, laws::tokens_of_a_key_only_grow);
}

/// The clock of the process that asks.
struct Asking(Mutex<ManualClock>);

impl Clock for Asking {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.lock().unwrap().sleep(duration)
    }
}

/// Leases are judged by the clock of the process that asks.
fn of_its_own_clock() -> Subject {
    let clock = ManualClock::default();
    let asking = Arc::new(Asking(Mutex::new(clock.clone())));
    let ledger = MemoryLedger::new(asking.clone());
    let turn = Arc::new(Mutex::new(()));
    let process = move |clock: ManualClock| {
        let (asking, turn, own) = (Arc::clone(&asking), Arc::clone(&turn), clock.clone());
        let wrong = Wrong::over(ledger.clone()).applying(move |ledger, id, step| {
            let _turn = turn.lock().unwrap();
            *asking.0.lock().unwrap() = own.clone();
            ledger.apply(id, step)
        });
        Subject::new(Arc::new(wrong), clock)
    };
    process(clock).opened_again(process)
}

#[test]
fn it_judges_leases_by_the_clock_of_the_process_that_asks() {
    caught(
        of_its_own_clock,
        laws::of_the_claims_of_two_processes_one_runs,
    );
    caught(
        of_its_own_clock,
        laws::a_lease_is_as_long_for_a_process_with_another_clock,
    );
}

#[test]
fn its_processes_do_not_see_each_other() {
    let apart = || {
        let alone = |clock: ManualClock| Subject::new(Arc::new(Wrong::on(&clock)), clock);
        alone(ManualClock::default()).opened_again(alone)
    };
    caught(apart, laws::of_the_claims_of_two_processes_one_runs);
    caught(apart, laws::a_process_sees_what_another_one_was_answered);
    caught(
        apart,
        laws::of_the_guarded_writes_of_two_processes_one_happens,
    );
}

#[test]
fn its_leases_never_lapse() {
    let open = || {
        let clock = ManualClock::default();
        let ledger = MemoryLedger::new(Arc::new(clock.clone()));
        let process = move |clock: ManualClock| {
            let wrong = Wrong::over(ledger.clone()).applying(|ledger, id, mut step| {
                if let Step::Claim(claim) = &mut step {
                    claim.lease *= 1_000_000;
                }
                ledger.apply(id, step)
            });
            Subject::new(Arc::new(wrong), clock)
        };
        process(clock).opened_again(process)
    };
    caught(open, laws::a_lapsed_lease_passes_the_claim_on);
    caught(open, laws::a_killed_process_leaves_its_claims_to_the_others);
    caught(
        open,
        laws::a_lease_is_as_long_for_a_process_with_another_clock,
    );
}

#[test]
fn it_says_that_it_renewed_and_does_not() {
    let wrong = subject(|wrong| {
        wrong.applying(|ledger, id, step| match step {
            Step::Renew { .. } => Box::pin(ready(Ok(Reply::Recorded))),
            step => ledger.apply(id, step),
        })
    });
    caught(wrong, laws::a_renewed_lease_does_not_lapse);
}

#[test]
fn it_records_the_result_of_an_attempt_that_has_lost() {
    let wrong = subject(|wrong| {
        wrong.applying(|ledger, id, mut step| {
            let record = pollster::block_on(ledger.record(id)).unwrap();
            if let (Step::Complete { token, .. }, Some(record)) = (&mut step, record) {
                *token = record.token();
            }
            ledger.apply(id, step)
        })
    });
    caught(wrong, laws::an_old_token_changes_nothing);
}

#[test]
fn it_writes_the_notes_of_a_result_on_their_own() {
    let wrong = subject(|wrong| {
        wrong.applying(|ledger, id, mut step| {
            if let Step::Complete { notes, .. } = &mut step {
                let notes = std::mem::take(notes);
                drop(ledger.write_notes(notes, Vec::new()));
            }
            ledger.apply(id, step)
        })
    });
    caught(wrong, laws::a_result_and_its_notes_are_one_write);
}

#[test]
fn its_guarded_write_compares_nothing() {
    let wrong = subject(|wrong| {
        wrong.writing_notes(|ledger, changes, _| ledger.write_notes(changes, Vec::new()))
    });
    caught(wrong, laws::a_guarded_write_needs_what_it_expects);
}

#[test]
fn its_guarded_write_compares_before_it_writes() {
    let wrong = subject(|wrong| {
        wrong.writing_notes(|ledger, changes, expected| {
            let ledger = ledger.clone();
            Box::pin(async move {
                let as_expected = ledger.write_notes(Vec::new(), expected).await?;
                tokio::task::yield_now().await;
                if as_expected {
                    ledger.write_notes(changes, Vec::new()).await?;
                }
                Ok(as_expected)
            })
        })
    });
    caught(wrong, laws::of_many_guarded_writes_one_happens);
}

/// As a sequence of a database does.
#[test]
fn it_numbers_notes_before_it_records_them() {
    let wrong = subject(|wrong| {
        let numbers = Arc::new(AtomicU64::new(0));
        wrong.writing_notes(move |ledger, changes, expected| {
            let changes = changes
                .iter()
                .map(|change| {
                    let key = change.key(|| numbers.fetch_add(1, Ordering::Relaxed));
                    NoteChange::put(&*key, change.value().unwrap_or_default())
                })
                .collect();
            let ledger = ledger.clone();
            Box::pin(async move {
                for _ in 0..fastrand::u32(..8) {
                    tokio::task::yield_now().await;
                }
                ledger.write_notes(changes, expected).await
            })
        })
    });
    caught(wrong, laws::a_reader_of_numbered_notes_misses_none);
}
