//! Power cuts and damage of a ledger on fjall.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fail::FailScenario;
use fastrand::Rng;
use idem_runtime::ledger::Engine;
use idem_runtime::testing::ManualClock;

use crate::cuts::mix;
use crate::damage::{Damage, is_noticed, spoil};
use crate::image::{Content, Image, PAGE, WITNESS};
use crate::known::{Knowledge, World};
use crate::load::{Mix, open, round};
use crate::tally::{Tally, images, none_was_lost, scratch, seed};
use crate::verdict::{Verdict, judged};

const DAMAGE: [Damage; 13] = [
    ("bytes flipped in the journal", |image, _, random| {
        on_journal(image, |journal| flip(journal, random))
    }),
    ("the journal cut", |image, _, random| {
        on_journal(image, |journal| {
            journal.truncate(random.usize(..journal.len()));
            format!("to {} bytes", journal.len())
        })
    }),
    ("a little of the journal zeroed", |image, _, random| {
        on_journal(image, |journal| {
            let off = random.usize(1..journal.len().min(20_000));
            let at = journal.len() - off;
            journal[at..].fill(0);
            format!("{off} bytes")
        })
    }),
    ("pages of the journal zeroed", |image, _, random| {
        on_journal(image, |journal| {
            let at = random.usize(..journal.len() / PAGE) * PAGE;
            let end = (at + random.usize(1..16) * PAGE).min(journal.len());
            journal[at..end].fill(0);
            format!("{at} to {end}")
        })
    }),
    ("rubbish at the journal's end", |image, _, random| {
        on_journal(image, |journal| {
            let from = random.usize(..journal.len() - PAGE);
            let rubbish = journal[from..from + random.usize(1..PAGE)].to_vec();
            journal.extend_from_slice(&rubbish);
            format!("{} bytes of {from}", rubbish.len())
        })
    }),
    ("an older journal", |image, history, random| {
        let day = random.usize(..history.earlier.len() - 1);
        let name = journal(image);
        let older = history.earlier[day].0.get(&name).cloned();
        image.set(name, older);
        format!("of {day}")
    }),
    ("all of fjall's files older", |image, history, random| {
        let day = random.usize(..history.earlier.len() - 1);
        image.0.retain(|name, _| !name.starts_with("fjall"));
        let older = history.earlier[day].0.iter();
        let older = older.filter(|(name, _)| name.starts_with("fjall"));
        let older = older.map(|(name, content)| (name.clone(), content.clone()));
        image.0.extend(older);
        format!("of {day}")
    }),
    ("a file older", |image, history, random| {
        let day = random.usize(..history.earlier.len() - 1);
        let name = any(image, random);
        let older = history.earlier[day].0.get(&name).cloned();
        let how = format!("{}, of {day}", name.display());
        image.set(name, older);
        how
    }),
    ("a file missing", |image, _, random| {
        let name = any(image, random);
        image.set(&name, None);
        name.display().to_string()
    }),
    ("a table or a list of tables damaged", |image, _, random| {
        let is_theirs = |name: &&PathBuf| name.starts_with("fjall/keyspaces");
        let names: Vec<_> = image.0.keys().filter(is_theirs).collect();
        let name = names[random.usize(..names.len())].clone();
        let mut bytes = image.0[&name].bytes();
        if bytes.is_empty() {
            return "an empty file".to_owned();
        }
        let how = match random.bool() {
            true => flip(&mut bytes, random),
            false => spoil(&mut bytes, random),
        };
        let how = format!("{}: {how}", name.display());
        image.set(name, Some(Content::of(&bytes)));
        how
    }),
    ("the version damaged", |image, _, random| {
        let mut bytes = image.0[&PathBuf::from("fjall/version")].bytes();
        let how = spoil(&mut bytes, random);
        image.set("fjall/version", Some(Content::of(&bytes)));
        how
    }),
    ("a damaged witness", |image, _, random| {
        let mut bytes = image.0[&PathBuf::from(WITNESS)].bytes();
        let how = spoil(&mut bytes, random);
        image.set(WITNESS, Some(Content::of(&bytes)));
        how
    }),
    ("no witness", |image, _, _| {
        image.set(WITNESS, None);
        String::new()
    }),
];

/// The newest journal.
fn journal(image: &Image) -> PathBuf {
    let is_journal = |name: &&PathBuf| name.extension().is_some_and(|ext| ext == "jnl");
    let mut journals: Vec<_> = image.0.keys().filter(is_journal).cloned().collect();
    journals.sort_by_key(|name| {
        let number = name
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        number.unwrap()
    });
    journals.pop().unwrap()
}

fn any(image: &Image, random: &mut Rng) -> PathBuf {
    let names: Vec<_> = image
        .0
        .keys()
        .filter(|name| name.starts_with("fjall"))
        .collect();
    names[random.usize(..names.len())].clone()
}

/// Damages what is written in the newest journal.
fn on_journal(image: &mut Image, damage: impl FnOnce(&mut Vec<u8>) -> String) -> String {
    let name = journal(image);
    let mut bytes = image.0[&name].bytes();
    let written = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    bytes.truncate(written);
    let how = damage(&mut bytes);
    image.set(name, Some(Content::of(&bytes)));
    how
}

fn flip(bytes: &mut [u8], random: &mut Rng) -> String {
    let at = random.usize(..bytes.len());
    let bit = random.u8(..8);
    bytes[at] ^= 1 << bit;
    format!("bit {bit} of byte {at} of {}", bytes.len())
}

#[tokio::test]
async fn every_kind_of_damage_to_fjall_is_an_error_or_none() {
    is_noticed(Engine::Fjall, &DAMAGE, images(200) / 4).await;
}

/// What is on the disk after a group, and what was known before its callers were answered.
#[derive(Default)]
struct Film {
    folder: PathBuf,
    world: Arc<World>,
    last: Image,
    cuts: Vec<(Image, Image, Knowledge)>,
}

/// The power is cut while a group is written: the group before is on the disk, and of this one some sectors.
#[tokio::test]
async fn what_was_answered_is_there_after_a_power_cut_on_fjall() {
    let scenario = FailScenario::setup();
    let mut random = Rng::with_seed(seed());
    let (folder, world, clock) = (
        scratch(),
        Arc::new(World::default()),
        ManualClock::default(),
    );
    std::fs::create_dir(folder.path().join("fjall")).unwrap();
    let film = Arc::new(Mutex::new(Film {
        folder: folder.path().to_owned(),
        world: Arc::clone(&world),
        ..Film::default()
    }));
    let camera = Arc::clone(&film);
    let idem = open(folder.path(), &clock).unwrap();
    fail::cfg_callback("idem::synced", move || {
        let mut film = camera.lock().unwrap();
        let now = Image::of(&film.folder, &film.last);
        let before = std::mem::replace(&mut film.last, now.clone());
        if !before.0.is_empty() {
            let known = film.world.known();
            film.cuts.push((before, now, known));
        }
    })
    .unwrap();
    for _ in 0..6 {
        clock.advance(Duration::from_secs(5));
        let mix = Mix {
            fresh: 20,
            large: 4,
        };
        round(&idem, &world, mix, &mut random).await;
    }
    fail::remove("idem::synced");
    idem.close().await.unwrap();
    let cuts = std::mem::take(&mut film.lock().unwrap().cuts);
    assert!(cuts.len() > 6, "{} groups", cuts.len());
    let (mut tally, mut losses) = (Tally::default(), Vec::new());
    for _ in 0..images(200) / 4 {
        let (before, now, known) = &cuts[random.usize(..cuts.len())];
        // All but the journal is synced before anything refers to it.
        let (mut image, mut how, name) = (now.clone(), String::new(), journal(now));
        let synced = before.0.get(&name).cloned().unwrap_or_default();
        let (synced, written) = (synced.trimmed(), now.0[&name].clone().trimmed());
        let journal = mix(&synced, &written, &mut random, &mut how);
        image.set(name, Some(journal));
        match judged(&image, &clock, known, |_| {}) {
            Ok(Verdict::Whole) => tally.add("a group written", Verdict::Whole),
            Ok(other) => losses.push(format!("{how}: {other:?}")),
            Err(loss) => losses.push(format!("{how}: {loss}")),
        }
    }
    println!("{tally}");
    drop(scenario);
    none_was_lost(&losses);
}
