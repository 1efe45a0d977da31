//! The workspace's examples, as programs.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context;
use escargot::CargoBuild;

/// Set where all examples are built already, beside the tests.
pub const BUILT: &str = "IDEM_TEST_EXAMPLES_BUILT";

/// Builds the example of this name, unless `cargo xtask test` has done so, and returns its program.
///
/// # Errors
/// If it does not build.
pub fn example(name: &str) -> anyhow::Result<PathBuf> {
    if env::var_os(BUILT).is_some() {
        let test = env::current_exe()?;
        let folder = test.ancestors().nth(2).context("a test is in a folder")?;
        return Ok(folder.join("examples").join(name));
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let build = CargoBuild::new().manifest_path(workspace).example(name);
    let run = build.arg("--workspace").all_features().run()?;
    Ok(run.path().to_owned())
}
