//! Erases what is kept of one message, and keeps that it is settled.

use serde::{Deserialize, Serialize};

use super::error::ledger_failed;
use crate::idem::Idem;
use crate::ledger::{Filter, LedgerError};
use crate::protocol::{
    Actor, DeadLetterId, Phase, Record, RecordId, Reply, Settlement, Step, StoredResult,
};

/// How many letters are read at once.
const PAGE: usize = 256;

/// What was erased of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Erased {
    /// The letters whose content was erased, newest first.
    pub letters: Vec<DeadLetterId>,
    /// Whether a recorded result was erased.
    pub result: bool,
}

impl Erased {
    /// Returns whether there was nothing to erase.
    pub fn is_nothing(&self) -> bool {
        self.letters.is_empty() && !self.result
    }
}

/// Why a message was not erased.
///
/// The alternate form of its text, `{:#}`, adds the cause, as that of `anyhow::Error` does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EraseError {
    /// The message is not settled.
    #[error(
        "handler `{handler}`, key `{key}`: the message {}, so it was not erased. Erase it once it is done or a dead letter",
        if *running { "is running" } else { "waits for its next attempt" }
    )]
    Unsettled {
        /// The handler's name.
        handler: String,
        /// The idempotency key.
        key: String,
        /// Whether it is running; else it waits.
        running: bool,
    },

    /// The ledger cannot do its work.
    #[error(fmt = ledger_failed)]
    Ledger {
        /// The cause.
        #[from]
        source: LedgerError,
    },
}

impl Idem {
    /// Erases what the ledger keeps of one settled message: its recorded result, and the payloads,
    /// sealed parts, error texts and headers of its letters, open and closed, with their history.
    ///
    /// The message stays settled, so duplicates do not run until its time to live has passed. They
    /// get [`Error::ResultErased`](crate::Error::ResultErased). An open letter is discarded.
    ///
    /// The handler's name, the key, times, and who acted why are kept. Erasing does not reach
    /// backups, messages that a broker or the outbox has, logs, mails and exports, nor what the
    /// storage keeps of overwritten data: PostgreSQL until a vacuum, and in its WAL; the embedded
    /// ledger until its log is rewritten.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// use idem_runtime::{Error, Idem, dead_letters::Actor, idempotent};
    ///
    /// #[idempotent(name = "orders.place", key = "order_no")]
    /// async fn place_order(order_no: String, buyer: String) -> Result<String, Error> {
    ///     Ok(format!("an order of {buyer}"))
    /// }
    ///
    /// let idem = Idem::open(folder.path())?;
    /// idem.scope(place_order("A-1".into(), "Ida Muster".into())).await?;
    /// let by = Actor { who: Some("ann".into()), why: Some("request 17".into()) };
    /// assert!(idem.erase("orders.place", "A-1", by).await?.result);
    /// let again = idem.scope(place_order("A-1".into(), "Ida Muster".into())).await;
    /// assert!(matches!(again, Err(Error::ResultErased { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`EraseError::Unsettled`] when the message runs or waits for its next attempt, and
    /// [`EraseError::Ledger`] when it cannot be recorded. Erase it again then: what was erased stays
    /// so.
    pub async fn erase(&self, handler: &str, key: &str, by: Actor) -> Result<Erased, EraseError> {
        let names = [vec![handler.to_owned()], self.earlier_names(handler)].concat();
        let ids = names.iter().map(|name| RecordId::new(name.as_str(), key));
        let ids: Vec<_> = ids.collect();
        let ledger = &self.shared().ledger;
        for id in &ids {
            is_settled(id, ledger.record(id).await?)?;
        }
        let mut erased = Erased::default();
        let filter = Filter::default().handler(handler).key(key).any_state();
        let mut filter = filter.limit(PAGE);
        loop {
            let letters = self.dead_letters().list(&filter).await?;
            for letter in letters.iter().filter(|letter| !letter.is_erased()) {
                let (record, by) = (letter.record_id(), by.clone());
                let letter = Some(letter.id);
                match self
                    .shared()
                    .apply(&record, Step::Erase { letter, by })
                    .await?
                {
                    Reply::Recorded => erased.letters.extend(letter),
                    // It expired meanwhile, or it was redriven: its record is live then.
                    _ => is_settled(&record, ledger.record(&record).await?)?,
                }
            }
            match letters.last() {
                Some(last) if letters.len() == PAGE => filter = filter.after(last.id),
                _ => break,
            }
        }
        for id in &ids {
            if has_result(ledger.record(id).await?) {
                let (letter, by) = (None, by.clone());
                let reply = self.shared().apply(id, Step::Erase { letter, by }).await?;
                erased.result |= reply == Reply::Recorded;
            }
        }
        self.shared().count_letters().await;
        let Erased { letters, result } = &erased;
        let letters = letters.len();
        tracing::info!(
            handler,
            key,
            letters,
            result,
            who = by.who,
            "a message was erased"
        );
        Ok(erased)
    }
}

fn has_result(record: Option<Record>) -> bool {
    let Some(Record::Settled(settled)) = record else {
        return false;
    };
    matches!(settled.end, Settlement::Done(result) if result != StoredResult::Erased)
}

fn is_settled(id: &RecordId, record: Option<Record>) -> Result<(), EraseError> {
    let Some(Record::Live(live)) = record else {
        return Ok(());
    };
    Err(EraseError::Unsettled {
        handler: id.handler.to_string(),
        key: id.key.to_string(),
        running: matches!(live.phase, Phase::Running { .. }),
    })
}
