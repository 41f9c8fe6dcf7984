//! Linear layers whose weights are bf16 or int8, for inference (docs/adr/0009).
//!
//! Weights lie in panels of 64 outputs ([`panels`]), activations in groups of rows ([`rows`]); the product of both is written
//! once ([`product`]) for the instructions of each processor ([`x86`], [`plain`]), and once more for AMX ([`amx`]); the choice is
//! made at run time ([`path`]). There are no gradients, so this does not go through [`Kernel`](super::Kernel).

#[cfg(target_arch = "x86_64")]
mod amx;
mod panels;
mod path;
mod plain;
mod product;
mod quantise;
mod rows;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::any::TypeId;

use burn::tensor::backend::Backend;
use ndarray::Ix2;

use self::path::{BF16, INT8, best};
use self::product::Product;
use self::rows::Rows;
use super::{Cpu, Primitive, array, elements, same, shape};
use crate::packed::Precision;

pub(crate) use panels::Panels;

/// Packs a weight `[d_in, d_out]` of f32; `None` where there are no kernels for `B`.
pub(crate) fn pack<B: Backend>(weight: Primitive<B>, precision: Precision) -> Option<Panels> {
    #[cfg(feature = "ndarray")]
    if TypeId::of::<B>() == TypeId::of::<crate::device::NdArray>() {
        return Some(pack_on::<crate::device::NdArray>(&same(weight), precision));
    }
    #[cfg(feature = "flex")]
    if TypeId::of::<B>() == TypeId::of::<crate::device::Flex>() {
        return Some(pack_on::<crate::device::Flex>(&same(weight), precision));
    }
    let _ = (weight, precision);
    None
}

/// `x · weight + bias` of f32; `None` where there are no kernels for `B`.
pub(crate) fn packed_linear<B: Backend>(
    x: Primitive<B>,
    weight: &Panels,
    bias: Option<Primitive<B>>,
) -> Option<Primitive<B>> {
    #[cfg(feature = "ndarray")]
    if TypeId::of::<B>() == TypeId::of::<crate::device::NdArray>() {
        return Some(same(linear_on::<crate::device::NdArray>(&same(x), weight, bias.map(same).as_ref())));
    }
    #[cfg(feature = "flex")]
    if TypeId::of::<B>() == TypeId::of::<crate::device::Flex>() {
        return Some(same(linear_on::<crate::device::Flex>(&same(x), weight, bias.map(same).as_ref())));
    }
    let _ = (x, weight, bias);
    None
}

/// The paths of this processor, by name.
pub(crate) fn instructions(precision: Precision) -> Vec<&'static str> {
    match precision {
        Precision::Bf16 => BF16.iter().map(|path| path.name).collect(),
        Precision::Int8 => INT8.iter().map(|path| path.name).collect(),
    }
}

fn pack_on<K: Cpu>(weight: &Primitive<K>, precision: Precision) -> Panels {
    match array::<K>(weight).view().into_dimensionality::<Ix2>() {
        Ok(weight) => Panels::new(weight, precision),
        Err(error) => unreachable!("a weight is a matrix: {error}"),
    }
}

fn linear_on<K: Cpu>(x: &Primitive<K>, weight: &Panels, bias: Option<&Primitive<K>>) -> Primitive<K> {
    let mut dims = shape::<K>(x);
    if let Some(last) = dims.last_mut() {
        *last = weight.d_out;
    }
    let bias = bias.map(elements::<K>);
    let y = linear(&elements::<K>(x), weight, bias.as_deref());
    K::tensor(y, &dims)
}

/// Rows `[rows, d_in]` to `[rows, d_out]`.
fn linear(x: &[f32], panels: &Panels, bias: Option<&[f32]>) -> Vec<f32> {
    let (d_in, n_rows) = (panels.d_in, x.len() / panels.d_in);
    let mut y = vec![0.0; n_rows * panels.d_out];
    match panels.precision {
        Precision::Bf16 => {
            let path = best(&BF16, n_rows, d_in);
            let rows = &Rows::f32(x, d_in);
            Product { rows, panels, bias }.run(path.columns, &mut y);
        }
        Precision::Int8 => {
            let path = best(&INT8, n_rows, d_in);
            let rows = &Rows::int8(x, d_in, path.layout);
            Product { rows, panels, bias }.run(path.columns, &mut y);
        }
    }
    y
}
