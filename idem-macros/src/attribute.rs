//! From the attribute's arguments and its item to the function they become, or to errors beside the
//! item as it was.
//!
//! Nothing here needs the compiler's own token types, so that tests can run it on any tokens.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

use crate::args::Options;
use crate::check;
use crate::each::Each;
use crate::errors::Errors;
use crate::expand::Expansion;
use crate::item::Function;
use crate::leftover::Boxed;
use crate::params::Params;
use crate::{redact, resolve};

/// What the attribute becomes.
pub(crate) fn expansion(args: TokenStream, item: &TokenStream) -> TokenStream {
    let function = match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function,
        Err(error) => return with_errors(item, &error.into_compile_error()),
    };
    let mut errors = Errors::default();
    let options = Options::parse(args, &mut errors);
    match idempotent_function(&function, &options, errors) {
        Ok(tokens) => tokens,
        Err(errors) => with_errors(&function.as_written(item), &errors),
    }
}

/// The item stays beside the errors, so that the compiler does not add that it cannot be found.
fn with_errors(item: &TokenStream, errors: &TokenStream) -> TokenStream {
    quote!(#errors #item)
}

fn idempotent_function(
    function: &Function,
    options: &Options,
    mut errors: Errors,
) -> Result<TokenStream, TokenStream> {
    check::function(function, &mut errors);
    let boxed = Boxed::recognise(function).and_then(|boxed| errors.keep(boxed));
    let is_async = function.sig.asyncness.is_some() || boxed.is_some();
    let mut sig = function.sig.clone();
    let mut params = Params::take(&mut sig);
    if let Some(boxed) = &boxed {
        params.skip_blank(boxed);
    }
    params.skip(&options.skip, &mut errors);
    let output = match (&sig.output, &boxed) {
        (_, Some(boxed)) => Some(&boxed.output),
        (syn::ReturnType::Type(_, output), None) => Some(&**output),
        (syn::ReturnType::Default, None) => None,
    };
    let each = Each::of(options, &mut params, output, is_async, &mut errors);
    // What the messages are is not known: other errors would be about something else.
    if options.each.is_some() && each.is_none() {
        return Err(errors.into_compile_errors().unwrap_or_default());
    }
    check::combinations(options, &params, is_async, &mut errors);
    let resolved = resolve::resolve(
        &options.key,
        options.fingerprint.as_ref(),
        &params,
        &mut errors,
    );
    let redacted = redact::redacted(options, &params, &mut errors);
    if let Some(errors) = errors.into_compile_errors() {
        return Err(errors);
    }
    let Some(output) = output else {
        return Err(TokenStream::new());
    };
    let expansion = Expansion {
        ident: &sig.ident,
        is_async,
        output,
        each: each.as_ref(),
        body: boxed.as_ref().map_or(&function.body, |boxed| &boxed.body),
        options,
        params: &params,
        resolved: &resolved,
        redacted: &redacted,
    };
    let body = expansion.body();
    let body = boxed
        .as_ref()
        .map_or(body.clone(), |boxed| boxed.around(body));
    let Function {
        attrs, vis, inner, ..
    } = function;
    let mut tokens = quote!(#(#attrs)* #vis #sig);
    let span = function.body.span();
    tokens.extend(quote_spanned!(span=> { #(#inner)* #body }));
    Ok(tokens)
}
