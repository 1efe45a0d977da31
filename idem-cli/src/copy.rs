//! `idem copy`: a copy of a folder that no service holds.

use std::path::Path;

use serde_json::json;

use super::args::Place;
use super::out::Out;
use super::problem::Problem;
use super::target::{Location, OpenError, open};

pub(super) async fn run(at: Location, to: &Path, place: &Place, out: Out) -> Result<(), Problem> {
    let path = match at {
        Location::Folder(path) => path,
        Location::Service(_) => {
            return Err(Problem::usage(
                "a running service copies its folder itself (`Idem::copy_to`); `idem copy` is for `--data`",
            ));
        }
        Location::Database(_) => {
            return Err(Problem::usage(
                "a database is copied by its own tools, such as pg_basebackup; `idem copy` is for `--data`",
            ));
        }
    };
    let idem = open(&path, place).map_err(OpenError::into_problem)?;
    let copied = idem.copy_to(to).await;
    let closed = idem.close().await;
    copied.map_err(|error| Problem::failed(error.to_string()))?;
    closed.map_err(|error| Problem::failed(format!("{error:#}")))?;
    out.answer(&json!({ "copy": to }), |_| {
        format!("`{}` is a whole copy of `{}`", to.display(), path.display())
    })
}
