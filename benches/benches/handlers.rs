//! What 200 handlers cost a build, beside the same ones under `#[tracing::instrument]`:
//! `cargo xtask bench --bench handlers`.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

use std::time::Duration;

use idem_benches::crates::{Crates, Handlers};
use idem_benches::report::row;

const HANDLERS: usize = 200;

/// How often each is compiled, in turns.
const TURNS: usize = 3;

const OURS: Handlers = Handlers {
    krate: "with_idempotent",
    attribute: "#[idem_runtime::idempotent(name = \"{name}\", key = \"order_no\")]",
    count: HANDLERS,
};
const THEIRS: Handlers = Handlers {
    krate: "with_instrument",
    attribute: "#[tracing::instrument(name = \"{name}\", skip_all, fields(order_no = order.order_no), err)]",
    count: HANDLERS,
};
/// What is there without any handler.
const EMPTY: Handlers = Handlers {
    krate: "without_handlers",
    attribute: "",
    count: 0,
};

fn main() {
    let crates = Crates::write(&[OURS, THEIRS, EMPTY]).unwrap();
    for (task, arguments) in [
        ("cargo check", ["check"].as_slice()),
        ("release build", &["build", "--release"]),
    ] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..TURNS {
            for (times, handlers) in times.iter_mut().zip([OURS, THEIRS]) {
                times.push(crates.timed(&handlers, arguments).unwrap());
            }
        }
        let [ours, reference] = times.map(|times| median(times).as_secs_f64());
        print(
            task,
            "CPU s",
            ours,
            reference,
            if task == "cargo check" {
                "≤ 1.5"
            } else {
                "≤ 2"
            },
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let code =
        |handlers| (crates.code(handlers).unwrap() - crates.code(&EMPTY).unwrap()) as f64 / 1024.0;
    print("machine code", "KiB", code(&OURS), code(&THEIRS), "≤ 2");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn print(task: &str, unit: &'static str, ours: f64, reference: f64, to_reach: &'static str) {
    let bench = format!("{task} of {HANDLERS} handlers");
    let beside = ("`#[tracing::instrument]`", reference);
    row(bench, unit, ours, beside, to_reach);
}
