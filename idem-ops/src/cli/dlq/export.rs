//! `idem dlq export`: letters in full, one JSON value a line.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::query;
use crate::cli::args::Which;
use crate::cli::out::Out;
use crate::cli::problem::Problem;
use crate::cli::progress::bar;
use crate::cli::target::{Target, whole_page};

/// How many letters are asked for at once.
const AHEAD: usize = 16;

pub(super) async fn run(which: Which, target: &dyn Target, out: Out) -> Result<(), Problem> {
    let mut query = query(which);
    let mut progress = None;
    loop {
        let page = whole_page(target, &query).await?;
        let progress = progress.get_or_insert_with(|| bar(page.total, "Exporting"));
        let letters = stream::iter(&page.letters).map(|line| target.letter(line.id)).buffered(AHEAD);
        letters
            .try_for_each(|view| {
                progress.inc(1);
                std::future::ready(out.json_line(&view.letter))
            })
            .await?;
        query.after = page.next;
        if query.after.is_none() {
            progress.finish_and_clear();
            return Ok(());
        }
    }
}
