//! `backoff(initial = "100ms", factor = 2, max = "30s", jitter)`.

use super::list::{Arg, Value, arguments};
use super::{defaults, duration};
use crate::errors::Errors;

/// The pause before each retry. Without the argument it is the runtime's default, with it what is
/// left out is as here.
pub(crate) struct Backoff {
    /// In milliseconds.
    pub(crate) initial: u64,
    pub(crate) factor: f64,
    /// In milliseconds.
    pub(crate) max: u64,
    pub(crate) jitter: bool,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: defaults::INITIAL,
            factor: defaults::FACTOR,
            max: defaults::MAX,
            jitter: false,
        }
    }
}

impl Backoff {
    pub(crate) fn parse(arg: &Arg) -> syn::Result<Self> {
        let Value::List(list) = &arg.value else {
            return Err(arg.error(
                "`backoff` takes a list, write `backoff(initial = \"100ms\", factor = 2, max = \"30s\", jitter)`",
            ));
        };
        let mut errors = Errors::default();
        let mut backoff = Self::default();
        let mut max = None;
        let known = ["initial", "factor", "max", "jitter"];
        for inner in arguments("`backoff`", &known, list.stream(), &mut errors) {
            let read = backoff.read(&inner);
            if errors.keep(read).is_some() && inner.name == "max" {
                max = Some(inner);
            }
        }
        if let Some(error) = errors.into_error() {
            return Err(error);
        }
        if backoff.max < backoff.initial {
            let message = format!(
                "the longest pause, `{}`, is shorter than the first, `{}`",
                duration::show(backoff.max),
                duration::show(backoff.initial)
            );
            return Err(max.as_ref().unwrap_or(arg).error(message));
        }
        Ok(backoff)
    }

    fn read(&mut self, arg: &Arg) -> syn::Result<()> {
        match arg.name.to_string().as_str() {
            "initial" => self.initial = arg.duration("initial = \"100ms\"", 0)?,
            "max" => self.max = arg.duration("max = \"30s\"", 0)?,
            "factor" => {
                self.factor = arg.float("factor = 2")?;
                if !(1.0..=1000.0).contains(&self.factor) {
                    return Err(arg.error(
                        "`factor` is from 1 to 1000: pauses do not shrink, write 1 for equal ones",
                    ));
                }
            }
            _ => {
                if !matches!(arg.value, Value::Nothing) {
                    return Err(arg.error("`jitter` has no value, it is on when it is there"));
                }
                self.jitter = true;
            }
        }
        Ok(())
    }

    /// All pauses of that many retries together, in milliseconds.
    pub(crate) fn total(&self, retries: u32) -> u64 {
        let mut pause = self.initial as f64;
        let mut total = 0.0;
        for _ in 0..retries {
            total += pause.min(self.max as f64);
            pause *= self.factor;
        }
        total as u64
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn read(tokens: proc_macro2::TokenStream) -> syn::Result<Backoff> {
        let mut errors = Errors::default();
        let args = arguments("`test`", &["backoff"], tokens, &mut errors);
        Backoff::parse(&args[0])
    }

    #[test]
    fn what_is_left_out_has_its_default_but_jitter() {
        let backoff = read(quote!(backoff(factor = 1.5))).unwrap();
        assert_eq!(
            (backoff.initial, backoff.max, backoff.jitter),
            (100, 30_000, false)
        );
        assert_eq!(backoff.factor, 1.5);
        assert!(read(quote!(backoff(jitter))).unwrap().jitter);
    }

    #[test]
    fn pauses_add_up_to_their_cap() {
        let backoff = read(quote!(backoff(initial = "1s", factor = 2, max = "3s"))).unwrap();
        assert_eq!(backoff.total(0), 0);
        assert_eq!(backoff.total(4), 1000 + 2000 + 3000 + 3000);
    }

    #[test]
    fn nonsense_is_refused() {
        for tokens in [
            quote!(backoff(factor = 0.5)),
            quote!(backoff(factor = 1e999)),
            quote!(backoff(factor = "2")),
            quote!(backoff(initial = "1m", max = "1s")),
            quote!(backoff(initial = "31s")),
            quote!(backoff(jitter = true)),
            quote!(backoff = "1s"),
        ] {
            assert!(read(tokens).is_err());
        }
    }
}
