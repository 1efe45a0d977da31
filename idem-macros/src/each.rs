//! A handler of many messages (`each = "…"`): what each message is, and what its call returns.

use proc_macro2::{Ident, TokenStream};
use quote::quote_spanned;
use syn::spanned::Spanned;
use syn::{GenericArgument, PathArguments, Type};

use crate::args::{Arg, Options};
use crate::errors::Errors;
use crate::expand::{Expansion, ours, used};
use crate::params::{Param, Params, Passing, peel};

/// The types in the two lists.
pub(crate) struct Each {
    /// What the argument with the messages is called.
    messages: Ident,
    message: Type,
    /// What the function returns for each message.
    pub(crate) output: Type,
}

impl Each {
    /// Reads the signature of a function whose key is that of each message. The argument is then one of
    /// a message, of which the function gets many.
    pub(crate) fn of(
        options: &Options,
        params: &mut Params,
        output: Option<&Type>,
        is_async: bool,
        errors: &mut Errors,
    ) -> Option<Self> {
        let Some(given) = &options.each else {
            if let Some(output) = output.filter(|output| element(output).is_some()) {
                errors.add(
                    output,
                    "a handler returns a `Result<T, E>`; one that returns a result for each of many messages has \
                     their key as `each`, in place of `key`",
                );
            }
            return None;
        };
        let at = &given.arg;
        if !is_async {
            errors.add(
                at,
                "`each` needs an `async fn`: many calls wait for one body",
            );
        }
        of_one_message(options, params, errors);
        let (param, message) = errors.keep(messages(params, at))?;
        // What the message is made from is one of them, borrowed.
        param.passing = Passing::Shared;
        let name = param.ident.clone();
        let Some(output) = output.and_then(element).cloned() else {
            // A function that returns nothing has its own error.
            if let Some(output) = output {
                errors.add(
                    output,
                    "a function with `each` returns a result for each message, in their order: \
                     `Vec<Result<T, E>>`",
                );
            }
            return None;
        };
        Some(Self {
            messages: name,
            message,
            output,
        })
    }
}

/// What is of one message, where the body gets many.
fn of_one_message(options: &Options, params: &Params, errors: &mut Errors) {
    if let Some(existing) = &options.existing {
        errors.add(
            existing,
            "`existing` looks for one message, and the body gets many: look for them in the body, and return \
             `Ok` for those that are done",
        );
    }
    if let Some(transaction) = &options.transaction {
        errors.add(
            &transaction.arg,
            "a `transaction` is one attempt's, and each message has its own attempt: begin one in the body, or \
             take `key` and one message",
        );
    }
    for param in &params.list {
        if param.passing == Passing::Mutable {
            errors.add(
                &param.ty,
                "the body can run for several messages at a time, so it cannot change this: take a `&`, or a \
                 value that can be cloned",
            );
        }
    }
}

/// The argument with the messages, and the type of one.
fn messages<'a>(params: &'a mut Params, at: &Arg) -> syn::Result<(&'a mut Param, Type)> {
    let mut of_message = params.list.iter_mut().filter(|param| !param.skipped);
    let Some(param) = of_message.next() else {
        let message = "a function with `each` has an argument with its messages, such as \
                       `orders: Vec<PlaceOrder>`";
        return Err(syn::Error::new_spanned(at, message));
    };
    if of_message.next().is_some() {
        let message = "a function with `each` has one argument that is its messages: leave the others out of \
                       them with `skip(…)`";
        return Err(syn::Error::new_spanned(at, message));
    }
    let Some(message) = element(&param.ty).cloned() else {
        let message = "a function with `each` takes its messages in a `Vec`, such as \
                       `orders: Vec<PlaceOrder>`";
        return Err(syn::Error::new_spanned(&param.ty, message));
    };
    if !param.bindings.is_empty() {
        let message = "give the messages a name, such as `orders`";
        return Err(syn::Error::new_spanned(&param.ty, message));
    }
    Ok((param, message))
}

/// The `T` of a `Vec<T>`.
fn element(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = peel(ty) else {
        return None;
    };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        GenericArgument::Type(element) if last.ident == "Vec" && arguments.args.len() == 1 => {
            Some(element)
        }
        _ => None,
    }
}

impl Expansion<'_> {
    /// What stands in the braces of a function of many messages: what makes a call of one, and the body
    /// for those that are to run.
    pub(crate) fn body_of_many(&self, each: &Each) -> TokenStream {
        let rt = self.runtime(ours());
        let Each {
            messages, message, ..
        } = each;
        let output = &each.output;
        let (handler, message_of) = (self.handler(), self.message_of());
        let options = self.call_options();
        let copies = self.copies_of_others(messages);
        let copy = {
            let span = message.span();
            let rt = self.runtime(span);
            quote_spanned!(span=> #rt::member::<#message>)
        };
        let attempt = self.attempt();
        // The body stands apart from what only we are to see.
        quote_spanned! {ours()=>
            let __body = |#messages: ::std::vec::Vec<#message>| {
                #copies
                async move { #attempt }
            };
            {
                static __IDEM: #rt::Handler = #handler;
                #rt::check::<#output>();
                use #rt::Unhandled as _;
                (&#rt::Begin::<#output>::new()).each(
                    &__IDEM,
                    #messages,
                    #copy,
                    |#messages: &#message| #message_of,
                    |__call| __call #options,
                    __body,
                ).await
            }
        }
    }

    /// Each body's own context.
    fn copies_of_others(&self, messages: &Ident) -> TokenStream {
        let rt = self.runtime(ours());
        let others = self.params.list.iter();
        let others =
            others.filter(|param| param.passing == Passing::Owned && param.ident != *messages);
        let copies = others.map(|param| {
            let Param { ident, ty, .. } = param;
            let (quiet, used) = (Self::quiet([param]), used([ident]));
            quote_spanned! {ours()=>
                #quiet
                let #ident = {
                    let __again = #rt::again::<#ty>;
                    __again(&#ident)
                };
                #used
            }
        });
        copies.collect()
    }
}
