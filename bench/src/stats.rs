//! Statistics of samples: pure, and deterministic down to the resampling.
//!
//! Nothing here knows what was measured.

/// The median; NaN of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// The smallest; NaN of nothing.
pub(crate) fn min(values: &[f64]) -> f64 {
    percentile(values, 0.0)
}

/// The `p`-th percentile (0 to 100), interpolated between neighbours; NaN of nothing.
pub(crate) fn percentile(values: &[f64], p: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = (p / 100.0).clamp(0.0, 1.0) * last as f64;
    let (low, high) = (position.floor() as usize, position.ceil() as usize);
    let weight = position - low as f64;
    sorted[low] * (1.0 - weight) + sorted[high] * weight
}

/// Pairwise ratios `values / baseline` of the same rounds.
pub(crate) fn ratios(values: &[f64], baseline: &[f64]) -> Vec<f64> {
    values.iter().zip(baseline).map(|(v, b)| v / b).collect()
}

/// The 95 % confidence interval of the median, by bootstrap. The same values give the same interval.
pub(crate) fn confidence(values: &[f64]) -> [f64; 2] {
    const RESAMPLES: usize = 2000;
    let mut random = SplitMix64(0x5ea_5eed);
    let medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| median(&resample(values, &mut random)))
        .collect();
    [percentile(&medians, 2.5), percentile(&medians, 97.5)]
}

fn resample(values: &[f64], random: &mut SplitMix64) -> Vec<f64> {
    let draw = |_: &f64| values[random.below(values.len())];
    values.iter().map(draw).collect()
}

/// The slope of the line that fits points best.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let variance: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    covariance / variance
}

/// Sebastiano Vigna's `SplitMix64`: small, and good enough to draw samples.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is at least 1.
    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_even_and_nothing() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn percentiles_interpolate_and_stay_inside() {
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 99.0), 99.0);
        assert_eq!(percentile(&[0.0, 10.0], 25.0), 2.5);
        assert_eq!(percentile(&values, 250.0), 100.0);
        assert_eq!(min(&[3.0, -1.0, 2.0]), -1.0);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        assert_eq!(ratios(&[2.0, 9.0], &[1.0, 3.0]), [2.0, 3.0]);
    }

    #[test]
    fn confidence_is_repeatable_and_holds_the_median() {
        let values: Vec<f64> = (0..20).map(|i| 1.0 + f64::from(i % 7) / 100.0).collect();
        let [low, high] = confidence(&values);
        assert_eq!(confidence(&values), [low, high]);
        assert!(low <= median(&values) && median(&values) <= high);
        assert!(low >= 1.0 && high <= 1.06);
        assert_eq!(confidence(&[1.0; 9]), [1.0, 1.0], "no spread, no interval");
    }

    #[test]
    fn more_rounds_narrow_the_interval() {
        let spread = |n: u32| {
            let values: Vec<f64> = (0..n).map(|i| f64::from(i * 37 % 101)).collect();
            let [low, high] = confidence(&values);
            high - low
        };
        assert!(spread(200) < spread(10));
    }

    #[test]
    fn every_value_is_drawn() {
        let mut random = SplitMix64(1);
        let mut seen = [false; 10];
        (0..1000).for_each(|_| seen[random.below(10)] = true);
        assert_eq!(seen, [true; 10]);
    }

    #[test]
    fn the_slope_is_what_each_adds() {
        let points = [(0.0, 5.0), (10.0, 25.0), (20.0, 45.0)];
        assert!((slope(&points) - 2.0).abs() < 1e-9);
        assert!(slope(&[(1.0, 1.0)]).is_nan(), "one point has none");
    }
}
