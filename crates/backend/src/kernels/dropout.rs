//! Dropout with counter-based randomness: the backward draws the same numbers again instead of keeping them.

use rayon::prelude::*;

use super::{CHUNK, Cpu, Kernel, Primitive, simd};
use crate::rng::Key;

/// Which elements are dropped, and what the others are multiplied by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    key: Key,
    /// An element is dropped where the upper 53 bits of its random number are below this.
    below: u64,
    kept: f32,
}

impl Dropout {
    /// Drops with probability `p`.
    pub(crate) fn new(p: f64, key: Key) -> Self {
        // `uniform < p` in integers: uniform is a multiple of 2⁻⁵³.
        Self { key, below: (p * (1_u64 << 53) as f64).ceil() as u64, kept: (1.0 / (1.0 - p)) as f32 }
    }

    /// Drops from `x`, whose first element is the one at `first`.
    #[inline(always)]
    pub(super) fn apply(&self, x: &mut [f32], first: u64) {
        let Self { key, below, kept } = *self;
        for (x, idx) in x.iter_mut().zip(first..) {
            *x = if key.bits(idx) >> 11 < below { 0.0 } else { *x * kept };
        }
    }

    fn of<K: Cpu>(&self, mut x: Primitive<K>) -> Primitive<K> {
        let chunks = K::elements_mut(&mut x).par_chunks_mut(CHUNK).enumerate();
        chunks.for_each(|(idx, x)| simd::dispatch!(self.apply(x, (idx * CHUNK) as u64)));
        x
    }
}

impl Kernel<1> for Dropout {
    type Saved<K: Cpu> = ();

    fn forward<K: Cpu>(&self, [x]: [Primitive<K>; 1]) -> (Primitive<K>, ()) {
        (self.of::<K>(x), ())
    }

    fn backward<K: Cpu>(&self, (): (), dy: Primitive<K>, _: [bool; 1]) -> [Option<Primitive<K>>; 1] {
        [Some(self.of::<K>(dy))]
    }
}
