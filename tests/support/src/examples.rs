//! The workspace's examples, as programs.

use std::path::{Path, PathBuf};

use escargot::CargoBuild;

use crate::package_variables;

/// Builds the example of this name, and returns its program. It has the features that it has in the
/// whole workspace: `cargo xtask test` has built that already.
///
/// # Errors
/// If it does not build.
pub fn example(name: &str) -> anyhow::Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let build = CargoBuild::new().manifest_path(workspace).example(name);
    let build = package_variables().fold(build, CargoBuild::env_remove);
    let run = build.arg("--workspace").all_features().run()?;
    Ok(run.path().to_owned())
}
