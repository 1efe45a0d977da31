//! Alerts over HTTP: signed JSON, and the robots of Slack, Feishu/Lark, DingTalk and WeCom.

mod answer;
mod builder;
mod config_error;
mod dingtalk;
mod feishu;
mod json;
mod markup;
mod service;
mod sign;
mod slack;
mod wecom;

use std::fmt;
use std::time::Duration;

use idem_runtime::clock::{BoxFuture, Timestamp};
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use url::Url;

pub use builder::WebhookBuilder;
pub use config_error::WebhookConfigError;
use dingtalk::DingTalk;
use feishu::Feishu;
use json::Json;
use service::{Message, Request, Service};
pub use sign::{VerifyError, sign, verify};
use slack::Slack;
use wecom::WeCom;

use super::text::Story;
use super::{Alert, AlertError, Notice, Retry};
use crate::secret::{Secret, scrubbed};

/// The most bytes that are read of an answer.
const ANSWER: usize = 64 * 1024;

/// Alerts as an HTTP POST.
///
/// No redirect is followed, the address is `https` unless it is the loopback, and neither address
/// nor secret is in an error or in `Debug`: such addresses hold a token.
///
/// # Example
///
/// ```
/// use idem_ops::Secret;
/// use idem_ops::alert::Webhook;
///
/// let chat = Webhook::slack("https://hooks.slack.com/services/T0/B0/token").name("ops chat").build();
/// let ours = Webhook::json("https://ops.example.com/hooks/idem").secret(Secret::new("from a file, please")).build();
/// # // A machine without any root certificate cannot use TLS.
/// # let _ = (chat, ours);
/// ```
pub struct Webhook {
    name: String,
    service: &'static dyn Service,
    url: Url,
    secret: Option<Secret>,
    client: Client,
    timeout: Duration,
}

impl Webhook {
    /// Builds a channel to a receiver of your own that takes signed JSON. [`secret`](WebhookBuilder::secret) is required.
    ///
    /// The body is `{"version": 1, "subject": "…", "text": "…", "notice": {…}}`, where `notice` is
    /// the [`Notice`]. The headers are those of [Standard
    /// Webhooks](https://www.standardwebhooks.com): `webhook-id` is the notice's id, which a second
    /// copy has too, `webhook-timestamp` the time of this try in seconds since 1970, and
    /// `webhook-signature` what [`sign`] makes of them; [`verify`] checks it. Any answer of 200
    /// to 299 means success.
    pub fn json(url: impl Into<Secret>) -> WebhookBuilder {
        WebhookBuilder::new(&Json, url.into())
    }

    /// Builds a channel to a Slack [incoming
    /// webhook](https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/).
    ///
    /// Texts are [escaped](https://docs.slack.dev/messaging/formatting-message-text/#escaping) and
    /// marked as verbatim, so that no key pings anybody, and cut to 3,000 characters [a
    /// block](https://docs.slack.dev/reference/block-kit/composition-objects/text-object/).
    pub fn slack(url: impl Into<Secret>) -> WebhookBuilder {
        WebhookBuilder::new(&Slack, url.into())
    }

    /// Builds a channel to a [custom bot](https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot) of Feishu
    /// or Lark.
    ///
    /// With [`secret`](WebhookBuilder::secret) for a bot with signature verification. Where the bot
    /// asks for a keyword, `idem` is in every message. The message is a card of plain text, in
    /// which nothing can ping, within the 20 KB that the document allows.
    pub fn feishu(url: impl Into<Secret>) -> WebhookBuilder {
        WebhookBuilder::new(&Feishu, url.into())
    }

    /// Builds a channel to a [custom robot](https://open.dingtalk.com/document/robots/custom-robot-access) of DingTalk.
    ///
    /// With [`secret`](WebhookBuilder::secret) for a robot with a
    /// [signature](https://open.dingtalk.com/document/robots/customize-robot-security-settings). Where the robot asks for
    /// a keyword, `idem` is in every message. A robot that gets more than 20 messages a minute is
    /// silent for ten.
    pub fn dingtalk(url: impl Into<Secret>) -> WebhookBuilder {
        WebhookBuilder::new(&DingTalk, url.into())
    }

    /// Builds a channel to a [group robot](https://developer.work.weixin.qq.com/document/path/91770) of WeCom (WeChat
    /// Work).
    ///
    /// The message is Markdown of at most 4,096 bytes, as the document asks, cut between lines.
    pub fn wecom(url: impl Into<Secret>) -> WebhookBuilder {
        WebhookBuilder::new(&WeCom, url.into())
    }

    fn error(&self, what: impl AsRef<str>, retry: Retry, advice: &str) -> AlertError {
        AlertError::new(&self.name, what, retry, advice)
    }

    async fn try_send(&self, notice: &Notice, now: Timestamp) -> Result<(), AlertError> {
        let message = Message {
            notice,
            story: Story::of(notice),
            secret: self.secret.as_ref(),
            now,
        };
        let mut request = Request {
            url: self.url.clone(),
            headers: Vec::new(),
            body: self.service.body(&message).to_string(),
        };
        if let Some(secret) = &self.secret {
            self.service.sign(secret, &message, &mut request);
        }
        let mut post = self
            .client
            .post(request.url)
            .header(CONTENT_TYPE, "application/json; charset=utf-8");
        for (name, value) in request.headers {
            post = post.header(name, value);
        }
        let mut response = post
            .body(request.body)
            .send()
            .await
            .map_err(|error| self.broken(error))?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error))? {
            let room = ANSWER - answer.len();
            answer.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if answer.len() == ANSWER {
                break;
            }
        }
        let answer = self.shown(&String::from_utf8_lossy(&answer));
        let judged = if status.is_success() {
            self.service.judge(status, &answer)
        } else {
            Err(answer::refused(
                status,
                retry_after.as_deref(),
                &answer,
                now,
            ))
        };
        judged.map_err(|refusal| self.error(refusal.what, refusal.retry, refusal.advice))
    }

    fn broken(&self, error: reqwest::Error) -> AlertError {
        // The address is a secret, and reqwest's error shows it.
        let error = error.without_url();
        let mut what = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            what = format!("{what}: {inner}");
            cause = inner.source();
        }
        let advice = if what.contains("certificate") {
            "check the receiver's certificate; a certificate authority of your own has to be given"
        } else {
            "it may or may not have arrived; check the network, it is sent again"
        };
        self.error(self.shown(&what), Retry::Later, advice)
    }

    /// Removes the address's path, its query and the secret from a text, which the receiver may have
    /// repeated.
    fn shown(&self, text: &str) -> String {
        let values: Vec<_> = self
            .url
            .query_pairs()
            .map(|(_, value)| value.into_owned())
            .collect();
        let segments = self.url.path_segments().into_iter().flatten();
        let secret = self.secret.iter().map(Secret::expose);
        scrubbed(
            text,
            values
                .iter()
                .map(String::as_str)
                .chain(segments)
                .chain(secret),
        )
    }
}

impl Alert for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), AlertError>> {
        Box::pin(async move {
            let now = Timestamp::now();
            match tokio::time::timeout(self.timeout, self.try_send(notice, now)).await {
                Ok(sent) => sent,
                Err(_) => Err(self.error(
                    format!("no answer within {} s", self.timeout.as_secs_f64()),
                    Retry::Later,
                    "it may or may not have arrived; check the network, or allow more time",
                )),
            }
        })
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
