//! What a receiver's answer means.

use std::time::Duration;

use idem_runtime::clock::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::StatusCode;
use serde_json::Value;

use super::Service;
use crate::alert::Retry;

/// Nobody is kept waiting longer than this because a receiver said so.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Robots count per minute.
const MINUTE: Duration = Duration::from_secs(60);
/// DingTalk silences a robot that was too fast for this long.
const SILENCED: Duration = Duration::from_secs(10 * 60);

/// Why an answer is no success.
pub(super) struct Verdict {
    pub(super) what: String,
    pub(super) retry: Retry,
    pub(super) advice: &'static str,
}

/// What robots say in a 200.
struct Robot {
    code: i64,
    text: String,
}

impl Robot {
    fn read(service: Service, answer: &str) -> Option<Self> {
        let (code, text) = if service == Service::Feishu {
            ("code", "msg")
        } else {
            ("errcode", "errmsg")
        };
        let answer: Value = serde_json::from_str(answer).ok()?;
        Some(Self {
            code: answer[code].as_i64()?,
            text: answer[text].as_str().unwrap_or_default().to_owned(),
        })
    }
}

pub(super) fn judge(
    service: Service,
    status: StatusCode,
    retry_after: Option<&str>,
    answer: &str,
    now: Timestamp,
) -> Result<(), Verdict> {
    if !status.is_success() {
        return Err(refused(status, retry_after, answer, now));
    }
    match service {
        Service::Json => Ok(()),
        Service::Slack if answer.trim() == "ok" => Ok(()),
        Service::Slack => Err(nonsense(status, answer)),
        Service::Feishu | Service::DingTalk | Service::WeCom => {
            match Robot::read(service, answer) {
                Some(Robot { code: 0, .. }) => Ok(()),
                Some(robot) => Err(robot_error(service, &robot)),
                None => Err(nonsense(status, answer)),
            }
        }
    }
}

fn refused(status: StatusCode, retry_after: Option<&str>, answer: &str, now: Timestamp) -> Verdict {
    let what = format!("answered {status}: {answer}");
    let pause = retry_after
        .and_then(|text| pause(text, now))
        .map(Retry::After);
    let (retry, advice) = match status.as_u16() {
        429 => (
            pause.unwrap_or(Retry::Later),
            "it gets too much; it is sent again later",
        ),
        408 | 425 | 500.. => (
            pause.unwrap_or(Retry::Later),
            "it has trouble of its own; it is sent again later",
        ),
        300..=399 => (
            Retry::Never,
            "redirects are not followed: give the address it leads to",
        ),
        401 | 403 => (
            Retry::Never,
            "check the token in the address and the secret",
        ),
        404 | 410 => (
            Retry::Never,
            "the webhook is gone: make a new one and give its address",
        ),
        413 => (Retry::Never, "the message is too large for this receiver"),
        _ => (
            Retry::Never,
            "check the address, and that it is this service's",
        ),
    };
    Verdict {
        what,
        retry,
        advice,
    }
}

fn robot_error(service: Service, robot: &Robot) -> Verdict {
    let what = format!("refused with code {}: {}", robot.code, robot.text);
    let (retry, advice) = match (service, robot.code) {
        (Service::Feishu, 11232 | 99_991_400) => (
            Retry::After(MINUTE),
            "too many messages; it is sent again later",
        ),
        (Service::Feishu, 19021) => (Retry::Never, "check the secret, and this machine's clock"),
        (Service::Feishu, 19022) => (Retry::Never, "put this machine's address on the bot's list"),
        (Service::Feishu, 19024) => (Retry::Never, "make `idem` the bot's keyword"),
        (Service::DingTalk, 130_101 | 410_100 | 660_026 | 90_030) => (
            Retry::After(SILENCED),
            "too many messages; it is sent again later",
        ),
        (Service::DingTalk, 310_000) => (
            Retry::Never,
            "check the secret, the clock, the keyword `idem` and the address list",
        ),
        (Service::WeCom, 45009) => (
            Retry::After(MINUTE),
            "too many messages; it is sent again later",
        ),
        (Service::WeCom, 93000) => (
            Retry::Never,
            "the robot is gone: make a new one and give its address",
        ),
        (_, -1) => (Retry::Later, "the service is busy; it is sent again later"),
        _ => (Retry::Never, "look the code up in the service's document"),
    };
    Verdict {
        what,
        retry,
        advice,
    }
}

/// A proxy's page or another service behind the address; the one or the other passes.
fn nonsense(status: StatusCode, answer: &str) -> Verdict {
    Verdict {
        what: format!("answered {status} with something else than this service does: {answer}"),
        retry: Retry::Later,
        advice: "check that the address is this service's, and what stands between",
    }
}

/// `Retry-After`: seconds, or a date ([RFC
/// 9110](https://www.rfc-editor.org/rfc/rfc9110#name-retry-after)).
fn pause(text: &str, now: Timestamp) -> Option<Duration> {
    let pause = match text.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Duration::try_from(
            rfc2822::parse(text.trim())
                .ok()?
                .timestamp()
                .duration_since(now),
        )
        .ok()?,
    };
    Some(pause.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        assert_eq!(pause("7", now), Some(Duration::from_secs(7)));
        assert_eq!(
            pause("Mon, 21 Sep 2026 14:13:50 GMT", now),
            Some(Duration::from_secs(30))
        );
        assert_eq!(pause("Mon, 21 Sep 2020 14:13:50 GMT", now), None);
        assert_eq!(pause("99999999", now), Some(LONGEST));
        assert_eq!(pause("-7", now), None);
        assert_eq!(pause("soon", now), None);
    }
}
