//! The parts of a key or a fingerprint: dotted paths such as `order.order_no`, or expressions.

use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Expr, Index, Lit, LitStr, Member};

use super::list::{Arg, Value};
use super::value::peel;

/// One part.
pub(crate) enum Part {
    Path(Dotted),
    Expr(Expr),
}

/// `order.order_no`: at least one segment, the first one a name.
pub(crate) struct Dotted {
    pub(crate) first: Ident,
    pub(crate) fields: Vec<Member>,
    /// Where it stands, for errors.
    pub(crate) at: TokenStream,
}

const EXAMPLE: &str = "key = \"order_no\"";

/// `key = "a, b.c"`, `key = expr`, `key(…)`.
pub(crate) fn key(arg: &Arg) -> syn::Result<Vec<Part>> {
    let elements = match &arg.value {
        Value::Is(value) => vec![peel(value).clone()],
        Value::List(_) => arg.elements("key(\"tenant_id\", \"order.order_no\")")?,
        Value::Nothing => vec![arg.expr(EXAMPLE)?.clone()],
    };
    let mut parts = Vec::new();
    for element in elements {
        match element {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(string) => parts.extend(dotted_list(string)?.into_iter().map(Part::Path)),
                _ => {
                    return Err(syn::Error::new_spanned(
                        literal,
                        format!(
                            "a key that never changes makes all messages one, write `{EXAMPLE}`"
                        ),
                    ));
                }
            },
            expr => parts.push(Part::Expr(expr)),
        }
    }
    Ok(parts)
}

/// `fingerprint(sku, order.qty)`; strings are paths too.
pub(crate) fn fingerprint(arg: &Arg) -> syn::Result<Vec<Dotted>> {
    let mut paths = Vec::new();
    for element in arg.elements("fingerprint(sku, qty)")? {
        match &element {
            Expr::Lit(literal) if let Lit::Str(string) = &literal.lit => {
                paths.extend(dotted_list(string)?);
            }
            _ => paths.push(from_expr(&element).ok_or_else(|| {
                syn::Error::new_spanned(
                    &element,
                    "`fingerprint(…)` takes names and dotted paths, such as `order.sku`",
                )
            })?),
        }
    }
    Ok(paths)
}

/// `order.order_no`, if the expression is just that.
pub(crate) fn from_expr(expr: &Expr) -> Option<Dotted> {
    let at = expr.to_token_stream();
    let mut fields = Vec::new();
    let mut base = peel(expr);
    while let Expr::Field(field) = base {
        fields.insert(0, field.member.clone());
        base = peel(&field.base);
    }
    match base {
        Expr::Path(path) => Some(Dotted {
            first: path.path.get_ident()?.clone(),
            fields,
            at,
        }),
        _ => None,
    }
}

/// The paths in one string, separated by commas.
fn dotted_list(string: &LitStr) -> syn::Result<Vec<Dotted>> {
    let text = string.value();
    if text.trim().is_empty() {
        let message = "the path is empty, name an argument or a field, such as `\"order_no\"`";
        return Err(syn::Error::new_spanned(string, message));
    }
    text.split(',')
        .map(|path| {
            dotted(path.trim(), string).ok_or_else(|| {
                let path = path.trim();
                let message = if path.is_empty() {
                    "there is nothing between two commas, name an argument or a field".to_owned()
                } else {
                    format!(
                        "`{path}` is not a dotted path such as `order.order_no`; \
                         any other expression is written without quotes, `key = …`"
                    )
                };
                syn::Error::new_spanned(string, message)
            })
        })
        .collect()
}

fn dotted(path: &str, string: &LitStr) -> Option<Dotted> {
    let span = string.span();
    let mut segments = path.split('.').map(str::trim);
    let first = ident(segments.next()?, span, true)?;
    let fields = segments
        .map(|segment| member(segment, span))
        .collect::<Option<_>>()?;
    Some(Dotted {
        first,
        fields,
        at: string.to_token_stream(),
    })
}

fn member(text: &str, span: Span) -> Option<Member> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Member::Unnamed(Index {
            index: text.parse().ok()?,
            span,
        }));
    }
    ident(text, span, false).map(Member::Named)
}

/// A name, where a keyword such as `type` can only mean the raw one.
fn ident(text: &str, span: Span, first: bool) -> Option<Ident> {
    if let Some(raw) = text.strip_prefix("r#") {
        return ident(raw, span, false);
    }
    let mut ident = syn::parse::Parser::parse_str(Ident::parse_any, text).ok()?;
    ident.set_span(span);
    match text {
        "self" if first => Some(ident),
        "self" | "Self" | "super" | "crate" | "_" => None,
        _ if syn::parse_str::<Ident>(text).is_err() => Some(Ident::new_raw(text, span)),
        _ => Some(ident),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let string = LitStr::new(text, Span::call_site());
        let shown = |path: Dotted| {
            let fields = path
                .fields
                .iter()
                .map(|field| format!(".{}", field.to_token_stream()));
            format!("{}{}", path.first, fields.collect::<String>())
        };
        match dotted_list(&string) {
            Ok(paths) => Ok(paths.into_iter().map(shown).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn paths_are_read() {
        assert_eq!(read("order_no"), Ok(vec!["order_no".into()]));
        assert_eq!(read("a , b.c.0"), Ok(vec!["a".into(), "b.c.0".into()]));
        assert_eq!(read("self.id"), Ok(vec!["self.id".into()]));
        assert_eq!(read("order.type"), Ok(vec!["order.r#type".into()]));
        assert_eq!(read("r#type"), Ok(vec!["r#type".into()]));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "", " ", "a,", "a..b", "a.", ".a", "0", "a b", "a.b()", "a[0]", "a.self", "crate",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
