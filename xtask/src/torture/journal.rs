//! Everything that was said to the processes and by them, in a file, for the stories of messages
//! that went wrong.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The longest story that is printed.
const LONGEST: usize = 200;

/// A line for everything.
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

    /// Notes what the process of this life was told (`<`) or said (`>`).
    pub(crate) fn note(&mut self, life: u32, direction: char, line: &str) -> anyhow::Result<()> {
        writeln!(self.file, "{life} {direction} {line}").context("cannot write the journal")
    }

    /// All that concerns these messages, one after the other.
    pub(crate) fn stories(&mut self, messages: &[u64]) -> anyhow::Result<Vec<(u64, Vec<String>)>> {
        self.file.flush().context("cannot write the journal")?;
        let mut stories: Vec<_> = messages.iter().map(|n| (*n, Vec::new())).collect();
        let marks: Vec<_> = messages
            .iter()
            .map(|n| [format!("\"n\":{n},"), format!("\"n\":{n}}}")])
            .collect();
        for line in BufReader::new(File::open(&self.path)?).lines() {
            let line = line.context("cannot read the journal")?;
            for ((_, story), marks) in stories.iter_mut().zip(&marks) {
                if story.len() < LONGEST && marks.iter().any(|mark| line.contains(mark)) {
                    story.push(line.clone());
                }
            }
        }
        Ok(stories)
    }
}
