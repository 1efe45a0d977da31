//! Connects the client, which waits for a verdict on a thread, with the runner, which gives it
//! later.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rocketmq_client_rust::{
    ClientResult, ConsumeConcurrentlyContext, ConsumeConcurrentlyStatus, ConsumeMessageContext,
    ConsumeMessageHook, MessageListenerConcurrently,
};
use rocketmq_model::common::message::message_ext::MessageExt;
use tokio::sync::{mpsc, oneshot};

/// A message from the client, and the channel of its verdict.
pub(crate) struct Arrival {
    pub(crate) message: Arc<MessageExt>,
    pub(crate) done: oneshot::Sender<()>,
}

/// Delivers messages in order, while the client's threads wait for their verdicts.
///
/// The client calls its listener on many threads, in any order, but calls its hooks before, in the
/// order of the queue. So the hook delivers a message, and the listener waits.
#[derive(Clone)]
pub(crate) struct Listener {
    /// Bounded by the number of the client's threads.
    arrivals: mpsc::UnboundedSender<Arrival>,
    /// Keyed by the message's address in memory: offsets are not unique if a queue is assigned
    /// again.
    waiting: Arc<Mutex<HashMap<usize, Waiting>>>,
}

struct Waiting {
    done: oneshot::Receiver<()>,
    /// Keeps the address in use.
    _message: Arc<MessageExt>,
}

impl Listener {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Arrival>) {
        let (arrivals, arrived) = mpsc::unbounded_channel();
        (
            Self {
                arrivals,
                waiting: Arc::default(),
            },
            arrived,
        )
    }

    fn take(&self, message: &MessageExt) -> Option<Waiting> {
        self.waiting.lock().remove(&address(message))
    }
}

fn address(message: &MessageExt) -> usize {
    std::ptr::from_ref(message).addr()
}

impl ConsumeMessageHook for Listener {
    fn hook_name(&self) -> &'static str {
        "idem"
    }

    fn consume_message_before(&self, context: &mut ConsumeMessageContext<'_>) {
        for message in context.msg_list {
            let (done, verdict) = oneshot::channel();
            self.waiting.lock().insert(
                address(message),
                Waiting {
                    done: verdict,
                    _message: Arc::clone(message),
                },
            );
            // The session may be closed. A message without a verdict is redelivered.
            let _ = self.arrivals.send(Arrival {
                message: Arc::clone(message),
                done,
            });
        }
    }

    fn consume_message_after(&self, context: &mut ConsumeMessageContext<'_>) {
        // The listener was not called if the client had no thread for it.
        for message in context.msg_list {
            self.take(message);
        }
    }
}

impl MessageListenerConcurrently for Listener {
    /// Blocks one of the client's threads until the runner has settled the message.
    fn consume_message(
        &self,
        messages: &[&MessageExt],
        _: &ConsumeConcurrentlyContext,
    ) -> ClientResult<ConsumeConcurrentlyStatus> {
        for message in messages {
            let waiting = self.take(message);
            if waiting.is_none_or(|waiting| waiting.done.blocking_recv().is_err()) {
                return Ok(ConsumeConcurrentlyStatus::ReconsumeLater);
            }
        }
        Ok(ConsumeConcurrentlyStatus::ConsumeSuccess)
    }
}
