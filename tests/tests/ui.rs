//! Every handler shape compiles without a warning, and every misuse is one error that says what to
//! do.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*.rs");
}
