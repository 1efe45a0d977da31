//! Lines to the torturer.

use std::io::Write;

use crate::wire::Event;

/// So much is written to a pipe at once (POSIX says 512, Linux 4096).
const LONGEST_LINE: usize = 4096;

/// Says it before anything else happens on this thread, in one write, so that a kill cuts between
/// lines.
pub(crate) fn say(event: &Event) {
    let mut line = serde_json::to_vec(event).expect("plain data");
    line.push(b'\n');
    assert!(
        line.len() <= LONGEST_LINE,
        "{event:?} is too long to be said at once"
    );
    std::io::stdout()
        .write_all(&line)
        .expect("somebody listens");
}

/// Says it, and is killed before anything else happens.
pub(crate) fn say_and_die(event: &Event) {
    say(&Event::Killing);
    say(event);
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL)
        .expect("everybody may kill themselves");
    // The other threads may take a moment to be gone, and this one must not go on.
    loop {
        std::thread::park();
    }
}

/// Says something that must not happen.
pub(crate) fn trouble(mut text: String) {
    // Escaped, each byte takes six at most.
    text.truncate(text.floor_char_boundary(LONGEST_LINE / 8));
    say(&Event::Trouble { text });
}
