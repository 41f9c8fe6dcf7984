//! Which instructions this processor has.

use std::sync::LazyLock;

use super::plain::{PlainBf16, PlainInt8};
use super::product::{Columns, Product};
use super::rows::{Bytes, Layout, Pair};
#[cfg(target_arch = "x86_64")]
use super::{amx, x86};

/// A way to compute.
#[derive(Clone, Copy)]
pub(super) struct Path<X, S> {
    /// The instructions.
    pub(super) name: &'static str,
    /// The function.
    pub(super) columns: Columns<X, S>,
    /// How it wants the rows.
    pub(super) layout: Layout,
    /// Whether it can compute, and well, so many rows and inputs.
    pub(super) suits: fn(usize, usize) -> bool,
}

/// The ways to compute with int8 weights, the fastest first.
pub(super) static INT8: LazyLock<Vec<Path<Bytes, i32>>> = LazyLock::new(|| {
    let mut paths = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if amx::is_available() {
            // SAFETY: it is available.
            let path = any("AMX", |product, first, y| unsafe { amx::columns(product, first, y) });
            paths.push(Path { layout: Layout::ByRow, suits: amx::suits, ..path });
        }
        if is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has the features.
            let columns: Columns<_, _> =
                |product, first, y| unsafe { x86::int8_avx512_vnni(product, first, y) };
            paths.push(any("AVX-512 VNNI", columns));
        }
        if is_x86_feature_detected!("avxvnni") && is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the features.
            let columns: Columns<_, _> = |product, first, y| unsafe { x86::int8_avx_vnni(product, first, y) };
            paths.push(any("AVX-VNNI", columns));
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature.
            paths.push(any("AVX2", |product, first, y| unsafe { x86::int8_avx2(product, first, y) }));
        }
    }
    paths.push(any("plain", plain_int8));
    paths
});

/// The ways to compute with bf16 weights, the fastest first.
pub(super) static BF16: LazyLock<Vec<Path<Pair, f32>>> = LazyLock::new(|| {
    let mut paths = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has the feature.
            paths.push(any("AVX-512", |product, first, y| unsafe { x86::bf16_avx512(product, first, y) }));
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has the features.
            paths.push(any("AVX2", |product, first, y| unsafe { x86::bf16_avx2(product, first, y) }));
        }
    }
    paths.push(any("plain", plain_bf16));
    paths
});

/// The first path that suits.
pub(super) fn best<X: Copy, S: Copy>(paths: &[Path<X, S>], rows: usize, d_in: usize) -> Path<X, S> {
    match paths.iter().find(|path| (path.suits)(rows, d_in)) {
        Some(path) => *path,
        None => unreachable!("the plain path suits always"),
    }
}

/// A path for any size.
fn any<X, S>(name: &'static str, columns: Columns<X, S>) -> Path<X, S> {
    Path { name, columns, layout: Layout::Interleaved, suits: |_, _| true }
}

fn plain_int8(product: &Product<'_, Bytes, i32>, first: usize, y: &mut [&mut [f32]]) {
    // SAFETY: every processor has these instructions.
    unsafe { product.columns::<PlainInt8, 1, 1>(first, y) }
}

fn plain_bf16(product: &Product<'_, Pair, f32>, first: usize, y: &mut [&mut [f32]]) {
    // SAFETY: every processor has these instructions.
    unsafe { product.columns::<PlainBf16, 1, 1>(first, y) }
}
