//! `idem watch`: the monitor as a program, on a folder that no service holds.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::args::Place;
use super::ask;
use super::out::{Out, note};
use super::problem::{Exit, Problem};
use super::target::{Folder, Refused, Where};
use crate::config::Config;

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Who is told, and when: the monitor's configuration
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: PathBuf,

    /// Send a test to every channel, and end
    #[arg(long)]
    test: bool,
}

pub(super) async fn run(
    Watch { config, test }: Watch,
    place: &Place,
    out: Out,
) -> Result<(), Problem> {
    let config = Config::read(&config).map_err(|error| Problem::usage(error.to_string()))?;
    let Where::Folder(path) = Where::of(place)? else {
        return Err(Problem::usage(
            "a running service has its monitor in its own process (`idem_ops::monitor`); `idem watch` is for `--data`",
        ));
    };
    let folder = Folder::open(&path, ask::whoami(place.by.clone()))
        .await
        .map_err(Refused::into_problem)?;
    let idem = folder.idem();
    let monitor = config
        .monitor(idem)
        .map_err(|error| Problem::usage(error.to_string()))?;
    let done = if test {
        let mut failed = false;
        for (channel, sent) in monitor.test().await {
            failed |= sent.is_err();
            out.text(
                &sent.map_or_else(|error| error.to_string(), |()| format!("{channel}: sent")),
            )?;
        }
        if failed {
            Err(Problem::Said(Exit::Failed))
        } else {
            Ok(())
        }
    } else {
        let watch = monitor
            .start()
            .map_err(|error| Problem::usage(error.to_string()))?;
        note("idem: watching; Ctrl-C ends it");
        let ended = tokio::signal::ctrl_c().await;
        watch.stop().await;
        ended.map_err(|error| Problem::failed(format!("signals cannot be waited for: {error}")))
    };
    idem.close()
        .await
        .map_err(|error| Problem::failed(error.to_string()))?;
    done
}
