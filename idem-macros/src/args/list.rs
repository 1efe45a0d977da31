//! A list of `name`, `name = value` and `name(…)`: the attribute's own arguments, and those inside
//! `backoff(…)`.

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, Token, token};

use crate::errors::{Errors, did_you_mean, list};

/// One argument as written.
pub(crate) struct Arg {
    pub(crate) name: Ident,
    pub(crate) value: Value,
}

/// What stands behind an argument's name.
pub(crate) enum Value {
    /// `name`
    Nothing,
    /// `name = value`
    Is(Expr),
    /// `name(…)`
    List(Group),
}

impl ToTokens for Arg {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let name = &self.name;
        tokens.extend(match &self.value {
            Value::Nothing => quote!(#name),
            Value::Is(value) => quote!(#name = #value),
            Value::List(list) => quote!(#name #list),
        });
    }
}

/// The arguments of `owner`, each of them known and given once; each problem becomes an error,
/// and the rest is read all the same.
pub(crate) fn arguments(
    owner: &str,
    known: &[&str],
    tokens: TokenStream,
    errors: &mut Errors,
) -> Vec<Arg> {
    let read = |input: ParseStream| {
        let mut args: Vec<Arg> = Vec::new();
        while !input.is_empty() {
            match argument(input) {
                Ok(arg) => {
                    let name = arg.name.unraw().to_string();
                    if !known.contains(&name.as_str()) {
                        let nearest = did_you_mean(&name, known);
                        let all = list(known);
                        let message =
                            format!("{owner} has no argument `{name}`{nearest}; it takes {all}");
                        errors.add(&arg.name, message);
                    } else if args.iter().any(|earlier| earlier.name == arg.name) {
                        errors.add(
                            &arg.name,
                            format!("`{name}` is given twice, keep one of them"),
                        );
                    } else {
                        args.push(arg);
                    }
                }
                Err(error) => {
                    errors.push(error);
                    skip_to_comma(input)?;
                }
            }
            if !input.is_empty() && !input.peek(Token![,]) {
                errors.push(input.error("put a `,` between two arguments"));
                skip_to_comma(input)?;
            }
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(args)
    };
    let read = read.parse2(tokens);
    errors.keep(read).unwrap_or_default()
}

fn argument(input: ParseStream) -> syn::Result<Arg> {
    if !input.peek(Ident::peek_any) {
        return Err(input.error("an argument starts with its name, such as `key = \"order_no\"`"));
    }
    let name = input.call(Ident::parse_any)?;
    let value = if input.peek(Token![=]) {
        let equals = input.parse::<Token![=]>()?;
        if input.is_empty() || input.peek(Token![,]) {
            let message = format!("`{name}` has no value behind its `=`");
            return Err(syn::Error::new_spanned(equals, message));
        }
        Value::Is(input.parse()?)
    } else if input.peek(token::Paren) {
        Value::List(input.parse()?)
    } else {
        Value::Nothing
    };
    Ok(Arg { name, value })
}

fn skip_to_comma(input: ParseStream) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tokens: TokenStream) -> (Vec<String>, usize) {
        let mut errors = Errors::default();
        let args = arguments("`test`", &["key", "retries", "skip"], tokens, &mut errors);
        let found = errors.into_compile_errors().unwrap_or_default().to_string();
        let names = args.iter().map(|arg| arg.name.to_string()).collect();
        (names, found.matches("compile_error").count())
    }

    #[test]
    fn every_shape_is_read() {
        let tokens = quote!(key = a.b(1, 2), skip(x, y), retries);
        assert_eq!(
            read(tokens),
            (vec!["key".into(), "skip".into(), "retries".into()], 0)
        );
    }

    #[test]
    fn an_error_leaves_the_others_standing() {
        let tokens = quote!(key = , retries = 3, kee = 4, retries = 5, skip(x) 7, "x");
        assert_eq!(read(tokens), (vec!["retries".into(), "skip".into()], 5));
    }
}
