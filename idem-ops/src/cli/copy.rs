//! `idem copy`: a copy of a folder that no service holds.

use std::path::Path;

use serde_json::json;

use super::out::Out;
use super::problem::Problem;
use super::target::{Folder, Refused, Where};

pub(super) async fn run(place: Where, to: &Path, out: Out) -> Result<(), Problem> {
    let Where::Folder(path) = place else {
        return Err(Problem::usage(
            "a running service copies its folder itself (`Idem::copy_to`); `idem copy` is for `--data`",
        ));
    };
    let folder = Folder::open(&path, None)
        .await
        .map_err(Refused::into_problem)?;
    let copied = folder.idem().copy_to(to).await;
    let closed = folder.idem().close().await;
    copied
        .and(closed)
        .map_err(|error| Problem::failed(error.to_string()))?;
    out.answer(&json!({ "copy": to }), |_| {
        format!("`{}` is a whole copy of `{}`", to.display(), path.display())
    })
}
