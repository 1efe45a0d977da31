//! Copies of the ledger, which it makes while it works.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::ServiceError;
use super::{Actions, Service};

/// A copy of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Backup {
    /// Its folder, on the service's machine.
    pub folder: PathBuf,
}

impl Service {
    /// Sets the folder that [`Actions::back_up`] makes copies in. A later call changes nothing.
    pub fn backups_in(self, folder: impl Into<PathBuf>) -> Self {
        // The first one stays.
        let _ = self.inner.backups.set(folder.into());
        self
    }
}

impl Actions {
    /// Copies the ledger into a folder of its own, named after the time, and returns when the copy
    /// is durable and was opened once as a proof. Meanwhile duplicates are answered and other calls
    /// wait.
    ///
    /// # Errors
    /// [`ServiceError::NoBackups`] if [`Service::backups_in`] was not called; the ledger is no
    /// folder, or the copy cannot be made.
    pub async fn back_up(&self) -> Result<Backup, ServiceError> {
        let inner = &self.service.inner;
        let place = inner.backups.get().ok_or(ServiceError::NoBackups)?;
        let now = inner.idem.clock().now().strftime("%Y-%m-%dT%H%M%SZ");
        let folder = place.join(now.to_string());
        inner.idem.copy_to(&folder).await?;
        tracing::info!(who = self.who, folder = %folder.display(), "a copy of the ledger was made");
        Ok(Backup { folder })
    }
}
