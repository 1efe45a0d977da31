//! What is on a disk: a folder's files, in pages that images share.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) const PAGE: usize = 4096;
/// What a disk writes whole or not at all.
pub(crate) const SECTOR: usize = 512;

/// A folder's files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image(pub(crate) BTreeMap<PathBuf, Content>);

/// A file's bytes. The last page is padded with zeros; pages of zeros at the end are left out, as fjall
/// allocates its journals beforehand.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Content {
    pub(crate) len: usize,
    pages: Vec<Arc<[u8]>>,
}

impl Content {
    fn read(bytes: &[u8], like: Option<&Self>) -> Self {
        let page =
            |(index, bytes): (usize, &[u8])| match like.and_then(|like| like.pages.get(index)) {
                Some(page) if **page == *bytes => Arc::clone(page),
                _ => padded(bytes),
            };
        let is_used = |page: &[u8]| *page != [0; PAGE][..page.len()];
        let used = bytes
            .chunks(PAGE)
            .rposition(is_used)
            .map_or(0, |last| last + 1);
        let pages = bytes.chunks(PAGE).take(used).enumerate().map(page);
        Self {
            len: bytes.len(),
            pages: pages.collect(),
        }
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::read(bytes, None)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.pages.concat();
        bytes.resize(self.len, 0);
        bytes
    }

    /// Returns it without what is allocated behind its last byte, but for some zeros.
    pub(crate) fn trimmed(mut self) -> Self {
        self.len = self.len.min((self.pages.len() + 4) * PAGE);
        self
    }

    pub(crate) fn sectors(&self) -> usize {
        self.len.div_ceil(SECTOR)
    }

    /// A sector; past the end there are zeros.
    pub(crate) fn sector(&self, index: usize) -> &[u8] {
        let at = index * SECTOR;
        match self.pages.get(at / PAGE) {
            Some(page) => &page[at % PAGE..at % PAGE + SECTOR],
            None => &[0; SECTOR],
        }
    }

    /// How many sectors are not as in another file.
    pub(crate) fn changed(&self, other: &Self) -> usize {
        let shared = |at: usize| match (self.pages.get(at), other.pages.get(at)) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let sectors = PAGE / SECTOR;
        let pages = (0..self.pages.len().max(other.pages.len())).filter(|at| !shared(*at));
        pages
            .flat_map(|at| at * sectors..(at + 1) * sectors)
            .filter(|at| self.sector(*at) != other.sector(*at))
            .count()
    }

    /// Overwrites the beginning of a sector.
    pub(crate) fn write(&mut self, index: usize, bytes: &[u8]) {
        let at = index * SECTOR;
        while self.pages.len() <= at / PAGE {
            self.pages.push(padded(&[]));
        }
        let mut page = self.pages[at / PAGE].to_vec();
        page[at % PAGE..at % PAGE + bytes.len()].copy_from_slice(bytes);
        self.pages[at / PAGE] = page.into();
    }

    /// Makes it longer, with zeros, or shorter.
    pub(crate) fn set_len(&mut self, len: usize) {
        let mut bytes = self.bytes();
        bytes.resize(len, 0);
        *self = Self::read(&bytes, Some(self));
    }
}

fn padded(bytes: &[u8]) -> Arc<[u8]> {
    let mut page = bytes.to_vec();
    page.resize(PAGE, 0);
    page.into()
}

impl Image {
    /// What is in a folder, if there is one; pages that are the same as in another image are shared
    /// with it.
    pub(crate) fn of(folder: &Path, like: &Self) -> Self {
        let mut image = Self::default();
        if folder.exists() {
            image.gather(folder, Path::new(""), like);
        }
        image
    }

    fn gather(&mut self, folder: &Path, below: &Path, like: &Self) {
        for entry in fs::read_dir(folder.join(below)).unwrap() {
            let entry = entry.unwrap();
            let name = below.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                self.gather(folder, &name, like);
                continue;
            }
            match fs::read(entry.path()) {
                Ok(bytes) => drop(
                    self.0
                        .insert(name.clone(), Content::read(&bytes, like.0.get(&name))),
                ),
                // sled's background has just removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => panic!("{}: {error}", name.display()),
            }
        }
    }

    /// Makes a folder of it.
    pub(crate) fn put(&self, folder: &Path) {
        for (name, content) in &self.0 {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = fs::File::create(path).unwrap();
            let written = content.pages.concat();
            file.write_all(&written[..written.len().min(content.len)])
                .unwrap();
            file.set_len(content.len as u64).unwrap();
        }
    }

    pub(crate) fn log(&self) -> Content {
        self.0.get(Path::new(LOG)).cloned().unwrap_or_default()
    }

    pub(crate) fn set(&mut self, name: impl Into<PathBuf>, content: Option<Content>) {
        let name = name.into();
        match content {
            Some(content) => drop(self.0.insert(name, content)),
            None => drop(self.0.remove(&name)),
        }
    }
}

/// sled's log.
pub(crate) const LOG: &str = "sled/db";
pub(crate) const WITNESS: &str = "witness";
/// A witness that has not its name yet.
pub(crate) const NEW_WITNESS: &str = "witness.new";
