//! What `"order_no"` and `"order.order_no"` mean in this function.

use std::collections::HashSet;

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, Member};

use crate::args::{Dotted, Fingerprint, Part};
use crate::errors::{Errors, did_you_mean, list};
use crate::params::{Param, Params};

/// The expressions of the key and the fingerprint, borrowed and ready to be handed on.
pub(crate) struct Resolved {
    pub(crate) key: Vec<TokenStream>,
    pub(crate) fingerprint: Vec<TokenStream>,
    /// The bindings of destructured arguments that the expressions use.
    pub(crate) wanted: HashSet<Ident>,
}

/// Resolves all parts, each wrong one being an error of its own.
pub(crate) fn resolve(
    key: &[Part],
    fingerprint: Option<&Fingerprint>,
    params: &Params,
    errors: &mut Errors,
) -> Resolved {
    let mut scope = Scope {
        params,
        wanted: HashSet::new(),
    };
    let mut resolved_key = Vec::new();
    for part in key {
        match part {
            Part::Path(path) => resolved_key.extend(errors.keep(scope.path(path, "key"))),
            Part::Expr(expr) => resolved_key.push(scope.expr(expr)),
        }
    }
    let mut resolved_fingerprint = Vec::new();
    if let Some(Fingerprint::Of(paths)) = fingerprint {
        for path in paths {
            let resolved = scope.path(path, "fingerprint");
            resolved_fingerprint.extend(errors.keep(resolved));
        }
    }
    Resolved {
        key: resolved_key,
        fingerprint: resolved_fingerprint,
        wanted: scope.wanted,
    }
}

/// What the first name of a path means.
pub(crate) enum Meant<'a> {
    /// An argument, or the binding of one.
    Argument(&'a Param, &'a Ident),
    /// A field of the only message argument.
    Field(&'a Param),
}

/// An argument's name first, else a field of the only message argument; `what` has to come from the
/// message.
pub(crate) fn meant<'a>(params: &'a Params, text: &str, what: &str) -> Result<Meant<'a>, String> {
    let is = |ident: &Ident| ident.unraw() == text;
    // `arg0` is what the payload calls an argument without a name, and none that a path can use.
    let whole = |param: &Param| param.bindings.is_empty() && is(&param.ident);
    for param in &params.list {
        if whole(param) {
            return Ok(Meant::Argument(param, &param.ident));
        }
        if let Some(binding) = param.bindings.iter().find(|ident| is(ident)) {
            return Ok(Meant::Argument(param, binding));
        }
    }
    let message: Vec<_> = params.message().collect();
    match &message[..] {
        [only] => Ok(Meant::Field(only)),
        [] if params.list.is_empty() => Err(format!(
            "`{text}` names nothing, the function takes no arguments; {what} has to come from the message"
        )),
        [] => Err(format!(
            "there is no argument `{text}`, and no message argument whose field it could be{}",
            params.others(text)
        )),
        several => {
            let names: Vec<_> = several.iter().map(|param| &param.name).collect();
            let example = format!("{}.{text}", names[0]);
            Err(format!(
                "there is no argument `{text}`{}; if it is a field, say whose: {} are message \
                 arguments, so write for example `\"{example}\"`",
                did_you_mean(text, &names),
                list(&names),
            ))
        }
    }
}

struct Scope<'a> {
    params: &'a Params,
    wanted: HashSet<Ident>,
}

impl Scope<'_> {
    /// An argument's name first, else a field of the only message argument.
    fn path(&mut self, path: &Dotted, what: &str) -> syn::Result<TokenStream> {
        let first = &path.first;
        let text = first.unraw().to_string();
        let error = |message: String| Err(syn::Error::new_spanned(&path.at, message));
        if first == "self" {
            let Some(receiver) = &self.params.receiver else {
                return error("there is no `self`, the function has no receiver".to_owned());
            };
            if what == "fingerprint" {
                return error(
                    "`self` is not part of the message, fingerprint arguments".to_owned(),
                );
            }
            let span = first.span().resolved_at(receiver.self_token.span);
            return Ok(field_of(&Ident::new("self", span), &path.fields));
        }
        let meant = match meant(self.params, &text, &format!("a {what}")) {
            Ok(meant) => meant,
            Err(message) => return error(message),
        };
        match meant {
            Meant::Argument(param, ident) => {
                if what == "fingerprint" && param.skipped {
                    return error(format!(
                        "`{text}` is skipped, so there is nothing of it to fingerprint; take it out of `skip(…)` \
                         or out of `fingerprint(…)`"
                    ));
                }
                let mut ident = ident.clone();
                if param.bindings.contains(&ident) {
                    self.wanted.insert(ident.clone());
                }
                ident.set_span(first.span().resolved_at(ident.span()));
                Ok(field_of(&ident, &path.fields))
            }
            Meant::Field(only) => {
                let mut ident = only.ident.clone();
                ident.set_span(first.span().resolved_at(ident.span()));
                let field = Member::Named(first.clone());
                let fields: Vec<_> = [field]
                    .into_iter()
                    .chain(path.fields.iter().cloned())
                    .collect();
                Ok(field_of(&ident, &fields))
            }
        }
    }

    /// An expression as written.
    fn expr(&mut self, expr: &Expr) -> TokenStream {
        self.want(expr.to_token_stream());
        borrowed(expr)
    }

    /// Notes the bindings that are mentioned anywhere in the tokens.
    fn want(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.want(group.stream()),
                TokenTree::Ident(ident) => {
                    let bindings = self.params.list.iter().flat_map(|param| &param.bindings);
                    self.wanted
                        .extend(bindings.filter(|binding| **binding == ident).cloned());
                }
                _ => {}
            }
        }
    }
}

/// `&expr`, all of it where the expression was written.
pub(crate) fn borrowed(expr: &Expr) -> TokenStream {
    let span = expr.span();
    match expr {
        // What binds tighter than `&`; without parentheses the compiler underlines it to its end.
        Expr::Path(_)
        | Expr::Field(_)
        | Expr::Call(_)
        | Expr::MethodCall(_)
        | Expr::Macro(_)
        | Expr::Index(_) => {
            quote_spanned!(span=> &#expr)
        }
        _ => quote_spanned!(span=> &(#expr)),
    }
}

/// `&base.a.b`, all of it where the path was written, so that the compiler's errors point there.
fn field_of(base: &Ident, fields: &[Member]) -> TokenStream {
    let span = base.span();
    let place = quote_spanned!(span=> &#base);
    fields
        .iter()
        .fold(place, |place, field| quote_spanned!(span=> #place.#field))
}
