//! On PostgreSQL.

mod commands;
mod doctor;
pub(crate) mod migrate;

use idem_runtime::Idem;
use idem_test_support::servers::{Database, POSTGRES};
use libtest_mimic::Trial;

use crate::support;

pub(crate) fn all() -> Vec<Trial> {
    crate::tests!["postgres" &POSTGRES;
        Any commands::letters_are_looked_at_and_changed_beside_a_service,
        Any commands::the_environment_has_the_url_and_no_password_is_shown,
        Any commands::a_pooler_is_named_in_the_url,
        Any commands::what_does_not_fit_a_database_says_so,
        Any commands::a_viewer_may_look_and_is_told_which_grants_a_change_needs,
        Own doctor::says_what_is_promised,
        Own doctor::finds_what_breaks_a_promise,
        Own doctor::finds_a_standby,
        Any doctor::finds_missing_tables_and_privileges,
        Any doctor::tells_when_the_timeline_changed,
        Any migrate::a_folder_goes_over,
        Any migrate::one_that_is_killed_goes_on,
        Any migrate::a_database_goes_over,
        Any migrate::no_service_opens_before_all_is_there,
        Any migrate::what_is_in_use_is_refused,
    ]
}

/// Opens a database as a service does.
async fn service(url: &str) -> anyhow::Result<Idem> {
    let ledger = idem_postgres::Postgres::connect(url);
    Ok(Idem::builder().open_with(ledger).await?)
}

/// A place for the command.
fn at(database: &Database) -> support::At {
    support::At::Shared(database.url().to_owned())
}
