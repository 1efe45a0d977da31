//! Every misuse is one error that says what to do.

#[test]
fn ui() {
    // Without cases that pass, they are only checked: nothing is built a second time.
    trybuild::TestCases::new().compile_fail("fail/*.rs");
}
