//! All commands and events in a file, for the histories of messages with a fault.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The most lines of a history that are printed.
const LONGEST: usize = 200;

/// The file: one line for each command and event.
pub(crate) struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Journal {
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("journal");
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            path,
            file: BufWriter::new(file),
        })
    }

    /// Writes down a command to the process (`<`) or an event from it (`>`).
    pub(crate) fn note(&mut self, process: u32, direction: char, line: &str) -> anyhow::Result<()> {
        writeln!(self.file, "{process} {direction} {line}").context("cannot write the journal")
    }

    /// Returns the lines of each of these messages.
    pub(crate) fn histories(
        &mut self,
        messages: &[u64],
    ) -> anyhow::Result<Vec<(u64, Vec<String>)>> {
        self.file.flush().context("cannot write the journal")?;
        let mut histories: Vec<_> = messages.iter().map(|n| (*n, Vec::new())).collect();
        let marks: Vec<_> = messages
            .iter()
            .map(|n| [format!("\"n\":{n},"), format!("\"n\":{n}}}")])
            .collect();
        for line in BufReader::new(File::open(&self.path)?).lines() {
            let line = line.context("cannot read the journal")?;
            for ((_, history), marks) in histories.iter_mut().zip(&marks) {
                if history.len() < LONGEST && marks.iter().any(|mark| line.contains(mark)) {
                    history.push(line.clone());
                }
            }
        }
        Ok(histories)
    }
}
