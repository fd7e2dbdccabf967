//! Medians and quantiles.

/// The value below which the fraction `part` of `values` is; 0 of nothing.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

/// The value in the middle; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let (low, high) = (quantile(values, 0.5 - f64::EPSILON), quantile(values, 0.5));
    if values.len() % 2 == 1 {
        high
    } else {
        f64::midpoint(low, high)
    }
}

/// The median of the ratios of values that were measured in the same round.
pub(crate) fn median_ratio(values: &[f64], references: &[f64]) -> f64 {
    let ratios: Vec<f64> = values
        .iter()
        .zip(references)
        .map(|(value, reference)| value / reference)
        .collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(
            (
                quantile(&values, 0.0),
                quantile(&values, 0.5),
                quantile(&values, 1.0)
            ),
            (1.0, 3.0, 5.0)
        );
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        assert_eq!(median_ratio(&[10.0, 30.0, 50.0], &[20.0, 30.0, 25.0]), 1.0);
    }
}
