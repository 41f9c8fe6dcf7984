//! Rows of a table, and the gradient of the table.

use std::sync::Arc;

use super::{Cpu, Kernel, Primitive, elements, shape, simd};

/// Input: table `[rows, width]`; output: `[batch, seq, width]`.
#[derive(Debug)]
pub(crate) struct Embedding {
    /// `[batch, seq]`.
    pub(crate) ids: Arc<Vec<usize>>,
    pub(crate) dims: [usize; 2],
}

impl Kernel<1> for Embedding {
    type Saved<K: Cpu> = Vec<usize>;

    fn forward<K: Cpu>(&self, [table]: [Primitive<K>; 1]) -> (Primitive<K>, Vec<usize>) {
        let dims = shape::<K>(&table);
        let width = dims[1];
        let table = elements::<K>(&table);
        let mut y = Vec::with_capacity(self.ids.len() * width);
        for &id in self.ids.iter() {
            y.extend_from_slice(&table[id * width..(id + 1) * width]);
        }
        let [batch, seq] = self.dims;
        (K::tensor(y, &[batch, seq, width]), dims)
    }

    /// Every row of the table gets the sum of the gradients of its places, in their order.
    fn backward<K: Cpu>(
        &self,
        dims: Vec<usize>,
        dy: Primitive<K>,
        _: [bool; 1],
    ) -> [Option<Primitive<K>>; 1] {
        let width = dims[1];
        let mut grad = vec![0.0; dims[0] * width];
        let dy = elements::<K>(&dy);
        for (&id, dy) in self.ids.iter().zip(dy.chunks_exact(width)) {
            simd::update(&mut grad[id * width..(id + 1) * width], dy, |grad, dy| grad + dy);
        }
        [Some(K::tensor(grad, &dims))]
    }
}
