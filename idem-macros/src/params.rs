//! The function's arguments: how each is passed, what it is called, and whether it is part of the
//! message.

use proc_macro2::{Ident, Span};
use quote::format_ident;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{FnArg, Pat, Receiver, ReceiverKind, Signature, Token, Type};

use crate::errors::{Errors, did_you_mean, list};
use crate::leftover::Boxed;
use crate::pattern;

/// What a function is called with.
pub(crate) struct Params {
    pub(crate) receiver: Option<Receiver>,
    pub(crate) list: Vec<Param>,
}

/// One argument.
pub(crate) struct Param {
    /// What the emitted signature calls it.
    pub(crate) ident: Ident,
    /// What the payload calls it.
    pub(crate) name: String,
    pub(crate) passing: Passing,
    /// The type, with `_` for each `impl Trait`.
    pub(crate) ty: Type,
    /// What the body is to see instead of the plain name: a `mut` binding, or the parts of a
    /// destructured one.
    pub(crate) pattern: Option<Pat>,
    /// The names a destructured argument binds.
    pub(crate) bindings: Vec<Ident>,
    /// Context and not message: neither stored nor fingerprinted. What the body cannot see is none
    /// of it either.
    pub(crate) skipped: bool,
}

/// How an argument is passed, as far as its type says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    Owned,
    Shared,
    Mutable,
}

impl Params {
    /// Takes the patterns out of the signature, which keeps names.
    pub(crate) fn take(sig: &mut Signature) -> Self {
        let mut params = Self {
            receiver: None,
            list: Vec::new(),
        };
        for input in &mut sig.inputs {
            match input {
                FnArg::Receiver(receiver) => params.receiver = Some(receiver.clone()),
                FnArg::Typed(typed) => {
                    let param = Param::take(params.list.len(), &mut typed.pat, &typed.ty);
                    params.list.push(param);
                }
            }
        }
        params.tell_apart();
        params
    }

    /// An argument without a name may have been called what another one is.
    fn tell_apart(&mut self) {
        let taken: Vec<_> = self.list.iter().map(|param| param.name.clone()).collect();
        for param in self.list.iter_mut().filter(|param| param.is_unnamed()) {
            while taken.iter().filter(|name| **name == param.name).count() > 1 {
                param.name.push('_');
            }
        }
    }

    /// Marks what `skip(…)` names.
    pub(crate) fn skip(&mut self, names: &[Ident], errors: &mut Errors) {
        for name in names {
            let text = name.unraw().to_string();
            match self.list.iter_mut().find(|param| param.name == text) {
                Some(param) => param.skipped = true,
                None => errors.add(
                    name,
                    format!("there is no argument `{text}`{}", self.others(&text)),
                ),
            }
        }
    }

    /// Marks those that are blank in what `#[async_trait]` left of the function.
    pub(crate) fn skip_blank(&mut self, boxed: &Boxed) {
        for param in self.list.iter_mut().filter(|param| param.pattern.is_none()) {
            let ident = param.ident.to_string();
            param.skipped |= ident.starts_with("__arg") && boxed.is_blank(&ident);
        }
    }

    /// The arguments that are the message.
    pub(crate) fn message(&self) -> impl Iterator<Item = &Param> {
        self.list.iter().filter(|param| !param.skipped)
    }

    /// What could have been meant by a name that is none of the arguments.
    pub(crate) fn others(&self, text: &str) -> String {
        let named = |param: &&Param| !param.pattern.as_ref().is_some_and(pattern::is_blank);
        let names: Vec<_> = self
            .list
            .iter()
            .filter(named)
            .map(|param| &param.name)
            .collect();
        if names.is_empty() {
            return "; the function takes none".to_owned();
        }
        format!("{}; there is {}", did_you_mean(text, &names), list(&names))
    }
}

impl Param {
    /// Whether the payload had to make up a name.
    fn is_unnamed(&self) -> bool {
        self.pattern.is_some() && self.bindings.len() != 1 && self.ident != self.name
    }

    fn take(position: usize, pat: &mut Box<Pat>, ty: &Type) -> Self {
        let ty = peel(ty);
        let passing = match ty {
            Type::Reference(reference) if reference.mutability.is_some() => Passing::Mutable,
            Type::Reference(_) => Passing::Shared,
            _ => Passing::Owned,
        };
        let mut param = Self {
            ident: Ident::new("__arg", Span::mixed_site()),
            name: format!("arg{position}"),
            passing,
            ty: without_impl_trait(ty),
            pattern: None,
            bindings: Vec::new(),
            skipped: false,
        };
        match &mut **pat {
            Pat::Ident(plain) if plain.by_ref.is_none() && plain.subpat.is_none() => {
                param.ident = plain.ident.clone();
                // `#[async_trait]` calls a destructured argument `__arg1`.
                if !plain.ident.to_string().starts_with("__arg") {
                    param.name = plain.ident.unraw().to_string();
                }
                if plain.mutability.is_some() {
                    param.pattern = Some(Pat::Ident(plain.clone()));
                    plain.mutability = None;
                }
            }
            destructured => {
                param.bindings = pattern::bindings(destructured);
                param.skipped = pattern::is_blank(destructured);
                if let [only] = &param.bindings[..] {
                    param.name = only.unraw().to_string();
                }
                // Ours, so that it can never be mistaken for the binding of the same name.
                let span = Span::mixed_site().located_at(destructured.span());
                param.ident = format_ident!("__{}", param.name, span = span);
                let ident = param.ident.clone();
                param.pattern = Some(std::mem::replace(destructured, syn::parse_quote!(#ident)));
            }
        }
        param
    }
}

impl Params {
    /// A receiver that one call can use up: `self`, `&mut self` and the like, as it was written.
    pub(crate) fn spent_receiver(&self) -> Option<&Receiver> {
        self.receiver.as_ref().filter(|receiver| match &receiver.kind {
            ReceiverKind::Reference(_, _, mutability) => mutability.is_some(),
            ReceiverKind::Typed(_, ty) => {
                !matches!(peel(ty), Type::Reference(reference) if reference.mutability.is_none())
            }
            _ => true,
        })
    }

    /// How the receiver is handed on.
    pub(crate) fn receiver_passing(&self) -> Option<(Token![self], Passing)> {
        let receiver = self.receiver.as_ref()?;
        let passing = match &receiver.kind {
            ReceiverKind::Reference(_, _, Some(_)) => Passing::Mutable,
            ReceiverKind::Reference(_, _, None) => Passing::Shared,
            ReceiverKind::Typed(_, ty) => match peel(ty) {
                Type::Reference(reference) if reference.mutability.is_some() => Passing::Mutable,
                Type::Reference(_) => Passing::Shared,
                _ => Passing::Owned,
            },
            _ => Passing::Owned,
        };
        Some((receiver.self_token, passing))
    }
}

/// What a `macro_rules!` passes on sits in invisible groups.
pub(crate) fn peel(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => peel(&group.elem),
        Type::Paren(paren) => peel(&paren.elem),
        ty => ty,
    }
}

fn without_impl_trait(ty: &Type) -> Type {
    struct Erase;
    impl VisitMut for Erase {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if matches!(ty, Type::ImplTrait(_)) {
                let span = ty.span();
                *ty = syn::parse_quote_spanned!(span=> _);
            } else {
                syn::visit_mut::visit_type_mut(self, ty);
            }
        }
    }
    let mut ty = ty.clone();
    Erase.visit_type_mut(&mut ty);
    ty
}
