//! An observer that sees every step of the ledger and every answer that arrives, and checks them.
//! It knows what was promised, and nothing of how a record is kept.

use idem_runtime::protocol::{
    AttemptOutcome, Bury, Claim, DeadLetter, DeadLetterId, Grant, OnCrash, Reason, Reply, Step,
    WholeAttempt,
};

use crate::world::{LEASE, PAUSE, TTL, start_of};

/// What a step can break; what a state shows by itself is in `properties`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Law {
    /// Only the last claim's report is taken, and it is taken.
    Fenced,
    /// Nothing runs after its end.
    Ended,
    /// No more starts than the budget, none after an error that forbids it.
    Budget,
    /// No start before the pause has passed.
    Pause,
    /// A letter has its reason, its payload and every start, people are told of it, and only an
    /// open one is closed.
    Letters,
    /// All are told the same.
    OneAnswer,
    /// A key belongs to one message.
    OneMessage,
    /// A lost answer costs no attempt, and starts no body twice.
    Charged,
    /// An answer fits what happened.
    Sense,
}

/// One key since it was first claimed, or since its result expired or a person redrove it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct History {
    /// Whose key it is: the fingerprint.
    pub(crate) message: Option<u8>,
    pub(crate) starts: u32,
    /// An attempt met an outage, so the key is the message's though that start is not counted.
    pub(crate) outage: bool,
    /// This message was redriven, and has not been delivered since.
    pub(crate) redriven: Option<u8>,
    /// The letter of it, until the redrive is followed or undone.
    pub(crate) rearmed: Option<Rearmed>,
    /// The redrive that the first attempt follows, until it has ended.
    pub(crate) followed: Option<Rearmed>,
    /// No handler could take it.
    pub(crate) unread: bool,
    /// What the last claim allowed, and whether it forbade another attempt on a guess.
    pub(crate) allowed: u32,
    pub(crate) bury: bool,
    /// The token of the last claim, and its number among all claims.
    pub(crate) last: Option<u64>,
    pub(crate) nonce: u64,
    /// The attempts that claimed as they failed.
    pub(crate) counted: Vec<u64>,
    /// The last claim's caller was told to start the body.
    pub(crate) begun: bool,
    /// How the last attempt stands, and when its lease or its pause is over.
    pub(crate) attempt: Attempt,
    pub(crate) until: i64,
    pub(crate) end: Option<End>,
    /// What a caller was told.
    pub(crate) told: Option<Told>,
    /// A body did its work.
    pub(crate) acted: bool,
    pub(crate) broken: Vec<Law>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Attempt {
    #[default]
    None,
    /// Not reported.
    Open,
    Failed,
    Permanent,
    /// Reported, but it is unknown whether the body did its work.
    Unknown,
}

/// A letter whose key was re-armed, and what it was a letter of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rearmed {
    pub(crate) letter: DeadLetterId,
    pub(crate) message: Option<u8>,
    pub(crate) unread: bool,
}

/// How the message ended, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Done { result: u64, at: i64 },
    Dead { letter: DeadLetterId },
    Discarded { letter: DeadLetterId, at: i64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Result(u64),
    Dead(DeadLetterId),
}

/// One step of the ledger, as it was seen.
pub(crate) struct Seen<'a> {
    pub(crate) step: &'a Step,
    pub(crate) reply: &'a Reply,
    /// Whether the record changed.
    pub(crate) wrote: bool,
    /// Whether a caller is told.
    pub(crate) heard: bool,
    pub(crate) now: i64,
    /// The largest fencing token that was given out before.
    pub(crate) token: u64,
    /// The owner of the running claim is marked dead: nothing that it writes counts.
    pub(crate) dead_owner: bool,
}

impl History {
    pub(crate) fn breaks(&mut self, law: Law) {
        if !self.broken.contains(&law) {
            self.broken.push(law);
        }
    }

    pub(crate) fn holds(&mut self, law: Law, holds: bool) {
        if !holds {
            self.breaks(law);
        }
    }

    /// What was remembered for its time is forgotten.
    pub(crate) fn pass(&mut self, now: i64) {
        if let Some(End::Done { at, .. } | End::Discarded { at, .. }) = self.end
            && now >= at + TTL
        {
            self.begin_anew();
        }
    }

    /// The answer to a step that took place earlier arrives.
    pub(crate) fn answered(&mut self, step: &Step, reply: &Reply) {
        match (step, reply) {
            (_, Reply::Run(started)) if self.last == Some(started.token) => {
                self.holds(Law::Charged, !self.begun);
                self.begun = true;
            }
            (_, Reply::Replay { result, .. }) => self.tell(Told::Result(start_of(result)), true),
            // What it tells of may have expired since.
            (Step::Complete { token, .. }, Reply::Recorded) if matches!(self.end, Some(End::Done { result, .. }) if result == *token) =>
            {
                self.tell(Told::Result(*token), true);
            }
            (_, Reply::DeadLettered(letter)) => self.tell(Told::Dead(letter.id), true),
            (_, Reply::Dead { letter, .. }) => self.tell(Told::Dead(*letter), true),
            _ => {}
        }
    }

    fn begin_anew(&mut self) {
        *self = Self {
            broken: std::mem::take(&mut self.broken),
            ..Self::default()
        };
    }

    pub(crate) fn observe(&mut self, seen: &Seen) {
        let Seen {
            step,
            reply,
            wrote,
            heard,
            now,
            ..
        } = *seen;
        match step {
            Step::Claim(claim) => self.claimed(claim, seen),
            Step::Renew { token, .. } => {
                self.reported(*token, seen);
                if wrote {
                    self.until = now + LEASE;
                }
            }
            Step::Complete { token, result, .. } => {
                self.reported(*token, seen);
                let result = start_of(result);
                match reply {
                    Reply::Recorded if wrote => {
                        if self.end.is_none() {
                            self.ends(End::Done { result, at: now });
                        }
                        self.tell(Told::Result(result), heard);
                    }
                    // It was recorded before and has expired since; its caller is gone.
                    Reply::Recorded if self.last != Some(*token) && !heard => {}
                    Reply::Recorded => self.tell(Told::Result(result), heard),
                    Reply::LeaseLost => {}
                    _ => self.breaks(Law::Sense),
                }
            }
            Step::Fail(failed) => {
                self.reported(failed.token, seen);
                if wrote {
                    (self.until, self.followed) = (now + PAUSE, None);
                    if failed.outcome == AttemptOutcome::Outage {
                        self.uncharged();
                    }
                    self.attempt = match failed.outcome {
                        AttemptOutcome::Permanent => Attempt::Permanent,
                        unknown if unknown.is_unknown() => Attempt::Unknown,
                        _ => Attempt::Failed,
                    };
                }
                match reply {
                    Reply::Waiting { .. } => self.holds(Law::Sense, self.end.is_none()),
                    Reply::DeadLettered(letter) => self.died(letter, seen),
                    Reply::Dead { letter, .. } => self.tell(Told::Dead(*letter), heard),
                    Reply::LeaseLost => {}
                    _ => self.breaks(Law::Sense),
                }
            }
            Step::Attempt(attempt) => self.attempted(attempt, seen),
            Step::GiveBack { token } => {
                self.reported(*token, seen);
                self.holds(
                    Law::Sense,
                    matches!(reply, Reply::Recorded | Reply::LeaseLost),
                );
                if wrote {
                    self.given_back(now);
                }
            }
            Step::Bury(bury) => self.buried(bury, seen),
            Step::Redrive {
                letter,
                payload: None,
                ..
            } => {
                let open = self.end == Some(End::Dead { letter: *letter });
                let rearmed = self
                    .rearmed
                    .is_some_and(|rearmed| rearmed.letter == *letter);
                self.holds(
                    Law::Letters,
                    (open || rearmed) == (*reply == Reply::Recorded),
                );
                if *reply == Reply::Recorded {
                    self.begin_anew();
                }
            }
            Step::Redrive { letter, .. }
            | Step::Discard { letter, .. }
            | Step::Edit { letter, .. } => {
                let open = self.end == Some(End::Dead { letter: *letter });
                self.holds(Law::Letters, open == (*reply == Reply::Recorded));
                match (reply, step) {
                    (Reply::Recorded, Step::Redrive { .. }) => {
                        let redriven = self.message.or(self.redriven);
                        let rearmed = Rearmed {
                            letter: *letter,
                            message: self.message,
                            unread: self.unread,
                        };
                        self.begin_anew();
                        (self.redriven, self.rearmed, self.until) = (redriven, Some(rearmed), now);
                    }
                    (Reply::Recorded, Step::Discard { .. }) => {
                        self.end = Some(End::Discarded {
                            letter: *letter,
                            at: now,
                        });
                    }
                    (Reply::Recorded, _) => {}
                    _ => self.holds(Law::Sense, *reply == Reply::LetterNotOpen),
                }
            }
            Step::Restore { letter, .. } => {
                let discarded = matches!(self.end, Some(End::Discarded { letter: known, .. }) if known == *letter);
                let rearmed = self.rearmed.filter(|rearmed| rearmed.letter == *letter);
                self.holds(
                    Law::Letters,
                    (discarded || rearmed.is_some()) == (*reply == Reply::Recorded),
                );
                if discarded {
                    self.end = Some(End::Dead { letter: *letter });
                } else if rearmed.is_some() {
                    self.as_before_the_redrive();
                    self.ends(End::Dead { letter: *letter });
                }
            }
            Step::Sweep => match reply {
                Reply::DeadLettered(letter) => self.died(letter, seen),
                // A dead owner's attempt, which may be followed by another one.
                Reply::Waiting { .. } => {
                    self.holds(
                        Law::Sense,
                        self.end.is_none() && self.attempt == Attempt::Open,
                    );
                    (self.until, self.followed) = (now, None);
                }
                Reply::Recorded | Reply::Unchanged => {}
                _ => self.breaks(Law::Sense),
            },
            // No handler's key is ever issued under the handler's own name.
            _ => self.breaks(Law::Sense),
        }
    }

    fn claimed(&mut self, claim: &Claim, seen: &Seen) {
        let given = claim.fingerprint.unwrap().0[0];
        let mine = self.message.is_none_or(|message| message == given);
        self.holds(Law::OneMessage, mine == (*seen.reply != Reply::KeyReused));
        let again = claim.nonce == self.nonce && self.attempt == Attempt::Open;
        match seen.reply {
            Reply::Run(started) if again => {
                let same = Some(started.token) == self.last && started.number == self.starts;
                self.holds(Law::Charged, same && !(self.begun && seen.heard));
                self.begun |= seen.heard;
                self.until = seen.now + LEASE;
            }
            Reply::Run(started) => {
                self.may_start(started.token, seen.now, seen.token);
                self.starts(claim, started.token, seen);
            }
            Reply::DeadLettered(letter) => {
                // The unreported attempt was the last one. A waiting message has an attempt left.
                self.holds(Law::Budget, self.attempt == Attempt::Open);
                self.died(letter, seen);
            }
            Reply::Replay { result, .. } => self.tell(Told::Result(start_of(result)), seen.heard),
            Reply::Dead { letter, .. } => self.tell(Told::Dead(*letter), seen.heard),
            Reply::Busy { .. } => self.holds(
                Law::Sense,
                self.end.is_none() && self.attempt == Attempt::Open,
            ),
            Reply::NotYet { .. } => {
                self.holds(Law::Sense, self.end.is_none() && seen.now < self.until);
            }
            Reply::KeyReused => {}
            _ => self.breaks(Law::Sense),
        }
    }

    /// A body may start now.
    fn may_start(&mut self, token: u64, now: i64, largest: u64) {
        self.holds(Law::Fenced, token > largest);
        let paused = matches!(self.attempt, Attempt::Failed | Attempt::Unknown);
        self.holds(Law::Pause, !paused || now >= self.until);
        self.may_count();
    }

    /// Another attempt may be counted.
    fn may_count(&mut self) {
        self.holds(Law::Ended, self.end.is_none());
        // The last attempt's end is judged by what allowed that attempt: a deploy alone kills
        // nothing, and saves nothing.
        let guess = matches!(self.attempt, Attempt::Open | Attempt::Unknown);
        self.holds(
            Law::Budget,
            !(guess && self.bury) && self.attempt != Attempt::Permanent,
        );
        self.holds(Law::Budget, self.starts == 0 || self.starts < self.allowed);
    }

    fn starts(&mut self, claim: &Claim, token: u64, seen: &Seen) {
        self.starts += 1;
        self.message = claim.fingerprint.map(|given| given.0[0]);
        (self.last, self.nonce, self.begun) = (Some(token), claim.nonce, seen.heard);
        (self.allowed, self.bury) = (
            claim.budget.attempts(),
            claim.budget.on_crash == OnCrash::Bury,
        );
        self.followed = if self.starts == 1 {
            self.rearmed.take()
        } else {
            None
        };
        self.redriven = None;
        (self.attempt, self.until) = (Attempt::Open, seen.now + LEASE);
    }

    /// A body starts whose claim is recorded with its end.
    pub(crate) fn foreseen(&mut self, grant: Grant, now: i64, largest: u64) {
        self.may_start(grant.token, now, largest);
        self.holds(Law::Budget, grant.number == self.starts + 1);
    }

    /// A body has ended whose claim is recorded with its end.
    fn attempted(&mut self, attempt: &WholeAttempt, seen: &Seen) {
        let WholeAttempt {
            claim,
            grant,
            report,
            ..
        } = attempt;
        let failed = matches!(report, Step::Fail(_));
        // Another process's claim died with its last attempt, and this one counts no more.
        let buried = matches!(seen.reply, Reply::DeadLettered(letter)
            if charged(letter) == self.starts);
        match seen.reply {
            _ if self.last == Some(grant.token) => {}
            // A failure counts, unless it is no news.
            Reply::LeaseLost if failed => {
                return self.holds(Law::Sense, self.counted.contains(&grant.token));
            }
            Reply::NotYet { .. } if failed => return self.breaks(Law::Sense),
            // Another attempt came between.
            Reply::LeaseLost => return self.holds(Law::Sense, self.starts >= grant.number),
            _ if !seen.wrote || buried => return self.claimed(claim, seen),
            _ => {
                self.may_count();
                // A failure is the next one, whichever that is.
                self.holds(Law::Fenced, failed || grant.number == self.starts + 1);
                self.holds(Law::Charged, !self.counted.contains(&grant.token));
                self.starts(claim, grant.token, seen);
                self.begun = true;
                if failed {
                    self.counted.push(grant.token);
                }
            }
        }
        self.observe(&Seen {
            step: report,
            dead_owner: false,
            ..*seen
        });
    }

    /// A claim whose body never started was no attempt: all is as before it.
    fn given_back(&mut self, now: i64) {
        self.uncounted();
        if self.starts == 0 && !self.outage {
            let (message, followed) = (self.message, self.followed);
            self.begin_anew();
            if followed.is_some() {
                (self.redriven, self.rearmed) = (message, followed);
            }
        }
        // No pause is needed.
        (self.attempt, self.until) = (Attempt::None, now);
    }

    /// A start is not counted: there was an attempt left, and there still is.
    fn uncounted(&mut self) {
        self.starts -= 1;
        self.bury = false;
        self.allowed = self.allowed.max(self.starts + 1);
    }

    /// An attempt met an outage, which costs the message nothing.
    fn uncharged(&mut self) {
        self.uncounted();
        self.outage = true;
    }

    /// A report or a renewal with this token.
    fn reported(&mut self, token: u64, seen: &Seen) {
        let last = self.last == Some(token);
        self.holds(Law::Fenced, !seen.wrote || (last && !seen.dead_owner));
        let refused = *seen.reply == Reply::LeaseLost && !seen.dead_owner;
        self.holds(Law::Fenced, !refused || !last || self.end.is_some());
    }

    fn died(&mut self, letter: &DeadLetter, seen: &Seen) {
        self.holds(Law::Ended, self.end.is_none());
        let has_its_reason = match letter.reason {
            Reason::BudgetSpent => self.starts >= self.allowed,
            Reason::PermanentError => self.attempt == Attempt::Permanent,
            Reason::UnknownOutcome => {
                self.bury && matches!(self.attempt, Attempt::Open | Attempt::Unknown)
            }
            Reason::Abandoned => {
                seen.now >= self.until + TTL && self.rearmed.is_none_or(|rearmed| !rearmed.unread)
            }
            // Nobody came for it.
            Reason::Undecodable => {
                seen.now >= self.until + TTL && self.rearmed.is_some_and(|rearmed| rearmed.unread)
            }
            _ => false,
        };
        let is_whole = charged(letter) == self.starts
            && self
                .message
                .or(self.redriven)
                .is_some_and(|message| holds(letter, message));
        self.holds(Law::Letters, has_its_reason && is_whole);
        if letter.reason == Reason::Undecodable {
            self.as_before_the_redrive();
        }
        self.ends(End::Dead { letter: letter.id });
        self.tell(Told::Dead(letter.id), seen.heard);
    }

    /// A message that no handler can take.
    fn buried(&mut self, bury: &Bury, seen: &Seen) {
        let given = bury.fingerprint.0[0];
        let free = self.message.is_none() && self.end.is_none();
        let same = self.message == Some(given)
            && matches!(self.end, Some(End::Dead { .. } | End::Discarded { .. }));
        match seen.reply {
            Reply::DeadLettered(letter) => {
                self.holds(Law::OneMessage, free);
                self.begin_anew();
                (self.message, self.unread) = (Some(given), true);
                let is_whole = letter.reason == Reason::Undecodable && letter.attempts.is_empty();
                self.holds(Law::Letters, is_whole && holds(letter, given));
                self.ends(End::Dead { letter: letter.id });
                self.tell(Told::Dead(letter.id), seen.heard);
            }
            Reply::Dead { letter, .. } => {
                self.holds(Law::OneMessage, same);
                self.tell(Told::Dead(*letter), seen.heard);
            }
            Reply::KeyReused => self.holds(Law::OneMessage, !free && !same),
            _ => self.breaks(Law::Sense),
        }
    }

    /// Nobody followed the redrive: it is the message that it was.
    fn as_before_the_redrive(&mut self) {
        let Some(Rearmed {
            message, unread, ..
        }) = self.rearmed.take()
        else {
            return;
        };
        (self.message, self.unread) = (message, unread);
        if message.is_some() {
            self.redriven = None;
        }
    }

    /// From now on its attempts are history.
    fn ends(&mut self, end: End) {
        (self.rearmed, self.followed) = (None, None);
        (self.end, self.attempt, self.until) = (Some(end), Attempt::None, 0);
        (self.allowed, self.bury) = (0, false);
    }

    /// What is answered fits the end, whether or not it arrives; and all who hear something hear
    /// the same.
    fn tell(&mut self, told: Told, heard: bool) {
        let fits = match (told, self.end) {
            (Told::Result(told), Some(End::Done { result, .. })) => told == result,
            (Told::Dead(told), Some(End::Dead { letter } | End::Discarded { letter, .. })) => {
                told == letter
            }
            _ => false,
        };
        self.holds(Law::Sense, fits);
        if heard {
            self.holds(
                Law::OneAnswer,
                self.told.is_none_or(|before| before == told),
            );
            self.told.get_or_insert(told);
        }
    }
}

/// The attempts that a letter's message was charged for.
fn charged(letter: &DeadLetter) -> u32 {
    let past = letter.attempts.iter();
    let charged = past.filter(|past| past.outcome != AttemptOutcome::Outage);
    u32::try_from(charged.count()).unwrap()
}

/// Whether the letter is of this message.
fn holds(letter: &DeadLetter, message: u8) -> bool {
    letter
        .payload
        .parse()
        .is_ok_and(|payload: u8| payload == message)
}
