//! The bulk actions that a service was stopped in.

use super::{Checkup, Kind};
use crate::problem::Problem;
use crate::target::Target;
use idem_ops::service::{BulkAction, BulkJob, BulkState, LONGEST_PAGE, PageQuery};

/// Looks for redrives and discards of many letters that are not at their end. They stay as they
/// are.
pub(super) async fn look(target: &Target, checkup: &mut Checkup) -> Result<(), Problem> {
    let mut query = PageQuery {
        after: None,
        limit: Some(LONGEST_PAGE),
    };
    let mut unfinished = Vec::new();
    loop {
        let page = target.bulks(&query).await?;
        unfinished.extend(
            page.bulks
                .into_iter()
                .filter(|bulk| bulk.state == BulkState::Running),
        );
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    if unfinished.is_empty() {
        checkup.well("no redrive or discard of many letters was cut off");
    }
    for BulkJob {
        id,
        who,
        asked,
        total,
        done,
        failed,
        skipped,
        ..
    } in unfinished
    {
        let noun = if asked.action == BulkAction::Discard {
            "discard"
        } else {
            "redrive"
        };
        let left = total.saturating_sub(done + failed + skipped);
        checkup.wrong(
            Kind::UnfinishedRedrives,
            format!("the {noun} {id} of {total} letters, begun by `{who}`, is not at its end: {left} are left"),
            format!("start the service, which goes on with it; or stop it with `idem dlq cancel {id}`"),
        );
    }
    Ok(())
}
