//! Randomised positions: in training a text gets a sorted random sample of many positions, so that all of them are known by
//! the time that a longer text comes.
//!
//! Formula: in training the `n` tokens of a text get `n` distinct integers of `0 … max − 1` in order, drawn anew in every pass,
//! and another scheme takes them as positions. Ruoss et al. 2023, arXiv:2305.16843. With `continuous` they are `n` real
//! numbers from `U(0, max)`, sorted (arXiv:2602.14050). In evaluation token `p` gets `p · ⌊max/max_seq_len⌋`, the spacing that a
//! text of `max_seq_len` tokens has on average. Differs: the authors draw in evaluation too, which gives a text another answer
//! each time and a decoder other positions than its cache has.
//! Parameters: those of `over`. Limit: an error from position `max` on. Cache: that of `over`.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::ops::ScoreBias;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{CachePolicy, LayerPass, Limit, Pass, Prepared, Scheme, Views};
use super::{
    Alibi, AlibiConfig, Learned, LearnedConfig, PositionProblem, PositionShape, Rotary, RotaryConfig,
    Sinusoidal, SinusoidalConfig,
};
use crate::Tokens;

/// The scheme that takes the positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// Sinusoidal, with its defaults.
    #[default]
    Sinusoidal,
    /// A learned table of `max` rows.
    Learned,
    /// Rotary, with its defaults.
    Rotary,
    /// ALiBi.
    Alibi,
}

/// Configuration of [`Randomised`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomisedConfig {
    /// The scheme that takes the positions.
    pub over: Over,
    /// Number of positions that are drawn from.
    pub max: usize,
    /// Whether real numbers are drawn.
    pub continuous: bool,
}

impl Default for RandomisedConfig {
    fn default() -> Self {
        Self { over: Over::default(), max: 2048, continuous: false }
    }
}

impl SchemeConfig for RandomisedConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Absolute,
            does: "`over` another scheme; in training positions are a sorted sample of `max`",
            parameters: "0, or those of `over`",
            longer_texts: "up to `max`",
            paper: "arXiv:2305.16843, arXiv:2602.14050",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        let allowed = format!("at least max_seq_len = {}", shape.max_seq_len);
        PositionProblem::unless(self.max >= shape.max_seq_len, problems, "max", self.max, &allowed);
        let fits = !(self.continuous && self.over == Over::Learned);
        PositionProblem::unless(
            fits,
            problems,
            "continuous",
            self.continuous,
            "false: a table has whole rows",
        );
        if self.over == Over::Rotary {
            PositionProblem::even_head(shape, problems);
        }
    }

    fn acts_on_embedding(&self) -> bool {
        matches!(self.over, Over::Sinusoidal | Over::Learned)
    }

    fn position_table(&self) -> Option<(&'static str, usize)> {
        (self.over == Over::Learned).then_some(("inner.table", 0))
    }
}

impl RandomisedConfig {
    pub(super) fn init<B: Backend>(
        &self,
        shape: &PositionShape,
        key: Key,
        device: &B::Device,
    ) -> Randomised<B> {
        let inner = match self.over {
            Over::Sinusoidal => Inner::Sinusoidal(SinusoidalConfig::default().init::<B>(shape, key, device)),
            Over::Learned => {
                let table = LearnedConfig { max_positions: Some(self.max), ..LearnedConfig::default() };
                Inner::Learned(table.init(shape, key, device))
            }
            Over::Rotary => Inner::Rotary(RotaryConfig::default().init(shape, key, device)),
            Over::Alibi => Inner::Alibi(AlibiConfig::default().init::<B>(shape, key, device)),
        };
        let stride = (self.max / shape.max_seq_len.max(1)).max(1);
        Randomised { inner, max: self.max, stride, continuous: self.continuous }
    }
}

/// Gives another scheme random positions.
#[derive(Module, Debug)]
pub struct Randomised<B: Backend> {
    inner: Inner<B>,
    max: usize,
    stride: usize,
    continuous: bool,
}

/// The scheme that takes the positions.
#[derive(Module, Debug)]
enum Inner<B: Backend> {
    Sinusoidal(Sinusoidal),
    Learned(Learned<B>),
    Rotary(Rotary<B>),
    Alibi(Alibi),
}

impl<B: Backend> Randomised<B> {
    fn inner(&self) -> &dyn Scheme<B> {
        match &self.inner {
            Inner::Sinusoidal(scheme) => scheme,
            Inner::Learned(scheme) => scheme,
            Inner::Rotary(scheme) => scheme,
            Inner::Alibi(scheme) => scheme,
        }
    }

    /// `n` positions in order; `n` is at most `max`.
    fn draw(&self, n: usize, key: Key) -> Vec<f64> {
        if self.continuous {
            let mut drawn: Vec<f64> =
                (0..n as u64).map(|idx| self.max.saturating_sub(1) as f64 * key.uniform(idx)).collect();
            drawn.sort_by(f64::total_cmp);
            return drawn;
        }
        // Selection sampling: each number in turn is taken with the probability that a sample of what is left has it.
        let mut drawn = Vec::with_capacity(n);
        for candidate in 0..self.max {
            let (wanted, left) = (n - drawn.len(), self.max - candidate);
            if (key.below(candidate as u64, left as u64) as usize) < wanted {
                drawn.push(candidate as f64);
            }
        }
        drawn
    }
}

impl<B: Backend> Scheme<B> for Randomised<B> {
    fn name(&self) -> &'static str {
        "randomised"
    }

    fn is_relative(&self) -> bool {
        self.inner().is_relative()
    }

    fn positions(&self, tokens: &Tokens, key: Option<Key>) -> Vec<f64> {
        let spread = || tokens.positions.iter().map(|p| p * self.stride as f64).collect();
        let Some(key) = key else { return spread() };
        let mut positions = Vec::with_capacity(tokens.positions.len());
        let documents = (0..tokens.batch).flat_map(|row| {
            let key = key.child(row as u64);
            tokens.runs(row).into_iter().zip(0_u64..).map(move |(run, document)| (run, key.child(document)))
        });
        for (run, key) in documents {
            let keep = &tokens.keep[run];
            let n = keep.iter().filter(|keep| **keep).count();
            if n > self.max {
                return spread(); // past the limit, which the check of positions reports
            }
            let drawn = self.draw(n, key);
            let mut seen = 0_usize;
            positions.extend(keep.iter().map(|keep| {
                seen += usize::from(*keep);
                drawn.get(seen.saturating_sub(1)).copied().unwrap_or_default()
            }));
        }
        positions
    }

    fn limit(&self) -> Limit {
        Limit::Error(self.max)
    }

    fn max_tokens(&self) -> Option<usize> {
        Some(self.max.div_ceil(self.stride))
    }

    fn embed(&self, x: Tensor<B, 3>, tokens: &Tokens) -> Tensor<B, 3> {
        self.inner().embed(x, tokens)
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        self.inner().prepare(pass, device)
    }

    fn cache(&self) -> CachePolicy {
        self.inner().cache()
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        self.inner().rotate(q, k, at)
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        self.inner().bias(at)
    }
}

#[cfg(test)]
mod tests {
    use locus_backend::rng::Key;
    use locus_testkit::device::NdArray;

    use super::{Over, RandomisedConfig};
    use crate::Tokens;
    use crate::position::{Form, PositionShape, Scheme};

    const SHAPE: PositionShape = PositionShape {
        d_model: 8,
        n_heads: 2,
        n_kv_heads: 2,
        d_head: 4,
        max_seq_len: 5,
        form: Form::Causal,
    };

    fn positions(continuous: bool, key: Option<Key>) -> Vec<f64> {
        let config = RandomisedConfig { over: Over::Alibi, max: 11, continuous };
        let scheme = config.init::<NdArray>(&SHAPE, Key::new(1), &Default::default());
        let keep = [false, false, true, true, true, true, true, true, true, true];
        let tokens = Tokens::new([2, 5], vec![0; 10], keep.to_vec(), None).expect("fits");
        scheme.positions(&tokens, key)
    }

    #[test]
    fn samples_are_sorted_distinct_and_uniform() {
        let mut counts = [0_usize; 11];
        for seed in 0..2000 {
            for continuous in [false, true] {
                let drawn = positions(continuous, Some(Key::new(seed)));
                assert_eq!(drawn[0], drawn[2], "padding lies where its neighbour does");
                for row in [&drawn[2..5], &drawn[5..]] {
                    assert!(row.windows(2).all(|pair| pair[0] < pair[1]), "{drawn:?}");
                    assert!(row.iter().all(|p| (0.0..11.0).contains(p)), "{drawn:?}");
                    assert!(continuous || row.iter().all(|p| p.fract() == 0.0), "{drawn:?}");
                }
                if !continuous {
                    drawn[5..].iter().for_each(|p| counts[*p as usize] += 1);
                }
            }
        }
        // 2000 samples of 5 of 11: 909 each, with a standard deviation of 22.
        assert!(counts.iter().all(|n| n.abs_diff(909) < 100), "{counts:?}");
    }

    /// Each document has a sample of its own, which may begin anywhere.
    #[test]
    fn documents_are_samples_of_their_own() {
        let config = RandomisedConfig { over: Over::Alibi, max: 5, continuous: false };
        let scheme = config.init::<NdArray>(&SHAPE, Key::new(1), &Default::default());
        let tokens = Tokens::new([1, 7], vec![0; 7], vec![true; 7], None).expect("fits");
        let tokens = tokens.with_documents(vec![0, 0, 0, 1, 1, 1, 1]).expect("fits");
        let mut falls = 0;
        for seed in 0..100 {
            let drawn = scheme.positions(&tokens, Some(Key::new(seed)));
            for document in [&drawn[..3], &drawn[3..]] {
                assert!(document.windows(2).all(|pair| pair[0] < pair[1]), "{drawn:?}");
                assert!(document.iter().all(|p| (0.0..5.0).contains(p)), "{drawn:?}");
            }
            falls += usize::from(drawn[3] < drawn[2]);
        }
        // The first of 4 of 5 is 0 or 1, the last of 3 of 5 is 2 or more.
        assert_eq!(falls, 100);
    }

    #[test]
    fn evaluation_spreads_positions_evenly() {
        assert_eq!(positions(false, None), [0.0, 0.0, 0.0, 2.0, 4.0, 0.0, 2.0, 4.0, 6.0, 8.0]);
    }
}
