//! Damage of every kind, at random places: an error or all records, but never silently fewer
//! records.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fail::FailScenario;
use fastrand::Rng;
use futures_util::future::join_all;
use idem_runtime::ledger::Engine;
use idem_runtime::testing::ManualClock;

use crate::cuts::SEGMENT;
use crate::image::{Content, Image, LOG, PAGE, WITNESS};
use crate::known::{Knowledge, Order, World};
use crate::load::{HELD, Mix, bring, open, round};
use crate::tally::{Tally, images, none_was_lost, scratch, seed};
use crate::verdict::{Verdict, judged};

/// A ledger through time.
pub(crate) struct History {
    /// Images of earlier days, some taken after closing and some while it worked.
    pub(crate) earlier: Vec<Image>,
    /// What it is now, closed and at work, and what is known of each.
    pub(crate) now: Vec<(Image, Knowledge)>,
    pub(crate) clock: ManualClock,
}

/// Some thousand records: waiting ones, running ones, dead ones, large ones, and buckets of results
/// that were closed.
pub(crate) async fn history(engine: Engine, random: &mut Rng) -> History {
    let (folder, world, clock) = (
        scratch(),
        Arc::new(World::default()),
        ManualClock::default(),
    );
    std::fs::create_dir(folder.path().join(engine.name())).unwrap();
    let (mut earlier, mut now): (Vec<Image>, Vec<_>) = (Vec::new(), Vec::new());
    let look = |like: Option<&Image>| Image::of(folder.path(), like.unwrap_or(&Image::default()));
    for _ in 0..6 {
        let idem = open(folder.path(), &clock).unwrap();
        for _ in 0..6 {
            clock.advance(Duration::from_secs(90));
            round(
                &idem,
                &world,
                Mix {
                    fresh: 80,
                    large: 8,
                },
                random,
            )
            .await;
        }
        let image = look(earlier.last());
        earlier.push(image);
        idem.close().await.unwrap();
        drop(idem);
        let image = look(earlier.last());
        earlier.push(image);
    }
    now.push((look(earlier.last()), world.known()));
    let idem = open(folder.path(), &clock).unwrap();
    round(
        &idem,
        &world,
        Mix {
            fresh: 40,
            large: 0,
        },
        random,
    )
    .await;
    let first = world.known().len() as u32;
    let held = (first..first + 20).map(|number| Order {
        number,
        fails: HELD,
        size: 20,
        note: "held".to_owned(),
    });
    let calls = join_all(held.map(|order| bring(&idem, &world, order)));
    tokio::select! {
        _ = calls => unreachable!("their bodies do not come back"),
        () = world.started(20) => {}
    }
    now.push((look(earlier.last()), world.known()));
    drop(idem);
    assert_eq!(world.wrong(), Vec::<String>::new());
    History {
        earlier,
        now,
        clock,
    }
}

pub(crate) type Damage = (&'static str, fn(&mut Image, &History, &mut Rng) -> String);

const DAMAGE: [Damage; 20] = [
    ("bytes flipped", |image, _, random| flip(image, random, 0.0)),
    ("bytes flipped near the end", |image, _, random| {
        flip(image, random, 0.9)
    }),
    ("cut", |image, _, random| cut(image, random)),
    ("a little cut off", |image, _, random| {
        on_log(image, |log| {
            let off = random.usize(1..log.len().min(20_000));
            log.truncate(log.len() - off);
            format!("{off} bytes cut off")
        })
    }),
    ("pages zeroed", |image, _, random| {
        on_log(image, |log| {
            let (at, len) = range(log.len(), random, 16);
            log[at..at + len].fill(0);
            format!("{len} bytes from {at}")
        })
    }),
    ("pages swapped", |image, _, random| {
        on_log(image, |log| {
            let (one, len) = range(log.len(), random, 4);
            let other = random.usize(..(log.len() - len) / PAGE) * PAGE;
            let kept = log[one..one + len].to_vec();
            log.copy_within(other..other + len, one);
            log[other..other + len].copy_from_slice(&kept);
            format!("{len} bytes at {one} and {other}")
        })
    }),
    ("an older copy of pages", |image, history, random| {
        older(image, history, random, PAGE)
    }),
    ("an older copy of a segment", |image, history, random| {
        older(image, history, random, SEGMENT)
    }),
    ("a segment copied over another", |image, _, random| {
        on_log(image, |log| {
            let segments = log.len() / SEGMENT;
            let (from, to) = (
                random.usize(..segments) * SEGMENT,
                random.usize(..segments) * SEGMENT,
            );
            log.copy_within(from..from + SEGMENT, to);
            format!("{from} over {to}")
        })
    }),
    ("a segment's header zeroed", |image, _, random| {
        on_log(image, |log| {
            let at = random.usize(..log.len() / SEGMENT) * SEGMENT;
            log[at..at + 20].fill(0);
            format!("at {at}")
        })
    }),
    ("an older log", |image, history, random| {
        let at = random.usize(..history.earlier.len() - 1);
        image.set(LOG, history.earlier[at].0.get(Path::new(LOG)).cloned());
        format!("of {at}")
    }),
    ("all of sled's files older", |image, history, random| {
        let at = random.usize(..history.earlier.len() - 1);
        image.0.retain(|name, _| !name.starts_with("sled"));
        let older = history.earlier[at]
            .0
            .iter()
            .filter(|(name, _)| name.starts_with("sled"));
        image
            .0
            .extend(older.map(|(name, content)| (name.clone(), content.clone())));
        format!("of {at}")
    }),
    ("an older snapshot", |image, history, random| {
        let at = random.usize(..history.earlier.len() - 1);
        let beside = random.bool();
        let names: Vec<PathBuf> = snapshots(image);
        if !beside {
            names.iter().for_each(|name| image.set(name, None));
        }
        for name in snapshots(&history.earlier[at]) {
            let content = history.earlier[at].0.get(&name).cloned();
            image.set(name, content);
        }
        format!("of {at}, beside the new one: {beside}")
    }),
    ("a damaged snapshot", |image, _, random| {
        let Some(name) = snapshots(image).pop() else {
            return "none".to_owned();
        };
        let mut bytes = image.0[&name].bytes();
        let how = spoil(&mut bytes, random);
        image.set(name, Some(Content::of(&bytes)));
        how
    }),
    ("no snapshot", |image, _, _| {
        snapshots(image)
            .into_iter()
            .for_each(|name| image.set(name, None));
        String::new()
    }),
    ("no log", |image, _, _| {
        image.set(LOG, None);
        String::new()
    }),
    ("sled's settings damaged", |image, _, random| {
        let mut bytes = image.0[Path::new("sled/conf")].bytes();
        let how = spoil(&mut bytes, random);
        image.set(
            "sled/conf",
            Some(Content::of(&bytes)).filter(|_| random.u8(..4) > 0),
        );
        how
    }),
    ("a damaged witness", |image, _, random| {
        let mut bytes = image.0[Path::new(WITNESS)].bytes();
        let how = spoil(&mut bytes, random);
        image.set(WITNESS, Some(Content::of(&bytes)));
        how
    }),
    ("no witness", |image, _, _| {
        image.set(WITNESS, None);
        String::new()
    }),
    ("rubbish at the end", |image, _, random| {
        on_log(image, |log| {
            let from = random.usize(..log.len() - PAGE);
            let rubbish = log[from..from + random.usize(1..PAGE)].to_vec();
            log.extend_from_slice(&rubbish);
            format!("{} bytes of {from}", rubbish.len())
        })
    }),
];

fn on_log(image: &mut Image, damage: impl FnOnce(&mut Vec<u8>) -> String) -> String {
    let mut log = image.log().bytes();
    let how = damage(&mut log);
    image.set(LOG, Some(Content::of(&log)));
    how
}

/// A range of some pages.
fn range(len: usize, random: &mut Rng, most: usize) -> (usize, usize) {
    let pages = random.usize(1..=most);
    (random.usize(..len / PAGE - pages) * PAGE, pages * PAGE)
}

fn flip(image: &mut Image, random: &mut Rng, from: f64) -> String {
    on_log(image, |log| {
        let at = (log.len() as f64 * (from + (1.0 - from) * random.f64())) as usize;
        let at = at.min(log.len() - 4);
        let count = random.usize(1..=4);
        log[at..at + count]
            .iter_mut()
            .for_each(|byte| *byte ^= random.u8(1..));
        format!("{count} bytes at {at}")
    })
}

fn cut(image: &mut Image, random: &mut Rng) -> String {
    on_log(image, |log| {
        log.truncate(random.usize(..log.len()));
        format!("to {} bytes", log.len())
    })
}

/// Pages as they were on an earlier day.
fn older(image: &mut Image, history: &History, random: &mut Rng, unit: usize) -> String {
    let day = random.usize(..history.earlier.len() - 1);
    let old = history.earlier[day].log().bytes();
    on_log(image, |log| {
        let units = log.len().min(old.len()) / unit;
        let changed: Vec<usize> = (0..units)
            .filter(|at| log[at * unit..][..unit] != old[at * unit..][..unit])
            .collect();
        let Some(first) = random.choice(&changed) else {
            return "nothing had changed".to_owned();
        };
        let end = (first + random.usize(1..=16)).min(units);
        log[first * unit..end * unit].copy_from_slice(&old[first * unit..end * unit]);
        format!("{} to {} as on day {day}", first * unit, end * unit)
    })
}

pub(crate) fn spoil(bytes: &mut Vec<u8>, random: &mut Rng) -> String {
    let at = random.usize(..bytes.len());
    match random.u8(..4) {
        0 => bytes.clear(),
        1 => bytes.truncate(at),
        2 => bytes.fill(0),
        _ => bytes[at] ^= random.u8(1..),
    }
    format!("{} bytes of it, at {at}", bytes.len())
}

fn snapshots(image: &Image) -> Vec<PathBuf> {
    image
        .0
        .keys()
        .filter(|name| name.to_string_lossy().contains("snap."))
        .cloned()
        .collect()
}

/// Damages so many images of a ledger, and judges each.
pub(crate) async fn is_noticed(engine: Engine, kinds: &[Damage], images: u64) {
    let scenario = FailScenario::setup();
    let mut random = Rng::with_seed(seed());
    let history = history(engine, &mut random).await;
    for (image, known) in &history.now {
        let verdict = judged(image, &history.clock, known, |_| {});
        assert_eq!(verdict, Ok(Verdict::Whole), "what is not damaged is whole");
    }
    let (mut tally, mut losses) = (Tally::default(), Vec::new());
    for (what, damage) in kinds.iter().cycle().take(images as usize) {
        let (image, known) = &history.now[random.usize(..history.now.len())];
        let mut image = image.clone();
        let how = damage(&mut image, &history, &mut random);
        match judged(&image, &history.clock, known, |_| {}) {
            Ok(verdict) => tally.add(what, verdict),
            Err(loss) => losses.push(format!("{what}, {how}: {loss}")),
        }
    }
    println!("{tally}");
    drop(scenario);
    none_was_lost(&losses);
}

#[tokio::test]
async fn every_kind_of_damage_is_an_error_or_none() {
    is_noticed(Engine::Sled, &DAMAGE, images(200) / 2).await;
}
