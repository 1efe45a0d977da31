//! What `#[async_trait]`, which expands before us, leaves of an `async fn`:
//!
//! ```text
//! fn place(…) -> Pin<Box<dyn Future<Output = R> + Send + 'async_trait>> {
//!     Box::pin(async move { … })
//! }
//! ```

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::{GenericArgument, PathArguments, PathSegment, ReturnType, Type, TypeParamBound};

use crate::item::Function;
use crate::params::peel;

/// The parts of a boxed future.
pub(crate) struct Boxed {
    /// What the future resolves to.
    pub(crate) output: Type,
    /// `Box::pin`, and what may stand before it.
    before: Vec<TokenTree>,
    /// The parentheses.
    call: Group,
    /// `async move`.
    keywords: Vec<TokenTree>,
    /// The body.
    pub(crate) body: Group,
}

impl Boxed {
    /// Recognises the shape: `None` when it returns no boxed future, an error when its body is
    /// another.
    pub(crate) fn recognise(function: &Function) -> Option<syn::Result<Self>> {
        let ReturnType::Type(_, ty) = &function.sig.output else {
            return None;
        };
        let output = output(ty)?.clone();
        Some(Self::of_body(output, function.body.stream()).ok_or_else(|| {
            syn::Error::new_spanned(
                ty,
                "a function that returns a boxed future has to be one `Box::pin(async move { … })` to be \
                 idempotent; write an `async fn`",
            )
        }))
    }

    fn of_body(output: Type, body: TokenStream) -> Option<Self> {
        let mut before: Vec<_> = body.into_iter().collect();
        let call = group(before.pop()?, Delimiter::Parenthesis)?;
        before.last().filter(|token| is(token, "pin"))?;
        let mut keywords: Vec<_> = call.stream().into_iter().collect();
        if keywords.last().is_some_and(|token| is(token, ",")) {
            keywords.pop();
        }
        let body = group(keywords.pop()?, Delimiter::Brace)?;
        match &keywords[..] {
            [a, m] if is(a, "async") && is(m, "move") => {}
            _ => return None,
        }
        Some(Self {
            output,
            before,
            call,
            keywords,
            body,
        })
    }

    /// Whether the user wrote `_` where there is `__arg1` now: it takes over a name as it is, and a
    /// pattern in a block.
    pub(crate) fn is_blank(&self, argument: &str) -> bool {
        let tokens: Vec<_> = self.body.stream().into_iter().collect();
        let taken = ["let", argument, "=", argument, ";"];
        tokens.windows(taken.len()).any(|window| {
            window
                .iter()
                .zip(taken)
                .all(|(token, text)| is(token, text))
        })
    }

    /// The function's body again, around a new inner one.
    pub(crate) fn around(&self, inner: TokenStream) -> TokenStream {
        let mut future = Group::new(Delimiter::Brace, inner);
        future.set_span(self.body.span());
        let mut tokens: TokenStream = self.keywords.iter().cloned().collect();
        tokens.extend([TokenTree::Group(future)]);
        let mut call = Group::new(Delimiter::Parenthesis, tokens);
        call.set_span(self.call.span());
        self.before
            .iter()
            .cloned()
            .chain([TokenTree::Group(call)])
            .collect()
    }
}

fn group(token: TokenTree, delimiter: Delimiter) -> Option<Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == delimiter => Some(group),
        _ => None,
    }
}

fn is(token: &TokenTree, text: &str) -> bool {
    !matches!(token, TokenTree::Group(_)) && token.to_string() == text
}

/// `R` of `Pin<Box<dyn Future<Output = R> + …>>`.
fn output(ty: &Type) -> Option<&Type> {
    let boxed = only_argument(last(ty, "Pin")?)?;
    let Type::TraitObject(object) = peel(only_argument(last(boxed, "Box")?)?) else {
        return None;
    };
    let future = object.bounds.iter().find_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last(),
        _ => None,
    })?;
    let PathArguments::AngleBracketed(arguments) = &future.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(assoc) if assoc.ident == "Output" => Some(&assoc.ty),
        _ => None,
    })
}

fn last<'a>(ty: &'a Type, name: &str) -> Option<&'a PathSegment> {
    match peel(ty) {
        Type::Path(path) => path.path.segments.last().filter(|last| last.ident == name),
        _ => None,
    }
}

fn only_argument(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(ty)) if arguments.args.len() == 1 => Some(ty),
        _ => None,
    }
}
