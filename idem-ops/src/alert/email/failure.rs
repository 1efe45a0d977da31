//! Why a mail was not sent, and what a person can do about it.

use std::error::Error as _;
use std::fmt;

use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::response::Response;

use crate::alert::Retry;

/// A part of the conversation with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connect,
    StartTls,
    Login,
    Mail,
}

/// Why a mail was not sent.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server refused, for now or permanently, with this answer.
    Refused {
        stage: Stage,
        permanent: bool,
        answer: String,
    },
    /// The connection could not be made, or broke.
    Broken { stage: Stage, detail: String },
    /// The server's certificate or the handshake was refused.
    Tls { detail: String },
    /// The server does not speak SMTP, or answered another command.
    Protocol { stage: Stage, detail: String },
    /// The server lacks something that the mail needs.
    Unsupported { detail: String },
    /// The server does not offer STARTTLS.
    NoStartTls,
    /// The alert's timeout passed.
    TimedOut { seconds: f64 },
    /// The mail could not be composed.
    Local(String),
}

/// Checks that the answer has the code that belongs to the command. With another one, client and
/// server no longer talk about the same command.
pub(super) fn expect(
    stage: Stage,
    code: u16,
    answer: Result<Response, SmtpError>,
) -> Result<(), Failure> {
    match answer {
        Ok(response) if response.has_code(code) => Ok(()),
        Ok(response) => Err(Failure::Protocol {
            stage,
            detail: format!("{} instead of {code}", response.code()),
        }),
        Err(error) => Err(Failure::smtp(stage, &error)),
    }
}

impl Failure {
    pub(super) fn smtp(stage: Stage, error: &SmtpError) -> Self {
        let detail = causes(error);
        if let Some(code) = error.status() {
            let text = error.source().map(ToString::to_string).unwrap_or_default();
            return Self::Refused {
                stage,
                permanent: error.is_permanent(),
                answer: format!("{code} {text}"),
            };
        }
        if error.is_client() {
            return Self::Unsupported { detail };
        }
        // lettre reports an answer that was cut off by a closed connection as a wrong answer.
        if error.is_response() && !detail.contains("incomplete response") {
            return Self::Protocol { stage, detail };
        }
        // Errors of the handshake come as plain I/O errors.
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
            | Self::Unsupported { .. }
            | Self::Local(_) => Retry::Never,
            _ => Retry::Later,
        }
    }

    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Refused {
                permanent: false, ..
            } => "the server asks to come back later",
            Self::Refused {
                stage: Stage::Login,
                ..
            } => "check the user and the password",
            Self::Refused {
                stage: Stage::Mail, ..
            } => "check the sender and the address, or ask the server's operator why",
            Self::Refused { .. } => "ask the server's operator why",
            Self::Broken {
                stage: Stage::Connect,
                ..
            } => "check host, port and network, and that the server runs",
            Self::Broken {
                stage: Stage::Mail, ..
            } => "the mail may or may not have arrived; it is sent again",
            Self::Broken { .. } => "it is sent again",
            Self::Tls { .. } => {
                "check the host's name and certificate; a certificate authority of your own has to be given"
            }
            Self::Protocol { .. } => {
                "check that host and port are a mail server's; `smtps` and `smtp` have two ports"
            }
            Self::Unsupported { .. } => {
                "use the server's port for submission, addresses in ASCII, or another server"
            }
            Self::NoStartTls => "use `smtps://`, or `tls=none` for a relay on the loopback",
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
            Self::Protocol { stage, detail } => {
                write!(
                    f,
                    "answered {stage} with something that is not SMTP's answer: {detail}"
                )
            }
            Self::Unsupported { detail } => write!(f, "cannot be used: {detail}"),
            Self::NoStartTls => f.write_str("offers no STARTTLS, and mail must not go unprotected"),
            Self::TimedOut { seconds } => write!(f, "did not finish within {seconds} s"),
            Self::Local(reason) => {
                write!(f, "was not asked: the mail cannot be composed ({reason})")
            }
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "the connection",
            Self::StartTls => "STARTTLS",
            Self::Login => "the login",
            Self::Mail => "the mail",
        })
    }
}

/// Returns the error and its causes, outermost first.
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
