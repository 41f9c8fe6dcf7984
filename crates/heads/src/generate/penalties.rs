//! What repetition costs.

use std::collections::HashMap;

/// Changes of the scores of tokens that a text has already.
///
/// ```
/// use locus_heads::generate::Penalties;
/// let penalties = Penalties { repetition: 2.0, frequency: 0.5, ..Penalties::NONE };
/// let mut scores = [4.0, -1.0, 3.0];
/// // The prompt is 1, the new tokens are 0 and 0.
/// penalties.apply(&mut scores, &[1, 0, 0], 1);
/// assert_eq!(scores, [4.0 / 2.0 - 2.0 * 0.5, -1.0 * 2.0, 3.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Penalties {
    /// A positive score of a token of the prompt or the new text is divided by it, a negative one multiplied (Keskar et
    /// al. 2019, arXiv:1909.05858, §4.1); 1 for none.
    pub repetition: f64,
    /// Subtracted from the score of each token of the new text, as OpenAI's interface defines it; 0 for none.
    pub presence: f64,
    /// Subtracted from the score of a token for each time it stands in the new text, as OpenAI's interface defines it;
    /// 0 for none.
    pub frequency: f64,
    /// No sequence of so many tokens stands twice in prompt and new text (Paulus et al. 2017, arXiv:1705.04304, §2.5);
    /// 0 for no such rule.
    pub no_repeat_ngram: usize,
}

impl Default for Penalties {
    fn default() -> Self {
        Self::NONE
    }
}

impl Penalties {
    /// Repetition costs nothing.
    pub const NONE: Self = Self { repetition: 1.0, presence: 0.0, frequency: 0.0, no_repeat_ngram: 0 };

    /// Everything that is out of range.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let repetition = self.repetition;
        if !(repetition > 0.0 && repetition.is_finite()) {
            problems.push(format!("repetition_penalty must be above 0, found {repetition}"));
        }
        for (name, penalty) in [("presence_penalty", self.presence), ("frequency_penalty", self.frequency)] {
            if !(-2.0..=2.0).contains(&penalty) {
                problems.push(format!("{name} must be −2 to 2, found {penalty}"));
            }
        }
        problems
    }

    /// Changes the scores of all tokens, `[vocab_size]`, for a text whose first `n_prompt` tokens were given.
    pub fn apply(&self, scores: &mut [f32], text: &[u32], n_prompt: usize) {
        if self.repetition != 1.0 {
            for id in counts(text).into_keys() {
                let Some(score) = scores.get_mut(id as usize) else { continue };
                let factor = if *score < 0.0 { self.repetition } else { 1.0 / self.repetition };
                *score = (f64::from(*score) * factor) as f32;
            }
        }
        if self.presence != 0.0 || self.frequency != 0.0 {
            for (id, n) in counts(text.get(n_prompt..).unwrap_or_default()) {
                let Some(score) = scores.get_mut(id as usize) else { continue };
                *score -= (self.presence + self.frequency * f64::from(n)) as f32;
            }
        }
        for id in self.banned(text) {
            if let Some(score) = scores.get_mut(id as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
    }

    /// The tokens that followed the last `n − 1` tokens before.
    fn banned<'a>(&self, text: &'a [u32]) -> impl Iterator<Item = u32> + use<'a> {
        let n = self.no_repeat_ngram;
        // Without a rule and in a text that is too short nothing is banned.
        let last = if n == 0 { None } else { text.len().checked_sub(n - 1).map(|start| &text[start..]) };
        let windows = text.windows(n.max(1));
        windows
            .filter(move |window| last == Some(&window[..window.len() - 1]))
            .filter_map(|w| w.last().copied())
    }
}

fn counts(ids: &[u32]) -> HashMap<u32, u32> {
    let mut counts = HashMap::new();
    ids.iter().for_each(|&id| *counts.entry(id).or_insert(0) += 1);
    counts
}
