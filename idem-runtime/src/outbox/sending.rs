//! Messages that are sent from outside a handler. Each keeps its id until it is recorded.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::entry::new_id;
use super::message::OutboxMessage;
use crate::ledger::LedgerError;
use crate::protocol::encoding;

/// How many failed calls are remembered, so that calls that are never repeated cost no more memory.
const REMEMBERED: usize = 1000;

/// The state of one process's sending.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    changed: Notify,
    /// Messages whose call failed or was dropped: a hash of each, and its id.
    unsure: Mutex<VecDeque<(blake3::Hash, String)>>,
}

/// One call. If it is dropped unfinished, the next call with the same message takes its id.
pub(super) struct Call<'a> {
    sending: &'a Sending,
    message: blake3::Hash,
    pub(super) id: String,
    /// Whether an earlier call may have written the message.
    pub(super) again: bool,
    finished: bool,
}

impl Sending {
    /// Begins a call with a new id, or with the id of an unfinished call with the same message.
    pub(super) fn begin(&self, message: &OutboxMessage) -> Result<Call<'_>, LedgerError> {
        let message = blake3::hash(&encoding::encode(message)?);
        let mut unsure = self.unsure.lock();
        let earlier = unsure
            .iter()
            .position(|(hash, _)| *hash == message)
            .and_then(|at| unsure.remove(at));
        let (again, id) = earlier.map_or_else(|| (false, new_id()), |(_, id)| (true, id));
        Ok(Call {
            sending: self,
            message,
            id,
            again,
            finished: false,
        })
    }

    /// Wakes the relay.
    pub(crate) fn notify(&self) {
        self.changed.notify_one();
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Call<'_> {
    /// Ends the call after the message was recorded, and returns its id.
    pub(super) fn finish(mut self) -> String {
        self.finished = true;
        std::mem::take(&mut self.id)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mut unsure = self.sending.unsure.lock();
        if unsure.len() == REMEMBERED {
            unsure.pop_front();
        }
        unsure.push_back((self.message, std::mem::take(&mut self.id)));
    }
}
