//! A temporary [`Idem`].

use std::ops::Deref;

use crate::{Error, Idem, IdemBuilder, ledger::LedgerError};

/// An [`Idem`] on the embedded ledger in a folder of its own, which goes when this does.
#[derive(Debug)]
pub struct Temporary {
    // Fields drop in order: the ledger lets go of the folder before it is removed.
    idem: Idem,
    folder: tempfile::TempDir,
}

/// Opens a temporary [`Idem`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let idem = idem_runtime::testing::temporary()?;
/// idem.scope(async { /* call handlers here */ }).await;
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Error::Ledger`] when the folder cannot be created.
pub fn temporary() -> Result<Temporary, Error> {
    temporary_with(Idem::builder())
}

/// Opens a temporary [`Idem`] with choices: a clock, limits.
///
/// # Errors
/// [`Error::Ledger`] when the folder cannot be created.
pub fn temporary_with(builder: IdemBuilder) -> Result<Temporary, Error> {
    let folder = tempfile::tempdir()
        .map_err(|error| LedgerError::Other(format!("no temporary folder: {error}")))?;
    let idem = builder.open(folder.path())?;
    Ok(Temporary { idem, folder })
}

impl Temporary {
    /// Where its files are.
    pub fn path(&self) -> &std::path::Path {
        self.folder.path()
    }
}

impl Deref for Temporary {
    type Target = Idem;
    fn deref(&self) -> &Idem {
        &self.idem
    }
}
