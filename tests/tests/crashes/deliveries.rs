//! A broker's messages with a crash at every write: none is lost, and each letter says where its
//! message came from.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use idem_runtime::testing::ManualClock;
use idem_runtime::testing::crashes::{Life, Walk, everywhere};
use idem_runtime::{Error, Filter, Idem, Origin, Verdict, idempotent};

use super::handlers::*;
use super::invariants::{died_at, hold, ordinary};

fn origin() -> Origin {
    Origin::new("file", "queue")
        .message_id("m-1")
        .header("trace", "00-4bf9")
}

#[test]
fn what_was_settled_stays_and_a_letter_knows_its_broker_also_where_its_process_died() {
    let runs = everywhere(async |life: Life| {
        let call = async || {
            let delivered = life.deliver(origin(), good("A".into())).await;
            assert_eq!(delivered.verdict, Verdict::Settled);
            delivered.output
        };
        told(&life, "good", "A", call()).await;
        let call = async || {
            let delivered = life.deliver(origin(), deadly("A".into())).await;
            assert_eq!(delivered.verdict, Verdict::Settled);
            delivered.output
        };
        told(&life, "deadly", "A", call()).await;
        for _ in 0..2 {
            let id = life
                .bury("unread", "m-1", &[255; 9000], origin(), "no JSON")
                .await?;
            note(
                &life,
                &Note::Told("unread".to_owned(), "m-1".to_owned(), Answer::Dead(id)),
            );
        }
        Ok::<(), Error>(())
    });
    hold(&runs);
    assert_eq!(died_at(&runs), ordinary());
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

/// Weeks pass whenever nobody has anything to do.
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

/// A broker whose queue is a file, a consumer, and a person who mends what is wrong and sends
/// letters back.
struct Shop<'a> {
    life: &'a Life,
    /// Whether the consumer has to be mended before it can read.
    unread: bool,
}

impl Shop<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.life.folder().join(name)
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
            self.life
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
        let delivered = self.life.deliver(origin(), call).await;
        assert_eq!(delivered.verdict, Verdict::Settled);
        if delivered.output.is_ok() {
            self.life.note("done");
        }
        Ok(())
    }

    async fn open(&self) -> Result<(), Oops> {
        let (queue, letters) = (self.file("queue"), self.life.dead_letters());
        self.life.register_publisher("file:queue", move |letter| {
            let message = String::from_utf8(letter.message()).unwrap();
            let (queue, message) = (queue.clone(), message.trim_matches('"').to_owned());
            async move {
                let mut queued = std::fs::read_to_string(&queue)?;
                queued += &format!("{message}\n");
                std::fs::write(&queue, queued)
            }
        });
        // A process begins later than the one before it ended.
        CLOCK.advance(100 * WEEK * self.life.number());
        if !self.file("queue").exists() {
            self.queue(&["A".to_owned()])?;
        }
        loop {
            while let [message, rest @ ..] = &self.queued()[..] {
                self.consume(message).await?;
                self.queue(rest)?;
            }
            CLOCK.advance(WEEK);
            self.life.sweep().await?;
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
    let walk = Walk::default().builder(builder);
    let runs = walk.everywhere(async |life: Life| {
        Shop {
            life: &life,
            unread,
        }
        .open()
        .await
    });
    assert_eq!(died_at(&runs), ordinary());
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
fn a_letter_of_what_could_not_be_read_is_never_lost_on_its_way_back() {
    nothing_is_lost(true);
}
