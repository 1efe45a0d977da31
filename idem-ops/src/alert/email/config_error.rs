//! What can be wrong with a mail channel.

use std::io;
use std::path::PathBuf;

use crate::secret::SecretError;

/// What is wrong with how mail is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmailConfigError {
    /// It is no address of a server.
    #[error(
        "the mail server's address cannot be read ({reason}): write `smtp://user@mail.example.com:587`"
    )]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// Another protocol.
    #[error(
        "`{scheme}://` is no mail server: write `smtp://` (STARTTLS, port 587) or `smtps://` (TLS, port 465)"
    )]
    Scheme {
        /// As given.
        scheme: String,
    },
    /// No host in the address.
    #[error("the mail server's address names no host: write `smtp://user@mail.example.com:587`")]
    NoHost,
    /// A password in the address would be in every log that shows it.
    #[error(
        "the mail server's address holds a password: put it in a file or an environment variable instead"
    )]
    PasswordInUrl,
    /// `tls` has an unknown value.
    #[error(
        "`tls={value}` does not fit: it is `required` (the default), or `none` with `smtp://` to the loopback"
    )]
    Tls {
        /// As given.
        value: String,
    },
    /// An unknown option.
    #[error("the mail server's address has an unknown option `{name}`: there is only `tls`")]
    Option {
        /// As given.
        name: String,
    },
    /// Unprotected mail beyond this machine.
    #[error(
        "`tls=none` would send mail to `{host}` unprotected: it is for a relay on the loopback only"
    )]
    PlainOverNetwork {
        /// As given.
        host: String,
    },
    /// An address that is none.
    #[error(
        "`{text}` is no mail address ({reason}): write `alerts@example.com` or `idem <alerts@example.com>`"
    )]
    Address {
        /// As given, escaped.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody it comes from.
    #[error("mail needs a sender: give `from`")]
    NoFrom,
    /// Nobody it goes to.
    #[error("mail needs somebody to go to: give `to` at least once")]
    NoTo,
    /// A timeout of zero.
    #[error("a timeout of zero would fail every mail: 30 s is usual")]
    NoTime,
    /// A user without a password.
    #[error("no password for the user `{user}`: give `password_file` or `password_env`")]
    NoPassword {
        /// As given.
        user: String,
    },
    /// A password without a user.
    #[error("a password but no user: write `smtp://user@host`")]
    NoUser,
    /// Not a name to introduce oneself with.
    #[error("`{}` cannot be this machine's name: write its domain name", domain.escape_debug())]
    Hello {
        /// As given.
        domain: String,
    },
    /// There is no password where it should be.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The root certificate's file cannot be read.
    #[error("cannot read the root certificate `{}` ({kind})", path.display())]
    CertificateFile {
        /// As given.
        path: PathBuf,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// It is no certificate, or none can be trusted.
    #[error(
        "the root certificates cannot be used ({reason}): a PEM file with `BEGIN CERTIFICATE` is expected"
    )]
    Certificate {
        /// What is wrong.
        reason: String,
    },
}
