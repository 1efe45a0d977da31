//! The annotated function: its signature read, its body kept as the tokens it was written in.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::quote;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Signature, Token, Visibility, token};

/// A function with a body.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    /// `#![…]` at the start of the body.
    pub(crate) inner: Vec<Attribute>,
    /// In the braces it was written in.
    pub(crate) body: Group,
}

const WHERE: &str = "put `#[idempotent]` on an `fn` or `async fn`";

impl Parse for Function {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        if !starts_a_function(input) {
            let message = match input.fork().parse::<syn::Ident>() {
                Ok(_) => format!("this is not a function, {WHERE}"),
                Err(_) => format!("`{}` starts no function, {WHERE}", first(input)),
            };
            return Err(input.error(message));
        }
        let sig: Signature = input.parse()?;
        if !input.peek(token::Brace) {
            let message = format!(
                "`{}` has no body to make idempotent, {WHERE} with one",
                sig.ident
            );
            return Err(syn::Error::new_spanned(&sig.ident, message));
        }
        let mut body = peeled(input.parse()?)?;
        let (inner, rest) = inner_attributes.parse2(body.stream())?;
        if !inner.is_empty() {
            let span = body.span();
            body = Group::new(body.delimiter(), rest);
            body.set_span(span);
        }
        Ok(Self {
            attrs,
            vis,
            sig,
            inner,
            body,
        })
    }
}

impl Function {
    /// The function again, without a second `#[idempotent]`, which would only repeat the errors.
    /// Where there is none, it is the item itself: syn reads some that it prints otherwise.
    pub(crate) fn as_written(&self, item: &TokenStream) -> TokenStream {
        let Self {
            attrs,
            vis,
            sig,
            inner,
            body,
        } = self;
        if !attrs.iter().any(is_ours) {
            return item.clone();
        }
        let attrs = attrs.iter().filter(|attr| !is_ours(attr));
        let body = body.stream();
        quote!(#(#attrs)* #vis #sig { #(#inner)* #body })
    }
}

/// Whether this is our own attribute, under any path.
pub(crate) fn is_ours(attr: &Attribute) -> bool {
    attr.path()
        .segments
        .last()
        .is_some_and(|last| last.ident == "idempotent")
}

/// A `$body:block` sits in invisible groups.
fn peeled(token: TokenTree) -> syn::Result<Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
            peeled(syn::parse2(group.stream())?)
        }
        TokenTree::Group(group) => Ok(group),
        token => Err(syn::Error::new_spanned(
            token,
            "expected the function's body",
        )),
    }
}

fn inner_attributes(input: ParseStream) -> syn::Result<(Vec<Attribute>, TokenStream)> {
    Ok((input.call(Attribute::parse_inner)?, input.parse()?))
}

fn starts_a_function(input: ParseStream) -> bool {
    let qualifier = |ahead: ParseStream| {
        ahead.peek(Token![async])
            || ahead.peek(Token![const])
            || ahead.peek(Token![unsafe])
            || ahead.peek(Token![extern])
            || ahead.peek(syn::LitStr)
    };
    let ahead = input.fork();
    while qualifier(&ahead) && ahead.parse::<TokenTree>().is_ok() {}
    ahead.peek(Token![fn])
}

fn first(input: ParseStream) -> String {
    input
        .fork()
        .parse::<TokenTree>()
        .map(|token| token.to_string())
        .unwrap_or_default()
}
