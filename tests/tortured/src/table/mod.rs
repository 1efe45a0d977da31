//! The business table of the handler with `existing`: token and attempt for each message whose work
//! is done.

mod database;
mod file;

use std::sync::OnceLock;

pub(crate) use database::{Table as Database, row, rows};
pub(crate) use file::Table as File;

static TABLE: OnceLock<Table> = OnceLock::new();

pub(crate) enum Table {
    File(File),
    Database(Database),
}

/// Sets the table of this process.
pub(crate) fn open(table: Table) {
    assert!(TABLE.set(table).is_ok(), "it is opened once");
}

/// Returns the token and the number of the attempt that did the message's work.
pub(crate) async fn look(n: u64) -> sqlx::Result<Option<(u64, u32)>> {
    match table() {
        Table::File(file) => Ok(file.look(n)),
        Table::Database(database) => database.look(n).await,
    }
}

/// Does the message's work, which must not be done twice. The database refuses it a second time.
pub(crate) async fn put(n: u64, token: u64, number: u32) -> sqlx::Result<()> {
    match table() {
        Table::File(file) => {
            file.put(n, token, number);
            Ok(())
        }
        Table::Database(database) => database.put(n, token, number).await,
    }
}

fn table() -> &'static Table {
    TABLE.get().expect("it is opened at the start")
}
