//! Errors of a mail channel's configuration.

/// An error of a mail channel's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmailConfigError {
    /// The server's address is not a URL.
    #[error(
        "the mail server's address cannot be read ({reason}): write `smtp://user@mail.example.com:587`"
    )]
    Url {
        /// Why it was refused.
        reason: String,
    },
    /// The address has another scheme.
    #[error(
        "`{scheme}://` is not the scheme of a mail server: write `smtp://` (STARTTLS, port 587) or `smtps://` (TLS, port 465)"
    )]
    Scheme {
        /// As given.
        scheme: String,
    },
    /// The address names no host.
    #[error("the mail server's address names no host: write `smtp://user@mail.example.com:587`")]
    NoHost,
    /// The address contains a password, which every log of it would show.
    #[error(
        "the mail server's address contains a password: put it in a file or an environment variable instead"
    )]
    PasswordInUrl,
    /// The option `tls` has an unknown value.
    #[error(
        "`tls={value}` does not fit: it is `required` (the default), or `none` with `smtp://` to the loopback"
    )]
    Tls {
        /// As given.
        value: String,
    },
    /// The address has an unknown option.
    #[error("the mail server's address has an unknown option `{name}`: there is only `tls`")]
    Option {
        /// As given.
        name: String,
    },
    /// Mail would leave this machine unprotected.
    #[error(
        "`tls=none` would send mail to `{host}` unprotected: it is for a relay on the loopback only"
    )]
    PlainOverNetwork {
        /// As given.
        host: String,
    },
    /// A text is not a mail address.
    #[error(
        "`{text}` is not a mail address ({reason}): write `alerts@example.com` or `idem <alerts@example.com>`"
    )]
    Address {
        /// As given, escaped.
        text: String,
        /// Why it was refused.
        reason: String,
    },
    /// The sender is missing.
    #[error("mail needs a sender: give `from`")]
    NoFrom,
    /// The receiver is missing.
    #[error("mail needs a receiver: give `to` at least once")]
    NoTo,
    /// The timeout is zero.
    #[error("a timeout of zero would fail every mail: 30 s is usual")]
    NoTime,
    /// The user has no password.
    #[error("the user `{user}` has no password: give it in a file or an environment variable")]
    NoPassword {
        /// As given.
        user: String,
    },
    /// The password has no user.
    #[error("there is a password but no user: write `smtp://user@host`")]
    NoUser,
    /// The name for `EHLO` is not a domain name.
    #[error("`{}` cannot be this machine's name: write its domain name", domain.escape_debug())]
    Hello {
        /// As given.
        domain: String,
    },
    /// The root certificates cannot be read or trusted.
    #[error(
        "the root certificates cannot be used ({reason}): a PEM file with `BEGIN CERTIFICATE` is expected"
    )]
    Certificate {
        /// Why they were refused.
        reason: String,
    },
}
