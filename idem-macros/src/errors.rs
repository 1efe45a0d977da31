//! Errors that do not depend on each other are collected and reported together.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::ToTokens;

/// The errors found so far.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// An error on the user's own tokens.
    pub(crate) fn add(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    /// An error made elsewhere.
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// Whether all is well so far.
    pub(crate) fn are_none(&self) -> bool {
        self.0.is_none()
    }

    /// The value, or its error kept.
    pub(crate) fn keep<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// All of them as one, if there are any.
    pub(crate) fn into_error(self) -> Option<syn::Error> {
        self.0
    }

    /// All of them as `compile_error!`s, if there are any.
    pub(crate) fn into_compile_errors(self) -> Option<TokenStream> {
        self.0.as_ref().map(syn::Error::to_compile_error)
    }
}

/// "`a`, `b` and `c`".
pub(crate) fn list<S: AsRef<str>>(names: &[S]) -> String {
    joined(names, "and")
}

/// "`a`, `b` or `c`".
pub(crate) fn any_of<S: AsRef<str>>(names: &[S]) -> String {
    joined(names, "or")
}

fn joined<S: AsRef<str>>(names: &[S], with: &str) -> String {
    let quoted: Vec<_> = names
        .iter()
        .map(|name| format!("`{}`", name.as_ref()))
        .collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {with} {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// " (did you mean `…`?)" when one of the names is near, else nothing.
pub(crate) fn did_you_mean<S: AsRef<str>>(got: &str, names: &[S]) -> String {
    // Below 0.8 the likeness is an accident.
    const NEAR: f64 = 0.8;
    // The measure looks at how words begin, and how one ends says what was meant: `retrys` is a
    // plural.
    const SAME_END: f64 = 0.1;
    let end = got.chars().last();
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(got, name.as_ref()), name.as_ref()))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .map(|(likeness, name)| {
            (
                if name.chars().last() == end {
                    likeness + SAME_END
                } else {
                    likeness
                },
                name,
            )
        })
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| format!(" (did you mean `{name}`?)"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_as_a_sentence() {
        assert_eq!(list::<&str>(&[]), "");
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
    }

    #[test]
    fn only_near_names_are_suggested() {
        assert_eq!(
            did_you_mean("retires", &["retries", "ttl"]),
            " (did you mean `retries`?)"
        );
        assert_eq!(did_you_mean("frobnicate", &["retries", "ttl"]), "");
    }
}
