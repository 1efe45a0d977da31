//! `idem watch`: the monitor as a program, on a folder that no service holds, or on a database.

use super::args::{Place, Watch};
use super::out::{Out, note};
use super::problem::{Exit, Problem};
use super::target::Location;
use idem_ops::Config;

pub(super) async fn run(
    Watch { config, test }: Watch,
    place: &Place,
    out: Out,
) -> Result<(), Problem> {
    let config = Config::read(&config).map_err(|error| Problem::usage(error.to_string()))?;
    let idem = match Location::new(place)? {
        Location::Service(_) => {
            return Err(Problem::usage(
                "a running service has its monitor in its own process (`idem_ops::monitor`); `idem watch` is for \
                 `--data` and `--ledger`",
            ));
        }
        here => here.open(place).await?,
    };
    let monitor = config
        .monitor(&idem)
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
        ended.map_err(|error| Problem::failed(format!("interrupts cannot be handled: {error}")))
    };
    idem.close()
        .await
        .map_err(|error| Problem::failed(error.to_string()))?;
    done
}
