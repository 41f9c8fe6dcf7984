//! Exact match and F1 of answers taken from a text.
//!
//! [`QaStyle::Squad`]: words in lower case, without ASCII punctuation and articles; F1 of the bag of words (Rajpurkar et
//! al. 2016, doi:10.18653/v1/D16-1264). A question may have no answer (Rajpurkar et al. 2018, doi:10.18653/v1/P18-2124):
//! then no words at all are right, and [`QaScorer::best_thresholds`] finds from which number on an answer is better not
//! given. Source: `evaluate-v2.0.py` of SQuAD, as transformers 4.57.6 `squad_metrics` has it.
//! Differs: `evaluate-v1.1.py` gives F1 0 where gold and prediction have no words left, and takes such gold answers.
//!
//! [`QaStyle::Cmrc`]: Chinese characters and other words in lower case without Chinese punctuation; F1 of the longest run
//! that both share. Source: `cmrc2018_evaluate.py` of CMRC 2018 (Cui et al. 2019, doi:10.18653/v1/D19-1600), which DRCD is
//! scored with too. Differs: other words are cut as one sentence, without NLTK's sentence splitter; a question without an
//! answer is right without words.
//!
//! Of several gold answers the best counts. Scores are shares, where the programs print 100 times as much.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::{
    error::MetricsError,
    mixed,
    numbers::{finite, paired},
    samples::{Formula, Samples},
    text::{Rules, ngrams, overlap, words},
};

/// Whose rules answers are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QaStyle {
    /// SQuAD's, for languages with spaces.
    Squad,
    /// CMRC 2018's, for Chinese.
    Cmrc,
}

/// Adds up the scores of answers.
///
/// ```
/// use locus_metrics::qa::{QaScorer, QaStyle};
///
/// let mut scorer = QaScorer::new(QaStyle::Squad);
/// assert_eq!(scorer.add(&["Denver Broncos", "The Broncos"], "the Denver Broncos!"), (1.0, 1.0));
/// assert_eq!(scorer.add(&["in 1889"], "1889"), (0.0, 2.0 / 3.0));
/// assert_eq!(scorer.add(&[], ""), (1.0, 1.0));
/// assert_eq!(scorer.report().em, 2.0 / 3.0);
/// ```
#[derive(Debug, Clone)]
pub struct QaScorer {
    style: QaStyle,
    answers: Vec<Answer>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    em: f64,
    f1: f64,
    /// Whether there is an answer to give.
    answerable: bool,
    /// Whether one was given.
    answered: bool,
}

impl QaScorer {
    /// A scorer without answers.
    pub fn new(style: QaStyle) -> Self {
        Self { style, answers: Vec::new() }
    }

    /// Adds a prediction, empty for no answer, and gives its exact match, 0 or 1, and its F1. Without gold answers, no
    /// answer is right.
    pub fn add(&mut self, gold_answers: &[&str], prediction: &str) -> (f64, f64) {
        let predicted = self.normalised(prediction);
        let mut gold: Vec<Normalised> = gold_answers.iter().map(|gold| self.normalised(gold)).collect();
        gold.retain(|gold| !gold.text.is_empty());
        if gold.is_empty() {
            gold.push(Normalised::default());
        }
        let em = f64::from(u8::from(gold.iter().any(|gold| gold.text == predicted.text)));
        let f1 = gold.iter().map(|gold| self.f1(&gold.words, &predicted.words)).fold(0.0, f64::max);
        self.answers.push(Answer {
            em,
            f1,
            answerable: !gold_answers.is_empty(),
            answered: !prediction.is_empty(),
        });
        (em, f1)
    }

    /// The mean scores; 0 without answers.
    pub fn report(&self) -> QaReport {
        report(&self.answers)
    }

    /// The mean scores if no answer were given where its number in `no_answer` is above the threshold.
    ///
    /// # Errors
    /// If there is not a finite number for each answer.
    pub fn report_at(&self, no_answer: &[f64], threshold: f64) -> Result<QaReport, MetricsError> {
        self.check(no_answer)?;
        let kept = |(answer, &number): (&Answer, &f64)| {
            let right = f64::from(u8::from(!answer.answerable));
            if number > threshold { Answer { em: right, f1: right, ..*answer } } else { *answer }
        };
        Ok(report(&self.answers.iter().zip(no_answer).map(kept).collect::<Vec<_>>()))
    }

    /// The thresholds of `no_answer`, a number per answer that is higher the less there seems to be an answer, that give
    /// the best exact match and the best F1, as SQuAD's program searches them: it may part equal numbers, and takes an
    /// answer without words to a question without one for wrong. A test set's own threshold is a bound, not a score: choose
    /// it on dev.
    ///
    /// ```
    /// use locus_metrics::qa::{QaScorer, QaStyle};
    ///
    /// let mut scorer = QaScorer::new(QaStyle::Squad);
    /// scorer.add(&["yes"], "yes");
    /// scorer.add(&[], "no");
    /// let best = scorer.best_thresholds(&[0.2, 0.9])?;
    /// assert_eq!((best.em, best.em_threshold), (1.0, 0.2));
    /// assert_eq!(scorer.report_at(&[0.2, 0.9], 0.2)?.f1, 1.0);
    /// # Ok::<(), locus_metrics::MetricsError>(())
    /// ```
    ///
    /// # Errors
    /// If there is not a finite number for each answer.
    pub fn best_thresholds(&self, no_answer: &[f64]) -> Result<QaThresholds, MetricsError> {
        self.check(no_answer)?;
        let mut order: Vec<usize> = (0..no_answer.len()).collect();
        order.sort_by(|&a, &b| no_answer[a].total_cmp(&no_answer[b]));
        let best = |score: fn(&Answer) -> f64| {
            // At first no question is answered.
            let mut sum = self.answers.iter().filter(|answer| !answer.answerable).count() as f64;
            let mut best = (sum, 0.0);
            for &at in &order {
                let answer = &self.answers[at];
                sum += match answer {
                    Answer { answerable: true, .. } => score(answer),
                    Answer { answered: true, .. } => -1.0,
                    _ => 0.0,
                };
                if sum > best.0 {
                    best = (sum, no_answer[at]);
                }
            }
            (best.0 / self.answers.len().max(1) as f64, best.1)
        };
        let ((em, em_threshold), (f1, f1_threshold)) = (best(|answer| answer.em), best(|answer| answer.f1));
        Ok(QaThresholds { em, em_threshold, f1, f1_threshold })
    }

    /// The exact match of each answer.
    pub fn em_samples(&self) -> Samples {
        Samples::new(Formula::Mean, self.answers.iter().map(|answer| [answer.em, 1.0]))
    }

    /// The F1 of each answer.
    pub fn f1_samples(&self) -> Samples {
        Samples::new(Formula::Mean, self.answers.iter().map(|answer| [answer.f1, 1.0]))
    }

    fn check(&self, no_answer: &[f64]) -> Result<(), MetricsError> {
        paired(self.answers.len(), no_answer.len())?;
        finite(no_answer)
    }

    fn normalised(&self, answer: &str) -> Normalised {
        match self.style {
            QaStyle::Squad => {
                let words = squad_words(answer);
                Normalised { text: words.join(" "), words }
            }
            QaStyle::Cmrc => {
                Normalised { text: mixed::without_marks(answer), words: mixed::segments(answer) }
            }
        }
    }

    fn f1(&self, gold: &[String], predicted: &[String]) -> f64 {
        if gold.is_empty() && predicted.is_empty() {
            return 1.0;
        }
        let shared = match self.style {
            QaStyle::Squad => overlap(&ngrams(gold, 1), &ngrams(predicted, 1)) as usize,
            QaStyle::Cmrc => longest_shared_run(gold, predicted),
        };
        2.0 * shared as f64 / (gold.len() + predicted.len()) as f64
    }
}

/// Scores of answers, as shares.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QaReport {
    /// Share of answers that are a gold answer.
    pub em: f64,
    /// Mean F1.
    pub f1: f64,
    /// Number of questions.
    pub n: usize,
    /// The same of the questions with an answer, if some have none.
    pub answerable: Option<QaPart>,
    /// The same of the questions without one.
    pub unanswerable: Option<QaPart>,
}

/// Scores of a part of the questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QaPart {
    /// Share of answers that are right.
    pub em: f64,
    /// Mean F1.
    pub f1: f64,
    /// Number of questions.
    pub n: usize,
}

/// Above which number an answer is better not given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QaThresholds {
    /// The best exact match.
    pub em: f64,
    /// Its threshold.
    pub em_threshold: f64,
    /// The best F1.
    pub f1: f64,
    /// Its threshold.
    pub f1_threshold: f64,
}

#[derive(Default)]
struct Normalised {
    text: String,
    words: Vec<String>,
}

fn report(answers: &[Answer]) -> QaReport {
    let all = part(answers.iter()).unwrap_or(QaPart { em: 0.0, f1: 0.0, n: 0 });
    let unanswerable = part(answers.iter().filter(|answer| !answer.answerable));
    let answerable = part(answers.iter().filter(|answer| answer.answerable));
    let answerable = unanswerable.and(answerable);
    QaReport { em: all.em, f1: all.f1, n: all.n, answerable, unanswerable }
}

fn part<'a>(answers: impl Iterator<Item = &'a Answer>) -> Option<QaPart> {
    let (mut em, mut f1, mut n) = (0.0, 0.0, 0);
    for answer in answers {
        em += answer.em;
        f1 += answer.f1;
        n += 1;
    }
    (n > 0).then(|| QaPart { em: em / n as f64, f1: f1 / n as f64, n })
}

fn squad_words(answer: &str) -> Vec<String> {
    static ARTICLES: LazyLock<Rules> = LazyLock::new(|| Rules::new(&[(r"\b(a|an|the)\b", " ")]));
    let bare: String = answer.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    words(&ARTICLES.apply(&bare)).map(str::to_owned).collect()
}

fn longest_shared_run(a: &[String], b: &[String]) -> usize {
    let (mut before, mut longest) = (vec![0; b.len() + 1], 0);
    for word in a {
        let mut runs = vec![0; b.len() + 1];
        for (at, _) in b.iter().enumerate().filter(|(_, other)| *other == word) {
            runs[at + 1] = before[at] + 1;
            longest = longest.max(runs[at + 1]);
        }
        before = runs;
    }
    longest
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn score(style: QaStyle, gold: &[&str], prediction: &str) -> (f64, f64) {
        QaScorer::new(style).add(gold, prediction)
    }

    #[test]
    fn empty_answers() {
        for style in [QaStyle::Squad, QaStyle::Cmrc] {
            assert_eq!(QaScorer::new(style).report().n, 0);
            assert_eq!(score(style, &[], ""), (1.0, 1.0));
            assert_eq!(score(style, &[], "x"), (0.0, 0.0));
            assert_eq!(score(style, &["x"], ""), (0.0, 0.0));
        }
        let scorer = QaScorer::new(QaStyle::Squad);
        assert_eq!(scorer.best_thresholds(&[]).map(|best| best.em), Ok(0.0));
        assert!(scorer.best_thresholds(&[0.1]).is_err());
    }

    #[test]
    fn f1_is_symmetric_and_never_below_exact_match() {
        let texts = ["the cat", "cat sat", "a dog", "猫在 mat 上", "在 mat 上。", "mat"];
        let mut seen = HashSet::new();
        for style in [QaStyle::Squad, QaStyle::Cmrc] {
            for (a, b) in texts.iter().flat_map(|a| texts.iter().map(move |b| (a, b))) {
                let (em, f1) = score(style, &[a], b);
                assert!((em, f1) == score(style, &[b], a) && em <= f1 && f1 <= 1.0, "{a} {b}");
                seen.insert((f1 * 1e6) as u64);
            }
        }
        assert!(seen.len() > 3);
    }

    #[test]
    fn a_run_must_not_be_broken() {
        assert_eq!(score(QaStyle::Cmrc, &["春眠不觉晓"], "春眠觉晓").1, 4.0 / 9.0);
        assert_eq!(score(QaStyle::Cmrc, &["《春晓》"], "春晓"), (1.0, 1.0));
    }
}
