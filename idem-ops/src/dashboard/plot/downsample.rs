//! Reduces a plot to as many points as can be seen.

use super::{Fold, Plot};

/// Joins neighbours until there are at most `columns` points.
pub(super) fn downsample(plot: &mut Plot, columns: usize) {
    let each = plot.times.len().div_ceil(columns).max(1);
    if each == 1 {
        return;
    }
    for series in &mut plot.series {
        series.values = series
            .values
            .chunks(each)
            .map(|values| fold(series.fold, values))
            .collect();
    }
    plot.times = plot
        .times
        .chunks(each)
        .filter_map(|times| times.first().copied())
        .collect();
}

fn fold(fold: Fold, values: &[Option<f64>]) -> Option<f64> {
    let known = values.iter().copied().flatten();
    match fold {
        Fold::Sum => known.reduce(|a, b| a + b),
        Fold::Last => known.last(),
        Fold::Highest => known.reduce(f64::max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_value_is_joined_in_its_own_way() {
        let values = [Some(3.0), None, Some(1.0)];
        assert_eq!(fold(Fold::Sum, &values), Some(4.0));
        assert_eq!(fold(Fold::Last, &values), Some(1.0));
        assert_eq!(fold(Fold::Highest, &values), Some(3.0));
        assert_eq!(fold(Fold::Sum, &[None, None]), None, "unknown is not zero");
    }
}
