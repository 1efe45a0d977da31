//! The order book beside an embedded ledger: the file `orders.jsonl`.
//!
//! One thread writes all waiting orders, syncs the file once, and answers all their callers.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use crate::order::Order;

type Index = Arc<RwLock<HashMap<String, Order>>>;

/// The maximum number of orders that share one sync.
const GROUP: usize = 64;

/// The placed orders, in memory and on disk. A clone is another handle of the same book.
#[derive(Debug, Clone)]
pub(crate) struct FileBook {
    orders: Index,
    waiting: mpsc::Sender<Entry>,
}

/// An order on its way to the disk.
#[derive(Debug)]
struct Entry {
    order: Order,
    written: oneshot::Sender<io::Result<()>>,
}

impl FileBook {
    /// Reads the book, truncates an incomplete last line, and starts the writer, which ends when the
    /// last clone of the book is dropped.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let place = || format!("cannot open the order book {}", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .with_context(place)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(place)?;

        let whole = whole_lines(&bytes);
        if whole.len() < bytes.len() {
            file.set_len(whole.len() as u64).with_context(place)?;
        }
        let orders = read_orders(whole).with_context(place)?;
        // A killed process may have written lines without syncing them, and this process answers from
        // them. A new file also needs its folder synced.
        file.sync_all().with_context(place)?;
        if let Some(folder) = path.parent() {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .with_context(place)?;
        }

        let orders = Arc::new(RwLock::new(orders));
        let writer = Writer {
            orders: Arc::clone(&orders),
            end: whole.len() as u64,
            torn: false,
            file,
        };
        let (waiting, entries) = mpsc::channel(GROUP);
        thread::Builder::new()
            .name("order-book".into())
            .spawn(move || writer.run(entries))
            .with_context(place)?;
        Ok(Self { orders, waiting })
    }

    pub(crate) fn find(&self, order_no: &str) -> Option<Order> {
        self.orders.read().get(order_no).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.orders.read().len()
    }

    /// Appends the order, and returns when its line is on disk.
    pub(crate) async fn append(&self, order: Order) -> io::Result<()> {
        let (written, answer) = oneshot::channel();
        let stopped = || io::Error::other("the writer has stopped");
        self.waiting
            .send(Entry { order, written })
            .await
            .map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// Returns all complete lines. A kill can leave a line without its end, and a power cut can leave
/// zeros in place of unsynced lines; neither was answered.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let written = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let end = bytes[..written].iter().rposition(|byte| *byte == b'\n');
    &bytes[..end.map_or(0, |end| end + 1)]
}

fn read_orders(lines: &[u8]) -> anyhow::Result<HashMap<String, Order>> {
    lines
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            let order: Order = serde_json::from_slice(line)
                .with_context(|| format!("line {} is not an order", index + 1))?;
            Ok((order.order_no.clone(), order))
        })
        .collect()
}

/// The writer of the file; there is only one.
struct Writer {
    orders: Index,
    file: File,
    /// Where the last synced line ends.
    end: u64,
    /// Whether an incomplete write may follow `end`.
    torn: bool,
}

impl Writer {
    fn run(mut self, mut entries: mpsc::Receiver<Entry>) {
        let mut group = Vec::with_capacity(GROUP);
        while entries.blocking_recv_many(&mut group, GROUP) > 0 {
            match self.write(&group) {
                Ok(()) => {
                    let mut orders = self.orders.write();
                    for entry in group.drain(..) {
                        orders.insert(entry.order.order_no.clone(), entry.order);
                        // The caller is gone if its call was dropped; the next call finds the order.
                        let _ = entry.written.send(Ok(()));
                    }
                }
                Err(error) => {
                    for entry in group.drain(..) {
                        let error = io::Error::new(error.kind(), error.to_string());
                        let _ = entry.written.send(Err(error));
                    }
                }
            }
        }
    }

    fn write(&mut self, group: &[Entry]) -> io::Result<()> {
        self.truncate()?;
        let mut lines = Vec::new();
        for entry in group {
            serde_json::to_writer(&mut lines, &entry.order)?;
            lines.push(b'\n');
        }
        self.torn = true;
        let written = self
            .file
            .write_all(&lines)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // If this fails too, the next group tries again before it writes.
            let _ = self.truncate();
            return Err(error);
        }
        self.torn = false;
        self.end += lines.len() as u64;
        Ok(())
    }

    /// Truncates an incomplete write.
    fn truncate(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.end)?;
            self.torn = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(order_no: &str) -> Order {
        Order {
            order_no: order_no.into(),
            sku: "TEA-500".into(),
            qty: 2,
            total_cents: 2_500,
        }
    }

    fn line(order_no: &str) -> String {
        serde_json::to_string(&order(order_no)).unwrap() + "\n"
    }

    #[tokio::test]
    async fn half_a_line_is_cut_off_and_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.jsonl");
        for torn in [
            &line("B").as_bytes()[..20],
            b"\0\0\0\0",
            b"\0\0\n{\"order_no\"",
        ] {
            std::fs::write(&path, [line("A").as_bytes(), torn].concat()).unwrap();
            let book = FileBook::open(&path).unwrap();
            assert_eq!(book.find("A"), Some(order("A")));
            assert_eq!(book.find("B"), None);
            book.append(order("B")).await.unwrap();
            assert_eq!(book.find("B"), Some(order("B")));
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                line("A") + &line("B")
            );
        }
    }

    #[test]
    fn a_damaged_line_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.jsonl");
        std::fs::write(&path, line("A") + "tea\n" + &line("B")).unwrap();
        let error = format!("{:#}", FileBook::open(&path).unwrap_err());
        assert!(error.contains("line 2 is not an order"), "{error}");
    }

    #[test]
    fn a_failed_write_is_taken_back_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.jsonl");
        std::fs::write(&path, line("A") + &line("B")[..20]).unwrap();
        let mut writer = Writer {
            orders: Index::default(),
            // Read only, so that the write and the truncation after it fail.
            file: File::open(&path).unwrap(),
            end: line("A").len() as u64,
            torn: false,
        };
        let entry = |order_no| Entry {
            order: order(order_no),
            written: oneshot::channel().0,
        };
        writer.write(&[entry("B")]).unwrap_err();
        assert!(writer.torn);

        writer.file = OpenOptions::new().append(true).open(&path).unwrap();
        writer.write(&[entry("B"), entry("C")]).unwrap();
        let whole = line("A") + &line("B") + &line("C");
        assert_eq!(writer.end, whole.len() as u64);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    }
}
