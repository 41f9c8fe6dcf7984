//! chrF and chrF++: F-score of the runs of one to six characters, and for chrF++ of one and two words, that a translation
//! shares with its reference (Popović 2015, doi:10.18653/v1/W15-3049; 2017, doi:10.18653/v1/W17-4770).
//!
//! Precision and recall are means over the orders that both sides are long enough for; recall weighs twice as much
//! (β = 2). Spaces do not count as characters. Of several references the best counts. Scores lie between 0 and 100.
//! Source: sacreBLEU 2.6.0 `CHRF`.
//! Differs: without examples the score is 0, not an error.

use serde::{Deserialize, Serialize};

use crate::{
    bleu::{References, case, program},
    error::MetricsError,
    samples::{Formula, Samples},
    text::{is_space, ngrams, overlap, words},
};

/// Longest run of characters that counts.
pub const CHAR_ORDER: usize = 6;

/// How chrF is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Chrf {
    /// Longest run of words that counts: 0 for chrF, 2 for chrF++.
    pub word_order: usize,
    /// Whether case is ignored.
    pub lowercase: bool,
}

impl Chrf {
    /// chrF of one sentence.
    ///
    /// # Errors
    /// If there is no reference.
    pub fn sentence(&self, hypothesis: &str, references: &[&str]) -> Result<f64, MetricsError> {
        Ok(score(&self.counts(0, hypothesis, references)?))
    }

    /// N-grams of the hypothesis, of the best reference and in common, order by order.
    fn counts(&self, at: usize, hypothesis: &str, references: &[&str]) -> Result<Vec<f64>, MetricsError> {
        let hypothesis = Text::new(hypothesis, self.lowercase);
        let mut best: Option<(f64, Vec<f64>)> = None;
        for reference in references {
            let counts = hypothesis.counts(&Text::new(reference, self.lowercase), self.word_order);
            let score = score(&counts);
            if best.as_ref().is_none_or(|(best, _)| score > *best) {
                best = Some((score, counts));
            }
        }
        best.map(|(_, counts)| counts).ok_or_else(|| {
            let problem = "at least one reference expected, none found".to_owned();
            MetricsError::BadExample { at, problem }
        })
    }
}

/// Adds up the counts of a corpus.
///
/// ```
/// use locus_metrics::chrf::{Chrf, ChrfScorer};
///
/// let mut scorer = ChrfScorer::new(Chrf { word_order: 2, ..Chrf::default() });
/// scorer.add("the cat sat", &["the cats sit"])?;
/// assert_eq!(format!("{:.2}", scorer.score()), "49.95");
/// assert!(scorer.signature().starts_with("nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|impl:locus"));
/// # Ok::<(), locus_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChrfScorer {
    chrf: Chrf,
    rows: Vec<Vec<f64>>,
    n_references: References,
}

impl ChrfScorer {
    /// A scorer without examples.
    pub fn new(chrf: Chrf) -> Self {
        Self { chrf, rows: Vec::new(), n_references: References::default() }
    }

    /// Adds a sentence and its references.
    ///
    /// # Errors
    /// If there is no reference.
    pub fn add(&mut self, hypothesis: &str, references: &[&str]) -> Result<(), MetricsError> {
        self.rows.push(self.chrf.counts(self.rows.len(), hypothesis, references)?);
        self.n_references.add(references.len());
        Ok(())
    }

    /// The score of all sentences, from 0 to 100.
    pub fn score(&self) -> f64 {
        self.samples().score()
    }

    /// What must be known to compare the score, in sacreBLEU's form; at its end the program and version that scored.
    pub fn signature(&self) -> String {
        format!(
            "nrefs:{}|case:{}|eff:yes|nc:{CHAR_ORDER}|nw:{}|space:no|{}",
            self.n_references,
            case(self.chrf.lowercase),
            self.chrf.word_order,
            program()
        )
    }

    /// The counts of each sentence.
    pub fn samples(&self) -> Samples {
        Samples::new(Formula::Chrf, self.rows.iter().cloned())
    }
}

/// The score of summed counts: of each order n-grams of the hypothesis, of the reference, in common.
pub(crate) fn score(sums: &[f64]) -> f64 {
    const FACTOR: f64 = 4.0; // β²
    let (mut precision, mut recall, mut n_orders) = (0.0, 0.0, 0.0);
    for order in sums.chunks_exact(3).filter(|order| order[0] > 0.0 && order[1] > 0.0) {
        precision += order[2] / order[0];
        recall += order[2] / order[1];
        n_orders += 1.0;
    }
    if precision + recall == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / n_orders, recall / n_orders);
    100.0 * (1.0 + FACTOR) * precision * recall / (FACTOR * precision + recall)
}

struct Text {
    characters: Vec<char>,
    words: Vec<String>,
}

impl Text {
    fn new(text: &str, lowercase: bool) -> Self {
        let text = if lowercase { text.to_lowercase() } else { text.to_owned() };
        Self { characters: text.chars().filter(|c| !is_space(*c)).collect(), words: parted(&text) }
    }

    fn counts(&self, reference: &Self, word_order: usize) -> Vec<f64> {
        let characters = (1..=CHAR_ORDER).map(|n| triple(&self.characters, &reference.characters, n));
        let words = (1..=word_order).map(|n| triple(&self.words, &reference.words, n));
        characters.chain(words).flatten().collect()
    }
}

/// A hypothesis's n-grams of an order that the reference is too short for do not count.
fn triple<T: Eq + std::hash::Hash>(hypothesis: &[T], reference: &[T], n: usize) -> [f64; 3] {
    let count = |items: &[T]| (items.len() + 1).saturating_sub(n) as f64;
    let in_reference = count(reference);
    let in_hypothesis = if in_reference == 0.0 { 0.0 } else { count(hypothesis) };
    [in_hypothesis, in_reference, f64::from(overlap(&ngrams(hypothesis, n), &ngrams(reference, n)))]
}

/// Words, with a mark at an end by itself.
fn parted(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for word in words(text) {
        let (first, last) = (word.chars().next(), word.chars().next_back());
        let is_mark = |c: Option<char>| c.is_some_and(|c| c.is_ascii_punctuation());
        let at = match (word.chars().nth(1), is_mark(last), is_mark(first)) {
            (None, _, _) => word.len(),
            (_, true, _) => word.len() - 1,
            (_, false, true) => 1,
            _ => word.len(),
        };
        let (start, end) = word.split_at(at);
        parts.extend([start, end].into_iter().filter(|part| !part.is_empty()).map(str::to_owned));
    }
    parts
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn marks_are_parted() {
        assert_eq!(parted("(a) b, .c . 雪。 --"), ["(a", ")", "b", ",", ".", "c", ".", "雪。", "-", "-"]);
    }

    #[test]
    fn nothing_scores_nothing_and_itself_100() {
        let mut scorer = ChrfScorer::new(Chrf::default());
        assert_eq!(scorer.score(), 0.0);
        scorer.add("", &["a"]).unwrap();
        scorer.add("a", &[""]).unwrap();
        assert_eq!(scorer.score(), 0.0);
        assert!(scorer.add("a", &[]).is_err());
        for word_order in [0, 2] {
            let score = Chrf { word_order, lowercase: false }.sentence("雪 is white.", &["雪 is white."]);
            assert!((score.unwrap() - 100.0).abs() < 1e-12);
        }
    }
}
