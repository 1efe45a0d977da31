//! What the attribute promises, seen from outside: real functions, a real folder, real concurrency. Only time is held
//! still where a pause or an expiry is the point.

mod common;
mod dropped_calls;
mod panics_and_timeouts;
mod redelivery;
mod replays;
mod retries;
mod single_flight;
