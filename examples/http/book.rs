//! The business: a book of orders, one line each, durable before it is answered.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::path::PathBuf;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::orders::{NewOrder, Order};

pub(crate) struct Book(Mutex<Pages>);

struct Pages {
    file: File,
    /// By the request that placed them.
    orders: HashMap<String, Order>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    request: String,
    #[serde(flatten)]
    order: Order,
}

impl Book {
    /// Opens the book. A last line without its end was never answered, and is cut off.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path)?;
        let (mut orders, mut whole, mut line) = (HashMap::new(), 0, String::new());
        let mut lines = BufReader::new(&file);
        while lines.read_line(&mut line)? > 0 && line.ends_with('\n') {
            let Line { request, order } = serde_json::from_str(&line)?;
            orders.insert(request, order);
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole)?;
        file.rewind()?;
        Ok(Self(Mutex::new(Pages { file, orders })))
    }

    /// Returns the order that this request has placed.
    pub(crate) fn find(&self, request: &str) -> Option<Order> {
        self.0.lock().orders.get(request).cloned()
    }

    /// Writes an order, under the next number.
    pub(crate) fn place(&self, request: &str, order: NewOrder) -> io::Result<Order> {
        let Pages { file, orders } = &mut *self.0.lock();
        let order = Order {
            order_no: orders.len() as u64 + 1,
            order,
        };
        let request = request.to_owned();
        let line = Line { request, order };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        orders.insert(line.request, line.order.clone());
        Ok(line.order)
    }
}
