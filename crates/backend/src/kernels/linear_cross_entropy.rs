//! A linear layer and the cross-entropy of its outputs, some rows at a time: the logits of all rows are never held, and
//! rows that do not count are not computed.

use std::sync::Arc;

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::cross_entropy::{Row, gradient_over, loss_of};
use super::linear::{add_bias, in_order, rows_of, sum_of_rows};
use super::matmul::{add_product, matmul, matrix};
use super::{Cpu, Kernel, Primitive, array, elements, scale, simd};
use crate::ops::{Products, Targets};

/// Inputs: x `[rows, d_in]`, weight `[d_in, classes]` and, of three, bias `[classes]`; output: the summed loss `[1]`.
#[derive(Debug)]
pub(crate) struct LinearCrossEntropy {
    pub(crate) targets: Arc<Targets>,
    pub(crate) products: Products,
    /// How many rows of logits are held.
    pub(crate) rows_at_a_time: usize,
    /// Whether there will be a backward pass. The gradients are those of the loss, a sum, so they are known up to a
    /// factor when it is.
    pub(crate) with_gradients: bool,
}

impl Kernel<2> for LinearCrossEntropy {
    /// The gradients of the inputs, unless there are none to be.
    type Saved<K: Cpu> = Vec<Primitive<K>>;

    fn forward<K: Cpu>(&self, [x, weight]: [Primitive<K>; 2]) -> (Primitive<K>, Self::Saved<K>) {
        self.compute::<K>(&x, &weight, None)
    }

    fn backward<K: Cpu>(
        &self,
        gradients: Self::Saved<K>,
        upstream: Primitive<K>,
        _: [bool; 2],
    ) -> [Option<Primitive<K>>; 2] {
        scaled::<K, 2>(gradients, &upstream)
    }
}

impl Kernel<3> for LinearCrossEntropy {
    type Saved<K: Cpu> = Vec<Primitive<K>>;

    fn forward<K: Cpu>(&self, [x, weight, bias]: [Primitive<K>; 3]) -> (Primitive<K>, Self::Saved<K>) {
        self.compute::<K>(&x, &weight, Some(&bias))
    }

    fn backward<K: Cpu>(
        &self,
        gradients: Self::Saved<K>,
        upstream: Primitive<K>,
        _: [bool; 3],
    ) -> [Option<Primitive<K>>; 3] {
        scaled::<K, 3>(gradients, &upstream)
    }
}

fn scaled<K: Cpu, const N: usize>(
    gradients: Vec<Primitive<K>>,
    upstream: &Primitive<K>,
) -> [Option<Primitive<K>>; N] {
    let factor = elements::<K>(upstream).first().copied().unwrap_or(0.0);
    let mut gradients = gradients.into_iter();
    std::array::from_fn(|_| {
        let mut gradient = gradients.next()?;
        scale(K::elements_mut(&mut gradient), factor);
        Some(gradient)
    })
}

impl LinearCrossEntropy {
    fn compute<K: Cpu>(
        &self,
        x: &Primitive<K>,
        weight: &Primitive<K>,
        bias: Option<&Primitive<K>>,
    ) -> (Primitive<K>, Vec<Primitive<K>>) {
        let (x, weight) = (array::<K>(x), array::<K>(weight));
        let (x, weight) = (rows_of(&x), rows_of(&weight));
        let bias = bias.map(elements::<K>);
        let ((rows, d_in), classes) = (x.dim(), weight.ncols());
        let counted: Vec<Row> = (0..rows).filter_map(|row| Row::of(row, &self.targets)).collect();
        let (mut loss, mut gradients) = (0.0, Gradients::new(rows, d_in, classes, self.with_gradients));
        // Parts of one size: a short one would cost nearly as much.
        let parts = counted.len().div_ceil(self.rows_at_a_time).max(1);
        for part in counted.chunks(counted.len().div_ceil(parts).max(1)) {
            let inputs = gathered(x.view(), part);
            let inputs = matrix(&inputs, part.len(), d_in);
            let mut logits = matmul(inputs, weight.view(), self.products);
            if let Some(bias) = &bias {
                add_bias(&mut logits, bias);
            }
            loss += self.over_logits(&mut logits, part, classes);
            if self.with_gradients {
                gradients.add(part, inputs, weight.view(), &logits, self.products);
            }
        }
        (K::tensor(vec![loss as f32], &[1]), gradients.tensors::<K>(bias.is_some()))
    }

    /// The summed loss of rows of logits, over which their gradient is written where it is wanted.
    fn over_logits(&self, logits: &mut [f32], part: &[Row], classes: usize) -> f64 {
        let losses = logits.par_chunks_mut(classes).zip(part).map(|(logits, row)| {
            simd::dispatch!({
                let (loss, lse) = loss_of(logits, row, &self.targets);
                if self.with_gradients {
                    gradient_over(logits, lse, row, 1.0, &self.targets);
                }
                loss
            })
        });
        let losses: Vec<f32> = losses.collect();
        // NUMERICS: summed in f64 and in row order, so that the loss does not depend on the threads.
        losses.iter().map(|&loss| f64::from(loss)).sum()
    }
}

/// Gradients of the inputs, as they grow part by part. Empty where they are not wanted.
struct Gradients {
    dims: [usize; 3],
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Gradients {
    fn new(rows: usize, d_in: usize, classes: usize, wanted: bool) -> Self {
        let zeros = |len| if wanted { vec![0.0; len] } else { Vec::new() };
        Self {
            dims: [rows, d_in, classes],
            x: zeros(rows * d_in),
            weight: zeros(d_in * classes),
            bias: zeros(classes),
        }
    }

    fn add(
        &mut self,
        part: &[Row],
        inputs: ArrayView2<'_, f32>,
        weight: ArrayView2<'_, f32>,
        dlogits: &[f32],
        products: Products,
    ) {
        let [_, d_in, classes] = self.dims;
        let of_logits = matrix(dlogits, part.len(), classes);
        let dx = matmul(of_logits, weight.t(), products);
        for (row, dx) in part.iter().zip(dx.chunks(d_in.max(1))) {
            self.x[row.idx * d_in..][..d_in].copy_from_slice(dx);
        }
        add_product(inputs.t(), of_logits, &mut self.weight, products);
        self.bias = in_order(vec![sum_of_rows(dlogits, classes)], std::mem::take(&mut self.bias));
    }

    fn tensors<K: Cpu>(self, with_bias: bool) -> Vec<Primitive<K>> {
        if self.weight.is_empty() {
            return Vec::new();
        }
        let [rows, d_in, classes] = self.dims;
        let mut tensors = vec![K::tensor(self.x, &[rows, d_in]), K::tensor(self.weight, &[d_in, classes])];
        if with_bias {
            tensors.push(K::tensor(self.bias, &[classes]));
        }
        tensors
    }
}

/// The rows of x that count, one after the other.
fn gathered(x: ArrayView2<'_, f32>, part: &[Row]) -> Vec<f32> {
    part.iter().flat_map(|row| x.row(row.idx).to_vec()).collect()
}

#[cfg(all(test, feature = "ndarray"))]
mod tests {
    use super::*;
    use crate::device::NdArray;
    use crate::ops::IGNORE;

    #[test]
    fn parts_add_up() {
        let numbers = |len: usize, step: f32| (0..len).map(|i| (i as f32 * step).sin()).collect::<Vec<_>>();
        let (x, weight) = (numbers(23 * 5, 0.7), numbers(5 * 11, 1.3));
        let classes = (0..23).map(|row| if row % 4 == 1 { IGNORE } else { row % 11 }).collect();
        let targets = Arc::new(Targets { smoothing: 0.1, ..Targets::new(classes) });
        let of = |rows_at_a_time: usize, with_gradients: bool| {
            let op = LinearCrossEntropy {
                targets: targets.clone(),
                products: Products::F32,
                rows_at_a_time,
                with_gradients,
            };
            let inputs = [NdArray::tensor(x.clone(), &[23, 5]), NdArray::tensor(weight.clone(), &[5, 11])];
            let (loss, gradients) = Kernel::<2>::forward::<NdArray>(&op, inputs);
            let all = std::iter::once(&loss).chain(&gradients);
            all.map(|tensor| elements::<NdArray>(tensor).into_owned()).collect::<Vec<_>>()
        };
        let whole = of(1000, true);
        assert!(whole.len() == 3 && whole[1][5..10] == [0.0; 5], "a row that does not count has no gradient");
        for rows in [1, 6, 17] {
            for (part, want) in of(rows, true).iter().zip(&whole) {
                for (x, want) in part.iter().zip(want) {
                    assert!(
                        (x - want).abs() <= 1e-5 * want.abs().max(1.0),
                        "{rows} at a time: {x}, not {want}"
                    );
                }
            }
        }
        assert_eq!(of(6, false).len(), 1, "no gradients without a backward pass");
    }
}
