//! The `#[idempotent]` attribute. Use it through `idem-runtime`, which re-exports it.

mod args;
mod attempt;
mod attribute;
mod check;
mod each;
mod errors;
mod expand;
mod item;
mod leftover;
mod params;
mod pattern;
mod redact;
mod resolve;

// A file of its own, so that a package that knows the runtime can try its examples.
#[doc = include_str!("idempotent.md")]
#[proc_macro_attribute]
pub fn idempotent(
    args: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    attribute::expansion(args.into(), &item.into()).into()
}
