//! What `redact(…)` means in this function: paths into its payload, of which nothing is stored in
//! another form either.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Member;
use syn::ext::IdentExt;

use crate::args::{Dotted, Fingerprint, Options, Part, Secret, from_expr};
use crate::errors::Errors;
use crate::params::{Param, Params};
use crate::pattern;
use crate::resolve::{Meant, meant};

/// Names from the payload's top to some part of it.
type Place = Vec<String>;

/// The paths as the runtime takes them, each wrong one being an error of its own.
pub(crate) fn redacted(options: &Options, params: &Params, errors: &mut Errors) -> Vec<String> {
    let mut places: Vec<Place> = Vec::new();
    for secret in &options.redact {
        match place(secret, params).and_then(|place| apart(place, secret, &places, options, params))
        {
            Ok(place) => places.push(place),
            Err(message) => errors.add(&secret.at, message),
        }
    }
    places.iter().map(|place| place.join(".")).collect()
}

/// Where it is in the payload.
fn place(secret: &Secret, params: &Params) -> Result<Place, String> {
    let text = &secret.names[0];
    let (param, names) = match meant(params, text, "what is redacted")? {
        Meant::Argument(param, _) if param.skipped => {
            return Err(format!(
                "`{text}` is skipped, so there is nothing of it to redact; take it out of `skip(…)` or out of `redact(…)`"
            ));
        }
        Meant::Argument(param, _) => (param, &secret.names[1..]),
        Meant::Field(only) => (only, &secret.names[..]),
    };
    if !is_stored_as_named(param) {
        return Err(format!(
            "`{text}` is in a destructured argument, which is stored whole; give the argument a name, such as `order`, \
             and redact `order.{text}`"
        ));
    }
    Ok(below(param, names))
}

/// The place, if nothing else of the call is made of what is there.
fn apart(
    place: Place,
    secret: &Secret,
    earlier: &[Place],
    options: &Options,
    params: &Params,
) -> Result<Place, String> {
    let shown = secret.names.join(".");
    if earlier.contains(&place) {
        return Err(format!("`{shown}` is redacted twice, keep one of them"));
    }
    if earlier
        .iter()
        .any(|earlier| earlier.starts_with(&place) || place.starts_with(earlier))
    {
        return Err(format!(
            "`{shown}` is redacted together with a part of it, keep one of them"
        ));
    }
    let in_key = |part: &Part| match part {
        Part::Path(path) => of_path(path, params).is_some_and(|part| overlap(&part, &place)),
        Part::Expr(expr) => match from_expr(expr) {
            Some(path) if is_argument(&path.first.unraw().to_string(), params) => {
                of_path(&path, params).is_some_and(|part| overlap(&part, &place))
            }
            _ => mentioned(expr.to_token_stream(), params)
                .iter()
                .any(|part| within(part, &place)),
        },
    };
    if options.key.iter().any(in_key) {
        return Err(format!(
            "`{shown}` is part of the key, which is stored as it is, so it cannot be redacted; take a key that may be \
             seen, such as a message id"
        ));
    }
    if let Some(Fingerprint::Of(paths)) = &options.fingerprint
        && paths
            .iter()
            .filter_map(|path| of_path(path, params))
            .any(|part| overlap(&part, &place))
    {
        return Err(format!(
            "`{shown}` is part of the fingerprint, and from a hash of few possible values the value can be guessed, so \
             it cannot be redacted; take it out of `fingerprint(…)`"
        ));
    }
    Ok(place)
}

/// Where a path of the key or the fingerprint is in the payload, if it is in it.
fn of_path(path: &Dotted, params: &Params) -> Option<Place> {
    let fields = path.fields.iter().filter_map(|field| match field {
        Member::Named(name) => Some(name.unraw().to_string()),
        // A newtype is stored as what it wraps, and a path through an array means each element.
        Member::Unnamed(_) => None,
    });
    of_names(
        &[path.first.unraw().to_string()]
            .into_iter()
            .chain(fields)
            .collect::<Vec<_>>(),
        params,
    )
}

fn of_names(names: &[String], params: &Params) -> Option<Place> {
    match meant(params, names.first()?, "it").ok()? {
        Meant::Argument(param, _) => Some(below(param, &names[1..])),
        Meant::Field(only) => Some(below(only, names)),
    }
}

fn below(param: &Param, names: &[String]) -> Place {
    [param.name.clone()]
        .into_iter()
        .chain(names.iter().cloned())
        .collect()
}

/// Whether the argument's name, or the only one in its pattern, stands for all that is stored of
/// it.
fn is_stored_as_named(param: &Param) -> bool {
    param.bindings.is_empty() || param.pattern.as_ref().is_some_and(pattern::is_newtype)
}

/// Whether one place is in the other.
fn overlap(one: &Place, other: &Place) -> bool {
    within(one, other) || within(other, one)
}

fn within(inner: &Place, outer: &Place) -> bool {
    inner.len() >= outer.len()
        && inner
            .iter()
            .zip(outer)
            .all(|(one, other)| spelled_alike(one, other))
}

/// Whether two names may be one: a field is `card_no` in Rust, and `cardNo` or `card-no` where
/// serde renames it.
fn spelled_alike(one: &str, other: &str) -> bool {
    let letters = |name: &str| {
        name.chars()
            .filter(|char| char.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    letters(one) == letters(other)
}

/// The parts of the payload that an expression names: of `hash(order.card_no.as_str())` it is
/// `order.card_no`.
fn mentioned(expr: TokenStream, params: &Params) -> Vec<Place> {
    let mut names = Vec::new();
    collect(expr, &mut names);
    names.retain(|names| {
        names
            .first()
            .is_some_and(|first| is_argument(first, params))
    });
    names
        .iter()
        .filter_map(|names| of_names(names, params))
        .collect()
}

/// Only a path knows the fields of the only message argument by their names alone.
fn is_argument(name: &str, params: &Params) -> bool {
    matches!(meant(params, name, "it"), Ok(Meant::Argument(..)))
}

fn collect(tokens: TokenStream, found: &mut Vec<Vec<String>>) {
    let mut path: Vec<String> = Vec::new();
    let mut goes_on = false;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                if !goes_on {
                    found.push(std::mem::take(&mut path));
                }
                path.push(ident.unraw().to_string());
                goes_on = false;
            }
            TokenTree::Punct(punct) => match punct.as_char() {
                '.' => goes_on = !path.is_empty(),
                '?' => {}
                _ => found.push(std::mem::take(&mut path)),
            },
            TokenTree::Group(group) => {
                // A call: the name before it is not a field.
                if group.delimiter() == Delimiter::Parenthesis {
                    path.pop();
                }
                collect(group.stream(), found);
            }
            // A tuple's part.
            TokenTree::Literal(_) if goes_on => goes_on = false,
            // What a format string captures.
            TokenTree::Literal(literal) => {
                found.extend(literal.to_string().split('{').skip(1).map(|captured| {
                    vec![
                        captured
                            .chars()
                            .take_while(|char| char.is_alphanumeric() || *char == '_')
                            .collect(),
                    ]
                }));
            }
        }
    }
    found.push(path);
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn names(tokens: TokenStream) -> Vec<String> {
        let mut found = Vec::new();
        collect(tokens, &mut found);
        let found = found.iter().map(|names| names.join("."));
        found.filter(|names| !names.is_empty()).collect()
    }

    #[test]
    fn an_expression_names_fields_and_no_methods() {
        assert_eq!(names(quote!(order.card.no.to_string())), ["order.card.no"]);
        assert_eq!(
            names(quote!(hash(&order.card, order.id))),
            ["order.card", "order.id"]
        );
        assert_eq!(
            names(quote!(order.lines[0].card_no)),
            ["order.lines.card_no"]
        );
        assert_eq!(names(quote!(order.pair.0.card_no)), ["order.pair.card_no"]);
        assert_eq!(
            names(quote!(order.as_ref()?.card_no + 1)),
            ["order.card_no"]
        );
        assert_eq!(
            names(quote!(format!("{}/{card_no:>4}", order.id))),
            ["format", "card_no", "order.id"]
        );
    }

    #[test]
    fn a_name_is_one_however_serde_spells_it() {
        assert!(spelled_alike("card_no", "cardNo") && spelled_alike("card_no", "CARD-NO"));
        assert!(!spelled_alike("card_no", "card_nr"));
    }
}
