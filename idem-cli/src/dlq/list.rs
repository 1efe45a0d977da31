//! `idem dlq list`: letters, or groups of them.

use comfy_table::{Cell, Color};
use idem_runtime::LetterState;

use super::query;
use crate::args::List;
use crate::format::short;
use crate::out::{Out, unbroken};
use crate::problem::Problem;
use crate::target::{Target, whole_groups, whole_page};
use idem_ops::service::{GroupPage, GroupQuery, LONGEST_PAGE, LetterPage, StateFilter};

/// Characters of an error in a list; `show` and JSON have all of it.
const ERROR: usize = 100;
const KEY: usize = 80;

pub(super) async fn letters(list: List, target: &Target, out: Out) -> Result<(), Problem> {
    let mut left = usize::try_from(list.limit).unwrap_or(usize::MAX);
    let mut query = query(list.filter);
    query.after = list.after;
    let mut all: Option<LetterPage> = None;
    loop {
        query.limit = Some(left.min(LONGEST_PAGE));
        let page = whole_page(target, &query).await?;
        left -= page.letters.len().min(left);
        query.after = page.next;
        let all = match &mut all {
            None => all.insert(page),
            Some(all) => {
                all.letters.extend(page.letters);
                all.next = page.next;
                all
            }
        };
        if left == 0 || query.after.is_none() {
            return out.answer(all, |out| table(all, query.state, out));
        }
    }
}

fn table(page: &LetterPage, state: StateFilter, out: Out) -> String {
    let any = state == StateFilter::Any;
    let kind = match state {
        StateFilter::Open => "open letters",
        StateFilter::Redriven => "redriven letters",
        StateFilter::Discarded => "discarded letters",
        StateFilter::Any => "letters",
    };
    if page.letters.is_empty() {
        return format!("no {kind}");
    }
    let columns = [
        ("Letter", false),
        ("Handler", false),
        ("Key", false),
        ("Died", false),
        ("Attempts", true),
    ];
    let mut table = out.table([
        columns[0],
        columns[1],
        columns[2],
        columns[3],
        columns[4],
        ("Reason", false),
        ("Last error", false),
    ]);
    for letter in &page.letters {
        let reason = match letter.state {
            LetterState::Open => Cell::new(letter.reason),
            _ if !any => Cell::new(letter.reason),
            closed => out.cell(
                format!("{} ({})", letter.reason, state_name(closed)),
                Color::DarkGrey,
            ),
        };
        table.add_row(vec![
            Cell::new(letter.id),
            Cell::new(short(&letter.handler, KEY)),
            Cell::new(short(&letter.key, KEY)),
            // To the minute, and with a space that a narrow terminal can break at.
            Cell::new(letter.died_at.strftime("%Y-%m-%d %H:%MZ")),
            Cell::new(letter.attempts),
            reason,
            out.cell(
                short(
                    letter.error.as_deref().unwrap_or("none was reported"),
                    ERROR,
                ),
                Color::Red,
            ),
        ]);
    }
    unbroken(&mut table, 0);
    let shown = page.letters.len();
    let total = if page.at_least {
        format!("at least {}", page.total)
    } else {
        page.total.to_string()
    };
    let more = match page.next {
        Some(next) => format!("{shown} of {total} {kind}; the next page: `--after {next}`"),
        None if shown as u64 == page.total => format!("{shown} {kind}"),
        None => format!("{shown} of {total} {kind}, the last page"),
    };
    format!("{table}\n{more}")
}

pub(super) fn state_name(state: LetterState) -> &'static str {
    match state {
        LetterState::Open => "open",
        LetterState::Redriven => "redriven",
        LetterState::Discarded => "discarded",
        _ => "of a state that this version does not know",
    }
}

pub(super) async fn groups(
    handler: Option<String>,
    target: &Target,
    out: Out,
) -> Result<(), Problem> {
    let query = GroupQuery {
        handler,
        limit: Some(LONGEST_PAGE),
    };
    let page = whole_groups(target, &query).await?;
    out.answer(&page, |out| group_table(&page, out))
}

fn group_table(page: &GroupPage, out: Out) -> String {
    if page.groups.is_empty() {
        return "no open letters".to_owned();
    }
    let mut table = out.table([
        ("Handler", false),
        ("Kind of error", false),
        ("Letters", true),
        ("Since", false),
        ("Latest", false),
    ]);
    for group in &page.groups {
        table.add_row(vec![
            Cell::new(short(&group.handler, KEY)),
            // Whole, for `--group`.
            out.cell(crate::format::line(&group.error), Color::Red),
            Cell::new(group.count),
            Cell::new(format!("{:.0}", group.since)),
            Cell::new(format!("{:.0}", group.latest)),
        ]);
    }
    let older = if page.at_least {
        "; older letters than the index holds are not counted"
    } else {
        ""
    };
    format!(
        "{table}\n{} open letters in {} groups{older}",
        page.open, page.total
    )
}
