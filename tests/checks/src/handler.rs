//! Any handler: the attribute with any arguments on any item.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{AttrStyle, Block, Expr, File, FnArg, Item, ItemFn, Pat, Stmt};

use crate::attribute::expansion;

/// syn recurses at every level, and handlers do not nest deeper.
const DEEPEST: usize = 100;

/// The bytes are a Rust file of one item that begins with `#[idempotent(…)]`; `none!(…)` stands for
/// the invisible group that a `macro_rules!` makes of an argument.
///
/// The expansion is the function, its body and all else as written, or errors that point at
/// something, followed by the item. A valid item stays valid.
pub fn handler(bytes: &[u8]) {
    // Else each text that was ever parsed would be kept for the sake of its tokens' positions.
    proc_macro2::extra::invalidate_current_thread_spans();
    let Some((args, item)) = read(&String::from_utf8_lossy(bytes)) else {
        return;
    };
    let output = expansion(args, &item);
    let function = syn::parse2::<ItemFn>(item.clone());
    let (errors, rest) = errors_before(output.clone());
    // proc_macro2 keeps no positions when it is built for fuzzing.
    let placed = item
        .clone()
        .into_iter()
        .next()
        .is_some_and(|first| first.span().source_text().is_some());
    for (message, place) in errors.iter().filter(|_| placed) {
        let at = place.source_text().unwrap_or_default();
        // There is no token where one is missing: syn's errors at the end, and ours, point at the
        // attribute as a whole.
        let nowhere = [
            "expected",
            "unexpected end of input",
            "`#[idempotent]` needs a `key`",
        ];
        let nowhere = nowhere.iter().any(|start| message.starts_with(start));
        assert!(nowhere || !at.is_empty(), "points at nothing: {message}");
    }
    if errors.is_empty() {
        let Ok(function) = function else { return };
        expanded(&function, &item, output);
    } else {
        if syn::parse2::<Item>(item.clone()).is_ok() {
            assert!(
                syn::parse2::<File>(output.clone()).is_ok(),
                "was an item, and is none any more: {output}"
            );
        }
        if !text(item.clone()).contains("idempotent") {
            assert_eq!(text(rest), text(item), "not as written behind {errors:?}");
        } else if let (Ok(function), Ok(rest)) = (function, syn::parse2(rest)) {
            assert_eq!(
                text(without_ours(rest)),
                text(without_ours(function)),
                "not as written behind {errors:?}"
            );
        }
    }
}

/// The arguments and the item.
fn read(text: &str) -> Option<(TokenStream, TokenStream)> {
    let mut tokens = invisible(text.parse().ok()?, 0)?.into_iter();
    let (Some(TokenTree::Punct(hash)), Some(TokenTree::Group(attribute))) =
        (tokens.next(), tokens.next())
    else {
        return None;
    };
    let mut inner = attribute.stream().into_iter();
    match (inner.next(), inner.next()) {
        (Some(TokenTree::Ident(_)), Some(TokenTree::Group(args))) if hash.as_char() == '#' => {
            Some((args.stream(), tokens.collect()))
        }
        _ => None,
    }
}

/// Makes `none!(…)` a group without delimiters.
fn invisible(tokens: TokenStream, depth: usize) -> Option<TokenStream> {
    if depth > DEEPEST {
        return None;
    }
    let mut done: Vec<TokenTree> = Vec::new();
    for token in tokens {
        let TokenTree::Group(group) = token else {
            done.push(token);
            continue;
        };
        let marked = matches!(
            &done[..],
            [.., TokenTree::Ident(none), TokenTree::Punct(bang)] if *none == "none" && bang.as_char() == '!'
        );
        let delimiter = if marked {
            Delimiter::None
        } else {
            group.delimiter()
        };
        done.truncate(done.len() - if marked { 2 } else { 0 });
        let mut new = Group::new(delimiter, invisible(group.stream(), depth + 1)?);
        new.set_span(group.span());
        done.push(new.into());
    }
    Some(done.into_iter().collect())
}

/// The `::core::compile_error! { "…" }`s at the start, each with its place, and what follows them.
fn errors_before(output: TokenStream) -> (Vec<(String, proc_macro2::Span)>, TokenStream) {
    let tokens: Vec<_> = output.into_iter().collect();
    let mut errors = Vec::new();
    let mut rest = &tokens[..];
    while let [
        _,
        start,
        TokenTree::Ident(core),
        _,
        _,
        TokenTree::Ident(name),
        _,
        TokenTree::Group(message),
        more @ ..,
    ] = rest
        && *core == "core"
        && *name == "compile_error"
    {
        let text = syn::parse2::<syn::LitStr>(message.stream()).map(|text| text.value());
        errors.push((text.unwrap_or_default(), start.span()));
        rest = more;
    }
    (errors, rest.iter().cloned().collect())
}

/// The function was valid; so is what became of it, and it is the same from outside.
fn expanded(function: &ItemFn, item: &TokenStream, output: TokenStream) {
    let text = text(output.clone());
    let file = syn::parse2::<File>(output).unwrap_or_else(|error| panic!("{error}: {text}"));
    let [Item::Fn(outcome)] = &file.items[..] else {
        panic!("not a function any more: {text}")
    };
    assert_eq!(from_outside(outcome), from_outside(function));
    // Its inner attributes go to the outer function's body, and of a boxed future it is the
    // future's body that stays.
    let whole = !function
        .attrs
        .iter()
        .any(|attr| matches!(attr.style, AttrStyle::Inner(_)));
    let body = match future(&function.block) {
        Some(body) => Some(body.to_token_stream()),
        None => item
            .clone()
            .into_iter()
            .last()
            .filter(|_| whole)
            .map(TokenStream::from),
    };
    let body = self::text(body.unwrap_or_default());
    assert!(text.contains(&body), "{text} does not run {body}");
}

/// The body of the future in `Box::pin(async move { … })`.
fn future(body: &Block) -> Option<&Block> {
    let [Stmt::Expr(Expr::Call(call), _)] = &body.stmts[..] else {
        return None;
    };
    match call.args.first() {
        Some(Expr::Async(future)) if call.args.len() == 1 => Some(&future.block),
        _ => None,
    }
}

/// All that a caller sees of a function.
fn from_outside(function: &ItemFn) -> String {
    let mut sig = function.sig.clone();
    for input in &mut sig.inputs {
        if let FnArg::Typed(typed) = input {
            *typed.pat = Pat::Verbatim(TokenStream::new());
        }
    }
    let ItemFn { attrs, vis, .. } = function;
    text(quote::quote!(#(#attrs)* #vis #sig))
}

/// The tokens one by one: as printed, those that touch depend on where they come from. Invisible
/// groups are lost.
fn text(tokens: TokenStream) -> String {
    let words = tokens.into_iter().flat_map(|token| match token {
        TokenTree::Group(group) => {
            let (open, close) = match group.delimiter() {
                Delimiter::Parenthesis => ("(", ")"),
                Delimiter::Brace => ("{", "}"),
                Delimiter::Bracket => ("[", "]"),
                Delimiter::None => ("", ""),
            };
            [open.to_owned(), text(group.stream()), close.to_owned()]
        }
        token => [token.to_string(), String::new(), String::new()],
    });
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Without further `#[idempotent]`s, which would only repeat the errors.
fn without_ours(mut function: ItemFn) -> TokenStream {
    function.attrs.retain(|attr| {
        attr.path()
            .segments
            .last()
            .is_none_or(|last| last.ident != "idempotent")
    });
    function.into_token_stream()
}
