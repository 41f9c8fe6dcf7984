//! ROUGE: what a summary shares with its reference (Lin 2004, <https://aclanthology.org/W04-1013>): words, pairs of words,
//! the longest common subsequence, and that of sentences, one a line, taken together (Lsum).
//!
//! Words are runs of ASCII letters and digits in lower case, so that text in other scripts has none; stemming takes words
//! of more than three letters. Of several references the one with the best F1 counts, score by score. A set's score is
//! the mean over its examples.
//! Source: Google's `rouge_score` 0.1.2, `rouge1`, `rouge2`, `rougeL`, `rougeLsum`; its stemmer is that of NLTK 3.10.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{
    error::MetricsError,
    samples::{Formula, Samples},
    stem::stem,
    text::{ngrams, overlap},
};

/// How words are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rouge {
    /// Whether words are equal if their stems are.
    pub stem: bool,
}

/// What two texts share, as shares of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct RougeScore {
    /// Share of the prediction.
    pub precision: f64,
    /// Share of the reference.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// The four scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct RougeScores {
    /// Of words.
    pub rouge1: RougeScore,
    /// Of pairs of neighbours.
    pub rouge2: RougeScore,
    /// Of the longest common subsequence.
    pub rouge_l: RougeScore,
    /// Of the longest common subsequences of lines.
    pub rouge_lsum: RougeScore,
}

impl Rouge {
    /// The scores of a prediction.
    ///
    /// ```
    /// use locus_metrics::rouge::Rouge;
    ///
    /// let scores = Rouge { stem: true }.score("Police killed the gunmen.", "police kill the gunman");
    /// assert_eq!((scores.rouge1.f1, scores.rouge2.f1), (0.75, 2.0 / 3.0));
    /// ```
    pub fn score(&self, reference: &str, prediction: &str) -> RougeScores {
        let (gold, predicted) = (self.words(reference), self.words(prediction));
        let of_ngrams = |n| {
            let shared = overlap(&ngrams(&gold, n), &ngrams(&predicted, n));
            let count = |words: &[String]| (words.len() + 1).saturating_sub(n);
            RougeScore::new(shared as usize, count(&predicted), count(&gold))
        };
        RougeScores {
            rouge1: of_ngrams(1),
            rouge2: of_ngrams(2),
            rouge_l: RougeScore::new(
                common_subsequence(&gold, &predicted).len(),
                predicted.len(),
                gold.len(),
            ),
            rouge_lsum: lsum(&self.lines(reference), &self.lines(prediction)),
        }
    }

    fn lines(&self, text: &str) -> Vec<Vec<String>> {
        text.split('\n').map(|line| self.words(line)).collect()
    }

    fn words(&self, text: &str) -> Vec<String> {
        let lower = text.to_lowercase();
        let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.map(|word| if self.stem && word.len() > 3 { stem(word) } else { word.to_owned() }).collect()
    }
}

impl RougeScore {
    fn new(shared: usize, predicted: usize, gold: usize) -> Self {
        let share = |whole: usize| shared as f64 / whole.max(1) as f64;
        let f1 = 2.0 * shared as f64 / (predicted + gold).max(1) as f64;
        Self { precision: share(predicted), recall: share(gold), f1 }
    }
}

impl RougeScores {
    /// The scores by the names of `rouge_score`.
    pub fn named(&self) -> [(&'static str, RougeScore); 4] {
        [
            ("rouge1", self.rouge1),
            ("rouge2", self.rouge2),
            ("rougeL", self.rouge_l),
            ("rougeLsum", self.rouge_lsum),
        ]
    }

    /// Each score by the better F1.
    fn best(self, other: Self) -> Self {
        let best = |a: RougeScore, b: RougeScore| if b.f1 > a.f1 { b } else { a };
        Self {
            rouge1: best(self.rouge1, other.rouge1),
            rouge2: best(self.rouge2, other.rouge2),
            rouge_l: best(self.rouge_l, other.rouge_l),
            rouge_lsum: best(self.rouge_lsum, other.rouge_lsum),
        }
    }
}

/// Adds up the scores of examples.
///
/// ```
/// use locus_metrics::rouge::{Rouge, RougeScorer};
///
/// let mut scorer = RougeScorer::new(Rouge::default());
/// scorer.add(&["the cat sat"], "the cat sat")?;
/// scorer.add(&["a dog", "the dog"], "the cat")?;
/// assert_eq!(scorer.report().rouge1.f1, 0.75);
/// # Ok::<(), locus_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RougeScorer {
    rouge: Rouge,
    scores: Vec<RougeScores>,
}

impl RougeScorer {
    /// A scorer without examples.
    pub fn new(rouge: Rouge) -> Self {
        Self { rouge, scores: Vec::new() }
    }

    /// Adds an example, and gives its scores.
    ///
    /// # Errors
    /// If there is no reference.
    pub fn add(&mut self, references: &[&str], prediction: &str) -> Result<RougeScores, MetricsError> {
        let scores = references.iter().map(|reference| self.rouge.score(reference, prediction));
        let best = scores.reduce(RougeScores::best).ok_or_else(|| {
            let problem = "at least one reference expected, none found".to_owned();
            MetricsError::BadExample { at: self.scores.len(), problem }
        })?;
        self.scores.push(best);
        Ok(best)
    }

    /// The mean scores; 0 without examples.
    pub fn report(&self) -> RougeScores {
        let n = self.scores.len().max(1) as f64;
        let mean = |of: fn(&RougeScores) -> RougeScore| {
            let mean = |number: fn(&RougeScore) -> f64| {
                self.scores.iter().map(|scores| number(&of(scores))).sum::<f64>() / n
            };
            RougeScore {
                precision: mean(|score| score.precision),
                recall: mean(|score| score.recall),
                f1: mean(|score| score.f1),
            }
        };
        RougeScores {
            rouge1: mean(|scores| scores.rouge1),
            rouge2: mean(|scores| scores.rouge2),
            rouge_l: mean(|scores| scores.rouge_l),
            rouge_lsum: mean(|scores| scores.rouge_lsum),
        }
    }

    /// The F1 of each example: of which of the four scores `of` says.
    pub fn samples(&self, of: impl Fn(&RougeScores) -> RougeScore) -> Samples {
        Samples::new(Formula::Mean, self.scores.iter().map(|scores| [of(scores).f1, 1.0]))
    }
}

/// Line by line of gold, the words in a longest common subsequence with any predicted line; each word at most as often as
/// both texts have it.
fn lsum(gold: &[Vec<String>], predicted: &[Vec<String>]) -> RougeScore {
    let count = |lines: &[Vec<String>]| lines.iter().map(Vec::len).sum::<usize>();
    let (mut left_gold, mut left_predicted) = (occurrences(gold), occurrences(predicted));
    let mut shared = 0;
    for line in gold {
        let mut hits: Vec<usize> =
            predicted.iter().flat_map(|predicted| common_subsequence(line, predicted)).collect();
        hits.sort_unstable();
        hits.dedup();
        for word in hits.into_iter().map(|at| line[at].as_str()) {
            if let (Some(gold @ 1..), Some(predicted @ 1..)) =
                (left_gold.get_mut(word), left_predicted.get_mut(word))
            {
                *gold -= 1;
                *predicted -= 1;
                shared += 1;
            }
        }
    }
    RougeScore::new(shared, count(predicted), count(gold))
}

fn occurrences(lines: &[Vec<String>]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for word in lines.iter().flatten() {
        *counts.entry(word.as_str()).or_insert(0) += 1;
    }
    counts
}

/// The places in `gold` of a longest common subsequence: which of several is as `rouge_score` chooses.
fn common_subsequence(gold: &[String], predicted: &[String]) -> Vec<usize> {
    let width = predicted.len() + 1;
    let mut lengths = vec![0_u32; (gold.len() + 1) * width]; // [gold + 1, predicted + 1]
    for (i, word) in gold.iter().enumerate() {
        for (j, other) in predicted.iter().enumerate() {
            let at = (i + 1) * width + j + 1;
            lengths[at] = if word == other {
                lengths[at - width - 1] + 1
            } else {
                lengths[at - width].max(lengths[at - 1])
            };
        }
    }
    let (mut i, mut j, mut places) = (gold.len(), predicted.len(), Vec::new());
    while i > 0 && j > 0 {
        let at = i * width + j;
        if gold[i - 1] == predicted[j - 1] {
            places.push(i - 1);
            (i, j) = (i - 1, j - 1);
        } else if lengths[at - 1] > lengths[at - width] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
    places.reverse();
    places
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn nothing_scores_nothing() {
        let mut scorer = RougeScorer::new(Rouge::default());
        assert_eq!(scorer.report(), RougeScores::default());
        for (reference, prediction) in [("", ""), ("", "a"), ("a", ""), ("春眠", "春眠")] {
            assert_eq!(scorer.add(&[reference], prediction).unwrap(), RougeScores::default());
        }
        assert!(scorer.add(&[], "a").unwrap_err().to_string().starts_with("example 4: "));
    }

    #[test]
    fn lines_in_another_order_are_the_same_to_lsum_alone() {
        let scores = Rouge::default().score("a b\nc d", "c d\na b");
        assert_eq!((scores.rouge_l.f1, scores.rouge_lsum.f1), (0.5, 1.0));
        assert_eq!(
            Rouge::default().score("a b", "a b\na b").rouge_lsum.precision,
            0.5,
            "no word counts twice"
        );
    }

    #[test]
    fn swapping_the_sides_swaps_precision_and_recall() {
        let (a, b) = ("the cat sat on the mat", "on a mat the cat");
        let (there, back) = (Rouge::default().score(a, b), Rouge::default().score(b, a));
        for ((_, there), (_, back)) in there.named().into_iter().zip(back.named()) {
            assert_eq!((there.precision, there.recall, there.f1), (back.recall, back.precision, back.f1));
        }
    }
}
