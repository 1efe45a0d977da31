//! The browser that the dashboard's tests drive: found, or installed from the system's packages.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::bail;

use crate::stage::{Stage, root};

/// As the tests look for it.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Installs Chromium where there is none and this machine lets us; says what is not run otherwise.
pub(crate) fn provide() -> anyhow::Result<Option<&'static str>> {
    if is_there() || (install() && is_there()) {
        return Ok(None);
    }
    if env::var("CI").is_ok_and(|ci| ci == "true") {
        bail!("no Chromium, and it cannot be installed here: apt-get install -y --no-install-recommends chromium");
    }
    Ok(Some(
        "the dashboard's pages in a browser: no Chromium (`apt-get install chromium`, or its path in IDEM_BROWSER)",
    ))
}

/// `cargo xtask screenshots`: the pictures of the README.
pub(crate) fn screenshots() -> anyhow::Result<()> {
    if let Some(missing) = provide()? {
        bail!("cannot make screenshots of {missing}");
    }
    let folder = root().join("docs/images");
    // The path of a workspace's folder lives as long as this task.
    let folder: &'static str = Box::leak(folder.display().to_string().into_boxed_str());
    let test =
        ["test", "-p", "idem-examples", "--test", "orders", "--", "--exact", "a_letter_is_mended_in_the_browser"];
    Stage::cargo("Screenshots", &test).env("IDEM_SCREENSHOTS", folder).run()?;
    println!("\nThe pictures are in {folder}.");
    Ok(())
}

fn is_there() -> bool {
    if let Some(path) = env::var_os("IDEM_BROWSER") {
        return Path::new(&path).is_file();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| NAMES.iter().any(|name| folder.join(name).is_file()))
}

/// Only as root: nobody is asked for a password in the middle of a test.
fn install() -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    println!("\n── Chromium from the system's packages\n");
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let packages = ["install", "-y", "--no-install-recommends", "chromium"];
    apt(&packages) || (apt(&["update"]) && apt(&packages))
}
