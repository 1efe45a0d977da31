//! The power is cut while the ledger works, while it opens, and while it opens after a cut.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fail::FailScenario;
use fastrand::Rng;
use idem_runtime::testing::ManualClock;

use crate::cuts::{Cut, RECOVERING, SEGMENT, last_segment, leave};
use crate::image::{Content, Image, LOG, NEW_WITNESS, SECTOR, WITNESS};
use crate::known::World;
use crate::load::{Mix, open, round};
use crate::tally::{Tally, images, none_was_lost, scratch, seed};
use crate::verdict::{Verdict, judged};

/// Takes images of a folder at the places where its ledger writes.
#[derive(Default)]
pub(crate) struct Camera(Mutex<Film>);

#[derive(Default)]
pub(crate) struct Film {
    folder: PathBuf,
    world: Arc<World>,
    /// Whether images are taken at all.
    pub(crate) on: bool,
    /// What is certain to be on the disk.
    synced: Image,
    /// What the folder held before it was opened.
    before: Image,
    /// Where the power is cut, and after how many more writes.
    cut_after: Option<(&'static str, u32)>,
    /// Only a write of at least this many bytes counts.
    at_least: usize,
    /// The group the witness named when it was synced last.
    witness: u64,
    /// The folders whose names were synced.
    pub(crate) named: BTreeSet<PathBuf>,
    cuts: Vec<Cut>,
}

impl Film {
    fn look(&mut self) -> Image {
        Image::of(&self.folder, &self.synced)
    }

    fn cut(&mut self, what: &'static str) {
        let (synced, written) = (self.synced.clone(), self.look());
        self.cuts.push(Cut {
            what,
            synced,
            written,
            witness: self.witness,
            known: self.world.known(),
        });
    }

    fn at(&mut self, point: &'static str) {
        match point {
            _ if !self.on => {}
            "idem::opening" => {
                // sled wrote what it recovered, and synced its log and its snapshot, but not their
                // folder.
                self.synced = std::mem::take(&mut self.before);
                if !self.synced.log().bytes().is_empty() {
                    self.cut(RECOVERING);
                    // By now all of sled's files are synced.
                    let mut now = self.look();
                    now.set(WITNESS, self.synced.0.get(Path::new(WITNESS)).cloned());
                    self.synced = now;
                }
            }
            "idem::opened" => self.cut("the ledger opening"),
            "idem::folder-synced" => self
                .named
                .extend(open_folders().filter(|open| self.folder.starts_with(open))),
            "idem::named" => {
                let witness = self.synced.0.get(Path::new(WITNESS)).cloned();
                self.synced = self.look();
                self.synced.set(WITNESS, witness);
            }
            "idem::witness-synced" => {
                let new = self.look().0.remove(Path::new(NEW_WITNESS));
                self.synced.set(NEW_WITNESS, new);
            }
            "idem::witness-named" => self.cut("the witness named"),
            "idem::synced" => self.synced = self.look(),
            _ if self.at_least > 0
                && self.look().log().changed(&self.synced.log()) * SECTOR < self.at_least => {}
            point => match &mut self.cut_after {
                Some((at, 0)) if *at == point => {
                    self.cut_after = None;
                    self.cut(if point == "idem::applied" {
                        "a group applied"
                    } else {
                        "a group flushed"
                    });
                }
                Some((at, more)) if *at == point => *more -= 1,
                _ => {}
            },
        }
    }
}

impl Camera {
    pub(crate) fn install() -> Arc<Self> {
        let camera = Arc::new(Self::default());
        for point in [
            "idem::opening",
            "idem::opened",
            "idem::folder-synced",
            "idem::named",
            "idem::witness-synced",
            "idem::witness-named",
            "idem::applied",
            "idem::flushed",
            "idem::synced",
        ] {
            let camera = Arc::clone(&camera);
            fail::cfg_callback(point, move || camera.film(|film| film.at(point))).unwrap();
        }
        camera
    }

    pub(crate) fn film<T>(&self, work: impl FnOnce(&mut Film) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    /// Watches a folder that is about to be opened.
    pub(crate) fn watch(&self, folder: &Path, world: &Arc<World>) {
        let (folder, world) = (folder.to_owned(), Arc::clone(world));
        self.film(|film| {
            let before = Image::of(&folder, &film.synced);
            *film = Film {
                folder,
                world,
                on: true,
                before,
                witness: film.witness,
                ..Film::default()
            };
        });
    }
}

/// The folders that this process has open.
fn open_folders() -> impl Iterator<Item = PathBuf> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter_map(|open| std::fs::read_link(open.ok()?.path()).ok())
        .filter(|path| path.is_dir())
}

fn group_in(witness: &Path) -> u64 {
    std::fs::read_to_string(witness).unwrap()[6..26]
        .parse()
        .unwrap()
}

/// Lets a ledger work, and gives moments at which the power could have been cut.
async fn moments(camera: &Camera, clock: &ManualClock, mix: Mix, random: &mut Rng) -> Vec<Cut> {
    let (folder, world) = (scratch(), Arc::new(World::default()));
    let mut cuts = Vec::new();
    for _ in 0..4 {
        camera.watch(folder.path(), &world);
        let idem = open(folder.path(), clock).unwrap();
        camera.film(|film| {
            film.on = false;
            film.witness = group_in(&folder.path().join(WITNESS));
        });
        for _ in 0..random.u32(2..4) {
            for _ in 0..random.u32(1..4) {
                clock.advance(Duration::from_secs(60));
                round(&idem, &world, mix, random).await;
            }
            // One round to see a sync, and after it a round in which the power is cut.
            camera.film(|film| (film.on, film.cut_after) = (true, None));
            round(&idem, &world, mix, random).await;
            let point = ["idem::applied", "idem::flushed", "idem::flushed"][random.usize(..3)];
            let at_large_ones = mix.large > 0 && random.bool();
            camera.film(|film| {
                film.at_least = if at_large_ones { 1 << 20 } else { 0 };
                film.cut_after = Some((point, if at_large_ones { 0 } else { random.u32(..3) }));
            });
            round(
                &idem,
                &world,
                Mix {
                    large: if at_large_ones { 1 } else { 0 },
                    ..mix
                },
                random,
            )
            .await;
            camera.film(|film| film.on = false);
        }
        idem.close().await.unwrap();
        drop(idem);
        cuts.append(&mut camera.film(|film| std::mem::take(&mut film.cuts)));
    }
    assert_eq!(world.wrong(), Vec::<String>::new());
    cuts
}

/// Judges one image that a cut left; also what another cut leaves while the ledger opens on it.
fn survives(
    camera: &Camera,
    clock: &ManualClock,
    cut: &Cut,
    random: &mut Rng,
    tally: &mut Tally,
) -> Result<(), String> {
    let (image, how) = leave(cut, random);
    let again = random.u8(..6) == 0;
    let verdict = judged(&image, clock, &cut.known, |folder| {
        if again {
            camera.watch(folder, &Arc::new(World::of(cut.known.clone())));
        }
    });
    tally.add(
        cut.what,
        whole(verdict).map_err(|loss| format!("{loss}\n{how}"))?,
    );
    if again {
        let cuts = camera.film(|film| {
            film.on = false;
            std::mem::take(&mut film.cuts)
        });
        for second in cuts {
            let (image, then) = leave(
                &Cut {
                    known: cut.known.clone(),
                    witness: cut.witness,
                    ..second
                },
                random,
            );
            let verdict = judged(&image, clock, &cut.known, |_| {});
            let verdict = whole(verdict).map_err(|loss| format!("{loss}\n{how}\nthen {then}"))?;
            tally.add("cut again while opening", verdict);
        }
    }
    Ok(())
}

/// A cut costs nothing that was answered, and it closes no folder.
fn whole(verdict: Result<Verdict, String>) -> Result<Verdict, String> {
    match verdict? {
        Verdict::Refused(why) | Verdict::Noticed(why) => Err(format!("it is refused: {why}")),
        Verdict::Whole => Ok(Verdict::Whole),
    }
}

async fn cut_and_judge(mix: Mix, share: u64) {
    let scenario = FailScenario::setup();
    let mut random = Rng::with_seed(seed());
    let camera = Camera::install();
    let (mut left, mut tally) = (images(200) * share / 100, Tally::default());
    let (mut rewritten, mut large, mut losses) = (0, 0, Vec::new());
    while left > 0 {
        let clock = ManualClock::default();
        let cuts = moments(&camera, &clock, mix, &mut random).await;
        large += cuts
            .iter()
            .filter(|cut| cut.written.log().changed(&cut.synced.log()) * SECTOR > 1 << 20)
            .count();
        rewritten += cuts.iter().filter(|cut| cut.rewrites_a_segment()).count();
        let a_cut = 6;
        for cut in &cuts {
            for _ in 0..a_cut.min(left) {
                if let Err(loss) = survives(&camera, &clock, cut, &mut random, &mut tally) {
                    losses.push(loss);
                }
            }
            left = left.saturating_sub(a_cut);
        }
    }
    println!(
        "{tally}{rewritten} cuts while sled wrote where it had written before, {large} in a MiB of writes"
    );
    drop(scenario);
    none_was_lost(&losses);
}

/// The header says that the log is stable up to a segment that is not there: sled wrote both, and
/// the disk kept one.
#[tokio::test]
async fn a_segments_beginning_that_came_without_the_segment_before_it() {
    let scenario = FailScenario::setup();
    let mut random = Rng::with_seed(seed());
    let (folder, world, clock) = (
        scratch(),
        Arc::new(World::default()),
        ManualClock::default(),
    );
    // The snapshot of the second opening is what sled would go back to.
    for _ in 0..2 {
        let idem = open(folder.path(), &clock).unwrap();
        round(
            &idem,
            &world,
            Mix {
                fresh: 20,
                large: 0,
            },
            &mut random,
        )
        .await;
        idem.close().await.unwrap();
    }
    let idem = open(folder.path(), &clock).unwrap();
    let witness = std::fs::read(folder.path().join(WITNESS)).unwrap();
    for _ in 0..10 {
        round(
            &idem,
            &world,
            Mix {
                fresh: 20,
                large: 0,
            },
            &mut random,
        )
        .await;
    }
    let mut image = Image::of(folder.path(), &Image::default());
    let mut log = image.log().bytes();
    // Where a segment stands in the file says nothing of its place in the log of all time; its
    // header does.
    let tail = last_segment(&image.log()).unwrap() * SEGMENT;
    let place = i64::from_le_bytes(log[tail + 4..tail + 12].try_into().unwrap()) ^ i64::MAX;
    log.resize(log.len().next_multiple_of(SEGMENT), 0);
    let segment = SEGMENT as i64;
    let header = [place + 2 * segment, place + segment + 100]
        .map(|place| (place ^ i64::MAX).to_le_bytes())
        .concat();
    log.extend_from_slice(&(crc32fast::hash(&header) ^ u32::MAX).to_le_bytes());
    log.extend_from_slice(&header);
    image.set(LOG, Some(Content::of(&log)));
    image.set(WITNESS, Some(Content::of(&witness)));
    assert_eq!(
        judged(&image, &clock, &world.known(), |_| {}),
        Ok(Verdict::Whole)
    );
    drop((idem, scenario));
}

#[tokio::test]
async fn small_results() {
    cut_and_judge(
        Mix {
            fresh: 20,
            large: 0,
        },
        60,
    )
    .await;
}

#[tokio::test]
async fn large_results() {
    cut_and_judge(
        Mix {
            fresh: 10,
            large: 30,
        },
        40,
    )
    .await;
}
