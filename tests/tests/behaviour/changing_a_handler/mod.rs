//! The table of `docs/changing-a-handler.md`, a test for each line: a handler as the program had it
//! before a deploy, the same handler as it has it after, and one ledger.

use std::sync::Arc;

use idem_runtime::dead_letters::{LetterError, RunOutcome};
use idem_runtime::{DeadLetterId, Error, Filter, Idem};

use crate::common::{Body, Folder, Oops, only_letter};

/// The handler in one of the programs. Its body returns how often it was started, in both programs
/// together, and fails for an order whose number begins with `fails`.
macro_rules! program {
    ($program:ident: [$($option:tt)*] ($first:ident: $type:ty $(, $arg:ident: $types:ty)*)) => {
        #[idempotent($($option)*, retry = "redeliver", skip(body))]
        async fn $program($first: $type, $($arg: $types,)* body: Arc<Body>) -> Result<u32, Oops> {
            made(&format!("{:?}", $first), &body)
        }
    };
}

mod attribute;
mod message;
mod result;

fn made(order: &str, body: &Body) -> Result<u32, Oops> {
    let start = body.start();
    if order.contains("fails") {
        Err(Oops::own(format!("failure {start}")))
    } else {
        Ok(start)
    }
}

/// One ledger and what both programs do.
struct Shop {
    folder: Folder,
    body: Arc<Body>,
}

impl Shop {
    fn new() -> Self {
        Self {
            folder: Folder::new(),
            body: Body::open(),
        }
    }

    fn body(&self) -> Arc<Body> {
        Arc::clone(&self.body)
    }

    /// Runs a program from its start to its end.
    async fn runs<T>(&self, program: impl AsyncFnOnce(&Idem) -> T) -> T {
        let idem = self.folder.open();
        let done = idem.scope(program(&idem)).await;
        idem.close().await.unwrap();
        done
    }
}

/// Runs the only open letter in the program whose handlers were registered.
async fn runs_letter(idem: &Idem) -> Result<RunOutcome, LetterError> {
    let letter = only_letter(idem).await;
    idem.dead_letters().run(&letter.id).await
}

async fn letters(idem: &Idem) -> Vec<DeadLetterId> {
    let open = idem.dead_letters().list(&Filter::default()).await.unwrap();
    open.into_iter().map(|letter| letter.id).collect()
}

#[track_caller]
fn assert_reused(result: Result<u32, Oops>) {
    let error = result.unwrap_err().into_idem();
    assert!(matches!(error, Error::KeyReused { .. }), "{error:?}");
}

#[track_caller]
fn assert_own(result: Result<u32, Oops>, text: &str) {
    assert_eq!(result.unwrap_err().into_own(), text);
}

/// The letter's payload fits: the handler has run, and failed so.
#[track_caller]
fn assert_failed(run: &RunOutcome, failure: &str) {
    let failed = matches!(run, RunOutcome::Failed { error, .. } if error == failure);
    assert!(failed, "{run:?}");
}

/// The page names each test, and each row of its tables ends with one.
#[test]
fn the_page_has_a_line_for_each_test() {
    let page = include_str!("../../../../docs/changing-a-handler.md");
    let files = [
        include_str!("message.rs"),
        include_str!("result.rs"),
        include_str!("attribute.rs"),
    ];
    let tests = files.iter().flat_map(|file| {
        let tests = file.split("#[tokio::test]\nasync fn ").skip(1);
        tests.filter_map(|test| Some(test.split_once("()")?.0))
    });
    let tests: Vec<_> = tests.collect();
    for test in &tests {
        assert!(page.contains(&format!("`{test}`")), "no line for {test}");
    }
    let rows = page.lines().filter_map(|line| line.strip_suffix("` |"));
    let named: Vec<_> = rows
        .filter_map(|row| Some(row.rsplit_once('`')?.1))
        .collect();
    assert!(!named.is_empty());
    for name in named {
        assert!(tests.contains(&name), "no test {name}");
    }
}
