//! Stick-breaking attention: the nearest key takes its share of the weight, the next one its share of what is left.
//!
//! Formula: `a_ij = σ(z_ij) · Π_{j<t<i} (1 − σ(z_it))` for `j < i`, with `z` the scaled dot products, in place of a softmax. Tan et al.
//! 2024, arXiv:2410.17980. Recency is in the order of the breaking; there are no positions.
//! Convention: a query does not attend to itself, and its weights sum to less than 1. With `attend_current` it is the first to
//! take its share. With `remainder` what is left at the end goes to its own value, so that weights sum to 1. Both are options
//! of the authors' code. Hidden keys take nothing.
//! Decoders only: a stick is broken from the query backwards.
//! Parameters: 0. Limit: none. Cache: the final key. Attention keeps the score matrix.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::mask::AttentionMask;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::numerics::softplus;
use super::scheme::{LayerPass, Pass, Prepared, Scheme};
use super::sums::sums_after;
use super::{PositionProblem, PositionShape};

/// Why a query may see no later keys.
const ONLY_EARLIER: &str = "a stick is broken from the query backwards";

/// Configuration of [`StickBreaking`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StickBreakingConfig {
    /// Whether a query attends to itself, first of all.
    pub attend_current: bool,
    /// Whether what is left goes to the query's own value.
    pub remainder: bool,
}

impl SchemeConfig for StickBreakingConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Contextual,
            does: "nearer keys take their share first, no softmax; `attend_current`, `remainder`",
            parameters: "0",
            longer_texts: "well",
            paper: "arXiv:2410.17980",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::causal(shape, ONLY_EARLIER, problems);
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }
}

impl StickBreakingConfig {
    pub(super) fn init<B: Backend>(&self, _: &PositionShape, _: Key, _: &B::Device) -> StickBreaking {
        StickBreaking { attend_current: self.attend_current, remainder: self.remainder }
    }
}

/// Weighs by what nearer keys leave.
#[derive(Module, Clone, Debug)]
pub struct StickBreaking {
    attend_current: bool,
    remainder: bool,
}

impl StickBreaking {
    /// Whether key `j` is the token of query `i`, `[q, k]`: the queries are the last of the keys.
    fn own(pass: &Pass<'_>) -> Vec<bool> {
        let (q, k) = (pass.queries.seq, pass.keys.seq);
        (0..q).flat_map(|i| (0..k).map(move |j| j + q == i + k)).collect()
    }
}

impl<B: Backend> Scheme<B> for StickBreaking {
    fn name(&self) -> &'static str {
        "stick_breaking"
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn visible(&self, pass: &Pass<'_>) -> Option<Vec<bool>> {
        (!self.attend_current).then(|| Self::own(pass).into_iter().map(|own| !own).collect())
    }

    /// 1 in a query's own cell, `[1, 1, q, k]`.
    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let own: Vec<f32> = Self::own(pass).into_iter().map(|own| f32::from(u8::from(own))).collect();
        let own = TensorData::new(own, [1, 1, pass.queries.seq, pass.keys.seq]);
        Prepared::new(self.remainder.then(|| Tensor::<B, 4>::from_data(own, device)))
    }

    fn sees_scores(&self) -> bool {
        true
    }

    fn normalise(
        &self,
        scores: Tensor<B, 4>,
        mask: &AttentionMask<B>,
        at: &LayerPass<'_, B>,
    ) -> Tensor<B, 4> {
        // NUMERICS: in logarithms: ln σ(z) = −softplus(−z), ln(1 − σ(z)) = −softplus(z).
        let left = mask.zero(-softplus(scores.clone())); // [batch, heads, q, k]
        let weights = mask.zero((sums_after(left.clone()) - softplus(-scores)).exp());
        match at.prepared.get::<Option<Tensor<B, 4>>>() {
            Some(own) => weights + left.sum_dim(3).exp() * own.clone(),
            None => weights,
        }
    }
}

#[cfg(test)]
mod tests {
    use locus_backend::init::Init;
    use locus_backend::mask::{AttentionMask, MaskSpec};
    use locus_backend::rng::Key;
    use locus_testkit::{assert_close, device::NdArray};

    use super::StickBreaking;
    use crate::Tokens;
    use crate::position::{Form, LayerPass, Pass, Scheme};

    /// Weights never sum to more than the stick, and to all of it with the remainder, also where gates are shut or wide open.
    #[test]
    fn a_stick_is_as_long_as_its_pieces() {
        let device = Default::default();
        let tokens = Tokens::new([1, 5], vec![0; 5], vec![true; 5], None).expect("fits");
        let pass = Pass { queries: &tokens, keys: &tokens, form: Form::Causal, longest_seen: 5, key: None };
        let hidden = burn::tensor::Tensor::<NdArray, 3>::zeros([1, 5, 6], &device);
        for (std, attend_current, remainder) in
            [(1.0, false, true), (60.0, true, true), (1.0, false, false), (60.0, true, false)]
        {
            let stick = StickBreaking { attend_current, remainder };
            let of = |scheme: &dyn Scheme<NdArray>| {
                let prepared = scheme.prepare(&pass, &device);
                let at = LayerPass {
                    pass: &pass,
                    prepared: &prepared,
                    layer: 0,
                    hidden: &hidden,
                    state: None,
                    scale: 1.0,
                    projections: None,
                };
                let visible = scheme.visible(&pass);
                let spec =
                    MaskSpec { batch: 1, q_len: 5, k_len: 5, causal: true, visible, ..MaskSpec::default() };
                let scores = Init::Normal { std }.tensor::<NdArray, 4>([1, 2, 5, 5], Key::new(4), &device);
                scheme.normalise(scores, &AttentionMask::new(spec, &device), &at).sum_dim(3)
            };
            let sums = of(&stick);
            if remainder {
                assert_close("sums", &sums, &[1.0; 10], 1e-5, 0.0);
            } else {
                let sums: Vec<f32> = sums.to_data().iter::<f32>().collect();
                assert!(sums.iter().all(|sum| (0.0..1.000_01).contains(sum)), "{sums:?}");
                assert!(attend_current || sums[0] == 0.0, "the first token attends to nothing");
            }
        }
    }
}
