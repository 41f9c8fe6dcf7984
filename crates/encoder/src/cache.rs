//! The KV cache: a value that a caller owns and passes in.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use locus_backend::ops::Growing;
use locus_embedding::Tokens;

/// Keys, values and tokens of what a stack has read.
#[derive(Clone, Debug)]
pub struct KvCache<B: Backend> {
    /// One per layer.
    pub layers: Vec<LayerCache<B>>,
    /// What each scheme remembers of the tokens, with positions as it counts them; `None` before the first pass.
    pub tokens: Vec<Option<Tokens>>,
    /// The position that follows each row's last token; empty before the first pass.
    pub next_positions: Vec<f64>,
    /// The number of real tokens of each row, the evicted ones included; empty before the first pass.
    pub seen: Vec<usize>,
}

impl<B: Backend> KvCache<B> {
    /// An empty cache.
    pub fn new(n_layers: usize, n_schemes: usize) -> Self {
        Self {
            layers: vec![LayerCache::default(); n_layers],
            tokens: vec![None; n_schemes],
            next_positions: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Keeps these rows of the batch, in this order; a row may come several times, as beams branch.
    ///
    /// # Panics
    /// If the cache does not have a row.
    pub fn select(&mut self, rows: &[usize]) {
        for layer in &mut self.layers {
            layer.select(rows);
        }
        for tokens in self.tokens.iter_mut().flatten() {
            *tokens = tokens.rows(rows);
        }
        if !self.seen.is_empty() {
            self.next_positions = rows.iter().map(|&row| self.next_positions[row]).collect();
            self.seen = rows.iter().map(|&row| self.seen[row]).collect();
        }
    }
}

/// What one layer stores.
#[derive(Clone, Debug)]
pub struct LayerCache<B: Backend> {
    /// Keys per view, `[batch, kv_heads, k, d_head]`.
    pub keys: Vec<Growing<B, 4>>,
    /// Values, `[batch, kv_heads, k, d_head]`.
    pub values: Option<Growing<B, 4>>,
    /// What the position scheme stores beside them, `[batch, k, width]`.
    pub state: Option<Growing<B, 3>>,
    /// Keys and values of the memory, in a decoder with cross-attention.
    pub memory: Option<(Tensor<B, 4>, Tensor<B, 4>)>,
}

impl<B: Backend> Default for LayerCache<B> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: None, state: None, memory: None }
    }
}

impl<B: Backend> LayerCache<B> {
    /// Appends and gives all that is stored then.
    pub(crate) fn extend(
        &mut self,
        keys: Vec<Tensor<B, 4>>,
        values: Tensor<B, 4>,
        state: Option<Tensor<B, 3>>,
    ) -> (Vec<Tensor<B, 4>>, Tensor<B, 4>, Option<Tensor<B, 3>>) {
        if self.keys.is_empty() {
            self.keys = keys.iter().map(|k| Growing::new(2, k.clone())).collect();
            self.values = Some(Growing::new(2, values.clone()));
            self.state = state.clone().map(|state| Growing::new(1, state));
            return (keys, values, state);
        }
        let keys = self.keys.iter_mut().zip(keys).map(|(past, k)| past.push(k)).collect();
        let values = match &mut self.values {
            Some(past) => past.push(values),
            None => values,
        };
        let state = self.state.as_mut().zip(state).map(|(past, state)| past.push(state));
        (keys, values, state)
    }

    fn select(&mut self, rows: &[usize]) {
        let Some(values) = &self.values else { return };
        let rows = indices::<B>(rows, &values.get().device());
        self.keys = self.keys.drain(..).map(|k| k.map(|k| k.select(0, rows.clone()))).collect();
        self.values = self.values.take().map(|v| v.map(|v| v.select(0, rows.clone())));
        self.state = self.state.take().map(|s| s.map(|s| s.select(0, rows.clone())));
        let memory = self.memory.take();
        self.memory = memory.map(|(k, v)| (k.select(0, rows.clone()), v.select(0, rows)));
    }

    /// Keeps these columns only.
    pub(crate) fn retain(&mut self, columns: &[usize], device: &B::Device) {
        let columns = indices::<B>(columns, device);
        self.keys = self.keys.drain(..).map(|k| k.map(|k| k.select(2, columns.clone()))).collect();
        self.values = self.values.take().map(|v| v.map(|v| v.select(2, columns.clone())));
        self.state = self.state.take().map(|s| s.map(|s| s.select(1, columns)));
    }
}

/// Indices as a tensor, `[len]`.
pub(crate) fn indices<B: Backend>(indices: &[usize], device: &B::Device) -> Tensor<B, 1, Int> {
    let data: Vec<i64> = indices.iter().map(|&idx| idx as i64).collect();
    Tensor::from_data(TensorData::new(data, [indices.len()]), device)
}
