//! `idem dlq export`: letters in full, one JSON value a line.

use futures_util::{StreamExt, stream};

use super::query;
use crate::args::Filter;
use crate::out::Out;
use crate::problem::{Exit, Problem};
use crate::progress::bar;
use crate::target::{Target, whole_page};
use crate::{format, out};
use idem_ops::service::LetterLine;

/// The number of letters that are asked for at once.
const AHEAD: usize = 16;

/// Writes the letters. It goes on past those that cannot be read, and names them.
///
/// # Errors
/// Exit code 1 when there were some.
pub(super) async fn run(filter: Filter, target: &Target, out: Out) -> Result<(), Problem> {
    let mut query = query(filter);
    let (mut progress, mut left_out) = (None, 0_u64);
    loop {
        let page = whole_page(target, &query).await?;
        let progress = progress.get_or_insert_with(|| bar(page.total, "Exporting"));
        let asked = |line: &LetterLine| {
            let id = line.id;
            async move { (id, target.letter(id).await) }
        };
        let mut letters = stream::iter(&page.letters).map(asked).buffered(AHEAD);
        while let Some((id, view)) = letters.next().await {
            match view {
                Ok(view) => out.json_line(&view.letter)?,
                Err(Problem::Told(Exit::Failed, why)) => {
                    left_out += 1;
                    out::note(&format!(
                        "idem: letter {id} is left out: {}",
                        format::line(&why)
                    ));
                }
                Err(problem) => return Err(problem),
            }
            progress.inc(1);
        }
        query.after = page.next;
        if query.after.is_none() {
            progress.finish_and_clear();
            return if left_out == 0 {
                Ok(())
            } else {
                Err(Problem::Said(Exit::Failed))
            };
        }
    }
}
