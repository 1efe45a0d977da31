//! Destructured arguments: what they bind, and the same pattern read-only.

use std::collections::HashSet;

use proc_macro2::Ident;
use syn::visit::Visit;
use syn::visit_mut::{self, VisitMut};
use syn::{FieldPat, Pat, PatIdent, PatWild, Token};

/// The names a pattern binds.
pub(crate) fn bindings(pat: &Pat) -> Vec<Ident> {
    struct Collect(Vec<Ident>);
    impl Visit<'_> for Collect {
        fn visit_pat_ident(&mut self, pat: &PatIdent) {
            // Without a look at the scope, a lone capital letter's name is a constant or a unit
            // struct.
            if !pat.ident.to_string().starts_with(char::is_uppercase) {
                self.0.push(pat.ident.clone());
            }
            if let Some((_, inner)) = &pat.subpat {
                self.visit_pat(inner);
            }
        }
    }
    let mut collect = Collect(Vec::new());
    collect.visit_pat(pat);
    collect.0
}

/// Whether no name is in the pattern, as in `_` and `(_, _)`, so that the body cannot see what it
/// stands for.
pub(crate) fn is_blank(pat: &Pat) -> bool {
    struct Named(bool);
    impl Visit<'_> for Named {
        fn visit_pat_ident(&mut self, _: &PatIdent) {
            self.0 = true;
        }
    }
    let mut named = Named(false);
    named.visit_pat(pat);
    !named.0
}

/// Whether the pattern is `Json(order)` or the like, where the one name stands for all of what is
/// stored: serde writes a newtype as what it wraps.
pub(crate) fn is_newtype(pat: &Pat) -> bool {
    match pat {
        Pat::TupleStruct(wrapper) => match wrapper.elems.first() {
            Some(Pat::Ident(ident)) if wrapper.elems.len() == 1 => ident.subpat.is_none(),
            Some(inner) if wrapper.elems.len() == 1 => is_newtype(inner),
            _ => false,
        },
        Pat::Reference(reference) => is_newtype(&reference.pat),
        Pat::Paren(paren) => is_newtype(&paren.pat),
        _ => false,
    }
}

/// The pattern for a borrowed value, binding only the `wanted` names, so that no lint finds an
/// unused one.
pub(crate) fn read_only(pat: &Pat, wanted: &HashSet<Ident>) -> Pat {
    struct ReadOnly<'a>(&'a HashSet<Ident>);
    impl VisitMut for ReadOnly<'_> {
        fn visit_pat_mut(&mut self, pat: &mut Pat) {
            match pat {
                Pat::Reference(reference) => {
                    let inner = (*reference.pat).clone();
                    *pat = inner;
                    self.visit_pat_mut(pat);
                }
                Pat::Ident(ident) => {
                    ident.by_ref = None;
                    ident.mutability = None;
                    if self.0.contains(&ident.ident) {
                        visit_mut::visit_pat_ident_mut(self, ident);
                        return;
                    }
                    *pat = match ident.subpat.take() {
                        Some((_, inner)) => *inner,
                        None if ident.ident.to_string().starts_with(char::is_uppercase) => return,
                        None => {
                            let underscore_token = Token![_](ident.ident.span());
                            Pat::Wild(PatWild {
                                attrs: Vec::new(),
                                underscore_token,
                            })
                        }
                    };
                    self.visit_pat_mut(pat);
                }
                pat => visit_mut::visit_pat_mut(self, pat),
            }
        }

        fn visit_field_pat_mut(&mut self, field: &mut FieldPat) {
            self.visit_pat_mut(&mut field.pat);
            // `{ a }` stays, but `{ _ }` has to be `{ a: _ }`.
            if !matches!(*field.pat, Pat::Ident(_)) {
                field.colon_token.get_or_insert_default();
            }
        }
    }
    let mut pat = pat.clone();
    ReadOnly(wanted).visit_pat_mut(&mut pat);
    pat
}

#[cfg(test)]
mod tests {
    use quote::{ToTokens, quote};
    use syn::parse::Parser;

    use super::*;

    fn parse(tokens: proc_macro2::TokenStream) -> Pat {
        Pat::parse_single.parse2(tokens).unwrap()
    }

    #[test]
    fn names_are_found() {
        let pat = parse(quote!(Order { id, line: (a, mut b), c: c @ Some(_), d: None, .. }));
        assert_eq!(bindings(&pat), ["id", "a", "b", "c"]);
    }

    #[test]
    fn a_newtype_has_one_name_for_all_that_is_stored() {
        for pat in [
            quote!(Json(order)),
            quote!(&Json(mut order)),
            quote!(Json(Valid(order))),
        ] {
            assert!(is_newtype(&parse(pat.clone())), "{pat}");
        }
        for pat in [
            quote!((a, b)),
            quote!((a,)),
            quote!(Pair(a, ..)),
            quote!(Json(a @ Some(_))),
            quote!(Order { id }),
        ] {
            assert!(!is_newtype(&parse(pat.clone())), "{pat}");
        }
    }

    #[test]
    fn a_pattern_without_a_name_is_blank() {
        for pat in [
            quote!(_),
            quote!(&_),
            quote!((_, (_, ..))),
            quote!(Order { id: _, .. }),
            quote!([..]),
        ] {
            assert!(is_blank(&parse(pat.clone())), "{pat}");
        }
        for pat in [
            quote!(_a),
            quote!((_, a)),
            quote!(Order { id, .. }),
            quote!(&ref a),
            quote!(Unit),
        ] {
            assert!(!is_blank(&parse(pat.clone())), "{pat}");
        }
    }

    #[test]
    fn only_what_is_wanted_is_bound() {
        let pat = parse(quote!(
            &(
                Order {
                    id, ref mut line, ..
                },
                mut whole @ (a, b),
            )
        ));
        let wanted = HashSet::from([Ident::new("line", proc_macro2::Span::call_site())]);
        let expected = quote!((Order { id: _, line, .. }, (_, _),));
        assert_eq!(
            read_only(&pat, &wanted).to_token_stream().to_string(),
            expected.to_string()
        );
    }
}
