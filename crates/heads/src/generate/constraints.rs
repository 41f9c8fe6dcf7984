//! Tokens that must come, and tokens that may not.

/// Rules about single tokens, applied after penalties in the order of the fields; a later one overrides an earlier one. They
/// are those of transformers 4.57 of the names given.
///
/// ```
/// use locus_heads::generate::Constraints;
/// let rules = Constraints { forced_first: Some(2), forced_last: Some(0), ..Constraints::NONE };
/// // The start of a target is one token; nothing is new yet, of at most three tokens.
/// let mut scores = [4.0, -1.0, 3.0];
/// rules.apply(&mut scores, 1, 0, 3);
/// assert_eq!(scores, [f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0]);
/// // The last of the three.
/// rules.apply(&mut scores, 1, 2, 3);
/// assert_eq!(scores, [0.0, f32::NEG_INFINITY, f32::NEG_INFINITY]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    /// The token that follows a text of one token, such as the start of a target: translators into many languages name the
    /// language by it (`forced_bos_token_id`).
    pub forced_first: Option<u32>,
    /// The token that comes last where a text reaches `max_new_tokens`. Where it is a stop token, such a text ends with
    /// [`Finish::Stop`](super::Finish::Stop) (`forced_eos_token_id`).
    pub forced_last: Option<u32>,
    /// Tokens that never come (`suppress_tokens`).
    pub suppressed: Vec<u32>,
    /// Tokens that are not the first new one, or the second after a forced first (`begin_suppress_tokens`).
    pub suppressed_first: Vec<u32>,
}

impl Constraints {
    /// Anything may come.
    pub const NONE: Self =
        Self { forced_first: None, forced_last: None, suppressed: Vec::new(), suppressed_first: Vec::new() };

    /// Changes the scores of all tokens, `[vocab_size]`, for a text of `n_prompt` given tokens and `n_new` new ones, of at
    /// most `max_new_tokens`.
    pub fn apply(&self, scores: &mut [f32], n_prompt: usize, n_new: usize, max_new_tokens: usize) {
        if let Some(id) = self.forced_first.filter(|_| n_prompt + n_new == 1) {
            force(scores, id);
        }
        if let Some(id) = self.forced_last.filter(|_| n_new + 1 == max_new_tokens) {
            force(scores, id);
        }
        ban(scores, &self.suppressed);
        let is_forced = n_prompt == 1 && self.forced_first.is_some();
        if n_new == usize::from(is_forced) {
            ban(scores, &self.suppressed_first);
        }
    }
}

/// Only this token may come. An id outside the vocabulary leaves none.
fn force(scores: &mut [f32], id: u32) {
    scores.fill(f32::NEG_INFINITY);
    if let Some(score) = scores.get_mut(id as usize) {
        *score = 0.0;
    }
}

/// These tokens may not come.
pub(super) fn ban(scores: &mut [f32], ids: &[u32]) {
    for &id in ids {
        if let Some(score) = scores.get_mut(id as usize) {
            *score = f32::NEG_INFINITY;
        }
    }
}
