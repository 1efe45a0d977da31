//! The files of a PostgreSQL, which belong to the user postgres where the tests run as root.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::super::keeper::Line;
use super::super::kinds::{find, line};

/// Returns the folder of its data, and whether it is new: copied from one that is made once.
pub(super) fn data(folder: &Path) -> anyhow::Result<(PathBuf, bool)> {
    let data = folder.join("data");
    let is_new = !data.is_dir();
    if is_new {
        copy(&template()?, &data)?;
        give(folder, &data)?;
    }
    Ok((data, is_new))
}

/// Gives files to the user who runs the server, and lets that user reach them.
pub(super) fn give(folder: &Path, files: &Path) -> anyhow::Result<()> {
    if is_root(folder)? {
        fs::set_permissions(folder, Permissions::from_mode(0o711))?;
        let mut chown = Command::new("chown");
        run(chown.args(["-R", "postgres:postgres"]).arg(files))?;
    }
    Ok(())
}

/// Returns the command line of a program that refuses to run as root.
pub(super) fn not_as_root(
    folder: &Path,
    name: &str,
    arguments: Vec<String>,
) -> anyhow::Result<Line> {
    let program = find(name).with_context(|| format!("no {name} on this machine"))?;
    let mut own = line(
        "setpriv",
        &["--reuid=postgres", "--regid=postgres", "--clear-groups"],
    );
    own.arguments.push(program.display().to_string());
    if !is_root(folder)? {
        own = line(name, &[]);
    }
    own.arguments.extend(arguments);
    Ok(own)
}

/// Runs such a program, and waits for its end.
pub(super) fn run_not_as_root(
    folder: &Path,
    name: &str,
    arguments: Vec<String>,
) -> anyhow::Result<()> {
    let line = not_as_root(folder, name, arguments)?;
    // The folder of the tests may be out of that user's reach.
    run(Command::new(&line.program)
        .args(&line.arguments)
        .current_dir("/"))
}

/// Returns an empty cluster of this version, beside the program that runs.
fn template() -> anyhow::Result<PathBuf> {
    let initdb = find("initdb").context("no initdb on this machine")?;
    let version = Command::new(initdb).arg("--version").output()?.stdout;
    let version = String::from_utf8_lossy(&version);
    let version = version.split_whitespace().nth(2).unwrap_or("unknown");
    let template = env::current_exe()?.with_file_name(format!("postgres-{version}"));
    if template.is_dir() {
        return Ok(template);
    }
    let folder = tempfile::tempdir()?;
    let home = folder.path().join("home");
    fs::create_dir(&home)?;
    give(folder.path(), &home)?;
    let made = home.join("data").display().to_string();
    let arguments = [
        "-D",
        &made,
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ];
    let arguments = arguments.map(ToOwned::to_owned).into();
    run_not_as_root(folder.path(), "initdb", arguments)
        .context("a /dev/null that others cannot write is one reason")?;
    let beside = tempfile::Builder::new()
        .prefix(".postgres-")
        .tempdir_in(template.parent().context("a program is in a folder")?)?;
    copy(&home.join("data"), &beside.path().join("data"))?;
    // Another process may have been faster, and its template is as good.
    match fs::rename(beside.path().join("data"), &template) {
        Err(error) if !template.is_dir() => Err(error.into()),
        _ => Ok(template),
    }
}

fn is_root(folder: &Path) -> anyhow::Result<bool> {
    // The test made the folder, so its owner is the test's user.
    Ok(fs::metadata(folder)?.uid() == 0)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    run(Command::new("cp").arg("-R").args([from, to]))?;
    Ok(fs::set_permissions(to, Permissions::from_mode(0o700))?)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let ended = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{command:?} failed:\n{said}");
    Ok(())
}
