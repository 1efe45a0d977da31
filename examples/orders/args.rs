//! The command line.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Parser, error::ErrorKind};

/// Places the orders of a file of deliveries, each order once
#[derive(Debug, Parser)]
#[command(name = "orders")]
pub(crate) struct Args {
    /// The folder of the ledger and of orders.jsonl, kept for the next run [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// JSON Lines, a delivery a line; `-` reads standard input [default: the file that comes with the example]
    #[arg(long, value_name = "FILE")]
    pub(crate) deliveries: Option<PathBuf>,

    /// Print the summary and the dead letters as JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

impl Args {
    /// The process's own. Asked for help, it prints it and ends the process.
    pub(crate) fn from_command_line() -> anyhow::Result<Self> {
        Self::try_parse().map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
            _ => {
                let text = error.to_string();
                let line = text.lines().next().unwrap_or("the arguments cannot be read");
                anyhow!("{} (--help shows what there is)", line.trim_start_matches("error: "))
            }
        })
    }
}
