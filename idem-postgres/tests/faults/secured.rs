use libtest_mimic::Trial;
pub(crate) fn all() -> Vec<Trial> {
    Vec::new()
}
