//! What cannot be made idempotent, and which arguments do not go together, each with the reason and
//! the cure.

use proc_macro2::Span;
use quote::ToTokens;
use syn::visit::Visit;
use syn::{
    ParenthesizedGenericArguments, ReturnType, Safety, Signature, TypeFnPtr, TypeImplTrait,
    TypeReference,
};

use crate::args::{Backoff, OnCrash, Options, Transaction, defaults, show};
use crate::errors::Errors;
use crate::item::{Function, is_ours};
use crate::params::Params;

/// The function itself.
pub(crate) fn function(function: &Function, errors: &mut Errors) {
    let sig = &function.sig;
    if let Some(constness) = sig.constness {
        errors.add(
            constness,
            "a `const fn` cannot be idempotent: it has no ledger to ask, drop `const`",
        );
    }
    if let Safety::Unsafe(token) = sig.safety {
        errors.add(
            token,
            "an `unsafe fn` cannot be idempotent: its caller vouches for one run and the body may run \
             again, make it safe and put `unsafe` inside",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.add(
            abi,
            "an `extern` function cannot be idempotent, call an idempotent `fn` from it",
        );
    }
    for attr in &function.attrs {
        if is_ours(attr) {
            errors.add(attr, "`#[idempotent]` is here twice, keep one of them");
        }
    }
    output(sig, errors);
}

fn output(sig: &Signature, errors: &mut Errors) {
    let ReturnType::Type(_, ty) = &sig.output else {
        let message = format!(
            "`{0}` returns nothing, and an idempotent handler returns a `Result<T, E>`: its result is \
             what duplicates get, write for example `-> Result<(), idem_runtime::Error>`",
            sig.ident
        );
        errors.add(&sig.ident, message);
        return;
    };
    let mut found = Unnameable::default();
    found.visit_type(ty);
    if let Some(opaque) = found.opaque {
        errors.add(
            opaque,
            "an `impl Trait` cannot be recorded and read back, name the type of the result (and of a future by writing \
             `async fn`)",
        );
    } else if let Some(reference) = found.reference {
        errors.add(
            reference,
            "a result is recorded and outlives its call, so it cannot borrow: return it owned, such as a `String` for a \
             `&str`",
        );
    }
}

/// What a result cannot be made of; the compiler's own words on a borrowed one would be about
/// lifetimes.
#[derive(Default)]
struct Unnameable<'a> {
    opaque: Option<&'a TypeImplTrait>,
    reference: Option<&'a TypeReference>,
}

impl<'a> Visit<'a> for Unnameable<'a> {
    fn visit_type_impl_trait(&mut self, ty: &'a TypeImplTrait) {
        self.opaque.get_or_insert(ty);
    }

    fn visit_type_reference(&mut self, ty: &'a TypeReference) {
        self.reference.get_or_insert(ty);
    }

    // A reference in `fn(&T)` or `dyn Fn(&T)` is none that the result holds.
    fn visit_type_fn_ptr(&mut self, _: &'a TypeFnPtr) {}
    fn visit_parenthesized_generic_arguments(&mut self, _: &'a ParenthesizedGenericArguments) {}
}

/// The arguments that do not go together, or not with this function.
pub(crate) fn combinations(
    options: &Options,
    params: &Params,
    is_async: bool,
    errors: &mut Errors,
) {
    if options.key_missing {
        errors.push(syn::Error::new(
            Span::call_site(),
            "`#[idempotent]` needs a `key`: what makes two calls the same message, \
             such as `key = \"order_no\"`",
        ));
    }
    if let Some(issued) = &options.issued
        && options.key.len() > 1
    {
        errors.add(
            &issued.arg,
            "a key of several parts is never issued: `issued` needs a `key` of one part",
        );
    }
    if let (Some(was), Some(name)) = (&options.was, &options.name)
        && was.value.contains(name)
    {
        errors.add(
            &was.arg,
            format!("`{name}` is the name that it has: `was` takes those that it had before"),
        );
    }
    if let Some(upgrade) = &options.upgrade
        && options
            .version
            .as_ref()
            .is_none_or(|version| version.value == 1)
    {
        errors.add(
            &upgrade.arg,
            "`upgrade` reads the results of older versions, and version 1 has none: say \
             `version = 2`, or one more than the handler had before",
        );
    }
    if let Some(timeout) = &options.timeout
        && !is_async
    {
        errors.add(
            &timeout.arg,
            "`timeout` needs an `async fn`: nothing can stop a blocking body halfway, give its calls \
             timeouts of their own",
        );
    }
    claimed_early_enough(options, is_async, errors);
    if let Some(retries) = &options.retries
        && retries.value == 0
    {
        // It is the pause after an outage, too.
        if let Some(backoff) = &options.backoff
            && options.outage.is_none()
        {
            errors.add(
                &backoff.arg,
                "`backoff` is the pause before a retry, and `retries = 0` leaves none",
            );
        }
        if let Some(retry_if) = &options.retry_if {
            errors.add(
                &retry_if.arg,
                "`retry_if` decides on a retry, and `retries = 0` leaves none",
            );
        }
    }
    if options.runs_again()
        && let Some(receiver) = params.spent_receiver()
    {
        let shown = receiver.to_token_stream().to_string();
        let shown = shown
            .replace("& mut", "&mut")
            .replace(" :", ":")
            .replace(" < ", "<")
            .replace(" >", ">");
        let or = match options.each {
            Some(_) => "",
            None => ", or say `retries = 0` or `retry = \"redeliver\"`",
        };
        errors.add(
            receiver,
            format!(
                "`{shown}` is gone or changed after the first attempt, so the body cannot run again: take \
                 `&self`{or}"
            ),
        );
    }
    renewed_long_enough(options, errors);
    remembered_long_enough(options, errors);
}

/// A claim that is written with the result has its transaction, and sees no crash.
fn claimed_early_enough(options: &Options, is_async: bool, errors: &mut Errors) {
    let Some(transaction) = &options.transaction else {
        return;
    };
    if transaction.value == Transaction::Counted {
        return;
    }
    if !is_async {
        errors.add(
            &transaction.arg,
            "a `transaction` other than `\"counted\"` needs an `async fn`: the body has to call \
             `transaction().await`",
        );
    } else if options.on_crash == OnCrash::Bury {
        errors.add(
            &transaction.arg,
            "`on_crash = \"bury\"` needs to know that a process died in the body, and nothing is \
             written before it here: say `transaction = \"counted\"`, or leave `on_crash` out, as the \
             transaction is rolled back then",
        );
    }
}

/// A claim is renewed at least once, and for as long as its body may take.
fn renewed_long_enough(options: &Options, errors: &mut Errors) {
    let Some(longest) = &options.lease_max else {
        return;
    };
    let lease = options.lease.as_ref();
    let lease = lease.map_or(defaults::LEASE, |lease| lease.value);
    let shown = show(longest.value);
    if longest.value < lease {
        let lease = show(lease);
        errors.add(
            &longest.arg,
            format!(
                "a `lease_max` of `{shown}` is shorter than the `lease` of `{lease}`: say \
                 `lease_max = \"{lease}\"` or more, or a shorter `lease`"
            ),
        );
    } else if let Some(timeout) = &options.timeout
        && timeout.value > longest.value
    {
        let timeout = show(timeout.value);
        errors.add(
            &longest.arg,
            format!(
                "a `lease_max` of `{shown}` is shorter than the `timeout` of `{timeout}`, so a body \
                 could lose its claim before its time is up; say `lease_max = \"{timeout}\"` or more"
            ),
        );
    }
}

/// A result has to outlive the attempts that lead to it.
fn remembered_long_enough(options: &Options, errors: &mut Errors) {
    let default = Backoff {
        jitter: true,
        ..Backoff::default()
    };
    let backoff = options
        .backoff
        .as_ref()
        .map_or(&default, |given| &given.value);
    let retries = options.retries();
    let pauses = backoff.total(retries);
    let limit = options.timeout.as_ref().or(options.lease_max.as_ref());
    let limits = limit.map_or(0, |limit| limit.value);
    let limits = limits.saturating_mul(u64::from(retries) + 1);
    let all = pauses.saturating_add(limits);
    let ttl = options.ttl.as_ref().map_or(defaults::TTL, |ttl| ttl.value);
    if ttl >= all {
        return;
    }
    let message = format!(
        "a `ttl` of `{}` is shorter than all attempts may take: `{}` of pauses and `{}` of {}, so \
         a duplicate could come when the result is forgotten; say `ttl = \"{}\"` or more",
        show(ttl),
        show(pauses),
        show(limits),
        match options.timeout {
            Some(_) => "timeouts",
            None => "leases",
        },
        show(all)
    );
    let given = [
        options.ttl.as_ref().map(|given| &given.arg),
        options.backoff.as_ref().map(|given| &given.arg),
        limit.map(|given| &given.arg),
        options.retries.as_ref().map(|given| &given.arg),
    ];
    if let Some(arg) = given.into_iter().flatten().next() {
        errors.add(arg, message);
    }
}
