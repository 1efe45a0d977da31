//! `idem backup`: a copy of the ledger, which it makes while it works.

use std::path::PathBuf;

use serde_json::json;

use super::args::Place;
use super::out::Out;
use super::problem::Problem;
use super::target::{Location, OpenError, network, open};

pub(super) async fn run(
    at: Location,
    to: Option<PathBuf>,
    place: &Place,
    out: Out,
) -> Result<(), Problem> {
    let copy = match (at, to) {
        (Location::Folder(path), Some(to)) => {
            let idem = open(&path, place).map_err(OpenError::into_problem)?;
            let copied = idem.copy_to(&to).await;
            let closed = idem.close().await;
            copied.map_err(|error| Problem::failed(error.to_string()))?;
            closed.map_err(|error| Problem::failed(format!("{error:#}")))?;
            to
        }
        (Location::Folder(_), None) => {
            return Err(Problem::usage(
                "name the copy's folder: it can be empty, or not exist yet",
            ));
        }
        (Location::Service(url), None) => network::target(url, place)?.back_up().await?.folder,
        (Location::Service(_), Some(_)) => {
            return Err(Problem::usage(
                "a running service copies its ledger into the folder that it names (`Service::backups_in`): leave DIR out",
            ));
        }
        (Location::Shared(_), _) => {
            return Err(Problem::usage(
                "a database is copied by its own tools, such as pg_basebackup, or BGREWRITEAOF and a copy of the file on \
                 Redis; `idem backup` is for `--data` and `--url`",
            ));
        }
    };
    out.answer(&json!({ "copy": copy }), |_| {
        format!(
            "`{}` is a whole copy. Check it again with `idem doctor --data`, and restore it with `idem restore`",
            copy.display()
        )
    })
}
