//! What a score is made of, example by example: enough to draw its interval and to compare two systems on the same
//! examples, without their predictions.

use serde::{Deserialize, Serialize};

use crate::{
    bleu,
    bootstrap::{Bootstrap, Interval},
    chrf,
    error::MetricsError,
    numbers::average_ranks,
    regression::spearman,
};

/// How a score follows from summed counts, a share of 0 of 0 being 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Formula {
    /// Of a sum and a number: their quotient, such as accuracy or a mean loss.
    Mean,
    /// Of right, predicted and gold: F1, micro-averaged.
    F1,
    /// Of right, predicted and gold of each label in turn: the mean of their F1.
    MacroF1,
    /// Of words of hypothesis and reference, n-grams in common by order, n-grams by order: [`bleu`].
    Bleu,
    /// Of n-grams of hypothesis, of reference, in common, order by order: [`chrf`].
    Chrf,
    /// Of 1, of gold and predicted numbers, their squares and their product: Pearson's correlation.
    Correlation,
}

impl Formula {
    /// The score of these sums.
    pub fn score(self, sums: &[f64]) -> f64 {
        let share = |part: f64, whole: f64| if whole == 0.0 { 0.0 } else { part / whole };
        match (self, sums) {
            (Self::Mean, [sum, n]) => share(*sum, *n),
            (Self::F1, [right, predicted, gold]) => share(2.0 * right, predicted + gold),
            (Self::MacroF1, sums) if sums.len() % 3 == 0 => {
                let labels = sums.chunks(3);
                let n = labels.len() as f64;
                share(labels.map(|label| Self::F1.score(label)).sum(), n)
            }
            (Self::Bleu, []) => 0.0,
            (Self::Bleu, sums) => {
                sums.try_into().map_or(f64::NAN, |sums| bleu::BleuReport::new(sums, false).score)
            }
            (Self::Chrf, sums) if sums.len() % 3 == 0 => chrf::score(sums),
            (Self::Correlation, [n, x, y, xx, yy, xy]) => {
                // What is constant in a resample follows nothing.
                let (of_x, of_y) = (n * xx - x * x, n * yy - y * y);
                share(n * xy - x * y, (of_x.max(0.0) * of_y.max(0.0)).sqrt()).clamp(-1.0, 1.0)
            }
            _ => f64::NAN,
        }
    }
}

/// The counts of each example, and the formula of their score.
///
/// ```
/// use locus_metrics::samples::{Formula, Samples};
///
/// // Sentence by sentence: entities right, predicted, gold.
/// let ours = Samples::new(Formula::F1, [[2, 2, 3], [0, 0, 1], [1, 1, 1], [3, 4, 4]]);
/// let theirs = Samples::new(Formula::F1, [[1, 2, 3], [0, 0, 1], [1, 1, 1], [2, 4, 4]]);
/// assert_eq!(ours.score(), 0.75);
/// assert!(ours.interval()?.high > 0.75);
/// assert!(ours.difference(&theirs)?.high > ours.score() - theirs.score());
/// # Ok::<(), locus_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    formula: Formula,
    counts: Vec<Vec<f64>>,
}

impl Samples {
    /// Samples with a row of counts per example, as the formula asks.
    pub fn new<R, N>(formula: Formula, counts: impl IntoIterator<Item = R>) -> Self
    where
        R: IntoIterator<Item = N>,
        N: Into<f64>,
    {
        let row = |row: R| row.into_iter().map(Into::into).collect();
        Self { formula, counts: counts.into_iter().map(row).collect() }
    }

    /// Samples of Spearman's correlation: Pearson's of the ranks that the numbers have among all examples, which they keep in
    /// resamples. None where it is undefined.
    ///
    /// ```
    /// use locus_metrics::samples::Samples;
    ///
    /// let samples = Samples::of_ranks(&[1.0, 2.0, 7.0], &[0.1, 0.4, 0.5]);
    /// assert_eq!(samples.map(|samples| samples.score()), Some(1.0));
    /// assert!(Samples::of_ranks(&[1.0, 2.0], &[0.5, 0.5]).is_none());
    /// ```
    pub fn of_ranks(gold: &[f64], predicted: &[f64]) -> Option<Self> {
        spearman(gold, predicted).ok()?;
        // From -0.5 to 0.5, so that sums keep their digits.
        let half = (gold.len() + 1) as f64 / 2.0;
        let ranks = |numbers: &[f64]| {
            let ranks = average_ranks(numbers).into_iter();
            ranks.map(|rank| (rank - half) / (2.0 * half)).collect::<Vec<_>>()
        };
        let (gold, predicted) = (ranks(gold), ranks(predicted));
        let rows = gold.iter().zip(&predicted).map(|(x, y)| [1.0, *x, *y, x * x, y * y, x * y]);
        Some(Self::new(Formula::Correlation, rows))
    }

    /// The score of all examples; NaN if a row is not as the formula asks.
    pub fn score(&self) -> f64 {
        let mut sums = vec![0.0; self.width()];
        for row in &self.counts {
            sums.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
        }
        self.formula.score(&sums)
    }

    /// The score's 95 % interval, see [`Bootstrap`].
    ///
    /// # Errors
    /// If there are fewer than two examples, which say nothing of another, or the score is not finite.
    pub fn interval(&self) -> Result<Interval, MetricsError> {
        self.check()?;
        Bootstrap::default().interval_of_sums(&self.counts, |sums| self.formula.score(sums))
    }

    /// The 95 % interval of this score less that of another system on the same examples.
    ///
    /// # Errors
    /// As [`interval`](Self::interval), and if the other has another formula or number of examples.
    pub fn difference(&self, other: &Self) -> Result<Interval, MetricsError> {
        self.comparable(other)?;
        Bootstrap::default().difference_of_sums(&self.counts, &other.counts, |sums| self.formula.score(sums))
    }

    /// That both are of one kind and as many.
    pub(crate) fn comparable(&self, other: &Self) -> Result<(), MetricsError> {
        self.check()?;
        if self.formula != other.formula {
            let (a, b) = (self.formula, other.formula);
            return Err(MetricsError::Setting(format!(
                "scores of different kinds, {a:?} and {b:?}, have no difference"
            )));
        }
        if self.counts.len() != other.counts.len() {
            let (a, b) = (self.counts.len(), other.counts.len());
            return Err(MetricsError::Setting(format!(
                "{a} and {b} examples have no difference, example by example"
            )));
        }
        Ok(())
    }

    pub(crate) fn formula(&self) -> Formula {
        self.formula
    }

    pub(crate) fn counts(&self) -> &[Vec<f64>] {
        &self.counts
    }

    /// Counts per example.
    pub(crate) fn width(&self) -> usize {
        self.counts.first().map_or(0, Vec::len)
    }

    fn check(&self) -> Result<(), MetricsError> {
        if self.counts.len() >= 2 {
            return Ok(());
        }
        let reason = format!("{} examples; it needs two", self.counts.len());
        Err(MetricsError::Undefined { score: "a bootstrap interval", reason })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_those_of_the_reports() {
        assert_eq!(Formula::Mean.score(&[3.0, 4.0]), 0.75);
        assert_eq!(Formula::F1.score(&[3.0, 4.0, 8.0]), 0.5);
        assert_eq!(Formula::MacroF1.score(&[3.0, 4.0, 8.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]), 0.5);
        assert_eq!(Formula::F1.score(&[0.0; 3]), 0.0);
        assert!(Formula::F1.score(&[1.0, 2.0]).is_nan());
        assert_eq!(Formula::Correlation.score(&[3.0, 0.0, 0.0, 0.0, 2.0, 0.0]), 0.0);
    }

    #[test]
    fn a_correlation_of_ranks_is_spearmans() {
        let (gold, predicted) = ([4.0, 0.0, 2.5, 2.5, 5.0, 1.0, 3.0], [0.7, -0.2, 0.9, 0.1, 0.8, 0.1, 0.3]);
        let samples = Samples::of_ranks(&gold, &predicted).unwrap();
        assert!((samples.score() - spearman(&gold, &predicted).unwrap()).abs() < 1e-12);
        let interval = samples.interval().unwrap();
        assert!(interval.low < samples.score() && interval.high <= 1.0, "{interval:?}");
        assert!(Samples::of_ranks(&[1.0, f64::NAN], &[0.1, 0.2]).is_none());
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let right = Samples::new(Formula::Mean, [[1, 1], [0, 1], [1, 1]]);
        assert!(
            Samples::new(Formula::Mean, [[1, 1]]).interval().unwrap_err().to_string().contains("needs two")
        );
        assert!(right.difference(&Samples::new(Formula::Mean, [[1, 1], [0, 1]])).is_err());
        assert!(right.difference(&Samples::new(Formula::F1, [[1, 1, 1]; 3])).is_err());
        assert!(Samples::new(Formula::F1, [[1, 1], [0, 1]]).interval().is_err(), "too few counts");
        assert!(Samples::new(Formula::Mean, [[f64::NAN, 1.0], [1.0, 1.0]]).interval().is_err());
    }

    #[test]
    fn json_comes_back() {
        let samples = Samples::new(Formula::MacroF1, [[1, 1, 2], [0, 3, 1]]);
        let json = serde_json::to_string(&samples).unwrap();
        assert_eq!(json, r#"{"formula":"macro_f1","counts":[[1.0,1.0,2.0],[0.0,3.0,1.0]]}"#);
        assert_eq!(serde_json::from_str::<Samples>(&json).unwrap(), samples);
    }
}
