//! A broker's messages with a crash at every write: none is lost, and each letter names the origin
//! of its message.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use idem_crashtest::{Process, Walk, everywhere};
use idem_runtime::testing::ManualClock;
use idem_runtime::{Error, Filter, Idem, Origin, Verdict, idempotent};

use super::handlers::*;
use super::invariants::{crashed_at, hold, ordinary};

fn origin() -> Origin {
    Origin::new("file", "queue")
        .message_id("m-1")
        .header("trace", "00-4bf9")
}

#[test]
fn what_was_settled_stays_and_a_letter_knows_its_broker_after_a_crash() {
    let runs = everywhere(async |process: Process| {
        let call = async || {
            let delivered = process.deliver(origin(), good("A".into())).await;
            assert_eq!(delivered.verdict, Verdict::Settled);
            delivered.output
        };
        told(&process, "good", "A", call()).await;
        let call = async || {
            let delivered = process.deliver(origin(), deadly("A".into())).await;
            assert_eq!(delivered.verdict, Verdict::Settled);
            delivered.output
        };
        told(&process, "deadly", "A", call()).await;
        for _ in 0..2 {
            let id = process
                .bury("unread", "m-1", &[255; 9000], origin(), "no JSON")
                .await?;
            note(
                &process,
                &Note::Told("unread".to_owned(), "m-1".to_owned(), Answer::Dead(id)),
            );
        }
        Ok::<(), Error>(())
    });
    hold(&runs);
    assert_eq!(crashed_at(&runs), ordinary());
    for run in &runs {
        assert_eq!(run.result("good", "A"), Some(1), "{run}");
        assert_eq!(run.letters.len(), 2, "{run}");
        assert!(
            run.letters
                .iter()
                .all(|letter| letter.origin == Some(origin())),
            "{run}"
        );
        let unread = run.open_letters("unread", "m-1").next().unwrap();
        assert_eq!(
            (unread.message(), unread.last_error()),
            (vec![255; 9000], Some("no JSON")),
            "{run}"
        );
    }
}

/// Weeks pass whenever the shop is idle.
static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::default);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

#[idempotent(name = "restocked", key = "key", retries = 0, skip(stock))]
async fn restocked(key: String, stock: PathBuf) -> Result<String, Oops> {
    if stock.exists() {
        Ok(key)
    } else {
        Err(Oops::Own("out of stock"))
    }
}

/// A broker whose queue is a file, a consumer, and a person who repairs the shop and republishes
/// letters.
struct Shop<'a> {
    process: &'a Process,
    /// Whether the consumer cannot read before it is mended.
    unread: bool,
}

impl Shop<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.process.folder().join(name)
    }

    fn queued(&self) -> Vec<String> {
        std::fs::read_to_string(self.file("queue"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn queue(&self, messages: &[String]) -> std::io::Result<()> {
        std::fs::write(
            self.file("queue"),
            messages
                .iter()
                .map(|message| format!("{message}\n"))
                .collect::<String>(),
        )
    }

    async fn consume(&self, message: &str) -> Result<(), Oops> {
        if self.unread && !self.file("mended").exists() {
            self.process
                .bury(
                    "restocked",
                    "m-1",
                    message.as_bytes(),
                    origin(),
                    "not mended",
                )
                .await?;
            return Ok(());
        }
        let call = restocked(message.to_owned(), self.file("mended"));
        let delivered = self.process.deliver(origin(), call).await;
        assert_eq!(delivered.verdict, Verdict::Settled);
        if delivered.output.is_ok() {
            self.process.note("done");
        }
        Ok(())
    }

    async fn open(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (queue, letters) = (self.file("queue"), self.process.dead_letters());
        self.process
            .register_publisher("file:queue", move |letter| {
                let message = String::from_utf8(letter.message()).unwrap();
                let (queue, message) = (queue.clone(), message.trim_matches('"').to_owned());
                async move {
                    let mut queued = std::fs::read_to_string(&queue)?;
                    queued += &format!("{message}\n");
                    std::fs::write(&queue, queued)
                }
            });
        // Each process begins after the end of the one before it.
        CLOCK.advance(100 * WEEK * self.process.number());
        if !self.file("queue").exists() {
            self.queue(&["A".to_owned()])?;
        }
        loop {
            while let [message, rest @ ..] = &self.queued()[..] {
                self.consume(message).await?;
                self.queue(rest)?;
            }
            CLOCK.advance(WEEK);
            self.process.sweep().await?;
            let open = letters.list(&Filter::default()).await?;
            if open.is_empty() {
                return Ok(());
            }
            std::fs::write(self.file("mended"), "")?;
            for letter in open {
                assert_eq!(letter.origin, Some(origin()));
                letters.republish(&letter.id).await?;
            }
        }
    }
}

fn nothing_is_lost(unread: bool) {
    let builder = || Idem::builder().clock(std::sync::Arc::new(CLOCK.clone()));
    let walk = Walk::new().builder(builder);
    let runs = walk.everywhere(async |process: Process| {
        Shop {
            process: &process,
            unread,
        }
        .open()
        .await
    });
    assert_eq!(crashed_at(&runs), ordinary());
    for run in &runs {
        assert!(run.notes().any(|note| note == "done"), "{run}");
        assert!(
            (1..=2 + usize::from(!unread)).contains(&run.starts("restocked", "A")),
            "{run}"
        );
        assert!(
            run.letters.iter().all(|letter| letter.closed_at.is_some()),
            "{run}, {:?}",
            run.letters
        );
    }
}

#[test]
fn a_letter_that_goes_back_to_its_broker_is_never_lost() {
    nothing_is_lost(false);
}

#[test]
fn a_letter_of_an_unreadable_message_is_never_lost_on_its_way_back() {
    nothing_is_lost(true);
}
