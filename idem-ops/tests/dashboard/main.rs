//! The dashboard in a real browser.
//!
//! Chromium is looked for in `IDEM_BROWSER`, then under its usual names. Where there is none the tests are listed as
//! ignored, and with `CI=true` they fail: `cargo xtask test` installs it where it can.

mod acts;
mod browser;
mod escaping;
mod forms;
mod groups;
mod keyboard;
mod login;
mod looks;
mod redacted;
mod screenshots;
mod service;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use browser::Chromium;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// What takes longer than this will not come.
const DEADLINE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let tests = vec![
        trial("login_wrong_then_right", login::wrong_then_right),
        trial("login_leads_where_one_wanted_to_go", login::leads_where_one_wanted_to_go),
        trial("sign_out_ends_the_session", login::sign_out_ends_the_session),
        trial("works_where_it_is_nested", login::works_where_it_is_nested),
        trial("a_key_and_an_error_of_html_are_text", escaping::a_key_and_an_error_of_html_are_text),
        trial("the_policy_blocks_inline_script", escaping::the_policy_blocks_inline_script),
        trial("a_forged_form_changes_nothing", forms::a_forged_form_changes_nothing),
        trial("edit_and_run", acts::edit_and_run),
        trial("no_json_is_refused_and_shown_again", acts::no_json_is_refused_and_shown_again),
        trial("fill_in_and_run", redacted::fill_in_and_run),
        trial("discard_and_undo", acts::discard_and_undo),
        trial("a_selection_without_script", groups::a_selection_without_script),
        trial("run_a_group_with_progress", groups::run_a_group_with_progress),
        trial("discard_a_group", groups::discard_a_group),
        trial("a_discard_by_keyboard_alone", keyboard::a_discard_by_keyboard_alone),
        trial("every_page_has_names_for_everything", keyboard::every_page_has_names_for_everything),
        trial("dark_and_light", looks::dark_and_light),
        trial("a_phone_scrolls_one_way", looks::a_phone_scrolls_one_way),
        trial("the_story_of_a_key", acts::the_story_of_a_key),
        trial("screenshots", screenshots::screenshots),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn trial<F, T>(name: &'static str, test: F) -> Trial
where
    F: FnOnce(Chromium) -> T + Send + 'static,
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    Trial::ignorable_test(name, move || {
        let Some(chromium) = browser::find() else {
            let text = "no Chromium: `apt-get install chromium`, or say where it is in IDEM_BROWSER";
            let must = std::env::var("CI").is_ok_and(|ci| ci == "true");
            return if must { Err(Failed::from(text)) } else { Ok(Completion::ignored_with(text)) };
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime
            .block_on(async {
                tokio::time::timeout(3 * DEADLINE, test(chromium))
                    .await
                    .map_err(|_| anyhow::anyhow!("it does not end"))?
            })
            .map(|()| Completion::Completed)
            .map_err(|error| Failed::from(format!("{error:#}")))
    })
}
