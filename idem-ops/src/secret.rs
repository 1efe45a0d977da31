//! A password or a token that does not print.

use std::path::{Path, PathBuf};
use std::{env, fmt, fs, io};

use secrecy::{ExposeSecret, SecretString};

/// A password, a signing key or an address with a token in it.
///
/// Its `Debug` shows no character of it, it has no `Display`, and its memory is cleared when it is dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The secret itself. Better from a file or the environment: what stands in code is in every copy of it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The content of a file, without the line's end that editors leave.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is not UTF-8, or is empty.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        let path = path.as_ref();
        let text = fs::read_to_string(path)
            .map_err(|error| SecretError::File { path: path.to_owned(), kind: error.kind() })
            .map(SecretString::from)?;
        match text.expose_secret().trim_end_matches(['\r', '\n']) {
            "" => Err(SecretError::Empty { place: format!("the file `{}`", path.display()) }),
            secret => Ok(Self::new(secret)),
        }
    }

    /// The value of an environment variable.
    ///
    /// # Errors
    ///
    /// The variable is not set, is not UTF-8, or is empty.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        match env::var(name) {
            Ok(value) if value.is_empty() => {
                Err(SecretError::Empty { place: format!("the environment variable `{name}`") })
            }
            Ok(value) => Ok(Self::new(value)),
            Err(_) => Err(SecretError::Variable { name: name.to_owned() }),
        }
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why there is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret in `{}` ({kind}): check the path and who may read it", path.display())]
    File {
        /// As given.
        path: PathBuf,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// The variable is not there.
    #[error("the environment variable `{name}` is not set, or is not UTF-8")]
    Variable {
        /// As given.
        name: String,
    },
    /// There is nothing in it.
    #[error("{place} is empty: a secret was expected there")]
    Empty {
        /// The file or the variable.
        place: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_is_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(…) Secret(…)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_file_s_last_line_end_is_not_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, " with spaces \r\n").unwrap();
        assert_eq!(Secret::from_file(&path).unwrap().expose(), " with spaces ");
        fs::write(&path, "\n").unwrap();
        assert!(matches!(Secret::from_file(&path), Err(SecretError::Empty { .. })));
        assert!(matches!(Secret::from_file(folder.path().join("none")), Err(SecretError::File { .. })));
        assert!(matches!(Secret::from_env("IDEM_NO_SUCH_VARIABLE"), Err(SecretError::Variable { .. })));
    }
}
