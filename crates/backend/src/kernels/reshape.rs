//! Another shape for the same elements, without the copy that burn-ndarray makes.

use super::{Cpu, Kernel, Primitive, shape};

#[derive(Debug)]
pub(crate) struct Reshape {
    pub(crate) shape: Vec<usize>,
}

impl Kernel<1> for Reshape {
    type Saved<K: Cpu> = Vec<usize>;

    fn forward<K: Cpu>(&self, [x]: [Primitive<K>; 1]) -> (Primitive<K>, Vec<usize>) {
        let before = shape::<K>(&x);
        (K::with_shape(K::contiguous(x), &self.shape), before)
    }

    fn backward<K: Cpu>(
        &self,
        before: Vec<usize>,
        dy: Primitive<K>,
        _: [bool; 1],
    ) -> [Option<Primitive<K>>; 1] {
        [Some(K::with_shape(K::contiguous(dy), &before))]
    }
}
