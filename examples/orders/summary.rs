//! The outcomes of the deliveries, counted.

use std::collections::BTreeMap;

use idem_runtime::{DeadLetter, Error, Filter, Idem};
use serde::Serialize;

use crate::order::{Order, OrderError};
use crate::shop::{EVENT, Shop};

/// The outcome of one delivery.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The call ran the body, which placed the order.
    Placed,
    /// The call found the order in the book: a process was killed after the write to the file and
    /// before the record in the ledger, or something else wrote it into the table.
    Found,
    /// The call got the recorded result.
    Replayed,
    /// The order is a dead letter, from this delivery or an earlier one.
    DeadLettered,
    /// The message is invalid, and no redelivery can succeed.
    Refused { reason: &'static str, text: String },
    /// Idem could not process it now, so it must be delivered again.
    Unanswered { text: String },
}

impl Answer {
    /// Returns the outcome of a call with `shop` as its context.
    pub(crate) fn of(result: &Result<Order, OrderError>, shop: &Shop) -> Self {
        let error = match result {
            Ok(_) if shop.placed() => return Self::Placed,
            Ok(_) if shop.found() => return Self::Found,
            Ok(_) => return Self::Replayed,
            Err(error) => error,
        };
        let text = format!("{error:#}");
        let reason = match error {
            // The call that spends the budget returns the body's own error.
            OrderError::StockDown { .. }
            | OrderError::NothingOrdered
            | OrderError::TotalTooLarge { .. }
            | OrderError::File(_)
            | OrderError::Table(_)
            | OrderError::Event(_)
            | OrderError::Idem(Error::DeadLettered { .. }) => return Self::DeadLettered,
            OrderError::Idem(Error::KeyReused { .. }) => "order number used again",
            OrderError::Idem(Error::InvalidKey { .. }) => "no usable order number",
            OrderError::Idem(Error::PayloadTooLarge { .. }) => "too large",
            OrderError::Idem(_) => return Self::Unanswered { text },
        };
        Self::Refused { reason, text }
    }
}

/// What is delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Unit {
    #[default]
    Lines,
    Messages,
}

/// The counts of one run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) delivered: usize,
    /// What `delivered` counts.
    #[serde(skip)]
    pub(crate) unit: Unit,
    pub(crate) placed: usize,
    pub(crate) found: usize,
    pub(crate) replayed: usize,
    pub(crate) dead_lettered: usize,
    pub(crate) refused: BTreeMap<&'static str, Refusals>,
    pub(crate) unanswered: usize,
    /// Why the first unanswered delivery was not answered.
    #[serde(skip)]
    pub(crate) first_error: Option<String>,
    /// Calls that made an attempt after the first, whatever their outcome.
    pub(crate) retried: usize,
    /// The order book's name.
    #[serde(skip)]
    pub(crate) book: &'static str,
    /// All orders in the book, including those of earlier runs and of other processes.
    pub(crate) orders: usize,
    /// All events in the outbox.
    pub(crate) events: usize,
    pub(crate) dead_letters: Vec<Letter>,
}

/// How many deliveries were refused for one reason, and the first one's error.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Refusals {
    pub(crate) count: usize,
    pub(crate) first_line: usize,
    pub(crate) first: String,
}

impl Summary {
    /// Adds a message that a broker delivered: there, a refused message is a dead letter.
    pub(crate) fn add_message(&mut self, answer: Answer, retried: bool) {
        let answer = if matches!(answer, Answer::Refused { .. }) {
            Answer::DeadLettered
        } else {
            answer
        };
        self.add(0, answer, retried);
    }

    /// Adds a delivery of the file.
    pub(crate) fn add(&mut self, line: usize, answer: Answer, retried: bool) {
        self.delivered += 1;
        self.retried += usize::from(retried);
        match answer {
            Answer::Placed => self.placed += 1,
            Answer::Found => self.found += 1,
            Answer::Replayed => self.replayed += 1,
            Answer::DeadLettered => self.dead_lettered += 1,
            Answer::Refused { reason, text } => {
                let refusals = self.refused.entry(reason).or_default();
                if refusals.count == 0 || line < refusals.first_line {
                    refusals.first_line = line;
                    refusals.first = text;
                }
                refusals.count += 1;
            }
            Answer::Unanswered { text } => {
                self.unanswered += 1;
                self.first_error.get_or_insert(text);
            }
        }
    }

    /// Returns how many deliveries were refused, for any reason.
    pub(crate) fn refusals(&self) -> usize {
        self.refused.values().map(|refusals| refusals.count).sum()
    }
}

/// An open dead letter.
#[derive(Debug, Serialize)]
pub(crate) struct Letter {
    pub(crate) key: String,
    pub(crate) reason: String,
    pub(crate) attempts: usize,
    /// How each attempt ended, in order.
    pub(crate) outcomes: Vec<String>,
    pub(crate) last_error: Option<String>,
}

impl From<DeadLetter> for Letter {
    fn from(letter: DeadLetter) -> Self {
        Self {
            reason: letter.reason.to_string(),
            attempts: letter.attempts.len(),
            outcomes: letter
                .attempts
                .iter()
                .map(|attempt| attempt.outcome.to_string())
                .collect(),
            last_error: letter.last_error().map(str::to_owned),
            key: letter.key,
        }
    }
}

/// Returns how many events about placed orders are in the outbox.
pub(crate) async fn waiting_events(idem: &Idem) -> anyhow::Result<usize> {
    const PAGE: usize = 1000;
    let outbox = idem.outbox();
    let (mut events, mut last) = (0, None);
    loop {
        let page = outbox.pending(last.as_ref(), PAGE).await?;
        events += page
            .iter()
            .filter(|entry| entry.message.destination == EVENT)
            .count();
        last = page.into_iter().last();
        if last.is_none() {
            return Ok(events);
        }
    }
}

/// Returns all open letters, newest first.
pub(crate) async fn open_letters(idem: &Idem) -> Result<Vec<Letter>, Error> {
    let dead_letters = idem.dead_letters();
    let mut letters = Vec::new();
    let mut page = Filter::default();
    loop {
        let found = dead_letters.list(&page).await?;
        let Some(last) = found.last() else {
            return Ok(letters);
        };
        page = Filter::default().after(last.id);
        letters.extend(found.into_iter().map(Letter::from));
    }
}
