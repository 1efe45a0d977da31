//! `idem pause`, `idem resume` and `idem pauses`: handlers whose messages wait.

use idem_ops::service::{Pause, PauseState};
use idem_runtime::clock::Timestamp;

use super::args::{NewPause, OneHandler};
use super::format::line;
use super::out::Out;
use super::problem::Problem;
use super::prompt;
use super::target::Target;

pub(crate) async fn pause(asked: NewPause, target: &Target, out: Out) -> Result<(), Problem> {
    let NewPause { what, force } = asked;
    let why = prompt::why(what.reason, "is it paused")?;
    let pause = target.pause(&what.handler, &why, force).await?;
    out.answer(&pause, |_| {
        format!(
            "`{}` is paused: its messages wait until `idem resume`",
            line(&pause.handler)
        )
    })
}

pub(crate) async fn resume(what: OneHandler, target: &Target, out: Out) -> Result<(), Problem> {
    let why = prompt::why(what.reason, "is it resumed")?;
    let lifted = target.resume(&what.handler, &why).await?;
    out.answer(&lifted, |_| {
        format!(
            "`{}` is resumed: its messages run again, all at once",
            line(&lifted.handler)
        )
    })
}

pub(crate) async fn list(target: &Target, out: Out) -> Result<(), Problem> {
    let list = target.pauses().await?;
    out.answer(&list, |_| {
        if list.pauses.is_empty() {
            return "no handler is paused".to_owned();
        }
        let now = Timestamp::now();
        let lines = list.pauses.iter().map(|pause| line_of(pause, now));
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// Describes a pause in a line.
pub(crate) fn line_of(pause: &Pause, now: Timestamp) -> String {
    let state = match pause.state {
        PauseState::Probing => ", one message runs to see",
        PauseState::Recovering => ", recovering",
        _ => "",
    };
    let by = pause.by.iter().map(|by| format!(" by {}", line(by)));
    format!(
        "{} since {:.0} ({} s){}{state}, {} calls turned away: {}",
        line(&pause.handler),
        pause.since,
        now.duration_since(pause.since).as_secs().max(0),
        by.collect::<String>(),
        pause.turned_away,
        line(&pause.why)
    )
}
