//! A client on a socket of its own, which may hang up where it likes.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Headers that a replay has of its own.
const OF_ONE_ANSWER: [&str; 3] = ["date", "idempotency-age", "idempotency-replayed"];

/// How far a client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// To the end of the answer.
    Whole,
    /// Until so many bytes of the request are sent.
    CutUpload(usize),
    /// Until the request is sent.
    HangUp,
    /// Until there are so many bytes of the answer.
    CutAnswer(usize),
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Without those that belong to one answer.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named = self.headers.iter().find(|(named, _)| named == name);
        named.map(|(_, value)| value.as_str())
    }
}

/// Returns an order as it is sent.
pub(crate) fn order(who: &str, key: &str, body: &str) -> String {
    format!(
        "POST /orders HTTP/1.1\r\nhost: shop\r\nconnection: close\r\nauthorization: Bearer {who}\r\n\
         idempotency-key: \"{key}\"\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n\
         {body}",
        body.len()
    )
}

/// Sends a request, and returns its answer and whether that is a replay. There is none for a client
/// that hangs up.
///
/// # Errors
/// When the connection breaks before the answer is whole.
pub(crate) async fn send(
    at: SocketAddr,
    request: &str,
    manner: Manner,
) -> Result<Option<(Answer, bool)>> {
    let mut socket = TcpStream::connect(at).await?;
    match manner {
        Manner::Whole => {
            socket.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).await?;
            return answer_of(&answer).map(Some);
        }
        Manner::CutUpload(bytes) => {
            let part = &request.as_bytes()[..bytes.min(request.len() - 1)];
            socket.write_all(part).await?;
        }
        Manner::HangUp => socket.write_all(request.as_bytes()).await?,
        Manner::CutAnswer(bytes) => {
            socket.write_all(request.as_bytes()).await?;
            let mut part = vec![0; bytes];
            socket.read_exact(&mut part).await?;
        }
    }
    Ok(None)
}

fn answer_of(bytes: &[u8]) -> Result<(Answer, bool)> {
    let broken = || Error::from(ErrorKind::UnexpectedEof);
    let text = std::str::from_utf8(bytes).map_err(|_| broken())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let (of_one, headers): (Vec<_>, Vec<_>) =
        headers.partition(|(name, _)| OF_ONE_ANSWER.contains(name));
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let answer = Answer {
        status: status.ok_or_else(broken)?,
        headers: headers.into_iter().map(owned).collect(),
        body: body.to_owned(),
    };
    let length = answer.header("content-length");
    if length.and_then(|length| length.parse().ok()) != Some(body.len()) {
        return Err(broken());
    }
    let replayed = of_one.contains(&("idempotency-replayed", "true"));
    Ok((answer, replayed))
}
