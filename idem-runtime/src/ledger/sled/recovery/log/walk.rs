//! Walking through the log's messages in their order.

use std::collections::BTreeMap;
use std::io;

use super::Log;
use crate::ledger::sled::recovery::format::{HEADER, Kind, Message, SEGMENT, has_room, message};
use crate::ledger::sled::recovery::snapshot::{Part, Pointer};

/// A walk through messages in their order.
pub(super) struct Walk<'a> {
    pub(super) log: &'a Log,
    /// The place behind which no message counts.
    pub(super) until: Option<u64>,
    /// Whether an unreadable message ends only its segment, which was written again since.
    pub(super) past_tears: bool,
    /// Whether there was such a message.
    pub(super) torn: bool,
}

impl Walk<'_> {
    /// Walks through these segments, and returns the place that it reached.
    pub(super) fn all(
        &mut self,
        segments: &BTreeMap<u64, u64>,
        mut take: impl FnMut(Kind, u64, Part) -> Option<()>,
    ) -> io::Result<Option<u64>> {
        let is_over = |place: u64| self.until.is_some_and(|until| place > until);
        let mut end = None;
        for (&lsn, &at) in segments {
            if is_over(lsn) {
                break;
            }
            let segment = self.log.segment(at)?;
            let mut place = HEADER as u64;
            end = Some(lsn + place);
            while has_room(place) {
                if is_over(lsn + place) {
                    return Ok(end);
                }
                let Some((message, length)) = message(&segment, place as usize, lsn / SEGMENT)
                else {
                    if self.past_tears {
                        self.torn = true;
                        break;
                    }
                    return Ok(end);
                };
                match message {
                    Message::Cap => break,
                    Message::Batch { last } if u64::try_from(last).is_ok_and(is_over) => {
                        return Ok(end);
                    }
                    Message::Batch { .. } | Message::Canceled => {}
                    Message::Page {
                        kind,
                        page,
                        blob,
                        body,
                    } => {
                        let blob = if blob { Some(number(body)?) } else { None };
                        let there = blob.map_or(Ok(Some(true)), |blob| self.log.has_blob(blob))?;
                        let Some(whole) = there else {
                            // Its page was removed since, and the file with it.
                            place += length;
                            end = Some(lsn + place);
                            continue;
                        };
                        if !whole {
                            self.torn |= self.past_tears;
                            return Ok(end);
                        }
                        let at = Pointer {
                            at: at + place,
                            blob: blob.and_then(|blob| u64::try_from(blob).ok()),
                        };
                        let part = Part {
                            lsn: lsn + place,
                            at,
                            size: length,
                        };
                        take(kind, page, part).ok_or_else(|| damaged(page))?;
                    }
                }
                place += length;
                end = Some(lsn + place);
            }
        }
        Ok(end)
    }
}

/// Returns the number of the file that a large value stands in.
fn number(body: &[u8]) -> io::Result<i64> {
    let number = body.first_chunk().map(|number| i64::from_le_bytes(*number));
    number.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "its log names a file without a number",
        )
    })
}

fn damaged(page: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("its log has a page {page}"),
    )
}
