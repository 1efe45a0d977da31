//! Tests of your own handler: on a temporary ledger, on a clock that the test moves, and with a
//! crash at every write of the ledger.
//!
//! ```text
//! $ cargo run -p idem-examples --example testing
//! A-1 is in the table
//! ```
//!
//! The tests run with `cargo test -p idem-examples --example testing`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use idem_runtime::{idempotent, testing};

/// Appends the order to a file, which stands for the business table.
#[idempotent(name = "orders.place", key = "order_no", existing = find, skip(table))]
async fn place(order_no: String, table: PathBuf) -> anyhow::Result<String> {
    let mut file = File::options().create(true).append(true).open(table)?;
    writeln!(file, "{order_no} is in the table")?;
    Ok(order_no)
}

fn find(order_no: &str, table: &Path) -> anyhow::Result<Option<String>> {
    let rows = fs::read_to_string(table).unwrap_or_default();
    Ok(rows.contains(order_no).then(|| order_no.to_owned()))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let idem = testing::temporary()?;
    let table = idem.path().join("orders");
    idem.scope(place("A-1".into(), table.clone())).await?;
    print!("{}", fs::read_to_string(table)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use idem_runtime::Idem;

    use super::*;

    #[tokio::test]
    async fn a_duplicate_does_not_run_while_the_result_is_remembered() -> anyhow::Result<()> {
        let clock = testing::ManualClock::default();
        let idem = testing::temporary_with(Idem::builder().clock(Arc::new(clock.clone())))?;
        let table = idem.path().join("orders");
        let deliver = || idem.scope(place("A-1".into(), table.clone()));
        deliver().await?;
        fs::remove_file(&table)?;
        deliver().await?;
        assert!(!table.exists(), "a duplicate ran");
        // A result is remembered for the handler's `ttl`, 7 days unless given.
        clock.advance(Duration::from_hours(8 * 24));
        deliver().await?;
        assert!(table.exists(), "the message did not run again");
        Ok(())
    }

    #[test]
    fn an_order_is_in_the_table_once_after_a_crash_at_any_write() {
        let runs = idem_crashtest::everywhere(async |process| {
            let table = process.folder().join("orders");
            place("A-1".into(), table.clone()).await?;
            assert_eq!(fs::read_to_string(table)?, "A-1 is in the table\n");
            anyhow::Ok(())
        });
        assert!(runs.len() > 1);
        for run in &runs {
            assert!(run.starts("orders.place", "A-1") <= 4, "{run}");
        }
    }
}
