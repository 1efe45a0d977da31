//! The pause of a handler: when what its body needs is down, its messages wait and cost nothing.
//!
//! ```text
//!            too many in a row fail
//!   open ───────────────────────────► Paused ◄────────────┐
//!    ▲                                  │ its time came    │ fails
//!    │                                  ▼                  │
//!    │                               Probing: one message ─┤
//!    │                                  │ succeeds         │
//!    │ enough succeed, or 30 s pass     ▼                  │
//!    └───────────────────────────── Recovering ────────────┘
//! ```
//!
//! The state is a note in the ledger, so that replicas stop and go together, and one message of all
//! of them is let through. A person pauses and resumes with [`Idem::pause`] and [`Idem::resume`].

mod ended;
mod gate;
mod pass;
mod pauses;
mod row;
mod rules;
mod state;
mod turn;
mod watch;

use std::sync::Arc;

pub(crate) use ended::{Failure, failed, succeeded};
pub(crate) use gate::{Gate, TurnedAway};
pub(crate) use pass::{Admitted, Pass, admit};
pub(crate) use pauses::Pauses;
pub use rules::PauseRules;
use state::Move;
pub use state::{Pause, PauseCause, PauseState};
pub use turn::Turn;
pub(crate) use watch::watch;

use crate::idem::Idem;
use crate::ledger::LedgerError;
use crate::protocol::Actor;

impl Idem {
    /// Pauses a handler by hand, on all processes of the ledger, until it is
    /// [resumed](Self::resume). Its messages wait, and none is let through to see. The handler need
    /// not be one of this process, and its name is not compared with [`handlers`](Self::handlers).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let idem = idem_runtime::testing::temporary()?;
    /// use idem_runtime::{pause::PauseState, protocol::Actor};
    /// let ann = Actor { who: Some("ann".into()), why: Some("the bank moves".into()) };
    /// idem.pause("orders.charge", ann.clone()).await?;
    /// assert_eq!(idem.pauses().await?[0].state, PauseState::Paused);
    /// let lifted = idem.resume("orders.charge", ann).await?;
    /// assert_eq!(lifted.unwrap().why, "the bank moves");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the ledger cannot record it.
    pub async fn pause(&self, handler: &str, by: Actor) -> Result<Pause, LedgerError> {
        let step = Move::Hold(by);
        let paused = self.by_hand(handler, &step).await?;
        paused.ok_or_else(|| {
            LedgerError::Other(format!(
                "other processes changed the pause of `{handler}` again and again. Try again"
            ))
        })
    }

    /// Lifts the pause of a handler, whatever began it, and returns it; `None` if there was none. All
    /// its messages may run at once.
    ///
    /// # Errors
    /// When the ledger cannot record it.
    pub async fn resume(&self, handler: &str, by: Actor) -> Result<Option<Pause>, LedgerError> {
        // What other processes paused is known first.
        let pauses = self.pauses().await?;
        let Some(lifted) = pauses.into_iter().find(|pause| pause.handler == handler) else {
            return Ok(None);
        };
        self.by_hand(handler, &Move::Lift).await?;
        tracing::info!(
            handler,
            who = by.who,
            why = by.why,
            "a person resumed the handler"
        );
        Ok(Some(lifted))
    }

    /// Returns the handlers that are paused now, by name: read from the ledger, with what this
    /// process knows besides.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn pauses(&self) -> Result<Vec<Pause>, LedgerError> {
        let shared = self.shared();
        shared.pauses.read(&*shared.ledger, &*shared.clock).await?;
        Ok(shared.pauses.known())
    }

    async fn by_hand(&self, handler: &str, step: &Move) -> Result<Option<Pause>, LedgerError> {
        let (shared, step) = (Arc::clone(self.shared()), step.clone());
        let gate = shared.pauses.gate(handler);
        let went = self.background().run(async move {
            let pauses = &shared.pauses;
            pauses
                .go(&*shared.ledger, &*shared.clock, &gate, &step)
                .await
        });
        Ok(went.await??.flatten().map(|stored| stored.pause))
    }
}
