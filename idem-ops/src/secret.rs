//! A password or a token that does not print.

#[cfg(any(feature = "email", feature = "webhook"))]
mod spelling;

use std::path::{Path, PathBuf};
use std::{env, fmt, io};

use secrecy::{ExposeSecret, SecretString};

use crate::files;

/// A password, a signing key or an address with a token in it.
///
/// Its `Debug` shows no character of it, it has no `Display`, and its memory is cleared when it is
/// dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a secret. Prefer a file or the environment: every copy of the code contains a literal.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// Reads a file, without the end of line that editors append.
    ///
    /// # Errors
    ///
    /// [`SecretError`], when the file cannot be read, is not UTF-8, has more than 64 KiB, or is empty.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        let path = path.as_ref();
        let text = files::read_text(path, files::SECRET)
            .map_err(|error| SecretError::File {
                path: path.to_owned(),
                kind: error.kind(),
            })
            .map(SecretString::from)?;
        match text.expose_secret().trim_end_matches(['\r', '\n']) {
            "" => Err(SecretError::Empty {
                place: format!("the file `{}`", path.display()),
            }),
            secret => Ok(Self::new(secret)),
        }
    }

    /// Reads an environment variable.
    ///
    /// # Errors
    ///
    /// [`SecretError`], when the variable is not set, is not UTF-8, or is empty.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        match env::var(name) {
            Ok(value) if value.is_empty() => Err(SecretError::Empty {
                place: format!("the environment variable `{name}`"),
            }),
            Ok(value) => Ok(Self::new(value)),
            Err(_) => Err(SecretError::Variable {
                name: name.to_owned(),
            }),
        }
    }

    /// Returns the text, to be sent where it belongs and never to be shown.
    pub fn expose(&self) -> &str {
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

/// Removes secrets from a text, because a server may repeat a secret that it got. A text with a
/// secret in another spelling is replaced as a whole.
#[cfg(any(feature = "email", feature = "webhook"))]
pub(crate) fn scrubbed<'a>(text: &str, hidden: impl IntoIterator<Item = &'a str>) -> String {
    // Short parts of an address, such as `send` or `v2`, are not secrets: removing them would only
    // garble the text.
    let hidden: Vec<_> = hidden
        .into_iter()
        .filter(|secret| secret.len() >= 6)
        .collect();
    let text = hidden
        .iter()
        .fold(text.to_owned(), |text, secret| text.replace(secret, "…"));
    let plain = spelling::plain(&text);
    if hidden
        .iter()
        .any(|secret| plain.contains(&spelling::plain(secret)))
    {
        return "… (it repeats a secret in another spelling)".to_owned();
    }
    text
}

/// Why a secret cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret in `{}` ({kind}): check the path and its permissions", path.display())]
    File {
        /// As given.
        path: PathBuf,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// The variable is not set, or is not UTF-8.
    #[error("the environment variable `{name}` is not set, or is not UTF-8")]
    Variable {
        /// As given.
        name: String,
    },
    /// The file or the variable is empty.
    #[error("{place} is empty: a secret was expected there")]
    Empty {
        /// The file or the variable.
        place: String,
    },
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(…) Secret(…)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[cfg(any(feature = "email", feature = "webhook"))]
    #[test]
    fn no_spelling_of_a_secret_passes() {
        let hidden = ["q+/hunter2=&\""];
        for said in [
            "q+/hunter2=&\"",
            "q%2B%2Fhunter2%3D%26%22",
            "q%2b%2fhunter2%3d%26%22",
            "q%252B%252Fhunter2%253D%2526%2522",
            "%71+/%68unter2=%26%22",
            "q+\\/hunter2=&\\\"",
            "q\\u002b\\u002Fhunter2=\\u0026\\\"",
            "q&#43;&#x2F;hunter2=&amp;&quot;",
            "q&plus;&sol;hunter2&equals;&amp;&quot;",
            "q /hunter2=&\"",
        ] {
            let shown = scrubbed(&format!("no such webhook: {said} at all"), hidden);
            assert!(!shown.to_lowercase().contains("hunter2"), "{said}: {shown}");
        }
        let harmless = "100% of it, see /v2/send?x=%20 &amp; \\u00e4 \\ %";
        assert_eq!(scrubbed(harmless, hidden), harmless);
    }

    #[test]
    fn a_file_without_an_end_is_an_error() {
        let error = Secret::from_file("/dev/zero").unwrap_err();
        assert!(
            matches!(
                error,
                SecretError::File {
                    kind: io::ErrorKind::FileTooLarge,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_file_s_last_line_end_is_not_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, " with spaces \r\n").unwrap();
        assert_eq!(Secret::from_file(&path).unwrap().expose(), " with spaces ");
        fs::write(&path, "\n").unwrap();
        assert!(matches!(
            Secret::from_file(&path),
            Err(SecretError::Empty { .. })
        ));
        assert!(matches!(
            Secret::from_file(folder.path().join("none")),
            Err(SecretError::File { .. })
        ));
        assert!(matches!(
            Secret::from_env("IDEM_NO_SUCH_VARIABLE"),
            Err(SecretError::Variable { .. })
        ));
    }
}
