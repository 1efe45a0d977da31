//! The example `http` as a process of its own, killed and started again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};

struct Shop {
    child: Child,
    at: String,
}

impl Shop {
    fn start(data: &Path) -> Self {
        let example = escargot::CargoBuild::new()
            .example("http")
            .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
            .run()
            .unwrap();
        let mut command = example.command();
        command
            .arg("--data")
            .arg(data)
            .args(["--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let at = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap()
            .to_owned();
        Self { child, at }
    }

    /// Returns the answer: its head and its body.
    fn post(&self, who: &str, key: &str, body: &str) -> (String, String) {
        let mut connection = TcpStream::connect(&self.at).unwrap();
        let request = format!(
            "POST /orders HTTP/1.1\r\nhost: shop\r\nconnection: close\r\nauthorization: Bearer {who}\r\n\
             idempotency-key: \"{key}\"\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn each_key_of_a_principal_is_one_order_through_kills() {
    const ORDER: &str = r#"{"sku":"TEA","qty":2}"#;
    let data = tempfile::tempdir().unwrap();
    for start in 0..2 {
        let shop = Shop::start(data.path());
        for (who, order_no) in [("ann", 1), ("bob", 2)] {
            for again in [start > 0, true] {
                let (head, body) = shop.post(who, "A-1", ORDER);
                assert!(head.starts_with("HTTP/1.1 201 Created\r\n"), "{head}");
                assert!(
                    head.contains(&format!("location: /orders/{order_no}")),
                    "{head}"
                );
                assert_eq!(head.contains("idempotency-replayed: true"), again, "{head}");
                assert_eq!(
                    body,
                    format!(r#"{{"order_no":{order_no},"sku":"TEA","qty":2}}"#)
                );
            }
        }
        // What is wrong with an order is told again; what is no order can be mended.
        for qty in [0, 0] {
            let (head, _) = shop.post("ann", "A-2", &format!(r#"{{"sku":"TEA","qty":{qty}}}"#));
            assert!(head.starts_with("HTTP/1.1 422"), "{head}");
        }
        let (head, _) = shop.post("ann", &format!("A-3{start}"), r#"{"sku":"TEA"}"#);
        assert!(head.starts_with("HTTP/1.1 422"), "{head}");
        assert!(
            shop.post("cyd", &format!("A-3{start}"), ORDER)
                .0
                .contains(" 201 ")
        );
    }
    let book = std::fs::read_to_string(data.path().join("orders.jsonl")).unwrap();
    assert_eq!(book.lines().count(), 4, "{book}");
    assert!(!book.contains("ann"), "a token is a secret: {book}");
}
