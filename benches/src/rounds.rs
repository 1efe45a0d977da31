//! Measures in turns, so that other load on the machine affects all sides.

/// Runs each of these once a round, and returns the median of each.
pub fn in_turns<const N: usize>(
    rounds: usize,
    mut measure: [&mut dyn FnMut() -> f64; N],
) -> [f64; N] {
    let mut measured = [const { Vec::new() }; N];
    for round in 0..rounds {
        for turn in 0..N {
            let at = (round + turn) % N;
            let measure = &mut measure[at];
            measured[at].push(measure());
        }
    }
    measured.map(|mut figures| {
        figures.sort_unstable_by(f64::total_cmp);
        figures[figures.len() / 2]
    })
}
