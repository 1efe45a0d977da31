//! The body of all handlers: it emits its start, follows the plan, and emits its end.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use idem_runtime::Error;
use serde::{Deserialize, Serialize};

use crate::emit::{emit, emit_and_die, emit_away, emit_trouble};
use crate::event::{Act, Attempt, Call, Ended, Event, Handler, Moment};
use crate::table;

/// The text of a planned panic.
pub(crate) const PLANNED: &str = "a planned panic";
/// How long a body lingers: a pause as in real work, which kills and drops can hit.
const LINGERING: Duration = Duration::from_millis(30);

/// The argument of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) n: u64,
    pub(crate) variant: u8,
    filler: String,
}

impl Message {
    pub(crate) fn of(call: &Call) -> Self {
        Self {
            n: call.n,
            variant: call.variant,
            filler: filler(call.n, call.payload),
        }
    }

    /// Returns whether a call delivered it. The message itself does not tell the filler's size.
    pub(crate) fn is_whole(&self) -> bool {
        u32::try_from(self.filler.len()).is_ok_and(|size| self.filler == filler(self.n, size))
    }
}

/// The result of a call.
#[derive(Debug, Clone, Hash, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) token: u64,
    number: u32,
    filler: String,
}

impl Done {
    pub(crate) fn by(token: u64, number: u32, call: &Call) -> Self {
        Self {
            token,
            number,
            filler: filler(call.n ^ token, call.result),
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// Returns a text that differs from message to message.
fn filler(n: u64, size: u32) -> String {
    let mut random = fastrand::Rng::with_seed(n);
    (0..size).map(|_| random.alphanumeric()).collect()
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Idem(#[from] Error),
    #[error("planned")]
    Planned { token: u64, permanent: bool },
}

/// `retry_if`
pub(crate) fn can_pass(error: &Failure) -> bool {
    !matches!(
        error,
        Failure::Planned {
            permanent: true,
            ..
        }
    )
}

/// A running body. Its end is emitted once, before anything else can observe it.
pub(crate) struct Running<'a> {
    call: &'a Call,
    attempt: Attempt,
    over: bool,
}

/// Emits an event, and kills the process if the call plans that for this moment.
pub(crate) fn emit_at(call: &Call, moment: Moment, event: &Event) {
    if call.kills == Some(moment) {
        emit_and_die(event);
    } else {
        emit(event);
    }
}

/// Returns the attempt that this code runs in.
pub(crate) fn attempt(call: &Call) -> Attempt {
    let attempt = idem_runtime::attempt().expect("inside a body");
    Attempt {
        n: call.n,
        variant: call.variant,
        number: attempt.number,
        of: attempt.of,
        token: attempt.token,
    }
}

/// Returns the planned act of an attempt.
pub(crate) fn act(call: &Call, number: u32) -> Act {
    let last = call.acts.len().saturating_sub(1);
    call.acts
        .get(last.min(number as usize - 1))
        .copied()
        .unwrap_or(Act::Work)
}

impl<'a> Running<'a> {
    pub(crate) fn start(message: &Message, call: &'a Call) -> Self {
        if *message != Message::of(call) {
            emit_trouble(format!(
                "a body of message {} got another payload than its call has",
                call.n
            ));
        }
        let attempt = attempt(call);
        emit_at(call, Moment::Started, &Event::Started(attempt));
        Self {
            call,
            attempt,
            over: false,
        }
    }

    fn ends(&mut self, how: Ended) {
        self.over = true;
        let event = Event::Ended {
            n: self.call.n,
            token: self.attempt.token,
            how,
        };
        match how {
            Ended::Ok(_) => emit_at(self.call, Moment::Ended, &event),
            _ => emit(&event),
        }
    }

    fn act(&self) -> Act {
        act(self.call, self.attempt.number)
    }

    /// Does the work that must not be lost.
    async fn work(&self) -> sqlx::Result<()> {
        let Attempt {
            n, token, number, ..
        } = self.attempt;
        if self.call.handler == Handler::Existing {
            table::put(n, token, number).await?;
        }
        self.worked();
        Ok(())
    }

    fn worked(&self) {
        let Attempt { n, token, .. } = self.attempt;
        // A row of a transaction is work only once it is committed.
        if !self.call.handler.is_transactional() {
            emit(&Event::Effect { n, token });
        }
    }

    /// Writes the attempt's row in its transaction, whatever comes of it.
    async fn write(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Attempt {
            n, token, number, ..
        } = self.attempt;
        let digest = Done::by(token, number, self.call).digest();
        let mut tx = idem_postgres::transaction().await?;
        table::row(&mut tx, n, token, digest).await?;
        Ok(())
    }

    fn fails(mut self, permanent: bool) -> Result<Done, Failure> {
        let token = self.attempt.token;
        self.ends(if permanent {
            Ended::Permanent
        } else {
            Ended::Failed
        });
        Err(Failure::Planned { token, permanent })
    }

    /// Ends the body, async or not.
    fn end(mut self) -> Result<Done, Failure> {
        let token = self.attempt.token;
        match self.act() {
            Act::Fail => self.fails(false),
            Act::Permanent => self.fails(true),
            Act::Panic => panic!("{PLANNED}"),
            Act::Abort => {
                emit(&Event::Aborting { n: self.call.n });
                std::process::abort()
            }
            Act::Work | Act::Linger | Act::Hang | Act::FailToLook => {
                let done = Done::by(token, self.attempt.number, self.call);
                self.ends(Ended::Ok(done.digest()));
                Ok(done)
            }
        }
    }

    fn works(&self) -> bool {
        matches!(self.act(), Act::Work | Act::Linger | Act::FailToLook)
    }

    pub(crate) async fn run(self) -> Result<Done, Failure> {
        if self.call.handler.is_transactional()
            && let Err(error) = self.write().await
        {
            emit_away(&error);
            return self.fails(false);
        }
        match self.act() {
            Act::Linger => tokio::time::sleep(LINGERING).await,
            Act::Hang => {
                emit(&Event::Hanging { n: self.call.n });
                std::future::pending::<()>().await;
            }
            _ => tokio::task::yield_now().await,
        }
        if self.works() {
            if let Err(error) = self.work().await {
                emit_away(&error);
                return self.fails(false);
            }
            tokio::task::yield_now().await;
        }
        self.end()
    }

    pub(crate) fn run_now(self) -> Result<Done, Failure> {
        if self.act() == Act::Linger {
            std::thread::sleep(LINGERING);
        }
        if self.works() {
            self.worked();
        }
        self.end()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.ends(if std::thread::panicking() {
                Ended::Panicked
            } else {
                Ended::Gone
            });
        }
    }
}
