//! What one attempt is made of: its own arguments, a look at what exists, the body.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned;

use crate::expand::{Expansion, ours, used};
use crate::params::{Param, Passing};

impl Expansion<'_> {
    /// Each attempt's own arguments, made outside its future, which would otherwise have to share
    /// them: a message that is not `Sync` does not make the future not `Send`.
    pub(crate) fn copies(&self) -> TokenStream {
        if !self.options.runs_again() {
            return TokenStream::new();
        }
        let passed = |passing| {
            self.params
                .list
                .iter()
                .filter(move |param| param.passing == passing)
        };
        let mut tokens = TokenStream::new();
        for param in passed(Passing::Mutable) {
            let Param { ident, .. } = param;
            let quiet = Self::quiet([param]);
            let used = used([ident]);
            tokens.extend(quote_spanned!(ours()=> #quiet let #ident = &mut *#ident; #used));
        }
        let owned: Vec<_> = passed(Passing::Owned).collect();
        if owned.is_empty() {
            return tokens;
        }
        let rt = self.runtime(ours());
        let idents: Vec<_> = owned.iter().map(|param| &param.ident).collect();
        let types = owned.iter().map(|param| &param.ty);
        let quiet = Self::quiet(owned.iter().copied());
        let used = used(idents.iter().copied());
        // Two steps for each, because the compiler blames the argument of a call before its type.
        tokens.extend(quote_spanned! {ours()=>
            #quiet
            let ::core::option::Option::Some((#(#idents,)*)) = __call.copies(|| (
                #({
                    let __again = #rt::again::<#types>;
                    __again(&#idents)
                },)*
            )) else {
                continue;
            };
            #used
        });
        tokens
    }

    /// One attempt: a look at what exists, the patterns as they were written, the body.
    pub(crate) fn attempt(&self) -> TokenStream {
        let output = self.output;
        let body = self.body;
        let existing = self.existing();
        let patterns = self.params.list.iter().filter_map(|param| {
            let pattern = param.pattern.as_ref()?;
            let ident = &param.ident;
            let used = used(self.named(param));
            Some(quote_spanned!(ours()=> let #pattern = #ident; #used))
        });
        // Never returns, but tells inference what the body's `?` and `return` are about.
        let typed = self.is_async.then(|| {
            let result = Ident::new("__result", ours().located_at(output.span()));
            let returned = quote_spanned!(output.span()=> return #result;);
            quote_spanned! {ours()=>
                if let ::core::option::Option::Some(#result) = ::core::option::Option::None::<#output> {
                    #returned
                }
            }
        });
        quote_spanned! {ours()=>
            #typed
            #existing
            #(#patterns)*
            // The label is for `unused_braces`, which takes the braces of a body on one line for
            // ours.
            '__body: #body
        }
    }

    /// The look at what exists; the compiler's errors about it point at the path.
    fn existing(&self) -> Option<TokenStream> {
        let path = self.options.existing.as_ref()?;
        let span = path.span();
        let rt = self.runtime(span);
        let output = self.output;
        let receiver = self.params.receiver_passing();
        let receiver = receiver.map(|(token, passing)| (Ident::new("self", token.span), passing));
        let params = self
            .params
            .list
            .iter()
            .map(|param| (param.ident.clone(), param.passing));
        let args = receiver
            .into_iter()
            .chain(params)
            .map(|(mut ident, passing)| {
                ident.set_span(span.resolved_at(ident.span()));
                match passing {
                    Passing::Owned => quote_spanned!(span=> &#ident),
                    Passing::Shared => ident.to_token_stream(),
                    Passing::Mutable => quote_spanned!(span=> &mut *#ident),
                }
            });
        // Located there, but ours, so that the compiler does not propose to edit arguments that the
        // user did not write.
        let parens = ours().located_at(span);
        let call = quote_spanned!(parens=> #path(#(#args),*));
        let looked = match self.is_async {
            true => quote_spanned!(span=> #rt::look::<#output, _, _>(#call).await),
            false => quote_spanned!(span=> #rt::look_now::<#output, _>(#call)),
        };
        let quiet = Self::quiet(&self.params.list);
        Some(quote_spanned! {ours()=>
            #quiet
            if let ::core::option::Option::Some(__result) = #looked {
                return __result;
            }
        })
    }
}
