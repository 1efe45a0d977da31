//! Completions and man pages, for packagers.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::args::Cli;
use super::out::Out;
use super::problem::{EXITS, Problem};

pub(crate) fn completions(shell: Shell, out: Out) -> Result<(), Problem> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "idem", &mut script);
    out.text(&String::from_utf8_lossy(&script))
}

/// Prints the page of the whole command, or writes one for each command into a folder.
pub(crate) fn man(dir: Option<&Path>, out: Out) -> Result<(), Problem> {
    let page = page()?;
    let Some(dir) = dir else {
        return out.text(&String::from_utf8_lossy(&page));
    };
    let write = || {
        fs::create_dir_all(dir)?;
        clap_mangen::generate_to(command(), dir)?;
        fs::write(dir.join("idem.1"), &page)
    };
    write().map_err(|error| {
        Problem::failed(format!(
            "the pages cannot be written to `{}`: {error}",
            dir.display()
        ))
    })
}

/// Returns the command without its help's exit codes, which have a section of their own here.
fn command() -> Command {
    Cli::command()
        .after_help(None)
        .disable_help_subcommand(true)
}

fn page() -> Result<Vec<u8>, Problem> {
    let (man, mut page) = (Man::new(command()), Vec::new());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    let mut rest = Roff::default();
    rest.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in EXITS {
        rest.control("TP", [])
            .text([bold((exit as u8).to_string())])
            .text([roman(meaning)]);
    }
    rest.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in ENVIRONMENT {
        rest.control("TP", [])
            .text([bold(name)])
            .text([roman(meaning)]);
    }
    rest.to_writer(&mut page)?;
    man.render_version_section(&mut page)?;
    page.flush()?;
    Ok(page)
}

const ENVIRONMENT: [(&str, &str); 6] = [
    (
        "IDEM_URL",
        "The service, where neither --url nor --data is given.",
    ),
    (
        "IDEM_DATA",
        "The folder, where none of --url, --data and IDEM_URL is given.",
    ),
    (
        "IDEM_TOKEN",
        "The token for the service, where --token-file is not given.",
    ),
    (
        "VISUAL, EDITOR",
        "The editor for `idem dlq edit`; vi without them.",
    ),
    (
        "USER",
        "In whose name a folder's letters are changed, where --by is not given.",
    ),
    ("NO_COLOR", "No colours, where it is not empty."),
];
