//! The dashboard in a real browser.
//!
//! Chromium is searched in `IDEM_BROWSER`, then under its usual names. Without it the tests are
//! listed as ignored, or fail with `CI=true`; `cargo xtask test` installs it if possible.

mod actions;
mod appearance;
mod escaping;
mod forms;
mod groups;
mod keyboard;
mod login;
mod publish;
mod redacted;
mod service;

use std::process::ExitCode;

use idem_test_support::browser::trial;
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let tests = vec![
        trial("login_wrong_then_right", login::wrong_then_right),
        trial(
            "login_leads_to_the_requested_page",
            login::leads_to_the_requested_page,
        ),
        trial(
            "sign_out_ends_the_session",
            login::sign_out_ends_the_session,
        ),
        trial("works_where_it_is_nested", login::works_where_it_is_nested),
        trial(
            "a_key_and_an_error_of_html_are_text",
            escaping::a_key_and_an_error_of_html_are_text,
        ),
        trial(
            "the_policy_blocks_inline_script",
            escaping::the_policy_blocks_inline_script,
        ),
        trial(
            "a_forged_form_changes_nothing",
            forms::a_forged_form_changes_nothing,
        ),
        trial("edit_and_run", actions::edit_and_run),
        trial(
            "invalid_json_is_refused_and_shown_again",
            actions::invalid_json_is_refused_and_shown_again,
        ),
        trial("fill_in_and_run", redacted::fill_in_and_run),
        trial("discard_and_undo", actions::discard_and_undo),
        trial(
            "a_selection_without_script",
            groups::a_selection_without_script,
        ),
        trial(
            "run_a_group_with_progress",
            groups::run_a_group_with_progress,
        ),
        trial("discard_a_group", groups::discard_a_group),
        trial(
            "a_discard_by_keyboard_alone",
            keyboard::a_discard_by_keyboard_alone,
        ),
        trial(
            "every_page_has_names_for_everything",
            keyboard::every_page_has_names_for_everything,
        ),
        trial("send_back_by_keyboard", publish::send_back_by_keyboard),
        trial(
            "a_header_of_html_is_text",
            publish::a_header_of_html_is_text,
        ),
        trial("send_a_group_back", publish::send_a_group_back),
        trial("dark_and_light", appearance::dark_and_light),
        trial(
            "a_phone_scrolls_one_way",
            appearance::a_phone_scrolls_one_way,
        ),
        trial("the_timeline_of_a_key", actions::the_timeline_of_a_key),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
