//! The few lines the function's body becomes:
//!
//! ```text
//! let mut call = {
//!     static HANDLER: Handler = Handler::new("shop::place_order", file!(), line!()).retries(5);
//!     let mut message = CallBuilder::new(&HANDLER);
//!     message.read(&mut |message| message.key(&order.order_no).arg("order", &order));
//!     begin::<R>(message)
//! };
//! while call.next().await {
//!     let Some(order) = call.copies(|| again(&order)) else { continue };
//!     call.run(pin!(async move { …the body… })).await;
//! }
//! call.finish()
//! ```

use std::collections::HashSet;

use proc_macro2::{Group, Ident, Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::Type;
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::args::{Fingerprint, InFlight, OnCrash, Options, RetryMode, Transaction};
use crate::each::Each;
use crate::params::{Param, Params, Passing};
use crate::pattern;
use crate::resolve::{Resolved, borrowed};

/// All that the expansion is made from.
pub(crate) struct Expansion<'a> {
    /// The function's name.
    pub(crate) ident: &'a Ident,
    pub(crate) is_async: bool,
    /// What it returns, or what its boxed future resolves to.
    pub(crate) output: &'a Type,
    /// If it takes many messages.
    pub(crate) each: Option<&'a Each>,
    pub(crate) body: &'a Group,
    pub(crate) options: &'a Options,
    pub(crate) params: &'a Params,
    pub(crate) resolved: &'a Resolved,
    /// The paths into the payload that are not to be stored.
    pub(crate) redacted: &'a [String],
}

/// Ours, so that nothing of the user's is captured and no lint of the user's looks at it.
pub(crate) fn ours() -> Span {
    Span::mixed_site()
}

impl Expansion<'_> {
    /// What stands in the function's braces.
    pub(crate) fn body(&self) -> TokenStream {
        if let Some(each) = self.each {
            return self.body_of_many(each);
        }
        let call = self.call();
        let copies = self.copies();
        let attempt = self.attempt();
        // Where the body runs at most once, what it takes may be used up.
        let again = match self.options.runs_again() {
            true => quote_spanned!(ours()=> while),
            false => quote_spanned!(ours()=> if),
        };
        let output = self.output;
        if self.is_async {
            quote_spanned! {ours()=>
                let mut __call = #call;
                #again __call.next().await {
                    #copies
                    __call.run(::core::pin::pin!(async move { #attempt })).await;
                }
                __call.finish()
            }
        } else {
            quote_spanned! {ours()=>
                let mut __call = #call;
                #again __call.next_blocking() {
                    #copies
                    __call.run_blocking(move || -> #output { #attempt });
                }
                __call.finish()
            }
        }
    }

    /// The runtime's module for expansions, located where an error is to point.
    pub(crate) fn runtime(&self, span: Span) -> TokenStream {
        match &self.options.krate {
            Some(path) => quote_spanned!(span=> #path::__v0_1),
            None => quote_spanned!(span=> ::idem_runtime::__v0_1),
        }
    }

    /// The call, begun with the key and the payload; what it is made from is named in a block of
    /// its own, where the user's body cannot see it.
    fn call(&self) -> TokenStream {
        let rt = self.runtime(ours());
        let handler = self.handler();
        let message = self.message_of();
        let options = self.call_options();
        let output = self.output;
        quote_spanned! {ours()=>
            {
                static __IDEM: #rt::Handler = #handler;
                let __message = #message;
                #rt::check::<#output>();
                use #rt::Unhandled as _;
                (&#rt::Begin::<#output>::new()).begin(__message) #options
            }
        }
    }

    /// The message, read from the arguments.
    pub(crate) fn message_of(&self) -> TokenStream {
        let parts = self.parts();
        let message = self.message();
        let contents = self.contents();
        let quiet = Self::quiet(&self.params.list);
        quote_spanned! {ours()=>
            {
                let mut __message = #message;
                __message.read(&mut |__message| {
                    #parts
                    #quiet
                    __message #contents;
                });
                __message
            }
        }
    }

    /// The functions that a call is given.
    pub(crate) fn call_options(&self) -> TokenStream {
        let retry_if = self.options.retry_if.as_ref().map(|given| {
            let path = &given.value;
            quote_spanned!(ours()=> .retry_if(#path))
        });
        let outage = self.options.outage.as_ref();
        let outage = outage.map(|path| quote_spanned!(ours()=> .outage(#path)));
        let upgrade = self.upgrade();
        let events = self.events();
        quote_spanned!(ours()=> #upgrade #events #retry_if #outage)
    }

    /// What one call returns.
    fn result(&self) -> &Type {
        self.each.map_or(self.output, |each| &each.output)
    }

    /// What turns a result that an older version recorded into today's; the compiler's errors about
    /// it point at the path.
    fn upgrade(&self) -> Option<TokenStream> {
        let path = &self.options.upgrade.as_ref()?.value;
        let span = path.span();
        let rt = self.runtime(span);
        let output = self.result();
        let parens = ours().located_at(span);
        let call = quote_spanned!(parens=> #path(__from, __recorded));
        let upgraded = quote_spanned!(span=> #rt::upgraded::<#output, _>(#call));
        Some(quote_spanned!(ours()=> .upgrade(|__from, __recorded| #upgraded)))
    }

    /// What makes the messages that go out with a result; the compiler's errors about it point at the
    /// path.
    fn events(&self) -> Option<TokenStream> {
        let path = self.options.events.as_ref()?;
        let span = path.span();
        let rt = self.runtime(span);
        let output = self.result();
        let parens = ours().located_at(span);
        let call = quote_spanned!(parens=> #path(__result));
        let made = quote_spanned!(span=> #rt::events::<#output, _>(#call));
        Some(quote_spanned!(ours()=> .events(|__result| #made)))
    }

    /// The options that are not the runtime's defaults.
    pub(crate) fn handler(&self) -> TokenStream {
        let rt = self.runtime(ours());
        let options = self.options;
        let name = match &options.name {
            Some(name) => name.to_token_stream(),
            None => {
                let ident = self.ident.unraw().to_string();
                quote_spanned! {ours()=>
                    ::core::concat!(::core::module_path!(), "::", #ident)
                }
            }
        };
        let mut handler = quote_spanned! {ours()=>
            #rt::Handler::new(#name, ::core::file!(), ::core::line!())
        };
        let mut set = |option: &str, values: TokenStream| {
            let option = Ident::new(option, ours());
            handler.extend(quote_spanned!(ours()=> .#option(#values)));
        };
        if let Some(retries) = &options.retries {
            set("retries", retries.value.to_token_stream());
        }
        if let Some(backoff) = options.backoff.as_ref().map(|given| &given.value) {
            let (initial, factor, max) = (backoff.initial, backoff.factor, backoff.max);
            let jitter = backoff.jitter;
            set(
                "backoff",
                quote_spanned!(ours()=> #initial, #factor, #max, #jitter),
            );
        }
        let transaction = options.transaction.as_ref().map(|given| &given.value);
        for (option, given) in [
            ("redeliver", options.retry == RetryMode::Redeliver),
            ("bury", options.on_crash == OnCrash::Bury),
            ("reject", options.in_flight == InFlight::Reject),
            ("single", transaction == Some(&Transaction::Single)),
            ("fresh", transaction == Some(&Transaction::Fresh)),
        ] {
            if given {
                set(option, TokenStream::new());
            }
        }
        for (option, given) in [
            (
                "timeout",
                options.timeout.as_ref().map(|timeout| timeout.value),
            ),
            ("lease", options.lease.as_ref().map(|lease| lease.value)),
            (
                "lease_max",
                options.lease_max.as_ref().map(|longest| longest.value),
            ),
            ("ttl", options.ttl.as_ref().map(|ttl| ttl.value)),
        ] {
            if let Some(millis) = given {
                set(option, millis.to_token_stream());
            }
        }
        if let Some(issued) = &options.issued {
            set("issued", issued.value.to_token_stream());
        }
        if let Some(names) = options.was.as_ref().map(|given| &given.value) {
            set("was", quote_spanned!(ours()=> &[#(#names),*]));
        }
        if let Some(version) = &options.version {
            set("version", version.value.to_token_stream());
        }
        let redacted = self.redacted;
        if !redacted.is_empty() {
            set("redact", quote_spanned!(ours()=> &[#(#redacted),*]));
            let mut message = self.params.message();
            if let (Some(only), None) = (message.next(), message.next())
                && redacted.contains(&only.name)
            {
                set("whole", TokenStream::new());
            }
        }
        handler
    }

    /// The parts of destructured arguments that the key or the fingerprint name.
    fn parts(&self) -> TokenStream {
        let wanted = &self.resolved.wanted;
        let mut tokens = TokenStream::new();
        for param in &self.params.list {
            let Some(pattern) = &param.pattern else {
                continue;
            };
            let named = self.named(param);
            if !named.is_empty() {
                let pattern = pattern::read_only(pattern, wanted);
                let ident = &param.ident;
                let used = used(named);
                tokens.extend(quote_spanned!(ours()=> let #pattern = &#ident; #used));
            }
        }
        tokens
    }

    /// The bindings of an argument that the key or the fingerprint name.
    pub(crate) fn named<'a>(&self, param: &'a Param) -> Vec<&'a Ident> {
        let wanted: &HashSet<Ident> = &self.resolved.wanted;
        param
            .bindings
            .iter()
            .filter(|binding| wanted.contains(binding))
            .collect()
    }

    /// The message, still empty.
    fn message(&self) -> TokenStream {
        let rt = self.runtime(ours());
        match (&self.params.receiver, &self.options.name) {
            (Some(_), None) => {
                let method = self.ident.unraw().to_string();
                quote_spanned!(ours()=> #rt::CallBuilder::method::<Self>(&__IDEM, #method))
            }
            _ => quote_spanned!(ours()=> #rt::CallBuilder::new(&__IDEM)),
        }
    }

    /// What the message is told.
    fn contents(&self) -> TokenStream {
        let mut message = TokenStream::new();
        if let Some(runtime) = &self.options.runtime {
            let runtime = borrowed(runtime);
            message.extend(quote_spanned!(ours()=> .runtime(#runtime)));
        }
        for part in &self.resolved.key {
            message.extend(quote_spanned!(ours()=> .key(#part)));
        }
        for param in self.params.message() {
            let name = &param.name;
            let ident = &param.ident;
            let borrowed = match param.passing {
                Passing::Owned => quote_spanned!(ident.span()=> &#ident),
                Passing::Shared => ident.to_token_stream(),
                Passing::Mutable => quote_spanned!(ident.span()=> &*#ident),
            };
            message.extend(quote_spanned!(ours()=> .arg(#name, #borrowed)));
            let leads_into =
                |path: &String| path.split_once('.').is_some_and(|(first, _)| first == name);
            if self.redacted.iter().any(leads_into) {
                message.extend(quote_spanned!(ours()=> .spelled(#name, #borrowed)));
            }
        }
        for part in &self.resolved.fingerprint {
            message.extend(quote_spanned!(ours()=> .fingerprint(#part)));
        }
        if let Some(Fingerprint::Off) = &self.options.fingerprint {
            message.extend(quote_spanned!(ours()=> .no_fingerprint()));
        }
        message
    }

    /// Silences what clippy says about the use of a `_name`, on a statement of ours and only where
    /// there is one.
    pub(crate) fn quiet<'a>(params: impl IntoIterator<Item = &'a Param>) -> Option<TokenStream> {
        let used = |param: &Param| is_underscored(&param.ident);
        let any = params.into_iter().any(used);
        any.then(|| quote_spanned!(ours()=> #[allow(clippy::used_underscore_binding)]))
    }
}

/// Uses names that the message has used, even if the body does not.
pub(crate) fn used<'a>(names: impl IntoIterator<Item = &'a Ident>) -> TokenStream {
    let names = names.into_iter().filter(|name| !is_underscored(name));
    quote_spanned!(ours()=> #(let _ = &#names;)*)
}

fn is_underscored(name: &Ident) -> bool {
    name.to_string().starts_with('_')
}
