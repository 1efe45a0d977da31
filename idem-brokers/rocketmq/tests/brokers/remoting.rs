//! RocketMQ's wire protocol, as far as it takes to check the tested client.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Values of `RequestCode`.
pub(crate) const MAKE_TOPIC: u32 = 17;
pub(crate) const MAX_OFFSET: u32 = 30;
pub(crate) const OUT_OF_PAUSES: u32 = 45;
pub(crate) const BROKERS: u32 = 106;
pub(crate) const PROGRESS: u32 = 208;
const DONE: u64 = 0;

/// Sends a request, and returns the response's fields and its body, which is fastjson's text and
/// not quite JSON.
pub(crate) async fn ask(
    address: &str,
    code: u32,
    fields: Value,
) -> anyhow::Result<(Value, String)> {
    let header = serde_json::to_vec(&json!({
        "code": code, "language": "JAVA", "version": 0, "opaque": 1, "flag": 0, "serializeTypeCurrentRPC": "JSON",
        "extFields": fields,
    }))?;
    let mut wire = TcpStream::connect(address).await?;
    let length = u32::try_from(header.len())?;
    wire.write_all(
        &[
            &(length + 4).to_be_bytes(),
            &length.to_be_bytes(),
            &header[..],
        ]
        .concat(),
    )
    .await?;
    let whole = wire.read_u32().await?;
    let mut answer = vec![0; whole as usize];
    wire.read_exact(&mut answer).await?;
    // The first byte is the encoding, JSON.
    let (length, rest) = answer
        .split_first_chunk()
        .context("an answer without a length")?;
    let (header, body) = rest
        .split_at_checked((u32::from_be_bytes(*length) & 0x00ff_ffff) as usize)
        .context("too short")?;
    let header: Value = serde_json::from_slice(header)?;
    ensure!(header["code"] == DONE, "request {code}: {header}");
    Ok((
        header["extFields"].clone(),
        String::from_utf8_lossy(body).into_owned(),
    ))
}

/// Returns the numbers that follow a name in a body.
pub(crate) fn numbers(body: &str, name: &str) -> Vec<i64> {
    let quoted = format!("\"{name}\":");
    let behind = body.split(&quoted).skip(1);
    behind
        .filter_map(|rest| {
            rest.split(|c: char| c != '-' && !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        })
        .collect()
}
