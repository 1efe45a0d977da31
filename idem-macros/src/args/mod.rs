//! The attribute's arguments, each read on its own; how they go together is for `check`.

mod backoff;
pub(crate) mod defaults;
mod duration;
mod list;
mod path;
mod redact;
mod value;

use proc_macro2::{Ident, TokenStream};
use syn::ext::IdentExt;
use syn::{Expr, ExprLit, Lit, Path};

pub(crate) use self::backoff::Backoff;
pub(crate) use self::duration::show;
pub(crate) use self::list::Arg;
use self::list::{Value, arguments};
pub(crate) use self::path::{Dotted, Part, from_expr};
pub(crate) use self::redact::Secret;
pub(crate) use self::value::Given;
use crate::errors::Errors;

/// The names, in the order of the documentation.
const NAMES: [&str; 26] = [
    "key",
    "each",
    "retries",
    "backoff",
    "retry",
    "retry_if",
    "outage",
    "existing",
    "events",
    "on_crash",
    "timeout",
    "lease",
    "lease_max",
    "ttl",
    "in_flight",
    "transaction",
    "fingerprint",
    "skip",
    "redact",
    "issued",
    "name",
    "was",
    "version",
    "upgrade",
    "runtime",
    "crate",
];

/// More would be a loop, not a budget.
const MAX_RETRIES: u32 = 1000;

/// A claim that lapses sooner would be lost between two renewals.
const MIN_LEASE: u64 = 1000;

/// What was given; what was not has its default in the runtime.
#[derive(Default)]
pub(crate) struct Options {
    /// Empty when it is missing or wrong.
    pub(crate) key: Vec<Part>,
    /// The key is that of each of many messages.
    pub(crate) each: Option<Given<()>>,
    pub(crate) key_missing: bool,
    pub(crate) retries: Option<Given<u32>>,
    pub(crate) backoff: Option<Given<Backoff>>,
    pub(crate) retry: RetryMode,
    pub(crate) retry_if: Option<Given<Path>>,
    pub(crate) outage: Option<Path>,
    pub(crate) existing: Option<Path>,
    pub(crate) events: Option<Path>,
    pub(crate) on_crash: OnCrash,
    pub(crate) timeout: Option<Given<u64>>,
    pub(crate) lease: Option<Given<u64>>,
    pub(crate) lease_max: Option<Given<u64>>,
    pub(crate) ttl: Option<Given<u64>>,
    pub(crate) in_flight: InFlight,
    pub(crate) transaction: Option<Given<Transaction>>,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) skip: Vec<Ident>,
    pub(crate) redact: Vec<Secret>,
    pub(crate) issued: Option<Given<String>>,
    pub(crate) name: Option<String>,
    pub(crate) was: Option<Given<Vec<String>>>,
    pub(crate) version: Option<Given<u32>>,
    pub(crate) upgrade: Option<Given<Path>>,
    pub(crate) runtime: Option<Expr>,
    pub(crate) krate: Option<Path>,
}

/// `retry`: where a failed attempt is tried again.
#[derive(Default, PartialEq)]
pub(crate) enum RetryMode {
    #[default]
    Inline,
    Redeliver,
}

/// `on_crash`: what an attempt with an unknown outcome leads to.
#[derive(Default, PartialEq)]
pub(crate) enum OnCrash {
    #[default]
    Rerun,
    Bury,
}

/// `in_flight`: what a duplicate gets while the first call runs.
#[derive(Default, PartialEq)]
pub(crate) enum InFlight {
    #[default]
    Wait,
    Reject,
}

/// `transaction`: when the claim of an attempt is written.
#[derive(PartialEq)]
pub(crate) enum Transaction {
    Counted,
    Single,
    Fresh,
}

/// `fingerprint = "off"` or `fingerprint(…)`.
pub(crate) enum Fingerprint {
    Off,
    Of(Vec<Dotted>),
}

impl Options {
    /// Reads all that can be read.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let args = arguments("`#[idempotent]`", &NAMES, tokens, errors);
        // What could not be made out may have been the key.
        let is_key = |arg: &Arg| arg.name == "key" || arg.name == "each";
        let key_missing = errors.are_none() && !args.iter().any(is_key);
        let mut options = Self {
            key_missing,
            ..Self::default()
        };
        for arg in args {
            let read = options.read(arg);
            errors.keep(read);
        }
        options
    }

    /// The retries after the first attempt.
    pub(crate) fn retries(&self) -> u32 {
        self.retries
            .as_ref()
            .map_or(defaults::RETRIES, |retries| retries.value)
    }

    /// Whether the body can run twice within one call.
    pub(crate) fn runs_again(&self) -> bool {
        self.each.is_some() || self.retry == RetryMode::Inline && self.retries() > 0
    }

    fn read(&mut self, arg: Arg) -> syn::Result<()> {
        match arg.name.unraw().to_string().as_str() {
            "key" if self.each.is_none() => self.key = path::key(&arg)?,
            "each" if self.key.is_empty() => {
                self.key = path::key(&arg)?;
                self.each = Some(Given { arg, value: () });
            }
            name @ ("key" | "each") => {
                let message =
                    "`key` is of one message and `each` of each of many, keep one of them";
                let error = arg.error(message);
                if name == "each" {
                    self.each = Some(Given { arg, value: () });
                }
                return Err(error);
            }
            "retries" => {
                let value = arg.number("retries = 3", MAX_RETRIES)?;
                self.retries = Some(Given { arg, value });
            }
            "backoff" => {
                let value = Backoff::parse(&arg)?;
                self.backoff = Some(Given { arg, value });
            }
            "retry" => {
                self.retry = arg.choice([
                    ("inline", RetryMode::Inline),
                    ("redeliver", RetryMode::Redeliver),
                ])?;
            }
            "retry_if" => {
                let value = arg.path("retry_if = PayError::is_transient")?;
                self.retry_if = Some(Given { arg, value });
            }
            "outage" => self.outage = Some(arg.path("outage = PayError::is_outage")?),
            "existing" => self.existing = Some(arg.path("existing = find_order")?),
            "events" => self.events = Some(arg.path("events = order_placed")?),
            "on_crash" => {
                self.on_crash = arg.choice([("rerun", OnCrash::Rerun), ("bury", OnCrash::Bury)])?;
            }
            "timeout" => {
                let value = arg.duration("timeout = \"10s\"", 1)?;
                self.timeout = Some(Given { arg, value });
            }
            "lease" => {
                let value = arg.duration("lease = \"30s\"", MIN_LEASE)?;
                self.lease = Some(Given { arg, value });
            }
            "lease_max" => {
                let value = arg.duration("lease_max = \"1h\"", MIN_LEASE)?;
                self.lease_max = Some(Given { arg, value });
            }
            "ttl" => {
                let value = arg.duration("ttl = \"7d\"", 1)?;
                self.ttl = Some(Given { arg, value });
            }
            "in_flight" => {
                self.in_flight =
                    arg.choice([("wait", InFlight::Wait), ("reject", InFlight::Reject)])?;
            }
            "transaction" => {
                let value = arg.choice([
                    ("counted", Transaction::Counted),
                    ("single", Transaction::Single),
                    ("fresh", Transaction::Fresh),
                ])?;
                self.transaction = Some(Given { arg, value });
            }
            "fingerprint" => self.fingerprint = Some(fingerprint(&arg)?),
            "skip" => self.skip = skip(&arg)?,
            "redact" => self.redact = redact::redact(&arg)?,
            "issued" => {
                let value = name(&arg, "issued = \"order_no\"")?;
                self.issued = Some(Given { arg, value });
            }
            "name" => self.name = Some(name(&arg, "name = \"orders.place\"")?),
            "was" => {
                let value = was(&arg)?;
                self.was = Some(Given { arg, value });
            }
            "version" => {
                let value = version(&arg)?;
                self.version = Some(Given { arg, value });
            }
            "upgrade" => {
                let value = arg.path("upgrade = receipt_of_today")?;
                self.upgrade = Some(Given { arg, value });
            }
            "runtime" => self.runtime = Some(runtime(&arg)?),
            // `arguments` lets nothing pass but the names above.
            _ => self.krate = Some(arg.path("crate = my_crate::idem_runtime")?),
        }
        Ok(())
    }
}

fn fingerprint(arg: &Arg) -> syn::Result<Fingerprint> {
    match &arg.value {
        Value::List(_) => path::fingerprint(arg).map(Fingerprint::Of),
        _ => match arg.string("fingerprint = \"off\"") {
            Ok(text) if text.value() == "off" => Ok(Fingerprint::Off),
            _ => Err(arg
                .error("write `fingerprint = \"off\"` for none, or `fingerprint(sku, qty)` for a part of the payload")),
        },
    }
}

fn skip(arg: &Arg) -> syn::Result<Vec<Ident>> {
    let mut names: Vec<Ident> = Vec::new();
    for element in arg.elements("skip(db, clock)")? {
        let ident = match &element {
            Expr::Path(path) => path.path.get_ident(),
            _ => None,
        };
        let Some(ident) = ident else {
            let message = "`skip(…)` takes the names of arguments, such as `skip(db, clock)`";
            return Err(syn::Error::new_spanned(element, message));
        };
        if ident == "self" {
            let message = "`self` is never stored, leave it out";
            return Err(syn::Error::new_spanned(ident, message));
        }
        if names.contains(ident) {
            let message = format!("`{ident}` is skipped twice, keep one of them");
            return Err(syn::Error::new_spanned(ident, message));
        }
        names.push(ident.clone());
    }
    Ok(names)
}

fn name(arg: &Arg, example: &str) -> syn::Result<String> {
    checked(arg, arg.string(example)?.value(), example)
}

/// `was = "place_order"` or `was("place_order", "orders.put")`.
fn was(arg: &Arg) -> syn::Result<Vec<String>> {
    const EXAMPLE: &str = "was = \"place_order\"";
    if !matches!(arg.value, Value::List(_)) {
        return Ok(vec![name(arg, EXAMPLE)?]);
    }
    let mut names = Vec::new();
    for element in arg.elements("was(\"place_order\", \"orders.put\")")? {
        let Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) = &element
        else {
            return Err(syn::Error::new_spanned(
                element,
                "`was(…)` takes the names as strings",
            ));
        };
        let name = checked(arg, text.value(), EXAMPLE)?;
        if names.contains(&name) {
            return Err(syn::Error::new_spanned(
                text,
                format!("`{name}` is here twice, keep one of them"),
            ));
        }
        names.push(name);
    }
    Ok(names)
}

fn checked(arg: &Arg, name: String, example: &str) -> syn::Result<String> {
    // Room enough for any name, and little enough to lead every record's key.
    const MAX: usize = 128;
    if name.trim().is_empty() {
        return Err(arg.error(format!("the name is empty, write one such as `{example}`")));
    }
    if name.chars().any(char::is_control) {
        return Err(arg.error("a name has no control characters, people read it"));
    }
    if name.len() > MAX {
        return Err(arg.error(format!(
            "the name has {} bytes, {MAX} are the most",
            name.len()
        )));
    }
    Ok(name)
}

fn version(arg: &Arg) -> syn::Result<u32> {
    match arg.number("version = 2", u32::MAX)? {
        0 => Err(arg.error("versions begin at 1, which a handler without `version` has")),
        version => Ok(version),
    }
}

fn runtime(arg: &Arg) -> syn::Result<Expr> {
    match arg.expr("runtime = self.idem")? {
        Expr::Lit(_) => {
            Err(arg.error("`runtime` takes an expression that is an `Idem`, such as `self.idem`"))
        }
        expr => Ok(expr.clone()),
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;
    use crate::errors::did_you_mean;

    fn errors(tokens: TokenStream) -> usize {
        let mut errors = Errors::default();
        Options::parse(tokens, &mut errors);
        let found = errors.into_compile_errors().unwrap_or_default().to_string();
        found.matches("compile_error").count()
    }

    #[test]
    fn every_argument_is_read() {
        let mut errors = Errors::default();
        let options = Options::parse(
            quote! {
                key = "a, b.c", retries = 5, backoff(initial = "1s", jitter), retry = "redeliver",
                retry_if = is_transient, outage = is_away, existing = Self::find, events = tell, on_crash = "bury", timeout = "10s",
                lease = "1m", lease_max = "30m", ttl = "4h", in_flight = "reject", transaction = "single",
                fingerprint(a, b.c), skip(db),
                redact(d, "e.f-g"), issued = "order_no",
                name = "x.y", was("x.z", "w"), version = 2, upgrade = Self::up, runtime = self.idem, crate = ::other,
            },
            &mut errors,
        );
        assert!(errors.into_compile_errors().is_none());
        assert_eq!(options.key.len(), 2);
        assert_eq!(options.retries.unwrap().value, 5);
        assert!(options.retry == RetryMode::Redeliver && options.on_crash == OnCrash::Bury);
        assert!(options.in_flight == InFlight::Reject);
        assert!(options.transaction.unwrap().value == Transaction::Single);
        assert_eq!(options.timeout.unwrap().value, 10_000);
        assert_eq!(options.lease.unwrap().value, 60_000);
        assert_eq!(options.lease_max.unwrap().value, 1_800_000);
        assert_eq!(options.ttl.unwrap().value, 14_400_000);
        assert!(matches!(options.fingerprint, Some(Fingerprint::Of(of)) if of.len() == 2));
        assert_eq!(options.skip, ["db"]);
        let redact: Vec<_> = options
            .redact
            .iter()
            .map(|secret| secret.names.join("."))
            .collect();
        assert_eq!(redact, ["d", "e.f-g"]);
        assert!(options.events.unwrap().is_ident("tell"));
        assert_eq!(options.issued.unwrap().value, "order_no");
        assert_eq!(options.name.unwrap(), "x.y");
        assert_eq!(options.was.unwrap().value, ["x.z", "w"]);
        assert_eq!(options.version.unwrap().value, 2);
        assert!(options.upgrade.unwrap().value.segments.len() == 2);
    }

    #[test]
    fn a_slip_finds_the_argument_that_was_meant() {
        for (slip, meant) in [
            ("retrys", "retries"),
            ("retires", "retries"),
            ("retrie", "retries"),
            ("rety", "retry"),
            ("retryif", "retry_if"),
            ("outages", "outage"),
            ("keys", "key"),
            ("eachs", "each"),
            ("timout", "timeout"),
            ("leases", "lease"),
            ("leasemax", "lease_max"),
            ("oncrash", "on_crash"),
            ("inflight", "in_flight"),
            ("fingerprints", "fingerprint"),
            ("back_off", "backoff"),
            ("runtimes", "runtime"),
            ("issuer", "issued"),
            ("transactional", "transaction"),
            ("redacted", "redact"),
            ("versions", "version"),
            ("upgrades", "upgrade"),
            ("event", "events"),
        ] {
            assert_eq!(
                did_you_mean(slip, &NAMES),
                format!(" (did you mean `{meant}`?)"),
                "{slip}"
            );
        }
        for far in ["attempts", "dedupe", "idempotency_key"] {
            assert_eq!(did_you_mean(far, &NAMES), "", "{far}");
        }
    }

    #[test]
    fn independent_errors_are_all_reported() {
        assert_eq!(
            errors(quote!(
                retries = -1,
                retry = "sometimes",
                timeout = 10,
                name = "",
                was("a", "a")
            )),
            5
        );
    }
}
