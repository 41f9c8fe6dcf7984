//! Masks. Everywhere in Locus `true` means *keep*; burn's own masks mean the opposite and are made here only.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use burn::tensor::{Bool, Tensor, TensorData, backend::Backend};

/// Which keys each query may attend to, and the plain facts behind it, which a kernel can use instead of the matrix.
#[derive(Clone, Debug)]
pub struct AttentionMask<B: Backend> {
    /// What the mask was made from.
    pub spec: Arc<MaskSpec>,
    device: B::Device,
    /// The hidden cells, made when a matrix is asked for; kernels read the facts.
    hidden: OnceLock<Option<Tensor<B, 4, Bool>>>,
}

/// The facts of an attention mask, on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskSpec {
    /// Number of rows in the batch.
    pub batch: usize,
    /// Number of queries.
    pub q_len: usize,
    /// Number of keys. Where it exceeds `q_len` under `causal`, the queries are the last `q_len` positions.
    pub k_len: usize,
    /// Query `i` sees no key after itself.
    pub causal: bool,
    /// Keys that are real tokens, `[batch, k]`; all where absent.
    pub keep: Option<Vec<bool>>,
    /// Cells that a position scheme leaves visible, `[q, k]`; all where absent.
    pub visible: Option<Vec<bool>>,
    /// In place of causality the keys that each query sees, `[batch, q]`, from the first to one past the last: its own
    /// document in a packed row, a prefix that sees itself whole.
    pub spans: Option<Vec<[u32; 2]>>,
}

impl MaskSpec {
    /// Whether query `q` of row `row` may attend to key `k`.
    pub fn keeps(&self, row: usize, q: usize, k: usize) -> bool {
        self.reach(row, q).contains(&k)
            && self.keep.as_ref().is_none_or(|keep| keep[row * self.k_len + k])
            && self.visible.as_ref().is_none_or(|visible| visible[q * self.k_len + k])
    }

    /// The keys that causality, or a span in its place, lets query `q` of row `row` see.
    pub(crate) fn reach(&self, row: usize, q: usize) -> Range<usize> {
        match &self.spans {
            Some(spans) => {
                let [start, end] = spans[row * self.q_len + q];
                start as usize..end as usize
            }
            None if self.causal => 0..q + 1 + self.k_len - self.q_len,
            None => 0..self.k_len,
        }
    }

    fn hides_nothing(&self) -> bool {
        let all = |cells: &Option<Vec<bool>>| cells.as_ref().is_none_or(|cells| cells.iter().all(|&c| c));
        // A single query at the end sees every key, so causality hides nothing from it.
        let open = match &self.spans {
            Some(spans) => spans.iter().all(|&[start, end]| start == 0 && end as usize == self.k_len),
            None => !self.causal || self.q_len == 1,
        };
        open && all(&self.keep) && all(&self.visible)
    }
}

impl<B: Backend> AttentionMask<B> {
    /// Builds the mask of one forward pass.
    ///
    /// # Panics
    /// If `keep` is not `[batch, k]`, `visible` not `[q, k]` or `spans` not `[batch, q]` within the keys, or if there are
    /// fewer keys than queries under `causal`.
    pub fn new(spec: MaskSpec, device: &B::Device) -> Self {
        let MaskSpec { batch, q_len, k_len, .. } = spec;
        assert!(!spec.causal || k_len >= q_len, "causal mask with {q_len} queries and {k_len} keys");
        let fits = |cells: &Option<Vec<bool>>, n| cells.as_ref().is_none_or(|cells| cells.len() == n);
        assert!(fits(&spec.keep, batch * k_len), "keep must be [batch {batch}, k {k_len}]");
        assert!(fits(&spec.visible, q_len * k_len), "visible must be [q {q_len}, k {k_len}]");
        if let Some(spans) = &spec.spans {
            let fits = spans.iter().all(|&[start, end]| start <= end && end as usize <= k_len);
            assert!(
                fits && spans.len() == batch * q_len,
                "spans must be [batch {batch}, q {q_len}] within {k_len} keys"
            );
        }
        Self { spec: Arc::new(spec), device: device.clone(), hidden: OnceLock::new() }
    }

    /// `[batch or 1, 1, q, k]`; nothing where every key is seen.
    fn hidden(&self) -> Option<&Tensor<B, 4, Bool>> {
        let make = || {
            let spec = &*self.spec;
            (!spec.hides_nothing()).then(|| {
                // Without padding and spans every row has the same cells.
                let rows = if spec.keep.is_some() || spec.spans.is_some() { spec.batch } else { 1 };
                let mut cells = Vec::with_capacity(rows * spec.q_len * spec.k_len);
                for row in 0..rows {
                    for q in 0..spec.q_len {
                        cells.extend((0..spec.k_len).map(|k| !spec.keeps(row, q, k)));
                    }
                }
                Tensor::from_data(TensorData::new(cells, [rows, 1, spec.q_len, spec.k_len]), &self.device)
            })
        };
        self.hidden.get_or_init(make).as_ref()
    }

    /// Sets the hidden cells of `scores` so low that softmax gives them no weight. Shape `[batch, heads, q, k]`.
    pub fn apply(&self, scores: Tensor<B, 4>) -> Tensor<B, 4> {
        match self.hidden() {
            // NUMERICS: finite, so that a row without any key becomes uniform weights instead of NaN.
            Some(hidden) => {
                let shape = scores.shape();
                scores.mask_fill(hidden.clone().expand(shape), HIDDEN_SCORE)
            }
            None => scores,
        }
    }

    /// Sets the hidden cells of `weights` to zero, for schemes that do not normalise by softmax.
    pub fn zero(&self, weights: Tensor<B, 4>) -> Tensor<B, 4> {
        match self.hidden() {
            Some(hidden) => {
                let shape = weights.shape();
                weights.mask_fill(hidden.clone().expand(shape), 0.0)
            }
            None => weights,
        }
    }
}

/// The score of a hidden cell: far below any real score, and far from overflow in f32.
pub const HIDDEN_SCORE: f32 = -1e30;

#[cfg(test)]
mod tests {
    use super::MaskSpec;

    #[test]
    fn queries_are_the_last_positions_under_causal() {
        let spec = MaskSpec { batch: 1, q_len: 2, k_len: 5, causal: true, ..Default::default() };
        let seen = |q| (0..5).filter(|&k| spec.keeps(0, q, k)).count();
        assert_eq!((seen(0), seen(1)), (4, 5));
    }

    #[test]
    fn a_span_stands_in_place_of_causality() {
        let spans = Some(vec![[0, 2], [0, 2], [2, 3], [0, 1], [0, 2], [0, 3]]);
        let spec = MaskSpec { batch: 2, q_len: 3, k_len: 3, causal: true, spans, ..Default::default() };
        let seen = |row, q| (0..3).filter(|&k| spec.keeps(row, q, k)).collect::<Vec<_>>();
        assert_eq!([seen(0, 0), seen(0, 2), seen(1, 1)], [vec![0, 1], vec![2], vec![0, 1]]);
    }

    #[test]
    fn padding_hides_keys_by_row() {
        let keep = Some(vec![false, true, true, true, true, true]);
        let spec = MaskSpec { batch: 2, q_len: 3, k_len: 3, keep, ..Default::default() };
        assert!(!spec.keeps(0, 2, 0) && spec.keeps(1, 2, 0));
    }
}
