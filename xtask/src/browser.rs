//! `cargo xtask screenshots`: makes the pictures for the README.

use anyhow::bail;

use crate::packages;
use crate::stage::{Stage, root};

pub(crate) fn screenshots() -> anyhow::Result<()> {
    if let Some(missing) = packages::provide(&[packages::CHROMIUM])?.first() {
        bail!("cannot make screenshots of {missing}");
    }
    let folder = root().join("docs/images");
    // It is used until the task ends.
    let folder: &'static str = Box::leak(folder.display().to_string().into_boxed_str());
    let test = [
        "test",
        "-p",
        "idem-orders",
        "--test",
        "orders",
        "--",
        "--exact",
        "a_letter_is_mended_in_the_browser",
    ];
    Stage::cargo("Screenshots", &test)
        .env("IDEM_SCREENSHOTS", folder)
        .run()?;
    println!("\nThe pictures are in {folder}.");
    Ok(())
}
