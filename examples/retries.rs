//! A failed attempt is retried within a budget, unless its error is permanent. Then the message is a
//! dead letter.
//!
//! ```text
//! $ cargo run -p idem-examples --example retries
//! A-1: attempt 1 of 3
//! A-1: attempt 2 of 3
//! A-1: charged
//! A-2: attempt 1 of 3
//! A-2: the card is declined
//! A-3: attempt 1 of 3
//! A-3: attempt 2 of 3
//! A-3: attempt 3 of 3
//! A-3: the bank does not answer
//! A-3: nothing ran, it is a dead letter
//! ```

use idem_runtime::{Error, Idem, attempt, idempotent};

#[derive(Debug, thiserror::Error)]
enum ChargeError {
    #[error("the bank does not answer")]
    BankDown,
    #[error("the card is declined")]
    Declined,
    // The handler returns idem's own errors as this one.
    #[error(transparent)]
    Idem(#[from] Error),
}

impl ChargeError {
    /// Tells idem whether another attempt can succeed; `false` ends the budget at once.
    fn is_temporary(&self) -> bool {
        !matches!(self, Self::Declined)
    }
}

/// Makes at most three attempts for each order: the first and two retries. The ledger counts them, so
/// that a restart does not begin a new budget.
#[idempotent(
    name = "orders.charge",
    key = "order_no",
    retries = 2,
    backoff(initial = "10ms", factor = 2),
    retry_if = ChargeError::is_temporary
)]
async fn charge(order_no: String) -> Result<(), ChargeError> {
    let (number, of) = attempt().map_or((1, 1), |attempt| (attempt.number, attempt.of));
    println!("{order_no}: attempt {number} of {of}");
    // The bank answers the second attempt for A-1, declines A-2, and never answers A-3.
    match (order_no.as_str(), number) {
        ("A-1", 2..) => Ok(()),
        ("A-2", _) => Err(ChargeError::Declined),
        _ => Err(ChargeError::BankDown),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let idem = Idem::open(folder.path())?;
    idem.install()?;

    for order_no in ["A-1", "A-2", "A-3", "A-3"] {
        match charge(order_no.into()).await {
            Ok(()) => println!("{order_no}: charged"),
            // A duplicate of a dead letter does not run until a person redrives the letter.
            Err(ChargeError::Idem(Error::DeadLettered { key, .. })) => {
                println!("{key}: nothing ran, it is a dead letter");
            }
            // The caller that used up the budget gets the last attempt's own error.
            Err(error) => println!("{order_no}: {error}"),
        }
    }
    idem.close().await?;
    Ok(())
}
