//! How a model for questions reads contexts that are longer than it, and what it takes for an answer.

use locus_encoder::ConfigProblem;
use serde::{Deserialize, Serialize};

/// The windows over a context, and which parts of it can be an answer. What is not given follows from the window, in the
/// proportions that are usual for BERT: 384 tokens, of which 128 overlap and 64 are for the question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuestionConfig {
    /// Tokens of a window: the question, a part of the context and the frame around both; where absent the model's
    /// `max_seq_len`, but not more than 384.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_tokens: Option<usize>,
    /// By how many tokens of the context two windows overlap; a third of the window where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc_stride: Option<usize>,
    /// Tokens of a question; its end is cut beyond them. A sixth of the window where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_query_tokens: Option<usize>,
    /// The most tokens of an answer.
    pub max_answer_tokens: usize,
    /// How many candidates share the probability.
    pub n_best: usize,
    /// Whether a question may have no answer: it has none where the score of that exceeds the best answer's by more than
    /// this. Absent, every question has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_answer_threshold: Option<f64>,
}

impl Default for QuestionConfig {
    fn default() -> Self {
        Self {
            window_tokens: None,
            doc_stride: None,
            max_query_tokens: None,
            max_answer_tokens: 30,
            n_best: 20,
            no_answer_threshold: None,
        }
    }
}

/// The sizes of windows, all in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuestionSizes {
    /// A window.
    pub window: usize,
    /// The part of the context that two windows share.
    pub stride: usize,
    /// The longest question.
    pub query: usize,
}

/// The usual window of BERT for questions (Devlin et al. 2018, `run_squad.py`).
const USUAL_WINDOW: usize = 384;

impl QuestionConfig {
    /// Everything that is wrong with it by itself.
    pub fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let sizes = [
            ("window_tokens", self.window_tokens),
            ("max_query_tokens", self.max_query_tokens),
            ("max_answer_tokens", Some(self.max_answer_tokens)),
            ("n_best", Some(self.n_best)),
        ];
        for (key, size) in sizes {
            if size == Some(0) {
                problems.push(problem(key, "0".to_owned(), "at least 1".to_owned()));
            }
        }
        if let Some(threshold) = self.no_answer_threshold.filter(|threshold| !threshold.is_finite()) {
            let allowed = "a finite number, 0 unless chosen on dev".to_owned();
            problems.push(problem("no_answer_threshold", threshold.to_string(), allowed));
        }
        problems
    }

    /// The sizes of windows for a model that takes `max_seq_len` tokens, `frame` of which stand around the two texts.
    ///
    /// ```
    /// use locus_model::QuestionConfig;
    ///
    /// let sizes = QuestionConfig::default().sizes(512, 3).expect("fits");
    /// assert_eq!((sizes.window, sizes.stride, sizes.query), (384, 128, 64));
    /// ```
    ///
    /// # Errors
    /// If a window does not fit the model, or its part of the context is not longer than the overlap.
    pub fn sizes(&self, max_seq_len: usize, frame: usize) -> Result<QuestionSizes, ConfigProblem> {
        let window = self.window_tokens.unwrap_or(USUAL_WINDOW.min(max_seq_len));
        if window > max_seq_len {
            let allowed = format!("at most max_seq_len = {max_seq_len}");
            return Err(problem("window_tokens", window.to_string(), allowed));
        }
        let stride = self.doc_stride.unwrap_or(window / 3);
        let query = self.max_query_tokens.unwrap_or((window / 6).max(1));
        let taken = query.saturating_add(frame).saturating_add(stride);
        if window <= taken {
            let allowed = format!(
                "more than max_query_tokens + doc_stride + the {frame} tokens of the frame = {query} + {stride} + {frame}"
            );
            return Err(problem("window_tokens", window.to_string(), allowed));
        }
        Ok(QuestionSizes { window, stride, query })
    }
}

fn problem(key: &str, found: String, allowed: String) -> ConfigProblem {
    ConfigProblem { key: format!("questions.{key}"), found, allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_the_window_and_what_contradicts_itself_is_refused() {
        let sizes = |config: QuestionConfig, max_seq_len| {
            config.sizes(max_seq_len, 3).map(|s| [s.window, s.stride, s.query]).map_err(|p| p.key)
        };
        let usual = QuestionConfig::default();
        assert_eq!(sizes(usual.clone(), 60), Ok([60, 20, 10]));
        assert_eq!(sizes(usual.clone(), 9000), Ok([384, 128, 64]));
        let given =
            QuestionConfig { window_tokens: Some(23), doc_stride: Some(0), ..QuestionConfig::default() };
        assert_eq!(sizes(given.clone(), 23), Ok([23, 0, 3]));
        assert_eq!(sizes(given.clone(), 22), Err("questions.window_tokens".to_owned()));
        let wide = QuestionConfig { doc_stride: Some(17), ..given };
        assert_eq!(sizes(wide.clone(), 23), Err("questions.window_tokens".to_owned()), "17 + 3 + 3 = 23");
        assert_eq!(sizes(QuestionConfig { doc_stride: Some(16), ..wide.clone() }, 23), Ok([23, 16, 3]));
        let endless = QuestionConfig { doc_stride: Some(usize::MAX), ..wide };
        assert!(sizes(endless, 23).is_err());
        assert!(sizes(usual, 5).is_err());
    }

    #[test]
    fn what_is_wrong_by_itself_comes_together() {
        let wrong = QuestionConfig {
            window_tokens: Some(0),
            n_best: 0,
            no_answer_threshold: Some(f64::NAN),
            ..QuestionConfig::default()
        };
        let keys: Vec<String> = wrong.check().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["questions.window_tokens", "questions.n_best", "questions.no_answer_threshold"]);
        assert_eq!(QuestionConfig::default().check(), []);
    }
}
