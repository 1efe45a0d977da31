//! Decides what a receiver's answer means.

use std::time::Duration;

use idem_runtime::clock::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::StatusCode;
use serde_json::Value;

use crate::alert::Retry;

/// The longest pause that a receiver can ask for.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// The period over which robots limit messages.
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// The advice for a robot that got too many messages.
pub(super) const TOO_MANY: &str = "too many messages; it is sent again later";

/// Why an answer is not a success.
pub(super) struct Refusal {
    pub(super) what: String,
    pub(super) retry: Retry,
    pub(super) advice: &'static str,
}

/// Decides what an answer with an error status means.
pub(super) fn refused(
    status: StatusCode,
    retry_after: Option<&str>,
    answer: &str,
    now: Timestamp,
) -> Refusal {
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
    Refusal {
        what,
        retry,
        advice,
    }
}

/// Decides what a robot's code in a successful answer means. `names` are the fields of the code and
/// its text; `known` are the service's own codes.
pub(super) fn robot(
    status: StatusCode,
    answer: &str,
    names: (&str, &str),
    known: impl Fn(i64) -> Option<(Retry, &'static str)>,
) -> Result<(), Refusal> {
    let parsed: Value = serde_json::from_str(answer).unwrap_or_default();
    let Some(code) = parsed[names.0].as_i64() else {
        return Err(unexpected(status, answer));
    };
    if code == 0 {
        return Ok(());
    }
    let (retry, advice) = known(code).unwrap_or(match code {
        -1 => (Retry::Later, "the service is busy; it is sent again later"),
        _ => (Retry::Never, "look the code up in the service's document"),
    });
    let text = parsed[names.1].as_str().unwrap_or_default();
    Err(Refusal {
        what: format!("refused with code {code}: {text}"),
        retry,
        advice,
    })
}

/// Refuses an answer that is not this service's: a proxy's page, or another service behind the
/// address. It may pass.
pub(super) fn unexpected(status: StatusCode, answer: &str) -> Refusal {
    Refusal {
        what: format!("answered {status} with something else than this service does: {answer}"),
        retry: Retry::Later,
        advice: "check that the address is this service's, and what stands between",
    }
}

/// Parses `Retry-After`: seconds, or a date ([RFC
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
