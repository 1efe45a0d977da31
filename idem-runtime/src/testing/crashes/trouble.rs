//! Why a walk could not be walked.

use std::io;
use std::time::Duration;

use super::places::Place;
use crate::Error;

#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(
        "a walk starts its own test again, and this thread has the name of none: call it from the `#[test]` function \
         itself, or say the test's whole path, as `cargo test -- --list` shows it, with `Walk::test`"
    )]
    NoName,
    #[error("`{0}` has walked already: one walk in a test, for each is found by its test's name")]
    Twice(String),
    #[error(
        "the test binary was started again for the test `{test}`, and it never came to the walk; is that the test's \
         whole path, and is nothing before the walk that ends it? It printed:\n{output}"
    )]
    Lost { test: String, output: String },
    #[error("process {life}, {}, failed ({status}):\n{output}", on(place.as_ref()))]
    Failed {
        place: Option<Place>,
        life: u32,
        status: String,
        output: String,
    },
    #[error("process {life}, {}, did not end within {deadline:?}; it printed:\n{output}", on(place.as_ref()))]
    Hung {
        place: Option<Place>,
        life: u32,
        deadline: Duration,
        output: String,
    },
    #[error("{} processes, {}, died one after the other, and none got through", lives, on(place.as_ref()))]
    Endless { place: Option<Place>, lives: u32 },
    #[error("after the run {}, what is left cannot be read: {error}", on(place.as_ref()))]
    Left {
        place: Option<Place>,
        error: Box<Error>,
    },
    #[error("a walk needs a folder and processes of its own: {0}")]
    Io(#[from] io::Error),
}

/// Which run it was.
pub(super) fn on(place: Option<&Place>) -> String {
    place.map_or_else(
        || "that was left alone".to_owned(),
        |place| format!("that was {place}"),
    )
}
