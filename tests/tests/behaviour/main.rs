//! What the attribute promises, seen from outside: real functions, a real folder, real concurrency. Only time is held
//! still where a pause or an expiry is the point.

mod closing;
mod common;
mod dead_letters;
mod dropped_calls;
mod existing;
mod fingerprints;
mod limits;
mod panics_and_timeouts;
mod redelivery;
mod replays;
mod retries;
mod shapes;
mod single_flight;
mod sync_handlers;
mod which_idem;
