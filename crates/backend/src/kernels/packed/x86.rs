//! The instructions of x86 processors.

use std::arch::x86_64::*;

use super::product::{Instructions, Product};
use super::rows::{Bytes, Pair};

/// The function that computes panels with some instructions, compiled for them.
macro_rules! columns {
    ($name:ident, $instructions:ident, $features:literal, $one:literal, $many:literal) => {
        #[target_feature(enable = $features)]
        pub(super) fn $name(
            product: &Product<
                '_,
                <$instructions as Instructions>::Activations,
                <$instructions as Instructions>::Sum,
            >,
            first: usize,
            y: &mut [&mut [f32]],
        ) {
            // SAFETY: whoever calls this function has looked for the features, which are those of the instructions.
            unsafe { product.columns::<$instructions, $one, $many>(first, y) }
        }
    };
}

columns!(int8_avx512_vnni, Avx512Vnni, "avx512f,avx512bw,avx512vnni", 4, 4);
columns!(int8_avx_vnni, AvxVnni, "avx2,avxvnni", 8, 2);
columns!(int8_avx2, Avx2Int8, "avx2", 8, 1);
columns!(bf16_avx512, Avx512Bf16, "avx512f", 4, 4);
columns!(bf16_avx2, Avx2Bf16, "avx2,fma", 8, 2);

/// 16 sums of int8 products by one instruction.
pub(super) struct Avx512Vnni;

impl Instructions for Avx512Vnni {
    type Activations = Bytes;
    type Sum = i32;
    type Weights = __m512i;
    type Sums = __m512i;
    const WIDTH: usize = 16;
    const PARTS: usize = 1;

    #[inline(always)]
    unsafe fn start(sum: i32) -> __m512i {
        // SAFETY: the caller's.
        unsafe { _mm512_set1_epi32(sum) }
    }

    #[inline(always)]
    unsafe fn weights(words: &[u32], _: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe { load_512(words) }
    }

    #[inline(always)]
    unsafe fn add(sums: __m512i, weights: __m512i, x: Bytes, _: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe { _mm512_dpbusd_epi32(sums, weights, _mm512_set1_epi32(x.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn store(sums: __m512i, to: &mut [i32]) {
        let to = &mut to[..Self::WIDTH];
        // SAFETY: the slice has room for 64 bytes, which may lie anywhere.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), sums) }
    }
}

/// 8 sums of int8 products by one instruction.
pub(super) struct AvxVnni;

impl Instructions for AvxVnni {
    type Activations = Bytes;
    type Sum = i32;
    type Weights = __m256i;
    type Sums = __m256i;
    const WIDTH: usize = 8;
    const PARTS: usize = 1;

    #[inline(always)]
    unsafe fn start(sum: i32) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_set1_epi32(sum) }
    }

    #[inline(always)]
    unsafe fn weights(words: &[u32], _: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe { load_256(words) }
    }

    #[inline(always)]
    unsafe fn add(sums: __m256i, weights: __m256i, x: Bytes, _: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_dpbusd_avx_epi32(sums, weights, _mm256_set1_epi32(x.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn store(sums: __m256i, to: &mut [i32]) {
        // SAFETY: the caller's.
        unsafe { store_256(sums, to) }
    }
}

/// 8 sums of int8 products without VNNI. `maddubs` adds two products of an unsigned and a signed byte in 16 bits: with
/// both up to 127 they cannot overflow, so it is given |w| and x with the sign of w.
pub(super) struct Avx2Int8;

impl Instructions for Avx2Int8 {
    type Activations = Bytes;
    type Sum = i32;
    /// |w| and w.
    type Weights = [__m256i; 2];
    type Sums = __m256i;
    const WIDTH: usize = 8;
    const PARTS: usize = 1;

    #[inline(always)]
    unsafe fn start(_: i32) -> __m256i {
        // SAFETY: the caller's. The start makes up for weights that are 128 too large; these here are not.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn weights(words: &[u32], _: usize) -> [__m256i; 2] {
        // SAFETY: the caller's.
        unsafe {
            let w = _mm256_xor_si256(load_256(words), _mm256_set1_epi8(-128));
            [_mm256_abs_epi8(w), w]
        }
    }

    #[inline(always)]
    unsafe fn add(sums: __m256i, [size, sign]: [__m256i; 2], x: Bytes, _: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            let x = _mm256_sign_epi8(_mm256_set1_epi32(x.cast_signed()), sign);
            let pairs = _mm256_maddubs_epi16(size, x);
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    unsafe fn store(sums: __m256i, to: &mut [i32]) {
        // SAFETY: the caller's.
        unsafe { store_256(sums, to) }
    }
}

/// 16 sums of f32 products with bf16 weights, which are the upper halves of f32.
pub(super) struct Avx512Bf16;

impl Instructions for Avx512Bf16 {
    type Activations = Pair;
    type Sum = f32;
    type Weights = __m512;
    type Sums = __m512;
    const WIDTH: usize = 16;
    const PARTS: usize = 2;

    #[inline(always)]
    unsafe fn start(sum: f32) -> __m512 {
        // SAFETY: the caller's.
        unsafe { _mm512_set1_ps(sum) }
    }

    #[inline(always)]
    unsafe fn weights(words: &[u32], part: usize) -> __m512 {
        // SAFETY: the caller's.
        unsafe {
            let words = load_512(words);
            _mm512_castsi512_ps(match part {
                0 => _mm512_slli_epi32::<16>(words),
                _ => _mm512_and_si512(words, _mm512_set1_epi32(!0xFFFF)),
            })
        }
    }

    #[inline(always)]
    unsafe fn add(sums: __m512, weights: __m512, x: Pair, part: usize) -> __m512 {
        // SAFETY: the caller's.
        unsafe { _mm512_fmadd_ps(weights, _mm512_set1_ps(x[part]), sums) }
    }

    #[inline(always)]
    unsafe fn store(sums: __m512, to: &mut [f32]) {
        let to = &mut to[..Self::WIDTH];
        // SAFETY: the slice has room for 64 bytes, which may lie anywhere.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), sums) }
    }
}

/// 8 sums of f32 products with bf16 weights.
pub(super) struct Avx2Bf16;

impl Instructions for Avx2Bf16 {
    type Activations = Pair;
    type Sum = f32;
    type Weights = __m256;
    type Sums = __m256;
    const WIDTH: usize = 8;
    const PARTS: usize = 2;

    #[inline(always)]
    unsafe fn start(sum: f32) -> __m256 {
        // SAFETY: the caller's.
        unsafe { _mm256_set1_ps(sum) }
    }

    #[inline(always)]
    unsafe fn weights(words: &[u32], part: usize) -> __m256 {
        // SAFETY: the caller's.
        unsafe {
            let words = load_256(words);
            _mm256_castsi256_ps(match part {
                0 => _mm256_slli_epi32::<16>(words),
                _ => _mm256_and_si256(words, _mm256_set1_epi32(!0xFFFF)),
            })
        }
    }

    #[inline(always)]
    unsafe fn add(sums: __m256, weights: __m256, x: Pair, part: usize) -> __m256 {
        // SAFETY: the caller's.
        unsafe { _mm256_fmadd_ps(weights, _mm256_set1_ps(x[part]), sums) }
    }

    #[inline(always)]
    unsafe fn store(sums: __m256, to: &mut [f32]) {
        let to = &mut to[..Self::WIDTH];
        // SAFETY: the slice has room for 32 bytes, which may lie anywhere.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), sums) }
    }
}

#[inline(always)]
unsafe fn load_512(words: &[u32]) -> __m512i {
    let words = &words[..16];
    // SAFETY: the slice has 64 bytes, which may lie anywhere.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline(always)]
unsafe fn load_256(words: &[u32]) -> __m256i {
    let words = &words[..8];
    // SAFETY: the slice has 32 bytes, which may lie anywhere.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[inline(always)]
unsafe fn store_256(sums: __m256i, to: &mut [i32]) {
    let to = &mut to[..8];
    // SAFETY: the slice has room for 32 bytes, which may lie anywhere.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), sums) }
}
