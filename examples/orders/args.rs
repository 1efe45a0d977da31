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
    /// Folder for the ledger and orders.jsonl, kept for the next run [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Server for the ledger in place of a folder: `postgres://host/name`, with the order book in the
    /// table `orders`, or `redis://host`, with the order book in `--data`. Give the password in
    /// PGPASSWORD or ~/.pgpass, or the address in LEDGER_URL, because command lines are visible to every
    /// user of the machine [env: LEDGER_URL]
    #[arg(long, value_name = "URL")]
    pub(crate) ledger: Option<String>,

    /// File of JSON Lines, one delivery per line; `-` reads standard input [default: the file that
    /// comes with the example]
    #[arg(long, value_name = "FILE")]
    pub(crate) deliveries: Option<PathBuf>,

    /// Send the deliveries to a queue and consume them from there: `amqp://host`, `nats://host`,
    /// `redis://host`, and, if built in, `kafka://host:9092` and `rocketmq://host:9876`. Give an
    /// address with a password in BROKER_URL, because command lines are visible to every user of
    /// the machine [env: BROKER_URL]
    #[arg(long, value_name = "URL")]
    pub(crate) broker: Option<Url>,

    /// Name of the queue, stream or topic
    #[arg(long, value_name = "NAME", default_value = "orders")]
    pub(crate) queue: String,

    /// Serve a dashboard at this address after the deliveries, until Ctrl-C
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) serve: Option<SocketAddr>,

    /// Make backups of the ledger in this folder when `idem backup` asks for one
    #[arg(
        long,
        value_name = "DIR",
        requires = "serve",
        requires = "data",
        conflicts_with = "ledger"
    )]
    pub(crate) backups: Option<PathBuf>,

    /// Send mails about dead letters through this server: `smtp://user@host:587`, with `?tls=none`
    /// on the loopback; the password is read from SMTP_PASSWORD
    #[arg(long, value_name = "URL", requires = "serve", requires = "mail_to")]
    pub(crate) smtp: Option<String>,

    /// Recipient of the mails; can be given more than once
    #[arg(long, value_name = "ADDRESS", requires = "smtp")]
    pub(crate) mail_to: Vec<String>,

    /// Sender of the mails
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
    /// Parses the process's command line. For `--help`, prints it and exits.
    pub(crate) fn from_command_line() -> anyhow::Result<Self> {
        let mut args = Self::try_parse().map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
            _ => {
                // The first paragraph says what is wrong, the rest how to use the command.
                let text = error.to_string();
                let what = text
                    .lines()
                    .take_while(|line| !line.is_empty())
                    .map(str::trim)
                    .collect::<Vec<_>>()
                    .join(" ");
                anyhow!("{} (see --help)", what.trim_start_matches("error: "))
            }
        })?;
        if args.ledger.is_none() {
            args.ledger = env::var("LEDGER_URL").ok();
        }
        match (&args.broker, env::var("BROKER_URL")) {
            (Some(url), _) if url.password().is_some() => {
                bail!("`--broker` contains a password: give the address in BROKER_URL instead")
            }
            (None, Ok(url)) => args.broker = Some(url.parse().context("BROKER_URL is not a URL")?),
            _ => {}
        }
        Ok(args)
    }
}
