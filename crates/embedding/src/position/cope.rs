//! Contextual position encoding (CoPE): a query counts the keys that matter to it, and the count is the position.
//!
//! Formula: gates `g_ij = σ(q_i·k_j/√d_head)` count `p_ij = Σ_{t=j…i} g_it`, held at `n_positions − 1`, and `q_i·e[p_ij]` is added to
//! the scaled scores, by linear interpolation between the learned vectors of the integers next to `p_ij`. Golovneva et al. 2024,
//! arXiv:2405.18719.
//! Convention: gates are of the scaled dot products and `q_i·e` is not scaled, as in the paper's listing (and in
//! x-transformers' `CoPE`); the formula in the text leaves the factor out. The vectors are shared by the heads and start at
//! zero, as there. Keys that a query does not see, padding or later ones, are not counted.
//! Decoders only: a query counts back from itself.
//! Parameters: `n_positions · d_head`, of each layer in the paper (`position_sharing = "per_layer"`). Limit: none (counts saturate at
//! the last position). Cache: the final key. Attention keeps the score matrix, and reads two cells of `q·e` for each of its
//! own.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::sigmoid, backend::Backend};
use locus_backend::init::Init;
use locus_backend::mask::AttentionMask;
use locus_backend::ops;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{LayerPass, Pass, Prepared, Scheme};
use super::sums::sums_after;
use super::{PositionProblem, PositionShape};

/// Why a query may see no later keys.
const ONLY_EARLIER: &str = "a query counts back from itself";

/// Configuration of [`CoPe`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoPeConfig {
    /// Number of positions, from 0.
    pub n_positions: usize,
    /// Standard deviation of the initial vectors.
    pub init_std: f64,
}

impl Default for CoPeConfig {
    fn default() -> Self {
        Self { n_positions: 64, init_std: 0.0 }
    }
}

impl SchemeConfig for CoPeConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Contextual,
            does: "a query counts the keys that matter, `n_positions` at most",
            parameters: "n_positions·d_head",
            longer_texts: "saturates",
            paper: "arXiv:2405.18719",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        let found = self.n_positions;
        PositionProblem::unless(found > 0, problems, "n_positions", found, "at least 1");
        let fits = self.init_std.is_finite() && self.init_std >= 0.0;
        PositionProblem::unless(fits, problems, "init_std", self.init_std, "0 or a positive number");
        PositionProblem::causal(shape, ONLY_EARLIER, problems);
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }
}

impl CoPeConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> CoPe<B> {
        let init = Init::Normal { std: self.init_std };
        CoPe { table: init.param([self.n_positions, shape.d_head], key, device) }
    }
}

/// Adds what a query makes of its count.
#[derive(Module, Debug)]
pub struct CoPe<B: Backend> {
    /// `e`, `[n_positions, d_head]`.
    pub table: Param<Tensor<B, 2>>,
}

impl<B: Backend> Scheme<B> for CoPe<B> {
    fn name(&self) -> &'static str {
        "cope"
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }

    fn is_relative(&self) -> bool {
        true
    }

    /// The mask of what is counted.
    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        Prepared::new(AttentionMask::<B>::new(pass.mask(), device))
    }

    fn sees_scores(&self) -> bool {
        true
    }

    fn map_scores(&self, scores: Tensor<B, 4>, q: &Tensor<B, 4>, at: &LayerPass<'_, B>) -> Tensor<B, 4> {
        let [n_positions, _] = self.table.dims();
        let last = n_positions.saturating_sub(1) as f64;
        let gates = at.prepared.get::<AttentionMask<B>>().zero(sigmoid(scores.clone()));
        let count = (sums_after(gates.clone()) + gates).clamp_max(last); // [batch, heads, q, k]
        let below = count.clone().detach().floor();
        let share = count - below.clone();
        let above = (below.clone() + 1.0).clamp_max(last);
        let by_position = ops::linear(q.clone(), self.table.val().transpose(), None); // [batch, heads, q, n_positions]
        let below = by_position.clone().gather(3, below.int());
        let above = by_position.gather(3, above.int());
        scores + below.clone() + (above - below) * share
    }
}

#[cfg(test)]
mod tests {
    use locus_backend::init::Init;
    use locus_backend::rng::Key;
    use locus_testkit::{assert_close, device::NdArray};

    use super::CoPeConfig;
    use crate::Tokens;
    use crate::position::{Form, LayerPass, Pass, PositionShape, Scheme};

    type T<const D: usize> = burn::tensor::Tensor<NdArray, D>;

    /// Open gates count in ones, over what a query sees.
    #[test]
    fn open_gates_make_integer_positions() {
        let device = Default::default();
        let form = Form::Causal;
        let shape = PositionShape { d_model: 6, n_heads: 2, n_kv_heads: 2, d_head: 3, max_seq_len: 9, form };
        let config = CoPeConfig { n_positions: 4, init_std: 1.0 };
        let cope = config.init::<NdArray>(&shape, Key::new(2), &device);
        let keep = vec![true, false, true, true, true, true];
        let tokens = Tokens::new([1, 6], vec![0; 6], keep.clone(), None).expect("fits");
        let pass = Pass { queries: &tokens, keys: &tokens, form, longest_seen: 6, key: None };
        let prepared = cope.prepare(&pass, &device);
        let hidden = T::<3>::zeros([1, 6, 6], &device);
        let at = LayerPass {
            pass: &pass,
            prepared: &prepared,
            layer: 0,
            hidden: &hidden,
            state: None,
            scale: 1.0,
            projections: None,
        };
        let q = Init::Normal { std: 1.0 }.tensor::<NdArray, 4>([1, 2, 6, 3], Key::new(3), &device);
        let open = T::<4>::full([1, 2, 6, 6], 100.0, &device);
        let added = cope.map_scores(open, &q, &at) - 100.0;
        let (q, table): (Vec<f32>, Vec<f32>) =
            (q.to_data().iter::<f32>().collect(), cope.table.val().to_data().iter::<f32>().collect());
        let mut want: Vec<f32> = Vec::new();
        for (head, i, j) in (0..2).flat_map(|h| (0..6).flat_map(move |i| (0..6).map(move |j| (h, i, j)))) {
            let count = (j..=i).filter(|&t| keep[t]).count().min(3);
            want.push((0..3).map(|c| q[(head * 6 + i) * 3 + c] * table[count * 3 + c]).sum());
        }
        // In numbers near 100.
        assert_close("added", &added, &want, 3e-5, 1e-5);
    }
}
