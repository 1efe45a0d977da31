//! What all handlers do: they say that they start, follow the plan, and say how they end.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use idem_runtime::Error;
use serde::{Deserialize, Serialize};

use crate::say::{say, say_and_die, trouble};
use crate::table;
use crate::wire::{Act, Attempt, Call, Ended, Event, Handler, Moment};

/// The text of a panic that was asked for.
pub(crate) const PLANNED: &str = "a planned panic";
/// How long a body takes that takes its time: a pause as in real work, which kills and drops can
/// hit.
const LINGERING: Duration = Duration::from_millis(30);

/// What is delivered.
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

    /// Whether it is what some call delivered: only the filler's size cannot be told from the
    /// message itself.
    pub(crate) fn is_whole(&self) -> bool {
        u32::try_from(self.filler.len()).is_ok_and(|size| self.filler == filler(self.n, size))
    }
}

/// What comes back.
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

/// Text that differs from message to message.
fn filler(n: u64, size: u32) -> String {
    let mut random = fastrand::Rng::with_seed(n);
    (0..size).map(|_| random.alphanumeric()).collect()
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Idem(#[from] Error),
    #[error("planned")]
    Planned { token: u64, permanent: bool },
}

/// `retry_if`
pub(crate) fn can_pass(error: &Trouble) -> bool {
    !matches!(
        error,
        Trouble::Planned {
            permanent: true,
            ..
        }
    )
}

/// A body that runs. However it ends, that is said once, and before anybody else can know.
pub(crate) struct Running<'a> {
    call: &'a Call,
    attempt: Attempt,
    over: bool,
}

/// Says it, and dies of it if the call is to kill its process then.
pub(crate) fn say_at(call: &Call, moment: Moment, event: &Event) {
    if call.kills == Some(moment) {
        say_and_die(event)
    } else {
        say(event)
    }
}

/// The attempt this code runs in.
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

/// What the plan says for an attempt.
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
            trouble(format!(
                "a body of message {} got another payload than its call has",
                call.n
            ));
        }
        let attempt = attempt(call);
        say_at(call, Moment::Started, &Event::Started(attempt));
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
            Ended::Ok(_) => say_at(self.call, Moment::Ended, &event),
            _ => say(&event),
        }
    }

    fn act(&self) -> Act {
        act(self.call, self.attempt.number)
    }

    /// The work that people pay for.
    fn work(&self) {
        let Attempt {
            n, token, number, ..
        } = self.attempt;
        if self.call.handler == Handler::Existing {
            table::put(n, token, number);
        }
        say(&Event::Effect { n, token });
    }

    /// Everything that an async and a sync body do alike.
    fn end(mut self) -> Result<Done, Trouble> {
        let token = self.attempt.token;
        match self.act() {
            Act::Fail => {
                self.ends(Ended::Failed);
                Err(Trouble::Planned {
                    token,
                    permanent: false,
                })
            }
            Act::Permanent => {
                self.ends(Ended::Permanent);
                Err(Trouble::Planned {
                    token,
                    permanent: true,
                })
            }
            Act::Panic => panic!("{PLANNED}"),
            Act::Abort => {
                say(&Event::Aborting { n: self.call.n });
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

    pub(crate) async fn run(self) -> Result<Done, Trouble> {
        match self.act() {
            Act::Linger => tokio::time::sleep(LINGERING).await,
            Act::Hang => {
                say(&Event::Hanging { n: self.call.n });
                std::future::pending::<()>().await;
            }
            _ => tokio::task::yield_now().await,
        }
        if self.works() {
            self.work();
            tokio::task::yield_now().await;
        }
        self.end()
    }

    pub(crate) fn run_now(self) -> Result<Done, Trouble> {
        if self.act() == Act::Linger {
            std::thread::sleep(LINGERING);
        }
        if self.works() {
            self.work();
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
