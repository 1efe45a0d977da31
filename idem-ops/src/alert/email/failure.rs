//! What goes wrong with a mail, and what a person can do about it.

use std::error::Error as _;
use std::fmt;

use lettre::transport::smtp::Error as SmtpError;

use crate::alert::Retry;

/// Where in the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connect,
    StartTls,
    Auth,
    From,
    To,
    Data,
    Content,
}

/// What went wrong.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// The server said no, for now or for good, in these words.
    Refused {
        stage: Stage,
        permanent: bool,
        answer: String,
    },
    /// No connection, or it broke.
    Broken {
        stage: Stage,
        detail: String,
    },
    /// The server's certificate, or the handshake.
    Tls {
        detail: String,
    },
    /// The server does not speak SMTP.
    Nonsense {
        stage: Stage,
        detail: String,
    },
    /// The server answered something else than what was asked.
    OutOfStep {
        stage: Stage,
        code: String,
    },
    NoStartTls,
    NoAuth,
    NoUtf8,
    /// The server was too slow.
    TimedOut {
        seconds: f64,
    },
    /// The mail could not be made.
    Local(String),
}

impl Failure {
    pub(super) fn smtp(stage: Stage, error: &SmtpError) -> Self {
        let detail = causes(error);
        if error.is_transient() || error.is_permanent() {
            let text = error.source().map(ToString::to_string).unwrap_or_default();
            let code = error
                .status()
                .map(|code| code.to_string())
                .unwrap_or_default();
            return Self::Refused {
                stage,
                permanent: error.is_permanent(),
                answer: format!("{code} {text}"),
            };
        }
        // What lettre says when the server closed before its answer was whole.
        if error.is_response() && !detail.contains("incomplete response") {
            return Self::Nonsense { stage, detail };
        }
        // The handshake's errors come as plain I/O errors.
        if error.is_tls() || detail.contains("certificate") {
            return Self::Tls { detail };
        }
        Self::Broken { stage, detail }
    }

    pub(super) fn retry(&self) -> Retry {
        match self {
            Self::Refused {
                permanent: true, ..
            }
            | Self::NoAuth
            | Self::NoUtf8
            | Self::Local(_) => Retry::Never,
            _ => Retry::Later,
        }
    }

    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Refused {
                stage: Stage::Auth,
                permanent: true,
                ..
            } => "check the user and the password",
            Self::Refused {
                stage: Stage::From,
                permanent: true,
                ..
            } => "check that this sender may send here",
            Self::Refused {
                stage: Stage::To,
                permanent: true,
                ..
            } => "check the address",
            Self::Refused {
                permanent: true, ..
            } => "ask who runs the server why",
            Self::Refused {
                permanent: false, ..
            } => "the server asks to come back later",
            Self::Broken {
                stage: Stage::Connect,
                ..
            } => "check host, port and network, and that the server runs",
            Self::Broken {
                stage: Stage::Content,
                ..
            } => "the mail may or may not have arrived; it is sent again",
            Self::Broken { .. } => "it is sent again",
            Self::Tls { .. } => {
                "check the host's name and certificate; a certificate authority of your own has to be given"
            }
            Self::Nonsense { .. } => {
                "check that host and port are a mail server's; `smtps` and `smtp` have two ports"
            }
            Self::OutOfStep { .. } => {
                "something between here and the server meddles, or it is no mail server"
            }
            Self::NoStartTls => "use `smtps://`, or `tls=none` for a relay on the loopback",
            Self::NoAuth => "leave user and password out, or use the server's port for submission",
            Self::NoUtf8 => "use addresses in ASCII, or another server",
            Self::TimedOut { .. } => {
                "the mail may or may not have arrived; check the network, or allow more time"
            }
            Self::Local(_) => "check the sender and the addresses",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { stage, answer, .. } => write!(f, "refused {stage}: {answer}"),
            Self::Broken {
                stage: Stage::Connect,
                detail,
            } => write!(f, "cannot be reached: {detail}"),
            Self::Broken { stage, detail } => write!(f, "broke off at {stage}: {detail}"),
            Self::Tls { detail } => write!(f, "is not trusted: {detail}"),
            Self::Nonsense { stage, detail } => {
                write!(f, "does not speak SMTP at {stage}: {detail}")
            }
            Self::OutOfStep { stage, code } => {
                write!(f, "answered {code} to {stage}, which is no answer to that")
            }
            Self::NoStartTls => f.write_str("offers no STARTTLS, and mail must not go unprotected"),
            Self::NoAuth => f.write_str("offers no login that is known here (PLAIN, LOGIN)"),
            Self::NoUtf8 => f.write_str("takes no addresses beyond ASCII"),
            Self::TimedOut { seconds } => write!(f, "did not finish within {seconds} s"),
            Self::Local(reason) => write!(f, "was not asked: the mail cannot be made ({reason})"),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "the greeting",
            Self::StartTls => "STARTTLS",
            Self::Auth => "the login",
            Self::From => "the sender",
            Self::To => "the address",
            Self::Data => "the mail",
            Self::Content => "the mail's end",
        })
    }
}

/// The error and its causes, outermost first.
fn causes(error: &SmtpError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
