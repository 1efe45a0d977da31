//! CPU instructions, counted by valgrind's callgrind where it is installed.

use std::fs;
use std::io;
use std::process::Command;

/// Runs this program again with other arguments, and counts the instructions of its main thread.
///
/// # Errors
/// In words, why nothing could be counted: above all that valgrind is not installed.
pub fn instructions(arguments: &[&str]) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    // Each thread has a file of its own; the first is the main thread's.
    let counts = folder.path().join("counts");
    let run = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--separate-threads=yes"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(program)
        .args(arguments)
        .output();
    let run = run.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "valgrind is not installed".to_owned(),
        _ => format!("valgrind does not start: {error}"),
    })?;
    if !run.status.success() {
        return Err(format!(
            "valgrind failed ({}): {}",
            run.status,
            String::from_utf8_lossy(&run.stderr)
        ));
    }
    let text =
        fs::read_to_string(folder.path().join("counts-01")).map_err(|error| error.to_string())?;
    let totals = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    totals.ok_or_else(|| "callgrind left no totals".to_owned())
}
