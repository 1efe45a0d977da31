//! `idem erase`: forgets the content of one message, and says what it does not reach.

use std::fmt::Write as _;

use idem_ops::service::{self, Erasure};

use super::args::Erase;
use super::format::line;
use super::out::Out;
use super::problem::Problem;
use super::prompt;
use super::target::Target;

pub(crate) async fn run(erase: Erase, target: &Target, out: Out) -> Result<(), Problem> {
    let Erase {
        handler,
        key,
        reason,
        yes,
    } = erase;
    let question = format!(
        "Erase the result and the letters of {handler}, key {key}? Open letters are discarded, and this cannot be undone."
    );
    let why = prompt::why(reason, "is it erased")?;
    prompt::confirm(&question, yes)?;
    let message = service::Erase { handler, key, why };
    let erased = target.erase(&message).await?;
    out.answer(&erased, |_| text(&message, &erased))
}

fn text(message: &service::Erase, erased: &Erasure) -> String {
    let site = format!("{}, key {}", line(&message.handler), line(&message.key));
    let mut text = match (erased.letters.len(), erased.result) {
        (0, false) => format!("nothing is kept of {site}\n"),
        (0, true) => format!("erased of {site}: its result\n"),
        (letters, result) => {
            let result = if result { "its result, " } else { "" };
            let plural = if letters == 1 { "" } else { "s" };
            format!("erased of {site}: {result}{letters} letter{plural}\n")
        }
    };
    text.push_str("Not reached:");
    for place in &erased.not_reached {
        let _ = write!(text, "\n- {}", line(place));
    }
    text
}
