//! Whether one system is better than another on the same examples by more than chance.
//!
//! The interval of the difference is the paired bootstrap's ([`crate::bootstrap`]). The p-values ask how often a
//! difference as large, either way, would come about between equal systems:
//!
//! - **paired randomisation**: each example's counts change sides or not by the toss of a coin, and both scores are
//!   computed anew (Noreen 1989; Yeh 2000, doi:10.3115/992730.992783). Source: SciPy 1.17.1
//!   `permutation_test(permutation_type="samples")`. Differs: tosses are always drawn, never enumerated; two-sided is by
//!   the size of the difference, not by twice the smaller tail.
//! - **paired bootstrap**: of the differences of resamples, less the difference of the systems (Koehn 2004,
//!   <https://aclanthology.org/W04-3250>; Riezler and Maxwell 2005, <https://aclanthology.org/W05-0908>).
//!
//! Both are (count + 1) / (trials + 1), so never 0. Draws are a function of the seed, the trial and the example alone.

use serde::Serialize;

use crate::{
    bootstrap::{Bootstrap, Interval, add_rows, mix},
    error::MetricsError,
    samples::{Formula, Samples},
};

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedTest {
    /// The resamples of the interval and of the bootstrap's p-value.
    pub bootstrap: Bootstrap,
    /// Number of tosses of all coins.
    pub n_permutations: usize,
}

impl Default for PairedTest {
    fn default() -> Self {
        Self { bootstrap: Bootstrap::default(), n_permutations: 10_000 }
    }
}

/// How two systems compare.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// The score of the first.
    pub score_a: f64,
    /// The score of the second.
    pub score_b: f64,
    /// The first less the second.
    pub difference: f64,
    /// The interval of the difference.
    pub interval: Interval,
    /// By paired randomisation.
    pub p_randomisation: f64,
    /// By the paired bootstrap.
    pub p_bootstrap: f64,
    /// Number of examples.
    pub n_examples: usize,
}

impl PairedTest {
    /// Compares the scores of two systems on the same examples in the same order.
    ///
    /// ```
    /// use locus_metrics::{samples::{Formula, Samples}, significance::PairedTest};
    ///
    /// let right = |right: [u8; 7]| Samples::new(Formula::Mean, right.map(|right| [right, 1]));
    /// let (a, b) = (right([1, 1, 1, 1, 1, 1, 0]), right([0, 1, 0, 0, 1, 0, 0]));
    /// let found = PairedTest::default().compare(&a, &b)?;
    /// assert_eq!(found.difference, 4.0 / 7.0);
    /// // All four examples that differ speak for A: 2 of 2⁴ tosses are as extreme.
    /// assert!((found.p_randomisation - 0.125).abs() < 0.02);
    /// # Ok::<(), locus_metrics::MetricsError>(())
    /// ```
    ///
    /// # Errors
    /// If the scores are of different kinds, there are fewer than two examples or not as many on both sides, what both
    /// must share (gold labels, tokens) differs, a score is not finite, or a setting is out of range.
    pub fn compare(&self, a: &Samples, b: &Samples) -> Result<Comparison, MetricsError> {
        a.comparable(b)?;
        same_examples(a, b)?;
        if self.n_permutations == 0 {
            return Err(MetricsError::Setting("a paired test needs at least one permutation".to_owned()));
        }
        let (score_a, score_b) = (a.score(), b.score());
        let difference = score_a - score_b;
        // What differs by rounding only is as large.
        let large = difference.abs() - 1e-12 * (score_a.abs() + score_b.abs());

        let mut sums = (vec![0.0; a.width()], vec![0.0; b.width()]);
        let mut n_large = 0;
        let interval = self.bootstrap.interval(a.counts().len(), |drawn| {
            add_rows(&mut sums.0, a.counts(), drawn);
            add_rows(&mut sums.1, b.counts(), drawn);
            let drawn = a.formula().score(&sums.0) - b.formula().score(&sums.1);
            n_large += usize::from((drawn - difference).abs() >= large);
            drawn
        })?;
        Ok(Comparison {
            score_a,
            score_b,
            difference,
            interval,
            p_randomisation: self.randomised(a, b, large)?,
            p_bootstrap: p_value(n_large, self.bootstrap.n_resamples),
            n_examples: a.counts().len(),
        })
    }

    fn randomised(&self, a: &Samples, b: &Samples, large: f64) -> Result<f64, MetricsError> {
        let (mut n_large, mut of_a, mut of_b) = (0, vec![0.0; a.width()], vec![0.0; b.width()]);
        for trial in 0..self.n_permutations {
            of_a.fill(0.0);
            of_b.fill(0.0);
            let coins = Coins::new(self.bootstrap.seed, trial);
            for (at, (row_a, row_b)) in a.counts().iter().zip(b.counts()).enumerate() {
                let (to_a, to_b) = if coins.heads(at) { (row_b, row_a) } else { (row_a, row_b) };
                of_a.iter_mut().zip(to_a).for_each(|(sum, count)| *sum += count);
                of_b.iter_mut().zip(to_b).for_each(|(sum, count)| *sum += count);
            }
            let difference = a.formula().score(&of_a) - b.formula().score(&of_b);
            if !difference.is_finite() {
                let reason = format!("the difference of permutation {trial} is {difference}");
                return Err(MetricsError::Undefined { score: "a paired test", reason });
            }
            n_large += usize::from(difference.abs() >= large);
        }
        Ok(p_value(n_large, self.n_permutations))
    }
}

fn p_value(n_large: usize, n: usize) -> f64 {
    (n_large + 1) as f64 / (n + 1) as f64
}

/// A coin for each example.
struct Coins(u64);

impl Coins {
    /// Apart from the draws of the bootstrap of the same seed.
    fn new(seed: u64, trial: usize) -> Self {
        const APART: u64 = 0x636f_696e_636f_696e;
        Self(mix(mix(seed ^ APART) ^ mix(trial as u64)))
    }

    fn heads(&self, at: usize) -> bool {
        (mix(self.0.wrapping_add(at as u64 / 64)) >> (at % 64)) & 1 == 1
    }
}

/// What does not depend on the system must agree, example by example.
fn same_examples(a: &Samples, b: &Samples) -> Result<(), MetricsError> {
    let given = |row: &[f64]| -> Vec<f64> {
        match a.formula() {
            Formula::Mean => row.iter().skip(1).copied().collect(),
            Formula::F1 | Formula::MacroF1 => row.iter().skip(2).step_by(3).copied().collect(),
            // Gold, and its square.
            Formula::Correlation => row.iter().skip(1).step_by(2).take(2).copied().collect(),
            Formula::Bleu | Formula::Chrf => Vec::new(),
        }
    };
    for (at, (a, b)) in a.counts().iter().zip(b.counts()).enumerate() {
        let (of_a, of_b) = (given(a), given(b));
        if a.len() != b.len() || of_a != of_b {
            let problem = format!(
                "the systems must be scored on the same examples, but its gold or token counts are {of_a:?} in one and \
                 {of_b:?} in the other"
            );
            return Err(MetricsError::BadExample { at, problem });
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn right(right: &[u8]) -> Samples {
        Samples::new(Formula::Mean, right.iter().map(|&right| [right, 1]))
    }

    #[test]
    fn a_system_does_not_differ_from_itself() {
        let a = right(&[1, 0, 1, 1, 0]);
        let found = PairedTest::default().compare(&a, &a).unwrap();
        assert_eq!((found.difference, found.p_randomisation, found.p_bootstrap), (0.0, 1.0, 1.0));
    }

    #[test]
    fn swapping_the_systems_turns_the_sign_only() {
        let (a, b) = (right(&[1, 0, 1, 1, 0, 1, 1]), right(&[0, 0, 1, 0, 1, 0, 0]));
        let there = PairedTest::default().compare(&a, &b).unwrap();
        let back = PairedTest::default().compare(&b, &a).unwrap();
        assert_eq!(there.difference, -back.difference);
        assert_eq!(there.p_randomisation, back.p_randomisation);
        assert!(there.p_randomisation > 0.1 && there.p_randomisation < 0.9);
        assert_eq!(there, PairedTest::default().compare(&a, &b).unwrap());
    }

    #[test]
    fn coins_are_even_and_apart() {
        let heads = |trial, at| Coins::new(0, trial).heads(at);
        for at in [0, 1, 63, 64, 67] {
            let n = (0..4000).filter(|&trial| heads(trial, at)).count();
            assert!(n.abs_diff(2000) < 160, "{at}: {n}"); // 5 standard deviations
            let same = (0..4000).filter(|&trial| heads(trial, at) == heads(trial, at + 1)).count();
            assert!(same.abs_diff(2000) < 160, "{at}: {same}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let test = PairedTest::default();
        let (a, other) = (right(&[1, 0, 1]), Samples::new(Formula::F1, [[1, 1, 1]; 3]));
        assert!(test.compare(&a, &right(&[1, 0])).is_err() && test.compare(&a, &other).is_err());
        assert!(test.compare(&right(&[]), &right(&[])).is_err());
        assert!(PairedTest { n_permutations: 0, ..test }.compare(&a, &a).is_err());
        let other = Samples::new(Formula::F1, [[1, 1, 1], [1, 1, 2], [0, 0, 0]]);
        let error = test.compare(&Samples::new(Formula::F1, [[1, 1, 1]; 3]), &other).unwrap_err().to_string();
        assert!(error.starts_with("example 1: the systems must be scored on the same examples"), "{error}");
        let wide = Samples::new(Formula::MacroF1, [[1; 6]; 3]);
        assert!(test.compare(&Samples::new(Formula::MacroF1, [[1; 3]; 3]), &wide).is_err());
    }
}
