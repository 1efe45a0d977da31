//! CPU instructions, counted by valgrind's callgrind where it is installed.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::process::Command;

/// The instructions of a program's main thread.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// All of them.
    pub all: u64,
    /// Those of the program's own code, without the system's libraries.
    pub own: u64,
}

/// Runs this program again with other arguments, and counts the instructions of its main thread.
///
/// # Errors
/// In words, why nothing could be counted: above all that valgrind is not installed.
pub fn instructions(arguments: &[&str]) -> Result<Counts, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    // Each thread has a file of its own; the first is the main thread's.
    let counts = folder.path().join("counts");
    let run = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--separate-threads=yes"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(&program)
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
    let all = totals.ok_or_else(|| "callgrind left no totals".to_owned())?;
    let own = of_object(&text, &program.display().to_string());
    Ok(Counts { all, own })
}

/// Returns the instructions of one object, by the lines of [callgrind's format][format].
///
/// [format]: https://valgrind.org/docs/manual/cl-format.html
fn of_object(text: &str, path: &str) -> u64 {
    let (mut objects, mut is_it, mut is_of_call, mut count) = (HashMap::new(), false, false, 0);
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            // Its path stands where its number comes first.
            let (number, named) = object.split_once(' ').unwrap_or((object, ""));
            if !named.is_empty() {
                objects.insert(number, named == path);
            }
            is_it = objects.get(number).copied().unwrap_or(false);
        } else if line.starts_with("calls=") {
            is_of_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let costs = line
                .split(' ')
                .nth(1)
                .and_then(|cost| cost.parse::<u64>().ok());
            // What was called counts where it stands itself.
            if is_it && !is_of_call {
                count += costs.unwrap_or(0);
            }
            is_of_call = false;
        }
    }
    count
}
