//! Templates are rendered to HTML, and the filters that they use.

use askama::Template;
use axum::response::Html;

use crate::shown;

/// Renders a page, and escapes characters that would change the direction of its text.
pub(super) fn render(page: &impl Template) -> Result<Html<String>, askama::Error> {
    page.render().map(|html| Html(shown::page(html)))
}

/// The filters of the templates.
#[expect(unreachable_pub, reason = "askama generates public types for them")]
pub(super) mod filters {
    use std::fmt::Display;

    use askama::Values;
    use askama::filters::{Html, Safe, escape};

    use crate::shown::{self, steers};

    /// Escapes invisible characters in JSON; the value stays the same.
    #[askama::filter_fn]
    pub(crate) fn spelt<T: Display>(json: T, _: &dyn Values) -> askama::Result<String> {
        Ok(shown::json(&json.to_string()))
    }

    /// Escapes a form's value that has to come back unchanged: invisible characters become
    /// references.
    #[askama::filter_fn]
    pub(crate) fn exact<T: Display>(value: T, _: &dyn Values) -> askama::Result<Safe<String>> {
        let escaped = match escape(value, Html) {
            Ok(Safe(escaped)) => escaped.to_string(),
            Err(never) => match never {},
        };
        let mut exact = String::with_capacity(escaped.len());
        for character in escaped.chars() {
            if steers(character) {
                exact.push_str(&format!("&#{};", u32::from(character)));
            } else {
                exact.push(character);
            }
        }
        Ok(Safe(exact))
    }
}
