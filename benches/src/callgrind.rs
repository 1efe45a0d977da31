//! CPU instructions, counted by valgrind's callgrind where it is installed.

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
    let path = program.display().to_string();
    let own = of_object(&text, &path).ok_or_else(|| format!("callgrind names no {path}"))?;
    Ok(Counts { all, own })
}

/// Returns the instructions of one object, by the lines of [callgrind's format][format], or nothing where
/// no line names it.
///
/// [format]: https://valgrind.org/docs/manual/cl-format.html
fn of_object(text: &str, path: &str) -> Option<u64> {
    // A path stands only where its number comes first, which may be the object of what is called.
    let number = text.lines().find_map(|line| {
        let object = line.strip_prefix('c').unwrap_or(line).strip_prefix("ob=")?;
        let (number, named) = object.split_once(' ')?;
        (named == path).then_some(number)
    })?;
    let (mut is_it, mut is_of_call, mut count) = (false, false, 0);
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            is_it = object.split(' ').next() == Some(number);
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
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_known_by_its_number_wherever_it_is_named_first() {
        let named_where_it_stands = "ob=(1) /libc\nfn=(1) main\n4 10\nob=(2) /bench\nfn=(2) work\n1 5\n\
                                     calls=1 3\n2 10\n+1 2\n";
        let named_where_it_is_called = "ob=(1) /libc\nfn=(1) main\n4 10\ncob=(2) /bench\ncfn=(2) work\n\
                                        calls=1 1\n4 17\nob=(2)\nfn=(2)\n1 5\ncalls=1 3\n2 10\n+1 2\n";
        for text in [named_where_it_stands, named_where_it_is_called] {
            assert_eq!(of_object(text, "/bench"), Some(7));
            assert_eq!(of_object(text, "/libc"), Some(10));
            assert_eq!(of_object(text, "/other"), None);
        }
    }
}
