//! The order book beside an embedded ledger or one on Redis: the file `orders.jsonl`.
//!
//! One thread of each process answers all waiting requests, writes the orders among them and syncs the
//! file once. It holds the file's lock meanwhile, and first reads what other processes have written.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use crate::order::Order;

/// The maximum number of requests that share one sync.
const GROUP: usize = 64;

/// The placed orders, in memory and on disk. A clone is another handle of the same book.
#[derive(Debug, Clone)]
pub(crate) struct FileBook {
    waiting: mpsc::Sender<Request>,
}

#[derive(Debug)]
enum Request {
    Find(String, Answer<Option<Order>>),
    Count(Answer<usize>),
    Append(Order, Answer<()>),
}

/// Where an answer goes. The caller is gone if its call was dropped.
type Answer<T> = oneshot::Sender<io::Result<T>>;

impl FileBook {
    /// Reads the book, truncates an incomplete last line, and starts the writer, which ends when the
    /// last clone of the book is dropped.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let place = || format!("cannot open the order book {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .with_context(place)?;
        let mut writer = Writer::new(file);
        writer.locked(Writer::catch_up).with_context(place)?;
        // A new file also needs its folder synced.
        if let Some(folder) = path.parent() {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .with_context(place)?;
        }
        let (waiting, requests) = mpsc::channel(GROUP);
        thread::Builder::new()
            .name("order-book".into())
            .spawn(move || writer.run(requests))
            .with_context(place)?;
        Ok(Self { waiting })
    }

    pub(crate) async fn find(&self, order_no: &str) -> io::Result<Option<Order>> {
        self.ask(|answer| Request::Find(order_no.to_owned(), answer))
            .await
    }

    pub(crate) async fn len(&self) -> io::Result<usize> {
        self.ask(Request::Count).await
    }

    /// Appends the order, and returns when its line is on disk. An order that is there already is an
    /// error: the next attempt finds it.
    pub(crate) async fn append(&self, order: Order) -> io::Result<()> {
        self.ask(|answer| Request::Append(order, answer)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let stopped = || io::Error::other("the writer has stopped");
        let sent = self.waiting.send(request(answer)).await;
        sent.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

impl Request {
    fn refuse(self, error: &io::Error) {
        match self {
            Self::Find(_, answer) => drop(answer.send(Err(again(error)))),
            Self::Count(answer) => drop(answer.send(Err(again(error)))),
            Self::Append(_, answer) => drop(answer.send(Err(again(error)))),
        }
    }
}

/// Returns the same error for another caller.
fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
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

/// The writer of the file; there is one in each process.
struct Writer {
    orders: HashMap<String, Order>,
    file: File,
    /// How far it has read and written, in bytes and in lines.
    end: u64,
    lines: usize,
}

impl Writer {
    fn new(file: File) -> Self {
        let orders = HashMap::new();
        let (end, lines) = (0, 0);
        Self {
            orders,
            file,
            end,
            lines,
        }
    }

    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut group = Vec::with_capacity(GROUP);
        while requests.blocking_recv_many(&mut group, GROUP) > 0 {
            let served = self.locked(|writer| {
                writer.catch_up()?;
                writer.serve(group.drain(..));
                Ok(())
            });
            if let Err(error) = served {
                group.drain(..).for_each(|request| request.refuse(&error));
            }
        }
    }

    /// Does something while no other process reads or writes the file.
    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.file.lock()?;
        let done = work(self);
        // The lock also ends with the process.
        self.file.unlock()?;
        done
    }

    /// Reads what was written since. The process that wrote it may have been killed in the middle of a
    /// line, or before it synced the file.
    fn catch_up(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() == self.end {
            return Ok(());
        }
        self.file.seek(SeekFrom::Start(self.end))?;
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        let whole = whole_lines(&bytes);
        let end = self.end + whole.len() as u64;
        if whole.len() < bytes.len() {
            self.file.set_len(end)?;
        }
        self.file.sync_all()?;
        let (mut orders, mut lines) = (Vec::new(), self.lines);
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            lines += 1;
            if line != b"\n" {
                let order: Order = serde_json::from_slice(line).map_err(|error| {
                    let text = format!("line {lines} is not an order: {error}");
                    io::Error::new(io::ErrorKind::InvalidData, text)
                })?;
                orders.push((order.order_no.clone(), order));
            }
        }
        self.orders.extend(orders);
        (self.end, self.lines) = (end, lines);
        Ok(())
    }

    fn serve(&mut self, group: impl Iterator<Item = Request>) {
        let mut added: Vec<(Order, Answer<()>)> = Vec::new();
        for request in group {
            match request {
                Request::Find(order_no, answer) => {
                    let _ = answer.send(Ok(self.orders.get(&order_no).cloned()));
                }
                Request::Count(answer) => drop(answer.send(Ok(self.orders.len()))),
                Request::Append(order, answer) => {
                    let is_same = |(added, _): &(Order, _)| added.order_no == order.order_no;
                    if self.orders.contains_key(&order.order_no) || added.iter().any(is_same) {
                        let text = "the order is in the book already";
                        let error = io::Error::new(io::ErrorKind::AlreadyExists, text);
                        let _ = answer.send(Err(error));
                    } else {
                        added.push((order, answer));
                    }
                }
            }
        }
        let written = self.write(added.iter().map(|(order, _)| order));
        for (order, answer) in added {
            let answered = match &written {
                Ok(()) => {
                    self.orders.insert(order.order_no.clone(), order);
                    Ok(())
                }
                Err(error) => Err(again(error)),
            };
            let _ = answer.send(answered);
        }
    }

    fn write<'a>(&mut self, orders: impl Iterator<Item = &'a Order>) -> io::Result<()> {
        let (mut bytes, mut lines) = (Vec::new(), 0);
        for order in orders {
            serde_json::to_writer(&mut bytes, order)?;
            bytes.push(b'\n');
            lines += 1;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&bytes);
        if let Err(error) = written.and_then(|()| self.file.sync_data()) {
            // What is left if this fails too is read like what another process has written.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        self.end += bytes.len() as u64;
        self.lines += lines;
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
            assert_eq!(book.find("A").await.unwrap(), Some(order("A")));
            assert_eq!(book.find("B").await.unwrap(), None);
            book.append(order("B")).await.unwrap();
            assert_eq!(book.find("B").await.unwrap(), Some(order("B")));
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
    fn a_failed_write_is_not_answered_and_leaves_no_half_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.jsonl");
        std::fs::write(&path, line("A")).unwrap();
        // Read only, so that the write and the truncation after it fail.
        let mut writer = Writer::new(File::open(&path).unwrap());
        writer.locked(Writer::catch_up).unwrap();
        writer.write([order("B")].iter()).unwrap_err();
        // What a write that failed in the middle left.
        std::fs::write(&path, line("A") + &line("B")[..20]).unwrap();

        writer.file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .unwrap();
        writer.locked(Writer::catch_up).unwrap();
        writer.write([order("B"), order("C")].iter()).unwrap();
        let whole = line("A") + &line("B") + &line("C");
        assert_eq!(writer.end, whole.len() as u64);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    }

    /// Each has the file open as a process of its own has.
    #[tokio::test]
    async fn two_books_of_one_file_have_the_same_orders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.jsonl");
        let books = [(); 2].map(|()| FileBook::open(&path).unwrap());
        let [one, other] = &books;
        one.append(order("A")).await.unwrap();
        assert_eq!(other.find("A").await.unwrap(), Some(order("A")));
        other.append(order("B")).await.unwrap();
        let twice = one.append(order("B")).await.unwrap_err();
        assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            (one.len().await.unwrap(), other.len().await.unwrap()),
            (2, 2)
        );
        let all = (0..50).flat_map(|number| {
            let order = order(&format!("C-{number}"));
            books.iter().map(move |book| book.append(order.clone()))
        });
        let added = futures_util::future::join_all(all).await;
        assert_eq!(added.iter().filter(|added| added.is_ok()).count(), 50);
        assert_eq!(one.len().await.unwrap(), 52);
        let lines = std::fs::read_to_string(&path).unwrap();
        assert_eq!(lines.lines().count(), 52);
    }
}
