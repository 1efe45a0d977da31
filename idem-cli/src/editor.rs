//! A payload in a person's own editor.

use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use dialoguer::Confirm;
use idem_runtime::json::Json;
use tempfile::NamedTempFile;

use super::problem::Problem;
use super::{out, prompt};
use idem_ops::internals::files;

/// The most bytes that are read; a service takes less.
const LARGEST: u64 = 16 << 20;

/// Reads the payload from a file, or from the standard input for `-`.
///
/// # Errors
/// When it cannot be read or is not a payload.
pub(crate) fn read(source: &Path) -> Result<Json, Problem> {
    let (name, text) = if source == Path::new("-") {
        (
            "the standard input".to_owned(),
            files::whole(io::stdin(), LARGEST).and_then(files::text),
        )
    } else {
        (
            format!("`{}`", source.display()),
            files::read_text(source, LARGEST),
        )
    };
    let text = text.map_err(|error| Problem::usage(format!("{name} cannot be read: {error}")))?;
    parse(&text).map_err(|error| {
        Problem::usage(format!(
            "{name} is not a payload ({error}): nothing was changed"
        ))
    })
}

/// Opens the payload in an editor until it is JSON again, and returns it if it was changed.
///
/// # Errors
/// When the editor cannot be started or ends with an error, or when the person gives up; their text
/// is kept in a file then.
pub(crate) fn edit(payload: &Json) -> Result<Option<Json>, Problem> {
    let failed = |error: io::Error| {
        Problem::failed(format!("the payload cannot be given to an editor: {error}"))
    };
    // Readable by its owner only: a payload can hold personal data.
    let mut file: NamedTempFile = tempfile::Builder::new()
        .prefix("idem-payload-")
        .suffix(".json")
        .tempfile()
        .map_err(failed)?;
    // Not escaped for terminals, so that unchanged parts come back as they were.
    writeln!(file, "{payload:#}")
        .and_then(|()| file.flush())
        .map_err(failed)?;
    loop {
        open(file.path())?;
        let text = files::read_text(file.path(), LARGEST).map_err(failed)?;
        match parse(&text) {
            Ok(edited) if edited == payload.compact() => return Ok(None),
            Ok(edited) => return Ok(Some(edited)),
            Err(error) if once_more(&error) => {}
            Err(error) => return Err(keep(file, &error)),
        }
    }
}

fn parse(text: &str) -> Result<Json, String> {
    match text.parse::<Json>() {
        // A text is a message that no handler could take: of another letter the service refuses it.
        Ok(payload) if payload.is_object() || payload.is_string() => Ok(payload.compact()),
        Ok(_) => Err(
            "it is JSON, but not an object: a payload is the handler's arguments by their names"
                .to_owned(),
        ),
        Err(error) => Err(error.to_string()),
    }
}

/// Asks whether the person edits the text again.
fn once_more(error: &str) -> bool {
    out::note(&format!("this is not a payload: {error}"));
    prompt::is_interactive()
        && Confirm::new()
            .with_prompt("Edit it again?")
            .default(true)
            .interact()
            .unwrap_or(false)
}

/// Keeps the text in a file, so that a missing comma does not lose it.
fn keep(file: NamedTempFile, error: &str) -> Problem {
    let kept = match file.keep() {
        Ok((_, path)) => format!("what you wrote is in `{}`, for `--payload`", path.display()),
        Err(error) => format!("what you wrote could not be kept ({error})"),
    };
    Problem::failed(format!(
        "this is not a payload ({error}): nothing was changed; {kept}"
    ))
}

/// Runs the person's editor, which `git` finds likewise: `VISUAL`, else `EDITOR`, else `vi`.
fn open(path: &Path) -> Result<(), Problem> {
    let chosen = ["VISUAL", "EDITOR"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok());
    let editor = chosen
        .into_iter()
        .find(|editor| !editor.trim().is_empty())
        .unwrap_or_else(|| "vi".to_owned());
    let bad = |reason: String| {
        Problem::failed(format!(
            "the editor `{editor}` {reason}: nothing was changed; set EDITOR, or give `--payload`"
        ))
    };
    let words =
        shell_words::split(&editor).map_err(|error| bad(format!("cannot be read ({error})")))?;
    let [program, arguments @ ..] = words.as_slice() else {
        return Err(bad("is empty".to_owned()));
    };
    let status = Command::new(program).args(arguments).arg(path).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        // Leaving an editor with an error, as by vi's `:cq`, means no; `dialoguer::Editor` ignores it.
        Ok(status) => Err(bad(format!("ended with an error ({status})"))),
        Err(error) => Err(bad(format!("cannot be started ({error})"))),
    }
}
