//! The command line.

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::{Parser, error::ErrorKind};
use url::Url;

/// Places the orders of a file of deliveries, each order once
#[derive(Debug, Parser)]
#[command(name = "orders")]
pub(crate) struct Args {
    /// The folder of the ledger and of orders.jsonl, kept for the next run [default: a temporary
    /// one]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// JSON Lines, a delivery a line; `-` reads standard input [default: the file that comes with
    /// the example]
    #[arg(long, value_name = "FILE")]
    pub(crate) deliveries: Option<PathBuf>,

    /// Send the deliveries to a queue first, and place the orders that come from it: `amqp://host`,
    /// `nats://host`, `redis://host`, and where they are built in `kafka://host:9092` and
    /// `rocketmq://host:9876`; an address with a password goes into BROKER_URL, for everybody on
    /// the machine sees a command line [env: BROKER_URL]
    #[arg(long, value_name = "URL")]
    pub(crate) broker: Option<Url>,

    /// The queue, stream or topic
    #[arg(long, value_name = "NAME", default_value = "orders")]
    pub(crate) queue: String,

    /// Go on when the deliveries are worked through, with a dashboard at this address, until Ctrl-C
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) serve: Option<SocketAddr>,

    /// Send mails about dead letters through this server: `smtp://user@host:587`, and `?tls=none`
    /// on the loopback; the user's password is in SMTP_PASSWORD
    #[arg(long, value_name = "URL", requires = "serve", requires = "mail_to")]
    pub(crate) smtp: Option<String>,

    /// Whom the mails go to; more than once for more people
    #[arg(long, value_name = "ADDRESS", requires = "smtp")]
    pub(crate) mail_to: Vec<String>,

    /// Whom the mails come from
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "smtp",
        default_value = "orders <orders@localhost>"
    )]
    pub(crate) mail_from: String,

    /// Print the summary and the dead letters as JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

impl Args {
    /// The process's own. Asked for help, it prints it and ends the process.
    pub(crate) fn from_command_line() -> anyhow::Result<Self> {
        let mut args = Self::try_parse().map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
            _ => {
                // What is wrong comes first, in one or more lines; then how it is used.
                let text = error.to_string();
                let what = text
                    .lines()
                    .take_while(|line| !line.is_empty())
                    .map(str::trim)
                    .collect::<Vec<_>>()
                    .join(" ");
                anyhow!(
                    "{} (--help shows what there is)",
                    what.trim_start_matches("error: ")
                )
            }
        })?;
        match (&args.broker, env::var("BROKER_URL")) {
            (Some(url), _) if url.password().is_some() => {
                bail!(
                    "the broker's address holds a password: put it into BROKER_URL in place of `--broker`"
                )
            }
            (None, Ok(url)) => args.broker = Some(url.parse().context("BROKER_URL is no address")?),
            _ => {}
        }
        Ok(args)
    }
}
