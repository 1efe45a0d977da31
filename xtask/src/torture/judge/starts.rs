//! When the bodies of one message may start.

use super::Rule;
use super::history::{History, Run};
use super::letters::Letter;
use super::processes::{Moment, Processes};
use crate::torture::event::{Attempt, Ended, Handler};

impl History {
    pub(super) fn started(
        &mut self,
        attempt: &Attempt,
        process: u32,
        body: bool,
        newest_before: u64,
        processes: &Processes,
    ) {
        let Attempt {
            number,
            of,
            token,
            variant,
            ..
        } = *attempt;
        let what = format!("attempt {number} with token {token}");
        if of != self.handler.attempts() || number > of || number == 0 {
            self.fault(
                Rule::Budget,
                format!("{what} of {of}, and there are {}", self.handler.attempts()),
            );
        }
        let now = processes.now(process);
        if self.handler.claims_late() {
            self.started_unclaimed(&what, process);
        } else if self.runs.iter().any(|run| run.token >= token) {
            self.started_late(&what, now, processes);
        } else {
            self.started_claimed(&what, attempt, now, processes);
        }
        if token <= newest_before {
            let text = format!("{what} started after token {newest_before} of an earlier process");
            self.fault(Rule::Fencing, text);
        }
        let ended = (!body).then_some(Ended::Failed);
        self.runs.push(Run {
            number,
            token,
            at: now,
            variant,
            refused: false,
            ended,
        });
    }

    /// Other attempts may run at the same time, but not in a process that knows the result.
    fn started_unclaimed(&mut self, what: &str, process: u32) {
        if self.answered_in == Some(process) {
            let text = format!("{what} started in the process in which a caller got the result");
            self.fault(Rule::Doubled, text);
        }
    }

    /// A later claim has started already.
    fn started_late(&mut self, what: &str, now: Moment, processes: &Processes) {
        let newer = self.runs.iter().map(|run| run.token).max().unwrap_or(0);
        self.lost(now, processes, Rule::Fencing, || {
            format!("{what} started after token {newer}")
        });
    }

    fn started_claimed(
        &mut self,
        what: &str,
        attempt: &Attempt,
        now: Moment,
        processes: &Processes,
    ) {
        let Attempt {
            number, variant, ..
        } = *attempt;
        if let Some((told, _)) = self.answer.filter(|_| !self.forgets()) {
            self.lost(now, processes, Rule::Doubled, || {
                format!("{what} started after a caller got the result of token {told}")
            });
        }
        if let Some(letter) = self.open_letter() {
            self.lost(now, processes, Rule::Doubled, || {
                format!("{what} started though it is dead letter {letter}")
            });
        }
        let discarded = self.forgets() && self.letters.iter().any(Letter::is_discarded);
        if let Some(last) = self
            .gave_up
            .filter(|last| !discarded && !self.redriven_since(*last))
        {
            self.lost(now, processes, Rule::Doubled, || {
                format!("{what} started after a caller got the error of token {last} as final")
            });
        }
        let Some(last) = self.runs.iter().max_by_key(|run| run.token) else {
            return;
        };
        let &Run {
            token: last_token,
            number: last_number,
            variant: last_variant,
            at,
            refused,
            ended,
        } = last;
        let redriven = self.redriven_since(last_token);
        let outage = processes.outage_since(at);
        match ended {
            None => self.held(at, now.process, processes, Rule::Fencing, || {
                format!("{what} started while token {last_token} was running")
            }),
            Some(Ended::Ok(_)) if !self.forgets() && !outage && !refused => {
                self.held(at, now.process, processes, Rule::Doubled, || {
                    format!(
                        "{what} started in the process in which token {last_token} had returned its result"
                    )
                });
            }
            Some(Ended::Permanent) if !redriven && !outage => {
                self.held(at, now.process, processes, Rule::Budget, || {
                    format!("{what} started after the permanent error of token {last_token}")
                });
            }
            _ => {}
        }
        let expired = discarded || (self.forgets() && matches!(ended, Some(Ended::Ok(_))));
        // A commit that its server did not take is not charged, so the number comes again.
        let uncharged = number == last_number
            && outage
            && self.handler.is_transactional()
            && matches!(ended, Some(Ended::Ok(_)));
        if number <= last_number && !redriven && !expired && !uncharged {
            let text = format!(
                "{what} follows attempt {last_number} with token {last_token}: it was not counted"
            );
            self.fault(Rule::Budget, text);
        }
        let unknown = matches!(ended, None | Some(Ended::Gone));
        if unknown && self.handler == Handler::Bury && !redriven {
            let text = format!("{what} started, but the outcome of token {last_token} is unknown");
            self.fault(Rule::Budget, text);
        }
        if variant != last_variant && !redriven {
            self.fault(
                Rule::Doubled,
                format!("{what} has another content than token {last_token}"),
            );
        }
    }

    /// Adds a fault unless this process, which starts a body, has lost the claim since it was made.
    fn lost(&mut self, now: Moment, processes: &Processes, rule: Rule, text: impl Fn() -> String) {
        if !processes.have_leases() {
            self.fault(rule, text());
        } else if !now.new_life {
            self.suspicions.push((now, rule, text()));
        }
    }

    /// Adds a fault unless the process of an earlier attempt has lost its claims before this start.
    fn held(
        &mut self,
        at: Moment,
        starter: u32,
        processes: &Processes,
        rule: Rule,
        text: impl Fn() -> String,
    ) {
        // It may have started by a claim of the life before.
        if at.new_life || processes.lost_since(at) {
            return;
        }
        if at.process == starter || !processes.have_leases() {
            self.fault(rule, text());
        } else {
            let then = processes.now(at.process);
            self.suspicions.push((then, rule, text()));
        }
    }
}
