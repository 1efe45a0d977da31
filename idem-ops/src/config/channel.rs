//! The channels of a configuration.

#[cfg(any(feature = "email", feature = "webhook"))]
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::optional as duration;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::alert::Alert;
#[cfg(any(feature = "email", feature = "webhook"))]
use crate::files;
use crate::monitor::Route;
#[cfg(any(feature = "email", feature = "webhook"))]
use crate::secret::Secret;

/// A channel; each kind has its own fields. [`tag_channels`] does what serde's `tag = "kind"` would.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(
    not(all(feature = "email", feature = "webhook")),
    allow(dead_code, reason = "a build without a channel reads it to refuse it")
)]
pub(super) enum ChannelConfig {
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
pub(super) struct EmailConfig {
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
pub(super) struct WebhookConfig {
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

/// Turns each channel's `kind = "email"` and fields into `email = { fields }`, serde's usual form of
/// an enum. With serde's own `tag`, errors would lose the lines of the fields.
///
/// # Errors
/// The position of a channel without a kind.
pub(super) fn tag_channels(document: &mut DeTable<'_>) -> Result<(), usize> {
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

impl ChannelConfig {
    /// Returns whether it gets only letters that stay open for too long.
    pub(super) fn escalation(&self) -> bool {
        match self {
            Self::Email(email) => email.escalation,
            Self::Webhook(webhook)
            | Self::Slack(webhook)
            | Self::Feishu(webhook)
            | Self::Dingtalk(webhook)
            | Self::Wecom(webhook) => webhook.escalation,
        }
    }

    pub(super) fn route(&self) -> Result<Route, String> {
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

    pub(super) fn alert(&self) -> Result<Box<dyn Alert>, String> {
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
