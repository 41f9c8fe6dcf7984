//! Weights of a linear layer, rounded, in the order in which the kernels read them.

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::quantise::{Scale, bf16};
use crate::packed::Precision;

/// Outputs that are computed together: four 512-bit vectors of sums.
pub(super) const PANEL: usize = 64;

/// The weights of a panel's outputs for the next inputs, four bytes an output: four int8, or two bf16 with the first in the
/// low half. An int8 weight `w` is stored as `w + 128`, because VNNI multiplies unsigned by signed bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Block(pub(super) [u32; PANEL]);

/// The weights `[d_in, d_out]` of a linear layer: panel after panel of outputs, in each the blocks of all inputs. Read from
/// the first to the last block, memory is read in order.
#[derive(Debug)]
pub(crate) struct Panels {
    pub(crate) precision: Precision,
    pub(crate) d_in: usize,
    pub(crate) d_out: usize,
    blocks: Vec<Block>,
    /// The step of each output's int8 weights; none for bf16.
    pub(super) scales: Vec<f32>,
}

impl Panels {
    /// Rounds and packs.
    pub(crate) fn new(weight: ArrayView2<'_, f32>, precision: Precision) -> Self {
        let (d_in, d_out) = weight.dim();
        let steps = steps(precision, d_in);
        let scales: Vec<f32> = match precision {
            Precision::Bf16 => Vec::new(),
            Precision::Int8 => (0..d_out)
                .into_par_iter()
                .map(|column| Scale::of(weight.column(column).iter().copied()).step)
                .collect(),
        };
        let empty = match precision {
            Precision::Bf16 => 0,
            Precision::Int8 => u32::from_ne_bytes([128; 4]),
        };
        let mut blocks = vec![Block([empty; PANEL]); d_out.div_ceil(PANEL) * steps];
        blocks.par_chunks_mut(steps.max(1)).enumerate().for_each(|(panel, blocks)| {
            let columns = panel * PANEL..d_out.min((panel + 1) * PANEL);
            for (step, block) in blocks.iter_mut().enumerate() {
                for (lane, column) in columns.clone().enumerate() {
                    let at = |input: usize| weight.get((input, column)).copied().unwrap_or(0.0);
                    block.0[lane] = match precision {
                        Precision::Bf16 => {
                            u32::from(bf16(at(2 * step))) | u32::from(bf16(at(2 * step + 1))) << 16
                        }
                        Precision::Int8 => {
                            let scale = Scale::from_step(scales[column]);
                            let byte = |input| scale.quantise(at(input)).cast_unsigned() ^ 128;
                            u32::from_ne_bytes([0, 1, 2, 3].map(|idx| byte(4 * step + idx)))
                        }
                    };
                }
            }
        });
        Self { precision, d_in, d_out, blocks, scales }
    }

    /// How many blocks a panel has.
    pub(super) fn steps(&self) -> usize {
        steps(self.precision, self.d_in)
    }

    /// The blocks of the outputs `idx · PANEL ..`.
    pub(super) fn panel(&self, idx: usize) -> &[Block] {
        let steps = self.steps();
        &self.blocks[idx * steps..(idx + 1) * steps]
    }

    /// The memory of the weights.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.blocks[..]) + size_of_val(&self.scales[..])
    }
}

fn steps(precision: Precision, d_in: usize) -> usize {
    match precision {
        Precision::Bf16 => d_in.div_ceil(2),
        Precision::Int8 => d_in.div_ceil(4),
    }
}
