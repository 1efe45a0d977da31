//! The parts of the payload that `redact(…)` names: paths such as `order.buyer.phone`, as the
//! stored JSON has them.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Expr, Lit, Member};

use super::list::Arg;
use super::path::from_expr;

/// One path: at least one name.
pub(crate) struct Secret {
    pub(crate) names: Vec<String>,
    /// Where it stands, for errors.
    pub(crate) at: TokenStream,
}

/// `redact(card_no, "order.buyer.phone")`.
pub(crate) fn redact(arg: &Arg) -> syn::Result<Vec<Secret>> {
    let mut secrets = Vec::new();
    for element in arg.elements("redact(card_no, order.buyer.phone)")? {
        match &element {
            Expr::Lit(literal) if let Lit::Str(string) = &literal.lit => {
                for path in string.value().split(',') {
                    secrets.push(secret(path.split('.').map(str::trim), string)?);
                }
            }
            _ => {
                let path = from_expr(&element).ok_or_else(|| {
                    syn::Error::new_spanned(
                        &element,
                        "`redact(…)` takes names and dotted paths, such as `order.buyer.phone`",
                    )
                })?;
                let fields = path.fields.iter().map(|field| match field {
                    Member::Named(name) => name.unraw().to_string(),
                    Member::Unnamed(index) => index.index.to_string(),
                });
                secrets.push(secret(
                    [path.first.unraw().to_string()].into_iter().chain(fields),
                    &element,
                )?);
            }
        }
    }
    Ok(secrets)
}

fn secret<S: AsRef<str>>(
    names: impl Iterator<Item = S>,
    at: &impl ToTokens,
) -> syn::Result<Secret> {
    let error = |message: String| Err(syn::Error::new_spanned(at, message));
    let plain = |name: S| {
        name.as_ref()
            .strip_prefix("r#")
            .unwrap_or(name.as_ref())
            .to_owned()
    };
    let names: Vec<_> = names.map(plain).collect();
    for name in &names {
        if name.is_empty() {
            return error(
                "the path is empty or has an empty part, name an argument or a field, such as `card_no`".to_owned(),
            );
        }
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return error(format!(
                "`{name}` is not a name in the stored JSON, where a newtype is what it wraps and a tuple is an array: \
                 leave it out, or redact all of the tuple"
            ));
        }
        // What serde's renaming makes. Where a path in another language were taken for a name, it
        // would hide nothing.
        if !name
            .chars()
            .all(|char| char.is_alphanumeric() || "_-$@".contains(char))
        {
            return error(format!(
                "`{name}` is not a name of an argument or a field; write a dotted path such as `order.lines.card_no`, \
                 which through an array means each element"
            ));
        }
    }
    if names[0] == "self" {
        return error("`self` is never stored, leave it out".to_owned());
    }
    Ok(Secret {
        names,
        at: at.to_token_stream(),
    })
}

#[cfg(test)]
mod tests {
    use proc_macro2::Span;
    use syn::LitStr;

    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let read = secret(text.split('.'), &LitStr::new(text, Span::call_site()));
        read.map(|secret| secret.names.join("."))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_as_json_has_them() {
        for text in [
            "card_no",
            "order.card-no",
            "order.cardNo",
            "order.type",
            "zahlung.prüfziffer",
        ] {
            assert_eq!(read(text), Ok(text.to_owned()));
        }
        assert_eq!(read("r#type.r#move"), Ok("type.move".to_owned()));
    }

    #[test]
    fn what_would_hide_nothing_is_refused() {
        for text in [
            "", "a.", "a..b", "a.0", "a[0]", "a.*.b", "a[].b", "/a/b", "a b", "self.a", "self",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
