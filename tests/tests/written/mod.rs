//! The log of a test's process.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How long a line may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What was logged.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<(Mutex<String>, Condvar)>);

impl Written {
    pub(crate) fn text(&self) -> String {
        self.0.0.lock().unwrap().clone()
    }

    /// Blocks until the log is as it should be.
    #[track_caller]
    pub(crate) fn until(&self, is_so: impl Fn(&str) -> bool) {
        let (text, more) = &*self.0;
        let is_not = |text: &mut String| !is_so(text);
        let waited = more.wait_timeout_while(text.lock().unwrap(), DEADLINE, is_not);
        let (text, waited) = waited.unwrap();
        assert!(!waited.timed_out(), "{text}");
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (text, more) = &*self.0;
        // A line comes in one piece.
        text.lock()
            .unwrap()
            .push_str(std::str::from_utf8(bytes).unwrap());
        more.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
