//! The storage engines.

use std::path::Path;

use crate::ledger::LedgerError;

/// The storage engine of an embedded ledger. A folder stays with the one that it was made with; `idem
/// migrate` copies what is in it into another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// [sled](https://docs.rs/sled/0.34), the default: a tree over a log.
    Sled,
    /// [fjall](https://docs.rs/fjall/3), a log-structured merge tree behind a journal. It takes the feature
    /// `fjall`.
    Fjall,
}

impl Engine {
    pub(super) const ALL: [Self; 2] = [Self::Sled, Self::Fjall];

    /// Returns its name, which is that of the folder in which it keeps its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Fjall => "fjall",
        }
    }

    /// Returns the engine of the ledger in a folder, or `None` if there is none that can be seen.
    pub fn of(folder: &Path) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|engine| folder.join(engine.name()).is_dir())
    }

    /// Returns the error of a program without this engine.
    #[cfg(not(all(feature = "sled", feature = "fjall")))]
    pub(crate) fn is_not_built(self) -> LedgerError {
        LedgerError::Other(format!(
            "this program is built without the engine {0}: add the feature `{0}` of idem-runtime",
            self.name()
        ))
    }

    /// Returns whether a folder of this name may stand among its files.
    pub(super) fn has_folder(self, path: &Path) -> bool {
        match self {
            Self::Sled => path.file_name().is_some_and(|name| name == "blobs"),
            Self::Fjall => true,
        }
    }

    /// Checks that there is no ledger on another engine in a folder.
    pub(super) fn is_alone_in(self, folder: &Path) -> Result<(), LedgerError> {
        let others = Self::ALL.into_iter().filter(|engine| *engine != self);
        match others
            .into_iter()
            .find(|other| folder.join(other.name()).exists())
        {
            None => Ok(()),
            Some(other) => Err(LedgerError::OtherEngine {
                path: folder.to_owned(),
                engine: other.name(),
                asked: self.name(),
            }),
        }
    }
}

impl Default for Engine {
    /// Returns sled, or fjall in a program that is built without sled.
    fn default() -> Self {
        if cfg!(feature = "sled") {
            Self::Sled
        } else {
            Self::Fjall
        }
    }
}
