//! `cargo xtask bench`

use crate::stage::Stage;

pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    Stage::cargo("Benches", &["bench", "-p", "idem-benches"]).args(args).run()
}
