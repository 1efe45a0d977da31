//! A call is dropped before its end: what the ledger still has to hear, the background tells it.

use std::mem;
use std::sync::Arc;

use super::machine::{Drive, State};
use super::report::PendingReport;
use crate::protocol::{AttemptOutcome, Failed, Grant, Reply, Step};

impl Drop for Drive {
    fn drop(&mut self) {
        if matches!(self.state, State::Ended) {
            return;
        }
        let state = mem::replace(&mut self.state, State::Ended);
        self.count_call(AttemptOutcome::Dropped.as_str());
        let (shared, id) = (Arc::clone(self.idem().shared()), self.id().clone());
        let leader = self.leader.take();
        let idem = self.idem().clone();
        let background = idem.background();
        match state {
            State::Asking
            | State::Looking(_)
            | State::Waiting(_)
            | State::Foreseeing(_)
            | State::Ended => {}
            // A grant that comes now was no attempt: the body never started.
            State::Claiming(answer) => {
                let claim = self.request.claim.clone();
                background.finish(Box::pin(async move {
                    match shared.heard(answer.await).await {
                        Ok(Reply::Run(Grant { token, .. })) => {
                            PendingReport::dropped(&shared, &id, Step::GiveBack { token })
                                .arrive(&shared, &id)
                                .await;
                        }
                        Ok(_) => {}
                        Err(error) => shared.keep_unanswered(&id, claim, &error),
                    }
                    drop(leader);
                }));
            }
            // Its message waited for others.
            State::Running {
                grant: Grant { token, .. },
                is_started: false,
                ..
            } if self.unclaimed.is_none() => background.finish(Box::pin(async move {
                PendingReport::dropped(&shared, &id, Step::GiveBack { token })
                    .arrive(&shared, &id)
                    .await;
                drop(leader);
            })),
            State::Running { grant, since, .. } => {
                self.count_attempt(since, AttemptOutcome::Dropped.as_str());
                if let Some(pass) = self.pass.take() {
                    pass.shows(false);
                }
                let Grant { token, number, .. } = grant;
                let failed = Failed {
                    token,
                    outcome: AttemptOutcome::Dropped,
                    error: Some("the call was dropped before the body returned".to_owned()),
                    pause: self.handler().backoff.pause(number),
                };
                let step = self.whole(Step::Fail(failed));
                background.finish(Box::pin(async move {
                    shared.log.call_dropped(&id, number);
                    PendingReport::dropped(&shared, &id, step)
                        .arrive(&shared, &id)
                        .await;
                    drop(leader);
                }));
            }
            State::Reporting(report) => background.finish(Box::pin(async move {
                report.arrive(&shared, &id).await;
                drop(leader);
            })),
        }
    }
}
