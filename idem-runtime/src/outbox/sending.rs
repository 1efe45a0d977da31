//! Messages that are sent from outside a handler: each keeps its id until it is known to be in the
//! outbox.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::entry::new_id;
use super::message::OutboxMessage;
use crate::ledger::LedgerError;
use crate::protocol::encoding;

/// Calls that failed are remembered up to this many: those who never call again are to cost no
/// more.
const REMEMBERED: usize = 1000;

/// What one process knows of the messages it sends.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    changed: Notify,
    /// The messages whose call failed or was dropped, by a hash of what they are, and their ids.
    unsure: Mutex<VecDeque<(blake3::Hash, String)>>,
}

/// One call. Dropped unfinished, it leaves the id to the next call with the same message.
pub(super) struct Call<'a> {
    sending: &'a Sending,
    message: blake3::Hash,
    pub(super) id: String,
    /// An earlier call may have written it.
    pub(super) again: bool,
    finished: bool,
}

impl Sending {
    /// Begins a call with a new id, or with that of an earlier call that came to no end.
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

    /// There is something to send.
    pub(crate) fn notify(&self) {
        self.changed.notify_one();
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Call<'_> {
    /// It is in the outbox. Gives its id.
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
