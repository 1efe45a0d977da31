//! The monitor's choices as a TOML file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::optional as duration;
use serde::Deserialize;
use toml::Spanned;
use url::Url;

use idem_runtime::Idem;

use crate::alert::Alert;
use crate::files;
use crate::monitor::{Monitor, Policy};
use crate::proxies::Network;
#[cfg(any(feature = "email", feature = "webhook"))]
use crate::secret::Secret;

/// The monitor's choices, as a file has them. Durations are written as `15m` or `4h`.
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
    /// In which line each channel begins.
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
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(
    not(any(feature = "email", feature = "webhook")),
    allow(
        dead_code,
        reason = "a build without channels reads them to refuse them"
    )
)]
struct ChannelConfig {
    kind: Kind,
    name: Option<String>,
    /// It gets what has stayed open for too long, and nothing else.
    #[serde(default)]
    escalation: bool,
    #[serde(default, deserialize_with = "duration::deserialize")]
    timeout: Option<Duration>,
    root_certificate: Option<PathBuf>,
    smtp: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    from: Option<String>,
    #[serde(default)]
    to: Vec<String>,
    url_file: Option<PathBuf>,
    url_env: Option<String>,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Email,
    Webhook,
    Slack,
    Feishu,
    Dingtalk,
    Wecom,
}

/// What is wrong with a configuration, and in which line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {} cannot be read: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: std::io::Error,
    },
    /// Its text is no configuration: bad TOML, an unknown or missing field, a value of another
    /// type. No value is in the message, for somebody may have written a password there.
    #[error("the configuration is wrong: line {line}: {what}")]
    Text {
        /// Where it is wrong, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A channel cannot be used.
    #[error("the configuration is wrong: line {line}: {what}")]
    Channel {
        /// Where the channel begins, from 1.
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
        let document = match toml::Deserializer::parse(text) {
            // What the grammar wanted; nothing of the text is in it.
            Err(error) => return wrong(&error, error.message().to_owned()),
            Ok(document) => document,
        };
        match Self::deserialize(document) {
            Err(error) => wrong(&error, without_value(error.message())),
            Ok(config) => {
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

/// What serde says of a value, without the value.
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
    /// An address may hold a password that does not belong there.
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

    /// The proxies that `trusted_proxies` names, for `Auth::trusted_proxies` of the dashboard's
    /// `Auth`.
    pub fn trusted_proxies(&self) -> &[Network] {
        &self.trusted_proxies
    }

    /// A monitor of this Idem's letters, as the file says. Secrets are read now.
    ///
    /// # Errors
    /// [`ConfigError::Channel`], which names the line where the channel begins.
    pub fn monitor(&self, idem: &Idem) -> Result<Monitor, ConfigError> {
        let mut monitor = Monitor::of(idem, &self.service).policy(self.policy.policy());
        if let Some(dashboard) = &self.dashboard {
            monitor = monitor.dashboard(dashboard.clone());
        }
        for (channel, line) in self.channel.iter().map(Spanned::get_ref).zip(&self.lines) {
            let alert = channel
                .alert()
                .map_err(|what| ConfigError::Channel { line: *line, what })?;
            monitor = monitor.channel(alert, channel.escalation);
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
        policy
    }
}

impl ChannelConfig {
    fn alert(&self) -> Result<Box<dyn Alert>, String> {
        match self.kind {
            #[cfg(feature = "email")]
            Kind::Email => {
                self.only(
                    "email",
                    &["smtp", "password_file", "password_env", "from", "to"],
                )?;
                let smtp = self
                    .smtp
                    .as_ref()
                    .ok_or("an e-mail channel needs `smtp = \"smtp://user@host:587\"`")?;
                let mut email = crate::alert::Email::smtp(smtp);
                if let Some(name) = &self.name {
                    email = email.name(name);
                }
                if let Some(from) = &self.from {
                    email = email.from(from);
                }
                for to in &self.to {
                    email = email.to(to);
                }
                if let Some(password) = secret(
                    self.password_file.as_deref(),
                    self.password_env.as_deref(),
                    "password",
                )? {
                    email = email.password(password);
                }
                if let Some(root) = &self.root_certificate {
                    email = email.root_certificate_file(root);
                }
                if let Some(timeout) = self.timeout {
                    email = email.timeout(timeout);
                }
                Ok(Box::new(email.build().map_err(|error| error.to_string())?))
            }
            #[cfg(feature = "webhook")]
            Kind::Webhook | Kind::Slack | Kind::Feishu | Kind::Dingtalk | Kind::Wecom => {
                self.webhook()
            }
            #[cfg(not(all(feature = "email", feature = "webhook")))]
            _ => Err(
                "this build of idem-ops has no such channel: build it with its feature".to_owned(),
            ),
        }
    }

    #[cfg(feature = "webhook")]
    fn webhook(&self) -> Result<Box<dyn Alert>, String> {
        use crate::alert::Webhook;
        self.only(
            "webhook",
            &["url_file", "url_env", "secret_file", "secret_env"],
        )?;
        let url = secret(self.url_file.as_deref(), self.url_env.as_deref(), "url")?;
        let url = url.ok_or("a webhook's address is a secret: it needs `url_file` or `url_env`")?;
        let mut webhook = match self.kind {
            Kind::Slack => Webhook::slack(url),
            Kind::Feishu => Webhook::feishu(url),
            Kind::Dingtalk => Webhook::dingtalk(url),
            Kind::Wecom => Webhook::wecom(url),
            Kind::Webhook | Kind::Email => Webhook::json(url),
        };
        if let Some(name) = &self.name {
            webhook = webhook.name(name);
        }
        if let Some(secret) = secret(
            self.secret_file.as_deref(),
            self.secret_env.as_deref(),
            "secret",
        )? {
            webhook = webhook.secret(secret);
        }
        if let Some(root) = &self.root_certificate {
            let pem = files::read(root, files::CERTIFICATES);
            let pem = pem.map_err(|error| format!("{} cannot be read: {error}", root.display()))?;
            webhook = webhook.root_certificate(pem);
        }
        if let Some(timeout) = self.timeout {
            webhook = webhook.timeout(timeout);
        }
        Ok(Box::new(
            webhook.build().map_err(|error| error.to_string())?,
        ))
    }

    /// A field of another kind of channel is a mistake that would otherwise go unnoticed.
    #[cfg(any(feature = "email", feature = "webhook"))]
    fn only(&self, kind: &str, fields: &[&str]) -> Result<(), String> {
        let given = [
            ("smtp", self.smtp.is_some()),
            ("password_file", self.password_file.is_some()),
            ("password_env", self.password_env.is_some()),
            ("from", self.from.is_some()),
            ("to", !self.to.is_empty()),
            ("url_file", self.url_file.is_some()),
            ("url_env", self.url_env.is_some()),
            ("secret_file", self.secret_file.is_some()),
            ("secret_env", self.secret_env.is_some()),
        ];
        match given
            .iter()
            .find(|(field, given)| *given && !fields.contains(field))
        {
            Some((field, _)) => Err(format!(
                "`{field}` is nothing a channel of the kind {kind} has"
            )),
            None => Ok(()),
        }
    }
}

#[cfg(any(feature = "email", feature = "webhook"))]
fn secret(file: Option<&Path>, env: Option<&str>, what: &str) -> Result<Option<Secret>, String> {
    let secret = match (file, env) {
        (Some(_), Some(_)) => {
            return Err(format!(
                "`{what}_file` and `{what}_env` are both given: keep one"
            ));
        }
        (Some(file), None) => Secret::from_file(file),
        (None, Some(name)) => Secret::from_env(name),
        (None, None) => return Ok(None),
    };
    secret.map(Some).map_err(|error| error.to_string())
}
