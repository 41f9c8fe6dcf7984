//! Rotary position embedding: pairs of dimensions turned by an angle, in one pass over the heads.

use ndarray::{ArrayView1, ArrayView4, CowArray, Ix4, IxDyn, s};
use rayon::prelude::*;

use super::{Cpu, Kernel, Primitive, array, elements, rows_per_chunk, shape};

/// Inputs: x `[batch, heads, seq, d_head]`, cos and sin `[rows, 1, seq, r / 2]` with one row or one for each of the batch;
/// the first `r` dimensions turn. Cosines and sines get no gradient.
#[derive(Debug)]
pub(crate) struct Rotary {
    /// Whether dimensions `2n` and `2n + 1` are a pair, instead of `n` and `n + r/2`.
    pub(crate) interleaved: bool,
}

impl Kernel<3> for Rotary {
    type Saved<K: Cpu> = [Primitive<K>; 2];

    fn forward<K: Cpu>(&self, [x, cos, sin]: [Primitive<K>; 3]) -> (Primitive<K>, [Primitive<K>; 2]) {
        (self.turn::<K>(&x, &cos, &sin, 1.0), [cos, sin])
    }

    /// The gradient is turned back.
    fn backward<K: Cpu>(
        &self,
        [cos, sin]: [Primitive<K>; 2],
        dy: Primitive<K>,
        _: [bool; 3],
    ) -> [Option<Primitive<K>>; 3] {
        [Some(self.turn::<K>(&dy, &cos, &sin, -1.0)), None, None]
    }
}

impl Rotary {
    fn turn<K: Cpu>(
        &self,
        x: &Primitive<K>,
        cos: &Primitive<K>,
        sin: &Primitive<K>,
        sign: f32,
    ) -> Primitive<K> {
        let tables = shape::<K>(cos);
        let (seq, half) = (tables[2], tables[3]);
        let (cos, sin) = (elements::<K>(cos), elements::<K>(sin));
        let x = array::<K>(x);
        let x = four_axes(&x);
        let (batch, heads, _, d_head) = x.dim();
        // PERF: laid out by token as the projections lay their output, so that attention's output and this one match.
        let width = heads * d_head;
        let mut y = vec![0.0; batch * seq * width];
        let tokens = rows_per_chunk(width);
        y.par_chunks_mut(tokens * width).enumerate().for_each(|(chunk, y)| {
            for (idx, y) in y.chunks_exact_mut(width).enumerate() {
                let (row, at) = ((chunk * tokens + idx) / seq, (chunk * tokens + idx) % seq);
                let table = if tables[0] == 1 { at } else { row * seq + at };
                let (cos, sin) = (&cos[table * half..][..half], &sin[table * half..][..half]);
                for (head, y) in y.chunks_exact_mut(d_head).enumerate() {
                    self.turn_head(x.slice(s![row, head, at, ..]), y, cos, sin, sign);
                }
            }
        });
        K::float_swap_dims(K::tensor(y, &[batch, seq, heads, d_head]), 1, 2)
    }

    fn turn_head(&self, x: ArrayView1<'_, f32>, y: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
        match x.as_slice() {
            Some(x) => y.copy_from_slice(x),
            None => y.iter_mut().zip(x).for_each(|(y, x)| *y = *x),
        }
        let half = cos.len();
        let turn = |a: &mut f32, b: &mut f32, cos: f32, sin: f32| {
            let sin = sin * sign;
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        };
        if self.interleaved {
            for ((pair, &cos), &sin) in y.chunks_exact_mut(2).zip(cos).zip(sin) {
                if let [a, b] = pair {
                    turn(a, b, cos, sin);
                }
            }
        } else {
            let (a, b) = y[..2 * half].split_at_mut(half);
            for (((a, b), &cos), &sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                turn(a, b, cos, sin);
            }
        }
    }
}

/// An array that is known to have four axes.
pub(super) fn four_axes<'a>(array: &'a CowArray<'_, f32, IxDyn>) -> ArrayView4<'a, f32> {
    match array.view().into_dimensionality::<Ix4>() {
        Ok(view) => view,
        Err(error) => unreachable!("the operation takes four axes: {error}"),
    }
}
