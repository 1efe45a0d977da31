//! A consumer's turn: its messages wait for their handler without being given back in circles.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::select;

use super::gate::Gate;
use crate::idem::Idem;

/// The right to deliver one message of a handler that is, or was, paused. It is given back when it is
/// dropped: hold it until the delivery has ended.
#[must_use]
pub struct Turn {
    /// `None` if the handler is not paused.
    gate: Option<Arc<Gate>>,
}

impl Idem {
    /// Waits until a message of this handler may run: at once if the handler is not paused. Of many
    /// that wait, as many get their turn as may run: one to see whether it succeeds, then more.
    ///
    /// A consumer holds a message whose verdict is [`Paused`](crate::Verdict::Paused), waits for its
    /// turn, and delivers it again. The turn promises nothing: another process may be first, and then
    /// the verdict is `Paused` once more.
    ///
    /// ```
    /// # async fn redeliver(idem: &idem_runtime::Idem, place_order: impl Future<Output = ()> + Clone) {
    /// use idem_runtime::{Origin, Verdict};
    /// loop {
    ///     let delivered = idem.deliver(Origin::new("rabbitmq", "orders"), place_order.clone()).await;
    ///     let Verdict::Paused { handler, .. } = delivered.verdict else { break };
    ///     let turn = idem.admitted(&handler).await;
    ///     // Deliver it again, and drop the turn then.
    /// #   drop(turn);
    /// }
    /// # }
    /// ```
    pub async fn admitted(&self, handler: &str) -> Turn {
        let shared = self.shared();
        let gate = shared.pauses.gate(handler);
        loop {
            // Created before the look, so that no change is missed.
            let mut changed = pin!(gate.changed.notified());
            changed.as_mut().enable();
            match gate.take_turn(shared.clock.now()) {
                Ok(true) => {
                    return Turn {
                        gate: Some(gate.clone()),
                    };
                }
                Ok(false) => return Turn { gate: None },
                Err(after) => _ = select(changed, shared.clock.sleep(after)).await,
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(gate) = &self.gate {
            gate.give_turn_back();
        }
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("counted", &self.gate.is_some())
            .finish()
    }
}
