//! The example `orders` as a process: with `--serve` it sends mails about its dead letters and one is
//! edited in the browser; with `--broker` it consumes from a real queue. Killed and run again, it
//! places each order once; so do several processes on one database or Redis, which is killed too.

mod killed;
mod mail;
mod on_redis;
mod program;
mod queue;
mod repair;
mod shared;

use std::process::ExitCode;

use idem_test_support::browser::trial;
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut tests = vec![
        Trial::test("every_letter_is_in_a_mail", || {
            Ok(program::block_on(mail::every_letter_is_in_a_mail())?)
        }),
        Trial::test("each_order_is_placed_once_through_kills", || {
            Ok(program::block_on(
                killed::each_order_is_placed_once_through_kills(),
            )?)
        }),
        Trial::test("bad_arguments_say_what_is_missing", || {
            Ok(program::block_on(mail::bad_arguments_say_what_is_missing())?)
        }),
        trial(
            "a_letter_is_mended_in_the_browser",
            repair::a_letter_is_mended_in_the_browser,
        ),
    ];
    tests.extend(queue::all());
    tests.extend(shared::all());
    tests.extend(on_redis::all());
    let arguments = Arguments::from_args();
    if !arguments.list {
        // It may take longer than a test's deadline. Where it fails, each test says so.
        let _ = program::built();
    }
    libtest_mimic::run(&arguments, tests).exit_code()
}
