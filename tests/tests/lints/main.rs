//! Every handler shape compiles, and no lint of rustc or clippy fires from generated code.
#![deny(clippy::all, clippy::pedantic)]
#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::needless_pass_by_value,
    clippy::trivially_copy_pass_by_ref,
    clippy::unnecessary_wraps,
    clippy::unused_async,
    reason = "they are about the handlers as they were written, which do as little as they can"
)]

mod attributes;
mod errors;
mod hygiene;
mod methods;
mod shapes;

#[test]
fn handlers_of_every_shape() {
    errors::main();
    attributes::main();
    hygiene::main();
    methods::main();
    shapes::main();
}
