//! `idem dlq show`: one letter in full.

use std::fmt::Write as _;

use comfy_table::{Cell, Color};
use idem_runtime::{
    DeadLetter, DeadLetterId, LetterState, Origin,
    dead_letters::{ActionKind, Difference, Reused},
};

use super::list::state_name;
use crate::format::{self, line, lines};
use crate::out::Out;
use crate::problem::Problem;
use crate::target::Target;
use idem_ops::service::LetterView;

pub(super) async fn run(id: DeadLetterId, target: &Target, out: Out) -> Result<(), Problem> {
    let view = target.letter(id).await?;
    let text = page(&view, target.runs(), out)?;
    out.answer(&view, |_| text)
}

fn page(view: &LetterView, runs: bool, out: Out) -> Result<String, Problem> {
    let letter = &view.letter;
    let mut text = String::new();
    let mut say = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<11} {value}");
    };
    say("Letter", &letter.id.to_string());
    say("Handler", &line(&letter.handler));
    say("Key", &line(&letter.key));
    say("State", &state(letter));
    say("Reason", &letter.reason.to_string());
    if let Some(reused) = &letter.reused {
        say(
            "Its key",
            &format!(
                "is another message's, which was {} when this one came: `idem explain`",
                reused.by
            ),
        );
    } else if let Some(error) = &letter.error {
        say("Error", &lines(error));
    }
    say("First seen", &format!("{:.0}", letter.first_seen));
    say("Died", &format!("{:.0}", letter.died_at));
    say("Written by", &line(&letter.instance));
    if let Some(trace) = &letter.trace {
        say("Trace", &trace.trace_id());
    }
    say("Group", &line(&view.kind));
    if !view.redacted.is_empty() {
        let how = match letter.state {
            LetterState::Open if runs => {
                format!(
                    ": `idem dlq redrive {} --payload FILE` runs it with that filled in",
                    letter.id
                )
            }
            _ => String::new(),
        };
        say(
            "Redacted",
            &format!("{}{how}", format::paths(&view.redacted)),
        );
    }
    if let Some(sealed) = &letter.sealed {
        let key = line(&sealed.key);
        say(
            "Sealed",
            &format!("with seal key `{key}`: a run and a republish have what is redacted"),
        );
    }
    if runs && let Some(why) = &view.why_not {
        say("Not run", &line(why));
    }
    if let Some(origin) = &letter.origin {
        say("Came from", &came_from(origin));
        if let Some(key) = &origin.ordering_key {
            say(
                "Order",
                &format!(
                    "{}: messages with this ordering key that came later did not wait for it; a run comes after them",
                    line(key)
                ),
            );
        }
        for (name, value) in &origin.headers {
            say("Header", &format!("{}: {}", line(name), line(value)));
        }
        if runs && let Some(why) = &view.why_not_publish {
            say("Not sent", &line(why));
        }
    }
    if let Some(reused) = &letter.reused {
        let _ = write!(text, "\nDifferences\n{}\n", differences(reused, out));
    }
    let _ = write!(
        text,
        "\nPayload\n{}\n\nAttempts\n{}\n",
        format::json(&letter.payload, true)?,
        attempts(letter, out)
    );
    if !letter.history.is_empty() {
        let _ = write!(text, "\nHistory\n{}\n", history(letter, out)?);
    }
    Ok(text)
}

fn differences(reused: &Reused, out: Out) -> String {
    let Some(differences) = &reused.differences else {
        return "the other message's content is no longer kept".to_owned();
    };
    let mut table = out.table([
        ("Where", false),
        ("The message that has the key", false),
        ("This one", false),
    ]);
    for Difference {
        path, theirs, ours, ..
    } in differences
    {
        let shown =
            |value: &Option<String>| value.as_deref().map_or_else(|| "nothing".to_owned(), line);
        table.add_row(vec![line(path), shown(theirs), shown(ours)]);
    }
    let mut text = table.to_string();
    if reused.more > 0 {
        let _ = write!(text, "\nand {} more", reused.more);
    }
    text
}

fn state(letter: &DeadLetter) -> String {
    let mut state = state_name(letter.state).to_owned();
    if let Some(at) = letter.closed_at {
        let _ = write!(state, " since {at:.0}");
    }
    if let Some(why) = &letter.closed_why {
        let _ = write!(state, ": {}", line(why));
    }
    state
}

fn came_from(origin: &Origin) -> String {
    let parts = [
        Some(origin.place()),
        origin.position.clone(),
        origin.message_id.as_ref().map(|id| format!("message {id}")),
    ];
    line(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn attempts(letter: &DeadLetter, out: Out) -> String {
    let mut table = out.table([
        ("#", true),
        ("Start", false),
        ("End", false),
        ("Outcome", false),
        ("Error", false),
    ]);
    for attempt in &letter.attempts {
        table.add_row(vec![
            Cell::new(attempt.number),
            Cell::new(format!("{:.3}", attempt.start)),
            Cell::new(
                attempt
                    .end
                    .map_or_else(|| "not reported".to_owned(), |end| format!("{end:.3}")),
            ),
            Cell::new(attempt.summary()),
            out.cell(
                attempt.error.as_deref().map(lines).unwrap_or_default(),
                Color::Red,
            ),
        ]);
    }
    table.to_string()
}

fn history(letter: &DeadLetter, out: Out) -> Result<String, Problem> {
    let mut table = out.table([
        ("When", false),
        ("Who", false),
        ("What", false),
        ("Why", false),
        ("Before", false),
    ]);
    for act in &letter.history {
        let before = match &act.kind {
            ActionKind::Edited(before) => format::json(before, false)?,
            _ => String::new(),
        };
        table.add_row(vec![
            format!("{:.0}", act.at),
            act.by.who.as_deref().map(line).unwrap_or_default(),
            act.kind.as_str().to_owned(),
            act.by.why.as_deref().map(line).unwrap_or_default(),
            before,
        ]);
    }
    Ok(table.to_string())
}
