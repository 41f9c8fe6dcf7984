//! How to generate, and what comes of it.

use std::ops::ControlFlow;

use super::{Constraints, Penalties, Sampling};

/// No width or number of texts may be larger: a slip of the pen should not exhaust the memory.
const LARGEST: usize = 1000;

/// How to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// The most tokens to generate per text.
    pub max_new_tokens: usize,
    /// As long as there are fewer tokens, no stop token is chosen.
    pub min_new_tokens: usize,
    /// Tokens that end a text.
    pub stop: Vec<u32>,
    /// What padding is written with.
    pub pad_id: u32,
    /// How a language model reads prompts.
    pub reading: PromptReading,
    /// How a token is chosen.
    pub sampling: Sampling,
    /// What repetition costs.
    pub penalties: Penalties,
    /// Tokens that must come, and tokens that may not.
    pub constraints: Constraints,
    /// Search with several open texts instead of token by token.
    pub beams: Option<Beams>,
    /// How many texts to give for each prompt: samples, or the best of a beam search.
    pub n_sequences: usize,
    /// `Some(n)` notes the log-probability of each token and those of the `n` best.
    pub log_probs: Option<usize>,
    /// Where random choices come from. A text is a function of the seed, its prompt and its number among those of the
    /// prompt, not of the other rows of the batch.
    pub seed: u64,
}

/// How a language model reads prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PromptReading {
    /// Each token sees those before it.
    #[default]
    LeftToRight,
    /// Each token sees the whole prompt: for models that learned to go on after such a prefix.
    Whole,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 128,
            min_new_tokens: 0,
            stop: Vec::new(),
            pad_id: 0,
            reading: PromptReading::LeftToRight,
            sampling: Sampling::GREEDY,
            penalties: Penalties::NONE,
            constraints: Constraints::NONE,
            beams: None,
            n_sequences: 1,
            log_probs: None,
            seed: 0,
        }
    }
}

impl GenerateOptions {
    /// Everything that is out of range.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.sampling.problems();
        problems.extend(self.penalties.problems());
        let (n, sampled) = (self.n_sequences, self.sampling.temperature != 0.0);
        if !(1..=LARGEST).contains(&n) {
            problems.push(format!("n_sequences must be 1 to {LARGEST}, found {n}"));
        }
        match &self.beams {
            Some(beams) => problems.extend(beams.problems(n, self.sampling.temperature)),
            None if n > 1 && !sampled => problems.push(format!(
                "n_sequences = {n} with temperature 0 would be {n} times the same text: raise the temperature or use beams"
            )),
            None => {}
        }
        if self.min_new_tokens > self.max_new_tokens {
            let (min, max) = (self.min_new_tokens, self.max_new_tokens);
            problems.push(format!("min_new_tokens must be at most max_new_tokens = {max}, found {min}"));
        }
        problems
    }
}

/// A beam search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beams {
    /// How many open texts go on at each step.
    pub width: usize,
    /// Texts compete by `sum of log-probabilities / length^length_penalty`: above 0 it favours long texts, below 0 short
    /// ones.
    pub length_penalty: f64,
    /// When the search of a prompt ends.
    pub early_stopping: EarlyStopping,
}

impl Default for Beams {
    fn default() -> Self {
        Self { width: 4, length_penalty: 1.0, early_stopping: EarlyStopping::Heuristic }
    }
}

impl Beams {
    fn problems(&self, n_sequences: usize, temperature: f64) -> Vec<String> {
        let Self { width, length_penalty, early_stopping: _ } = *self;
        let mut problems = Vec::new();
        if !(1..=LARGEST).contains(&width) {
            problems.push(format!("beams must be 1 to {LARGEST}, found {width}"));
        } else if n_sequences > width {
            problems.push(format!("n_sequences must be at most beams = {width}, found {n_sequences}"));
        }
        if !length_penalty.is_finite() {
            problems.push(format!("length_penalty must be a number, found {length_penalty}"));
        }
        if temperature != 0.0 {
            problems.push(format!(
                "beams need temperature 0, found {temperature}: a search takes the best texts"
            ));
        }
        problems
    }
}

/// When the search of a prompt ends, once as many texts have ended as the search is wide. The names are those of
/// transformers' `early_stopping`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlyStopping {
    /// At once (`True`).
    Full,
    /// When no open text would take a place if it ended now (`False`).
    #[default]
    Heuristic,
    /// When no open text can take a place, even by growing to `max_new_tokens` (`"never"`).
    Never,
}

/// A generated text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// The new tokens, without the one that ended them.
    pub ids: Vec<u32>,
    /// The probability of each, where asked for.
    pub log_probs: Vec<TokenLogProb>,
    /// By what texts compete in a beam search.
    pub score: Option<f64>,
    /// Why it ended.
    pub finish: Finish,
}

/// How probable a token was by the model's own scores, before penalties, temperature and truncation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenLogProb {
    /// The natural logarithm of its probability.
    pub log_prob: f64,
    /// The most probable tokens at its place, best first.
    pub top: Vec<(u32, f64)>,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    /// `max_new_tokens` were generated.
    #[default]
    Length,
    /// A stop token was generated, or the listener ended the text.
    Stop,
    /// The position scheme knows no further position.
    PositionLimit,
    /// No token may follow: each is ruled out.
    NoChoice,
    /// The listener broke off.
    Interrupted,
}

impl Finish {
    /// The name in files: `length`, `stop`, ….
    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Stop => "stop",
            Self::PositionLimit => "position_limit",
            Self::NoChoice => "no_choice",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Follows a generation and may end it. Functions of a row and a token are listeners; `()` lets everything pass.
pub trait Listener {
    /// A text has got this token.
    fn on_token(&mut self, row: usize, id: u32) -> ControlFlow<Break>;

    /// Whether a text of these new tokens is whole. A beam search asks it, because its texts branch.
    fn is_whole(&mut self, ids: &[u32]) -> bool {
        let _ = ids;
        false
    }
}

/// What a listener ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// This text, which is whole.
    Row,
    /// All texts.
    All,
}

impl<F: FnMut(usize, u32) -> ControlFlow<Break>> Listener for F {
    fn on_token(&mut self, row: usize, id: u32) -> ControlFlow<Break> {
        self(row, id)
    }
}

impl Listener for () {
    fn on_token(&mut self, _: usize, _: u32) -> ControlFlow<Break> {
        ControlFlow::Continue(())
    }
}
