//! Instructions that every processor has, for the compiler to vectorise.

use super::product::Instructions;
use super::rows::{Bytes, Pair};

const WIDTH: usize = 16;

pub(super) struct PlainInt8;

impl Instructions for PlainInt8 {
    type Activations = Bytes;
    type Sum = i32;
    type Weights = [u32; WIDTH];
    type Sums = [i32; WIDTH];
    const WIDTH: usize = WIDTH;
    const PARTS: usize = 1;

    #[inline(always)]
    unsafe fn start(sum: i32) -> Self::Sums {
        [sum; WIDTH]
    }

    #[inline(always)]
    unsafe fn weights(words: &[u32], _: usize) -> Self::Weights {
        copied(words)
    }

    #[inline(always)]
    unsafe fn add(mut sums: Self::Sums, weights: Self::Weights, x: Bytes, _: usize) -> Self::Sums {
        let x = x.to_ne_bytes().map(|x| i32::from(x.cast_signed()));
        for (sum, weights) in sums.iter_mut().zip(weights) {
            let w = weights.to_ne_bytes().map(i32::from);
            let four = w[0] * x[0] + w[1] * x[1] + w[2] * x[2] + w[3] * x[3];
            *sum = sum.wrapping_add(four);
        }
        sums
    }

    #[inline(always)]
    unsafe fn store(sums: Self::Sums, to: &mut [i32]) {
        to.copy_from_slice(&sums);
    }
}

pub(super) struct PlainBf16;

impl Instructions for PlainBf16 {
    type Activations = Pair;
    type Sum = f32;
    type Weights = [f32; WIDTH];
    type Sums = [f32; WIDTH];
    const WIDTH: usize = WIDTH;
    const PARTS: usize = 2;

    #[inline(always)]
    unsafe fn start(sum: f32) -> Self::Sums {
        [sum; WIDTH]
    }

    #[inline(always)]
    unsafe fn weights(words: &[u32], part: usize) -> Self::Weights {
        copied(words).map(|word| f32::from_bits(if part == 0 { word << 16 } else { word & 0xFFFF_0000 }))
    }

    #[inline(always)]
    unsafe fn add(mut sums: Self::Sums, weights: Self::Weights, x: Pair, part: usize) -> Self::Sums {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            // Where it is no instruction, a fused product is a slow function.
            *sum = if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                weight.mul_add(x[part], *sum)
            } else {
                weight * x[part] + *sum
            };
        }
        sums
    }

    #[inline(always)]
    unsafe fn store(sums: Self::Sums, to: &mut [f32]) {
        to.copy_from_slice(&sums);
    }
}

#[inline(always)]
fn copied(words: &[u32]) -> [u32; WIDTH] {
    let mut copy = [0; WIDTH];
    copy.copy_from_slice(words);
    copy
}
