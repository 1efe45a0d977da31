//! The power is cut after a new ledger's first answers: names that were not synced are gone, in
//! whatever folder they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fail::FailScenario;
use fastrand::Rng;
use idem_runtime::testing::ManualClock;

use crate::image::Image;
use crate::known::World;
use crate::load::{Mix, open, round};
use crate::power_loss::Camera;
use crate::tally::{scratch, seed};
use crate::verdict::{Verdict, judged};

/// Answers some calls of a ledger at `below` in a folder, and compares what a cut leaves with the
/// answers. The first `made` folders on the way were made by the caller, and not synced.
async fn cut(
    camera: &Camera,
    below: &Path,
    made: usize,
    random: &mut Rng,
) -> Result<Verdict, String> {
    let (root, world, clock) = (
        scratch(),
        Arc::new(World::default()),
        ManualClock::default(),
    );
    fs::create_dir_all(
        root.path()
            .join(below.components().take(made).collect::<PathBuf>()),
    )
    .unwrap();
    let folder = root.path().join(below);
    camera.watch(&folder, &world);
    let idem = open(&folder, &clock).unwrap();
    let named = camera.film(|film| {
        film.on = false;
        std::mem::take(&mut film.named)
    });
    round(
        &idem,
        &world,
        Mix {
            fresh: 20,
            large: 0,
        },
        random,
    )
    .await;
    // All but the names: what was written is on the disk.
    let mut image = Image::of(root.path(), &Image::default());
    drop(idem);
    image.0.retain(|name, _| {
        // sled's own folder is synced when it is opened; the disk's other cuts look into that.
        let above = name
            .ancestors()
            .skip(1)
            .filter(|above| below.starts_with(above));
        above
            .map(|above| root.path().join(above))
            .all(|above| named.contains(above.as_path()))
    });
    let left = image
        .0
        .into_iter()
        .filter_map(|(name, content)| Some((name.strip_prefix(below).ok()?.into(), content)));
    judged(&Image(left.collect()), &clock, &world.known(), |_| {})
}

#[tokio::test]
async fn a_new_ledger_is_still_there_whoever_made_the_folders_above_it() {
    let scenario = FailScenario::setup();
    let (camera, mut random) = (Camera::install(), Rng::with_seed(seed()));
    for below in ["data", "x/data", "x/y/data", "x/y/z/data"].map(Path::new) {
        for made in 0..=below.components().count() {
            let left = cut(&camera, below, made, &mut random).await;
            assert_eq!(
                left,
                Ok(Verdict::Whole),
                "{}, of which {made} folders were there",
                below.display()
            );
        }
    }
    drop(scenario);
}
