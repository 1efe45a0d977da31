//! Between the client, which wants an answer, and the runner, which gives it when it has one.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rocketmq_client_rust::{
    ClientResult, ConsumeConcurrentlyContext, ConsumeConcurrentlyStatus, ConsumeMessageContext,
    ConsumeMessageHook, MessageListenerConcurrently,
};
use rocketmq_model::common::message::message_ext::MessageExt;
use tokio::sync::{mpsc, oneshot};

/// A message that the client waits for, and where its answer goes.
pub(crate) struct Arrival {
    pub(crate) message: Arc<MessageExt>,
    pub(crate) done: oneshot::Sender<()>,
}

/// Hands messages over in their order, and has the client's threads wait for each.
///
/// The client asks its listener on many threads, in whatever order they come to run. Before that it
/// tells its hooks, in the order of the queue: so the hook hands a message over, and the listener
/// waits.
#[derive(Clone)]
pub(crate) struct Listener {
    /// Not more than the client has threads.
    arrivals: mpsc::UnboundedSender<Arrival>,
    /// By the message's place in memory: a queue that goes to another consumer and comes back
    /// brings the same offsets.
    waiting: Arc<Mutex<HashMap<usize, Waiting>>>,
}

struct Waiting {
    done: oneshot::Receiver<()>,
    /// Its place is its own as long as it is here.
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
        self.waiting.lock().remove(&place(message))
    }
}

fn place(message: &MessageExt) -> usize {
    std::ptr::from_ref(message).addr()
}

impl ConsumeMessageHook for Listener {
    fn hook_name(&self) -> &'static str {
        "idem"
    }

    fn consume_message_before(&self, context: &mut ConsumeMessageContext<'_>) {
        for message in context.msg_list {
            let (done, told) = oneshot::channel();
            self.waiting.lock().insert(
                place(message),
                Waiting {
                    done: told,
                    _message: Arc::clone(message),
                },
            );
            // Nobody listens any more when the session was closed; what nobody answers comes again.
            let _ = self.arrivals.send(Arrival {
                message: Arc::clone(message),
                done,
            });
        }
    }

    fn consume_message_after(&self, context: &mut ConsumeMessageContext<'_>) {
        // The client may have had no thread for the listener.
        for message in context.msg_list {
            self.take(message);
        }
    }
}

impl MessageListenerConcurrently for Listener {
    /// Returns when the runner is done with the message, on a thread that is there for it.
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
