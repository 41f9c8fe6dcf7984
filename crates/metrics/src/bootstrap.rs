//! How far a score would move on another test set of the same size: the bootstrap's percentile interval.
//!
//! Examples are drawn with replacement as often as there are examples, the score is computed anew, and the middle
//! `confidence` of the scores is the interval (Efron and Tibshirani 1993, chapter 13; percentiles interpolated linearly,
//! as `numpy.percentile`). A draw is a function of the seed, the resample and its place alone, so that intervals repeat.
//!
//! The unit drawn is what is independent: sentences, not the tags within.

use serde::{Deserialize, Serialize};

use crate::{
    error::MetricsError,
    numbers::{paired, rows_of},
};

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples.
    pub n_resamples: usize,
    /// Share of the scores that the interval holds.
    pub confidence: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { n_resamples: 1000, confidence: 0.95, seed: 0 }
    }
}

/// From `low` to `high`; `[low, high]` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl From<[f64; 2]> for Interval {
    fn from([low, high]: [f64; 2]) -> Self {
        Self { low, high }
    }
}

impl From<Interval> for [f64; 2] {
    fn from(Interval { low, high }: Interval) -> Self {
        [low, high]
    }
}

impl Bootstrap {
    /// The interval of a score of `n_examples` examples. `score` gets the indices of the examples drawn.
    ///
    /// ```
    /// use locus_metrics::{bootstrap::Bootstrap, ranking::roc_auc};
    ///
    /// let (gold, scores) = ([true, true, false, true, false, false, true], [0.9, 0.8, 0.3, 0.6, 0.7, 0.2, 0.5]);
    /// let auc = |drawn: &[usize]| {
    ///     let (gold, scores): (Vec<bool>, Vec<f64>) = drawn.iter().map(|&at| (gold[at], scores[at])).unzip();
    ///     roc_auc(&gold, &scores).unwrap_or(0.5)
    /// };
    /// let interval = Bootstrap::default().interval(7, auc)?;
    /// assert!(interval.low < roc_auc(&gold, &scores)? && interval.high == 1.0);
    /// # Ok::<(), locus_metrics::MetricsError>(())
    /// ```
    ///
    /// # Errors
    /// If there are no examples, no resamples or no such confidence, or if a score is not finite.
    pub fn interval(
        &self,
        n_examples: usize,
        mut score: impl FnMut(&[usize]) -> f64,
    ) -> Result<Interval, MetricsError> {
        self.check(n_examples)?;
        let mut drawn = vec![0; n_examples];
        let mut scores = Vec::with_capacity(self.n_resamples);
        for resample in 0..self.n_resamples {
            self.draw(resample, &mut drawn);
            let score = score(&drawn);
            if !score.is_finite() {
                let reason = format!("the score of resample {resample} is {score}");
                return Err(MetricsError::Undefined { score: "a bootstrap interval", reason });
            }
            scores.push(score);
        }
        scores.sort_by(f64::total_cmp);
        let tail = (1.0 - self.confidence) / 2.0;
        Ok(Interval { low: percentile(&scores, tail), high: percentile(&scores, 1.0 - tail) })
    }

    /// The interval of a score of summed counts, such as F1: `counts` has a row per example, `score` gets the sum over
    /// the examples drawn.
    ///
    /// ```
    /// use locus_metrics::bootstrap::Bootstrap;
    ///
    /// // Per sentence: entities found, predicted, gold.
    /// let counts = [[2.0, 2.0, 3.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [3.0, 4.0, 4.0]];
    /// let f1 = |sums: &[f64]| 2.0 * sums[0] / (sums[1] + sums[2]).max(1.0);
    /// let interval = Bootstrap::default().interval_of_sums(&counts, f1)?;
    /// assert!(interval.low < 0.75 && 0.75 < interval.high);
    /// # Ok::<(), locus_metrics::MetricsError>(())
    /// ```
    ///
    /// # Errors
    /// As [`interval`](Self::interval), and if rows differ in width.
    pub fn interval_of_sums<R: AsRef<[f64]>>(
        &self,
        counts: &[R],
        score: impl Fn(&[f64]) -> f64,
    ) -> Result<Interval, MetricsError> {
        let width = width(counts)?;
        let mut sums = vec![0.0; width];
        self.interval(counts.len(), |drawn| {
            add_rows(&mut sums, counts, drawn);
            score(&sums)
        })
    }

    /// The interval of the score of `a` less that of `b`, two systems on the same examples: both are scored on the same
    /// draws, so what makes an example hard for both cancels out. If the interval leaves out 0, the difference is more
    /// than chance.
    ///
    /// ```
    /// use locus_metrics::bootstrap::Bootstrap;
    ///
    /// // Per example: right or not.
    /// let (ours, theirs) = ([[1.0], [1.0], [0.0], [1.0], [1.0]], [[0.0], [1.0], [0.0], [1.0], [0.0]]);
    /// let interval = Bootstrap::default().difference_of_sums(&ours, &theirs, |sums| sums[0] / 5.0)?;
    /// assert_eq!((interval.low, interval.high), (0.0, 0.8));
    /// # Ok::<(), locus_metrics::MetricsError>(())
    /// ```
    ///
    /// # Errors
    /// As [`interval_of_sums`](Self::interval_of_sums), and if the sides differ in length.
    pub fn difference_of_sums<R: AsRef<[f64]>>(
        &self,
        a: &[R],
        b: &[R],
        score: impl Fn(&[f64]) -> f64,
    ) -> Result<Interval, MetricsError> {
        paired(a.len(), b.len())?;
        let mut sums = (vec![0.0; width(a)?], vec![0.0; width(b)?]);
        self.interval(a.len(), |drawn| {
            add_rows(&mut sums.0, a, drawn);
            add_rows(&mut sums.1, b, drawn);
            score(&sums.0) - score(&sums.1)
        })
    }

    fn check(&self, n_examples: usize) -> Result<(), MetricsError> {
        if self.n_resamples == 0 || !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Err(MetricsError::Setting(format!(
                "a bootstrap needs at least one resample and a confidence between 0 and 1, found {} and {}",
                self.n_resamples, self.confidence
            )));
        }
        if n_examples == 0 {
            let reason = "there are no examples".to_owned();
            return Err(MetricsError::Undefined { score: "a bootstrap interval", reason });
        }
        Ok(())
    }

    fn draw(&self, resample: usize, drawn: &mut [usize]) {
        let n = drawn.len();
        let key = mix(self.seed ^ mix(resample as u64));
        for (place, at) in drawn.iter_mut().enumerate() {
            let random = mix(key.wrapping_add(place as u64));
            *at = ((u128::from(random) * n as u128) >> 64) as usize;
        }
    }
}

/// The output function of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195) at a counter.
pub(crate) fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn width<R: AsRef<[f64]>>(counts: &[R]) -> Result<usize, MetricsError> {
    let width = counts.first().map_or(0, |row| row.as_ref().len());
    rows_of(width, counts.iter().map(|row| row.as_ref().len()))?;
    Ok(width)
}

/// The sums of the rows drawn.
pub(crate) fn add_rows<R: AsRef<[f64]>>(sums: &mut [f64], counts: &[R], drawn: &[usize]) {
    sums.fill(0.0);
    for &at in drawn {
        for (sum, count) in sums.iter_mut().zip(counts[at].as_ref()) {
            *sum += count;
        }
    }
}

/// Linear between the neighbours in sorted numbers.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_seed_resample_and_place_only() {
        let draw = |seed, resample| {
            let mut drawn = [0; 97];
            Bootstrap { seed, ..Bootstrap::default() }.draw(resample, &mut drawn);
            drawn
        };
        assert_eq!(draw(3, 5), draw(3, 5));
        assert_ne!(draw(3, 5), draw(3, 6));
        assert_ne!(draw(3, 5), draw(4, 5));
        assert!(draw(3, 5).iter().all(|&at| at < 97));
    }

    /// Of n examples a resample leaves out the share (1 − 1/n)ⁿ, and every example is drawn equally often.
    #[test]
    fn draws_are_with_replacement_and_even() {
        let (n, n_resamples) = (101, 2000);
        let (mut times, mut left_out) = ([0_u32; 101], 0);
        let bootstrap = Bootstrap { n_resamples, ..Bootstrap::default() };
        let count = |drawn: &[usize]| {
            drawn.iter().for_each(|&at| times[at] += 1);
            left_out += (0..n).filter(|at| !drawn.contains(at)).count();
            0.0
        };
        bootstrap.interval(n, count).unwrap();
        let share = left_out as f64 / (n * n_resamples) as f64;
        assert!((share - (1.0 - 1.0 / 101_f64).powi(101)).abs() < 0.002, "{share}");
        // Poisson: 2000 ± 45 each; 5 standard deviations.
        assert!(times.iter().all(|&times| times.abs_diff(2000) < 225), "{times:?}");
    }

    #[test]
    fn percentiles_interpolate() {
        let sorted = [1.0, 2.0, 4.0];
        let at = |share| percentile(&sorted, share);
        assert_eq!([at(0.0), at(0.25), at(0.5), at(0.75), at(1.0)], [1.0, 1.5, 2.0, 3.0, 4.0]);
        assert_eq!(percentile(&[7.0], 0.975), 7.0);
    }

    #[test]
    fn what_has_no_interval_is_an_error() {
        let mean = |_: &[usize]| 0.5;
        assert!(Bootstrap::default().interval(0, mean).unwrap_err().to_string().contains("no examples"));
        for confidence in [0.0, 1.0, f64::NAN] {
            assert!(Bootstrap { confidence, ..Bootstrap::default() }.interval(3, mean).is_err());
        }
        assert!(Bootstrap { n_resamples: 0, ..Bootstrap::default() }.interval(3, mean).is_err());
        let error = Bootstrap::default().interval(3, |_| f64::NAN).unwrap_err();
        assert_eq!(error.to_string(), "a bootstrap interval is undefined: the score of resample 0 is NaN");
        assert_eq!(Bootstrap::default().interval(3, mean).unwrap(), Interval { low: 0.5, high: 0.5 });
        let first = |sums: &[f64]| sums[0];
        assert!(Bootstrap::default().interval_of_sums(&[vec![1.0], vec![]], first).is_err());
        let error = Bootstrap::default().difference_of_sums(&[[1.0]], &[[1.0], [0.0]], first).unwrap_err();
        assert_eq!(error.to_string(), "1 gold labels but 2 predicted labels");
    }

    #[test]
    fn json_is_a_pair() {
        let json = serde_json::to_string(&Interval { low: 0.25, high: 0.5 }).unwrap();
        assert_eq!(json, "[0.25,0.5]");
        assert_eq!(serde_json::from_str::<Interval>(&json).unwrap().high, 0.5);
    }
}
