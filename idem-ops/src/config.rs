//! The monitor's configuration as a TOML file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::optional as duration;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::Url;

use idem_runtime::Idem;

use crate::alert::Alert;
use crate::files;
use crate::monitor::{Monitor, Policy, Route};
use crate::proxies::Network;
#[cfg(any(feature = "email", feature = "webhook"))]
use crate::secret::Secret;
use crate::service::{self, RedriveRule, ServiceError};

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

/// A channel; each kind has its own fields. [`tag_channels`] does what serde's `tag = "kind"` would.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(
    not(all(feature = "email", feature = "webhook")),
    allow(dead_code, reason = "a build without a channel reads it to refuse it")
)]
enum ChannelConfig {
    Email(EmailConfig),
    Webhook(WebhookConfig),
    Slack(WebhookConfig),
    Feishu(WebhookConfig),
    Dingtalk(WebhookConfig),
    Wecom(WebhookConfig),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(
    not(feature = "email"),
    allow(dead_code, reason = "a build without mail reads it to refuse it")
)]
struct EmailConfig {
    name: Option<String>,
    /// It gets letters that stay open for too long, and nothing else.
    #[serde(default)]
    escalation: bool,
    /// It gets letters of these handlers, and of these errors.
    #[serde(default)]
    handlers: Vec<String>,
    #[serde(default)]
    errors: Vec<String>,
    /// It gets letters that no other channel's `handlers` and `errors` take.
    #[serde(default)]
    rest: bool,
    #[serde(default, deserialize_with = "duration::deserialize")]
    timeout: Option<Duration>,
    root_certificate: Option<PathBuf>,
    smtp: String,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    from: Option<String>,
    #[serde(default)]
    to: Vec<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(
    not(feature = "webhook"),
    allow(dead_code, reason = "a build without webhooks reads it to refuse it")
)]
struct WebhookConfig {
    name: Option<String>,
    /// It gets letters that stay open for too long, and nothing else.
    #[serde(default)]
    escalation: bool,
    /// It gets letters of these handlers, and of these errors.
    #[serde(default)]
    handlers: Vec<String>,
    #[serde(default)]
    errors: Vec<String>,
    /// It gets letters that no other channel's `handlers` and `errors` take.
    #[serde(default)]
    rest: bool,
    #[serde(default, deserialize_with = "duration::deserialize")]
    timeout: Option<Duration>,
    root_certificate: Option<PathBuf>,
    url_file: Option<PathBuf>,
    url_env: Option<String>,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
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

/// Turns each channel's `kind = "email"` and fields into `email = { fields }`, serde's usual form of
/// an enum. With serde's own `tag`, errors would lose the lines of the fields.
///
/// # Errors
/// The position of a channel without a kind.
fn tag_channels(document: &mut DeTable<'_>) -> Result<(), usize> {
    let Some(DeValue::Array(channels)) = document.get_mut("channel").map(Spanned::get_mut) else {
        return Ok(());
    };
    for channel in channels.iter_mut() {
        let span = channel.span();
        let DeValue::Table(fields) = channel.get_mut() else {
            continue;
        };
        let kind = fields.remove("kind").ok_or(span.start)?;
        let kind_span = kind.span();
        let DeValue::String(kind) = kind.into_inner() else {
            return Err(kind_span.start);
        };
        let fields = DeValue::Table(std::mem::take(fields));
        let tagged = [(Spanned::new(kind_span, kind), Spanned::new(span, fields))];
        *channel.get_mut() = DeValue::Table(tagged.into_iter().collect());
    }
    Ok(())
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

impl ChannelConfig {
    fn escalation(&self) -> bool {
        match self {
            Self::Email(email) => email.escalation,
            Self::Webhook(webhook)
            | Self::Slack(webhook)
            | Self::Feishu(webhook)
            | Self::Dingtalk(webhook)
            | Self::Wecom(webhook) => webhook.escalation,
        }
    }

    fn route(&self) -> Result<Route, String> {
        let (handlers, errors, rest) = match self {
            Self::Email(email) => (&email.handlers, &email.errors, email.rest),
            Self::Webhook(webhook)
            | Self::Slack(webhook)
            | Self::Feishu(webhook)
            | Self::Dingtalk(webhook)
            | Self::Wecom(webhook) => (&webhook.handlers, &webhook.errors, webhook.rest),
        };
        match (handlers.is_empty() && errors.is_empty(), rest) {
            (true, false) => Ok(Route::All),
            (true, true) => Ok(Route::Rest),
            (false, false) => Ok(Route::Matching {
                handlers: handlers.clone(),
                errors: errors.clone(),
            }),
            (false, true) => Err(
                "`rest` is for what other channels do not take: leave out `handlers` and `errors`"
                    .to_owned(),
            ),
        }
    }

    fn alert(&self) -> Result<Box<dyn Alert>, String> {
        #[cfg(feature = "webhook")]
        use crate::alert::Webhook;
        match self {
            #[cfg(feature = "email")]
            Self::Email(email) => email.alert(),
            #[cfg(feature = "webhook")]
            Self::Webhook(webhook) => webhook.alert(Webhook::json),
            #[cfg(feature = "webhook")]
            Self::Slack(webhook) => webhook.alert(Webhook::slack),
            #[cfg(feature = "webhook")]
            Self::Feishu(webhook) => webhook.alert(Webhook::feishu),
            #[cfg(feature = "webhook")]
            Self::Dingtalk(webhook) => webhook.alert(Webhook::dingtalk),
            #[cfg(feature = "webhook")]
            Self::Wecom(webhook) => webhook.alert(Webhook::wecom),
            #[cfg(not(all(feature = "email", feature = "webhook")))]
            _ => Err(
                "this build of idem-ops has no such channel: enable the feature `email` or `webhook`"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(feature = "email")]
impl EmailConfig {
    fn alert(&self) -> Result<Box<dyn Alert>, String> {
        let mut email = crate::alert::Email::smtp(&self.smtp);
        if let Some(name) = &self.name {
            email = email.name(name);
        }
        if let Some(from) = &self.from {
            email = email.from(from);
        }
        for to in &self.to {
            email = email.to(to);
        }
        if let Some(password) = secret(&self.password_file, &self.password_env, "password")? {
            email = email.password(password);
        }
        if let Some(root) = &self.root_certificate {
            email = email.root_certificate(certificates(root)?);
        }
        if let Some(timeout) = self.timeout {
            email = email.timeout(timeout);
        }
        Ok(Box::new(email.build().map_err(|error| error.to_string())?))
    }
}

#[cfg(feature = "webhook")]
impl WebhookConfig {
    fn alert(
        &self,
        builder: fn(Secret) -> crate::alert::WebhookBuilder,
    ) -> Result<Box<dyn Alert>, String> {
        let url = secret(&self.url_file, &self.url_env, "url")?
            .ok_or("a webhook's address is a secret: it needs `url_file` or `url_env`")?;
        let mut webhook = builder(url);
        if let Some(name) = &self.name {
            webhook = webhook.name(name);
        }
        if let Some(secret) = secret(&self.secret_file, &self.secret_env, "secret")? {
            webhook = webhook.secret(secret);
        }
        if let Some(root) = &self.root_certificate {
            webhook = webhook.root_certificate(certificates(root)?);
        }
        if let Some(timeout) = self.timeout {
            webhook = webhook.timeout(timeout);
        }
        Ok(Box::new(
            webhook.build().map_err(|error| error.to_string())?,
        ))
    }
}

#[cfg(any(feature = "email", feature = "webhook"))]
fn secret(
    file: &Option<PathBuf>,
    env: &Option<String>,
    what: &str,
) -> Result<Option<Secret>, String> {
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

#[cfg(any(feature = "email", feature = "webhook"))]
fn certificates(path: &Path) -> Result<Vec<u8>, String> {
    files::read(path, files::CERTIFICATES)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))
}
