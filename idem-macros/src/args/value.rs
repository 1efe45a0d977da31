//! What an argument's value may be: each kind read in one place, each error with an example.

use std::fmt::Display;

use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Expr, Lit, LitStr, Path, Token, UnOp};

use super::duration;
use super::list::{Arg, Value};
use crate::errors::{any_of, did_you_mean};

/// An argument's value together with the argument, for errors that come later.
pub(crate) struct Given<T> {
    pub(crate) arg: Arg,
    pub(crate) value: T,
}

impl Arg {
    /// An error on the value, or on the name where there is none.
    pub(crate) fn error(&self, message: impl Display) -> syn::Error {
        match &self.value {
            Value::Is(value) => syn::Error::new_spanned(value, message),
            _ => syn::Error::new_spanned(self, message),
        }
    }

    /// The value of `name = value`; `example` completes "write `…`".
    pub(crate) fn expr(&self, example: &str) -> syn::Result<&Expr> {
        match &self.value {
            Value::Is(value) => Ok(peel(value)),
            _ => Err(self.error(format!("`{}` needs a value, write `{example}`", self.name))),
        }
    }

    /// A string literal.
    pub(crate) fn string(&self, example: &str) -> syn::Result<&LitStr> {
        match self.expr(example)? {
            Expr::Lit(literal) if let Lit::Str(string) = &literal.lit => Ok(string),
            _ => Err(self.error(format!("`{}` takes a string, write `{example}`", self.name))),
        }
    }

    /// A whole number.
    pub(crate) fn number(&self, example: &str, max: u32) -> syn::Result<u32> {
        let name = &self.name;
        let whole = || self.error(format!("`{name}` takes a whole number, write `{example}`"));
        match self.expr(example)? {
            Expr::Lit(literal) if let Lit::Int(number) = &literal.lit => {
                if !number.suffix().is_empty() {
                    return Err(whole());
                }
                number
                    .base10_parse()
                    .ok()
                    .filter(|number| *number <= max)
                    .ok_or_else(|| {
                        self.error(format!(
                            "`{name} = {number}` is too many, {max} is the most"
                        ))
                    })
            }
            Expr::Unary(unary) if let UnOp::Neg(_) = unary.op => {
                Err(self.error(format!("`{name}` cannot be negative, write `{example}`")))
            }
            _ => Err(whole()),
        }
    }

    /// A number with or without a fraction.
    pub(crate) fn float(&self, example: &str) -> syn::Result<f64> {
        match self.expr(example)? {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Int(number) => number.base10_parse().ok(),
                Lit::Float(number) => number.base10_parse().ok(),
                _ => None,
            },
            _ => None,
        }
        .ok_or_else(|| self.error(format!("`{}` takes a number, write `{example}`", self.name)))
    }

    /// A duration in milliseconds, at least `min`.
    pub(crate) fn duration(&self, example: &str, min: u64) -> syn::Result<u64> {
        let name = &self.name;
        let text = match self.expr(example)? {
            Expr::Lit(literal) if let Lit::Str(string) = &literal.lit => string,
            _ => {
                return Err(self.error(format!(
                    "`{name}` takes a duration with its unit in a string, write `{example}`"
                )));
            }
        };
        let millis = duration::parse(&text.value()).map_err(|message| self.error(message))?;
        if millis < min {
            let least = duration::show(min);
            return Err(self.error(format!("`{name}` has to be `{least}` at least")));
        }
        Ok(millis)
    }

    /// One of two words: what it stands for.
    pub(crate) fn choice<T, const N: usize>(&self, choices: [(&str, T); N]) -> syn::Result<T> {
        let name = &self.name;
        let words = choices.each_ref().map(|(word, _)| *word);
        // The caller puts the outer quotes.
        let examples = any_of(&words.map(|word| format!("{name} = \"{word}\"")));
        let text = self.string(examples.trim_matches('`'))?.value();
        let chosen = choices.into_iter().find(|(word, _)| *word == text);
        chosen.map(|(_, choice)| choice).ok_or_else(|| {
            let nearest = did_you_mean(&text, &words);
            let all = any_of(&words.map(|word| format!("\"{word}\"")));
            self.error(format!(
                "`{name}` cannot be `\"{text}\"`{nearest}; it is {all}"
            ))
        })
    }

    /// A path to an item.
    pub(crate) fn path(&self, example: &str) -> syn::Result<Path> {
        let name = &self.name;
        match self.expr(example)? {
            Expr::Path(path) if path.qself.is_none() => Ok(path.path.clone()),
            Expr::Lit(literal) if let Lit::Str(string) = &literal.lit => {
                let path = string.value();
                Err(self.error(format!(
                    "`{name}` takes a path and no string, write `{name} = {path}`"
                )))
            }
            Expr::Closure(_) => Err(self.error(format!(
                "`{name}` takes the path of a function and no closure, write `{example}`"
            ))),
            _ => Err(self.error(format!("`{name}` takes a path, write `{example}`"))),
        }
    }

    /// The elements of `name(…)`, at least one.
    pub(crate) fn elements(&self, example: &str) -> syn::Result<Vec<Expr>> {
        let name = &self.name;
        let Value::List(list) = &self.value else {
            return Err(self.error(format!("`{name}` takes a list, write `{example}`")));
        };
        let elements = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(list.stream())?;
        if elements.is_empty() {
            return Err(self.error(format!("`{name}()` is empty, write `{example}`")));
        }
        Ok(elements
            .iter()
            .map(|element| peel(element).clone())
            .collect())
    }
}

/// What a `macro_rules!` passes on sits in invisible groups.
pub(crate) fn peel(expr: &Expr) -> &Expr {
    match expr {
        Expr::Group(group) => peel(&group.expr),
        expr => expr,
    }
}
