//! What the tests share: a body that can be watched and held, an error of the user's own, and
//! patience with an end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use idem_runtime::testing::{ManualClock, Temporary, temporary_with};
use idem_runtime::{DeadLetter, Error, Filter, Idem};
use tokio::sync::watch;

/// Waits for what has to happen; the limit is only there so that a wrong runtime fails and does not
/// hang.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it did not happen within a minute")
}

/// [`soon`] for what a thread of its own does, so that even a deadlock of a whole runtime is seen.
pub(crate) fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    ended
        .recv_timeout(Duration::from_secs(60))
        .expect("the thread did not come back within a minute")
}

/// A folder that is opened again and again, on one clock.
pub(crate) struct Folder {
    pub(crate) clock: ManualClock,
    pub(crate) folder: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self {
            clock: ManualClock::default(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn open(&self) -> Idem {
        Idem::builder()
            .clock(Arc::new(self.clock.clone()))
            .open(self.folder.path())
            .unwrap()
    }
}

/// A temporary Idem on a clock that stands still.
pub(crate) fn on(clock: &ManualClock) -> Temporary {
    temporary_with(Idem::builder().clock(Arc::new(clock.clone()))).unwrap()
}

/// Polls once; whoever is still pending has gone as far as it can without others.
pub(crate) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// The only open letter.
pub(crate) async fn only_letter(idem: &Idem) -> DeadLetter {
    let mut letters = idem.dead_letters().list(&Filter::default()).await.unwrap();
    assert_eq!(letters.len(), 1, "{letters:#?}");
    letters.remove(0)
}

/// A user's error type.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Oops {
    #[error("{0}")]
    Own(String),
    #[error(transparent)]
    Idem(#[from] Error),
}

impl Oops {
    pub(crate) fn own(text: impl Into<String>) -> Self {
        Self::Own(text.into())
    }

    /// The body's own error; anything else is a failed test.
    #[track_caller]
    pub(crate) fn into_own(self) -> String {
        match self {
            Self::Own(text) => text,
            Self::Idem(error) => panic!("not the body's own error: {error:?}"),
        }
    }

    /// What idem refused with; anything else is a failed test.
    #[track_caller]
    pub(crate) fn into_idem(self) -> Error {
        match self {
            Self::Idem(error) => error,
            Self::Own(text) => panic!("the body's own error: {text}"),
        }
    }
}

/// What a handler's body does: it counts its starts, and waits at the door where that is shut.
#[derive(Debug)]
pub(crate) struct Body {
    starts: watch::Sender<u32>,
    open: watch::Sender<bool>,
}

impl Body {
    pub(crate) fn open() -> Arc<Self> {
        Arc::new(Self {
            starts: watch::Sender::new(0),
            open: watch::Sender::new(true),
        })
    }

    pub(crate) fn shut() -> Arc<Self> {
        Arc::new(Self {
            starts: watch::Sender::new(0),
            open: watch::Sender::new(false),
        })
    }

    /// Counts a start, and says which it is.
    pub(crate) fn start(&self) -> u32 {
        let mut number = 0;
        self.starts.send_modify(|starts| {
            *starts += 1;
            number = *starts;
        });
        number
    }

    /// Counts a start and waits for the door.
    pub(crate) async fn run(&self) -> u32 {
        let number = self.start();
        self.passes().await;
        number
    }

    /// Waits for the door.
    pub(crate) async fn passes(&self) {
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    /// [`run`](Self::run) for a sync handler.
    pub(crate) fn run_now(&self) -> u32 {
        pollster::block_on(self.run())
    }

    pub(crate) fn starts(&self) -> u32 {
        *self.starts.borrow()
    }

    /// Waits until the body was started so often.
    pub(crate) async fn started(&self, times: u32) {
        let mut starts = self.starts.subscribe();
        soon(starts.wait_for(|starts| *starts >= times))
            .await
            .unwrap();
    }

    /// Polls a call until the body was started so often; behind a shut door that is as far as the
    /// call can get.
    pub(crate) async fn holds<F: Future + Unpin>(&self, call: &mut F, times: u32) {
        tokio::select! {
            _ = call => unreachable!("the door is shut"),
            () = self.started(times) => {}
        }
    }

    pub(crate) fn let_go(&self) {
        self.open.send_replace(true);
    }
}

/// A list that bodies write and tests read.
#[derive(Debug)]
pub(crate) struct Log<T>(Mutex<Vec<T>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Log<T> {
    pub(crate) fn push(&self, item: T) {
        self.0.lock().unwrap().push(item);
    }

    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
