//! Events to the torturer.

use std::io::Write;
use std::sync::OnceLock;

use crate::event::{Event, Line};

/// How many bytes a pipe takes in one write: at least 512 by POSIX, 4096 on Linux.
const LONGEST_LINE: usize = 4096;

/// The number of this process.
static NUMBER: OnceLock<u32> = OnceLock::new();

/// Sets the number of this process.
pub(crate) fn number(number: u32) {
    NUMBER.set(number).expect("it is set once");
}

/// Emits an event before anything else happens on this thread, in one write, so that a kill cuts
/// between lines.
pub(crate) fn emit(event: &Event) {
    let process = *NUMBER.get().expect("it is set at the start");
    let line = Line {
        process,
        event: event.clone(),
    };
    let mut line = serde_json::to_vec(&line).expect("plain data");
    line.push(b'\n');
    assert!(
        line.len() <= LONGEST_LINE,
        "{event:?} is too long for one write"
    );
    std::io::stdout()
        .write_all(&line)
        .expect("the torturer reads");
}

/// Emits an event, and kills the process before anything else happens.
pub(crate) fn emit_and_die(event: &Event) {
    emit(&Event::Killing);
    emit(event);
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL)
        .expect("a process may kill itself");
    // The signal may take a moment, and this thread must not go on.
    loop {
        std::thread::park();
    }
}

/// Emits a fault.
pub(crate) fn emit_trouble(text: String) {
    emit(&Event::Trouble { text: cut(text) });
}

/// Emits that something was not done, because the server could not be reached.
pub(crate) fn emit_away(error: &impl std::fmt::Display) {
    let text = cut(format!("{error:#}"));
    emit(&Event::Away { text });
}

/// Shortens a text to what a line has room for.
pub(crate) fn cut(mut text: String) -> String {
    // Escaped, each byte takes six at most.
    text.truncate(text.floor_char_boundary(LONGEST_LINE / 8));
    text
}
