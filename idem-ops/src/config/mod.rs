//! The monitor's configuration as a TOML file.

mod channel;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::optional as duration;
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;
use url::Url;

use idem_runtime::Idem;

use crate::files;
use crate::monitor::{Monitor, Policy};
use crate::proxies::Network;
use crate::service::{self, RedriveRule, ServiceError};
use channel::{ChannelConfig, tag_channels};

/// The monitor's configuration, as a TOML file. Durations are written as `15m` or `4h`.
///
/// ```
/// let config: idem_ops::Config = r#"
///     service = "orders"
///     dashboard = "https://ops.example.com/idem/"
///
///     [policy]
///     digest_every = "15m"
///     escalate_after = "4h"
///
///     [[channel]]
///     kind = "email"
///     smtp = "smtp://alerts@mail.example.com:587"
///     password_env = "IDEM_SMTP_PASSWORD"
///     from = "idem <alerts@example.com>"
///     to = ["oncall@example.com"]
///
///     [[channel]]
///     kind = "slack"
///     url_file = "/run/secrets/slack"
///     escalation = true
///
///     [[redrive]]
///     name = "bank-is-down"
///     error = "connection refused"
///     every = "1h"
///     times = 3
///     until = "2026-12-04T18:00:00Z"
/// "#.parse()?;
/// # Ok::<(), idem_ops::ConfigError>(())
/// ```
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    service: String,
    dashboard: Option<Url>,
    #[serde(default)]
    trusted_proxies: Vec<Network>,
    #[serde(default)]
    policy: PolicyConfig,
    channel: Vec<Spanned<ChannelConfig>>,
    #[serde(default)]
    redrive: Vec<Spanned<RedriveRule>>,
    /// The line where each channel begins.
    #[serde(skip)]
    lines: Vec<usize>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyConfig {
    #[serde(default, deserialize_with = "duration::deserialize")]
    digest_every: Option<Duration>,
    new_groups_at_once: Option<u32>,
    #[serde(default, deserialize_with = "duration::deserialize")]
    group_forgotten_after: Option<Duration>,
    #[serde(default, deserialize_with = "duration::deserialize")]
    escalate_after: Option<Duration>,
    #[serde(default, deserialize_with = "duration::deserialize")]
    still_paused_every: Option<Duration>,
}

/// An error of a configuration, and its line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {} cannot be read: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        problem: std::io::Error,
    },
    /// The text is not a configuration: bad TOML, an unknown or missing field, a value of another
    /// type. The message contains no value of it, which may be a misplaced password.
    #[error("the configuration is wrong: line {line}: {what}")]
    Text {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A redrive rule is invalid.
    #[error("the configuration is wrong: line {line}: the redrive rule: {what}")]
    Rule {
        /// The line where the rule begins, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A channel cannot be used.
    #[error("the configuration is wrong: line {line}: {what}")]
    Channel {
        /// The line where the channel begins, from 1.
        line: usize,
        /// What is wrong, and what to do.
        what: String,
    },
}

impl std::str::FromStr for Config {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
        let wrong = |error: &toml::de::Error, what: String| {
            Err(ConfigError::Text {
                line: line(error.span().map_or(0, |span| span.start)),
                what,
            })
        };
        let mut document = match DeTable::parse(text) {
            // The message says what the grammar expected, and contains nothing of the text.
            Err(error) => return wrong(&error, error.message().to_owned()),
            Ok(document) => document,
        };
        if let Err(at) = tag_channels(document.get_mut()) {
            return Err(ConfigError::Text {
                line: line(at),
                what: "a channel needs `kind`: `email`, `webhook`, `slack`, `feishu`, `dingtalk` or `wecom`"
                    .to_owned(),
            });
        }
        match Self::deserialize(toml::Deserializer::from(document)) {
            Err(error) => wrong(&error, without_value(error.message())),
            Ok(config) => {
                for rule in &config.redrive {
                    rule.get_ref().check().map_err(|error| ConfigError::Rule {
                        line: line(rule.span().start),
                        what: error.to_string(),
                    })?;
                }
                let lines = config
                    .channel
                    .iter()
                    .map(|channel| line(channel.span().start))
                    .collect();
                Ok(Self { lines, ..config })
            }
        }
    }
}

/// Returns serde's message without the value it quotes.
fn without_value(said: &str) -> String {
    let first = said.lines().next().unwrap_or_default();
    let names = ["unknown field ", "missing field ", "duplicate field "];
    if names.iter().any(|of_names| first.starts_with(of_names)) {
        return first.to_owned();
    }
    match first.rsplit_once(", expected ") {
        Some((_, expected)) => format!("a value does not fit here: expected {expected}"),
        None => "a value does not fit here".to_owned(),
    }
}

impl fmt::Debug for Config {
    /// Shows no address, which may contain a misplaced password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (service, channels) = (&self.service, self.channel.len());
        f.debug_struct("Config")
            .field("service", service)
            .field("channels", &channels)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`], which names the line.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = files::read_text(path, files::CONFIG);
        text.map_err(|problem| ConfigError::File {
            path: path.to_owned(),
            problem,
        })?
        .parse()
    }

    /// Returns the proxies that `trusted_proxies` names, for the dashboard's
    /// `Auth::trusted_proxies`.
    pub fn trusted_proxies(&self) -> &[Network] {
        &self.trusted_proxies
    }

    /// Puts the redrive rules into the ledger, where a [`Service`](crate::service::Service) follows
    /// them, and removes those that an earlier configuration had. Rules that people set stay.
    /// Call it when the service starts.
    ///
    /// # Errors
    /// [`ServiceError`](crate::service::ServiceError) when the ledger cannot be read or written.
    pub async fn set_rules(&self, idem: &Idem) -> Result<(), ServiceError> {
        let rules: Vec<_> = self
            .redrive
            .iter()
            .map(|rule| rule.get_ref().clone())
            .collect();
        service::configure(idem, &rules).await
    }

    /// Builds a monitor of this Idem's letters as configured, and reads the secrets.
    ///
    /// # Errors
    /// [`ConfigError::Channel`], which names the line where the channel begins.
    pub fn monitor(&self, idem: &Idem) -> Result<Monitor, ConfigError> {
        let mut monitor = Monitor::new(idem, &self.service).policy(self.policy.policy());
        if let Some(dashboard) = &self.dashboard {
            monitor = monitor.dashboard(dashboard.clone());
        }
        for (channel, line) in self.channel.iter().map(Spanned::get_ref).zip(&self.lines) {
            let wrong = |what| ConfigError::Channel { line: *line, what };
            let route = channel.route().map_err(wrong)?;
            let alert = channel.alert().map_err(wrong)?;
            monitor = monitor.add(alert, channel.escalation(), route);
        }
        Ok(monitor)
    }
}

impl PolicyConfig {
    fn policy(&self) -> Policy {
        let mut policy = Policy::default();
        if let Some(period) = self.digest_every {
            policy = policy.digest_every(period);
        }
        if let Some(times) = self.new_groups_at_once {
            policy = policy.new_groups_at_once(times);
        }
        if let Some(silence) = self.group_forgotten_after {
            policy = policy.group_forgotten_after(silence);
        }
        if let Some(open) = self.escalate_after {
            policy = policy.escalate_after(open);
        }
        if let Some(period) = self.still_paused_every {
            policy = policy.still_paused_every(period);
        }
        policy
    }
}
