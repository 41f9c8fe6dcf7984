//! Products whose operands are rounded to bf16 and whose sums are f32, on processors with instructions for it: AMX tiles,
//! or the dot products of AVX512-BF16.
//!
//! Both operands are first cut into tiles that the instructions read: of `a`, 16 rows of 32 numbers; of `b`, 16 pairs of
//! rows of 16 columns, the two numbers of a pair side by side. What is missing at the edges is zero.

use ndarray::ArrayView2;

/// Whether this processor has the instructions.
pub(crate) fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return x86::level().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// `a·b` in row-major order, on all threads; `None` where the processor lacks the instructions, or the elements lie too far
/// apart for them.
pub(super) fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Option<Vec<f32>> {
    #[cfg(target_arch = "x86_64")]
    return x86::level()
        .filter(|_| x86::reaches(&a) && x86::reaches(&b))
        .map(|level| x86::product(a, b, level));
    #[cfg(not(target_arch = "x86_64"))]
    return None;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::*;
    use std::mem::MaybeUninit;
    use std::sync::OnceLock;

    use ndarray::{ArrayView2, Axis, Slice};
    use rayon::prelude::*;

    use crate::kernels::tiles::{self, Shapes};

    /// Rows of a tile of `a`, columns of one of `b`.
    const EDGE: usize = 16;
    /// How deep a tile is.
    const DEPTH: usize = 32;
    const TILE: usize = EDGE * DEPTH;
    /// Two tiles by two are computed together.
    const BLOCK: usize = 2 * EDGE;
    /// How many numbers of `a` a task takes: they stay in the second-level cache while it passes over `b`.
    const NUMBERS: usize = 1 << 18;

    /// Which instructions are used.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(super) enum Level {
        /// `vdpbf16ps`.
        Vectors,
        /// `tdpbf16ps`.
        Tiles,
    }

    pub(super) fn level() -> Option<Level> {
        static LEVEL: OnceLock<Option<Level>> = OnceLock::new();
        *LEVEL.get_or_init(|| {
            let vectors = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512bf16");
            vectors.then(|| if tiles::are_available(tiles::BF16) { Level::Tiles } else { Level::Vectors })
        })
    }

    /// Whether the distance of 16 elements along either axis fits into the index of a gathered load.
    pub(super) fn reaches(matrix: &ArrayView2<'_, f32>) -> bool {
        strides(matrix).iter().all(|stride| stride.unsigned_abs() <= i32::MAX as usize / EDGE)
    }

    pub(super) fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, level: Level) -> Vec<f32> {
        let ((m, k), n) = (a.dim(), b.ncols());
        assert_eq!(b.nrows(), k, "a [{m}, {k}] must fit b");
        if m * n * k == 0 {
            return vec![0.0; m * n];
        }
        // SAFETY: a level is given only where the processor has the instructions of `Vectors`.
        let (a_tiles, b_tiles) = unsafe {
            (
                packed(a, 0, |rows, tiles| tiles_of_a(rows, tiles)),
                packed(b, 1, |columns, tiles| tiles_of_b(columns, tiles)),
            )
        };
        let strip = k.div_ceil(DEPTH) * TILE;
        let rows = (NUMBERS / k).clamp(BLOCK, (m / 4).max(BLOCK)).next_multiple_of(BLOCK);
        let mut c = Vec::with_capacity(m * n);
        let tasks = c.spare_capacity_mut()[..m * n].par_chunks_mut(rows * n);
        tasks.zip(a_tiles.par_chunks(rows / EDGE * strip)).for_each(|(c, a)| {
            let _tiles = (level == Level::Tiles).then(Tiles::configure);
            for (b, left) in b_tiles.chunks(2 * strip).zip((0..n).step_by(BLOCK)) {
                for (a, c) in a.chunks(2 * strip).zip(c.chunks_mut(BLOCK * n)) {
                    if level == Level::Tiles && c.len() == BLOCK * n && left + BLOCK <= n {
                        // SAFETY: the tiles are configured; a whole block of c, whose rows are n long.
                        unsafe { block_by_tiles(a, b, strip, c[left..].as_mut_ptr().cast(), n) };
                        continue;
                    }
                    let mut block = [0.0; BLOCK * BLOCK];
                    // SAFETY: the level says that the processor has the instructions, and the tiles are configured.
                    unsafe {
                        match level {
                            Level::Tiles => block_by_tiles(a, b, strip, block.as_mut_ptr(), BLOCK),
                            Level::Vectors => block_by_vectors(a, b, strip, &mut block),
                        }
                    }
                    for (c, block) in c.chunks_exact_mut(n).zip(block.chunks_exact(BLOCK)) {
                        c[left..].iter_mut().zip(block).for_each(|(c, x)| {
                            c.write(*x);
                        });
                    }
                }
            }
        });
        // SAFETY: every element was written: the tasks are all rows of c, and the blocks all columns of a task.
        unsafe { c.set_len(m * n) };
        c
    }

    /// The tiles of the strips of 16 rows (axis 0) or columns (axis 1), on all threads.
    fn packed(
        matrix: ArrayView2<'_, f32>,
        axis: usize,
        tiles_of: impl Fn(ArrayView2<'_, f32>, &mut [MaybeUninit<u16>]) + Sync,
    ) -> Vec<u16> {
        let (n, depth) = (matrix.len_of(Axis(axis)), matrix.len_of(Axis(1 - axis)));
        let strip = depth.div_ceil(DEPTH) * TILE;
        let len = n.div_ceil(EDGE) * strip;
        let mut tiles = Vec::with_capacity(len);
        tiles.spare_capacity_mut()[..len].par_chunks_mut(strip).enumerate().for_each(|(idx, tiles)| {
            let (first, last) = (idx * EDGE, ((idx + 1) * EDGE).min(n));
            tiles_of(matrix.slice_axis(Axis(axis), Slice::from(first..last)), tiles);
        });
        // SAFETY: `tiles_of` writes all of every strip.
        unsafe { tiles.set_len(len) };
        tiles
    }

    /// 16 numbers that lie `stride` apart, those from `len` on zero.
    ///
    /// # Safety
    /// The first `len` of them may be read, and 16 strides fit into 32 bits.
    #[target_feature(enable = "avx512f")]
    unsafe fn load(at: *const f32, stride: isize, len: usize) -> __m512 {
        let mask = if len >= 16 { u16::MAX } else { (1 << len) - 1 };
        let nothing = _mm512_setzero_ps();
        // SAFETY: masked elements are not read.
        unsafe {
            match stride {
                1 => _mm512_maskz_loadu_ps(mask, at),
                _ => {
                    let idx = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                    let idx = _mm512_mullo_epi32(idx, _mm512_set1_epi32(stride as i32));
                    _mm512_mask_i32gather_ps::<4>(nothing, mask, idx, at)
                }
            }
        }
    }

    /// Tiles of up to 16 rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn tiles_of_a(a: ArrayView2<'_, f32>, tiles: &mut [MaybeUninit<u16>]) {
        let (m, k) = a.dim();
        let [row_stride, stride] = strides(&a);
        for (tile, first) in tiles.chunks_exact_mut(TILE).zip((0..k).step_by(DEPTH)) {
            for (row, out) in tile.chunks_exact_mut(DEPTH).enumerate() {
                let half = |first: usize| {
                    let len = if row < m { k.saturating_sub(first) } else { 0 };
                    let at = a.as_ptr().wrapping_offset(row as isize * row_stride + first as isize * stride);
                    // SAFETY: numbers `first..k` of a row of the view, which `reaches`.
                    unsafe { load(at, stride, len) }
                };
                store(out, _mm512_cvtne2ps_pbh(half(first + 16), half(first)), None);
            }
        }
    }

    /// Tiles of up to 16 columns.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn tiles_of_b(b: ArrayView2<'_, f32>, tiles: &mut [MaybeUninit<u16>]) {
        let (k, n) = b.dim();
        let [row_stride, stride] = strides(&b);
        // The numbers of the first row at even places, those of the second at odd ones.
        let mut places = [0_u16; DEPTH];
        for (place, from) in places.iter_mut().enumerate() {
            *from = (place / 2 + place % 2 * EDGE) as u16;
        }
        // SAFETY: 32 numbers of 16 bits.
        let places = unsafe { _mm512_loadu_si512(places.as_ptr().cast()) };
        for (pair, out) in tiles.chunks_exact_mut(DEPTH).enumerate() {
            let row = |row: usize| {
                let at = b.as_ptr().wrapping_offset(row as isize * row_stride);
                // SAFETY: the columns of a row of the view, which `reaches`.
                unsafe { load(at, stride, if row < k { n } else { 0 }) }
            };
            store(out, _mm512_cvtne2ps_pbh(row(2 * pair + 1), row(2 * pair)), Some(places));
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn store(out: &mut [MaybeUninit<u16>], numbers: __m512bh, places: Option<__m512i>) {
        assert_eq!(out.len(), DEPTH, "one vector");
        // SAFETY: both types are 512 bits of any content; the output has 512 bits.
        unsafe {
            let numbers: __m512i = std::mem::transmute(numbers);
            let numbers = places.map_or(numbers, |places| _mm512_permutexvar_epi16(places, numbers));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), numbers);
        }
    }

    fn strides(matrix: &ArrayView2<'_, f32>) -> [isize; 2] {
        let &[row, column] = matrix.strides() else { unreachable!("a matrix has two strides") };
        [row, column]
    }

    /// The first strip and the second; where there is one only, it stands for both.
    fn two(strips: &[u16], strip: usize) -> [&[u16]; 2] {
        let (first, second) = strips.split_at(strip);
        [first, if second.is_empty() { first } else { second }]
    }

    /// The tile registers of this thread, all of 16 rows of 64 bytes, while this lives.
    struct Tiles;

    impl Tiles {
        fn configure() -> Self {
            let shapes = Shapes::new([EDGE, EDGE]);
            // SAFETY: reads the 64 bytes of the shapes; made only where the process may use tiles.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, readonly)) };
            Self
        }
    }

    impl Drop for Tiles {
        fn drop(&mut self) {
            // SAFETY: gives back the registers that `configure` took.
            unsafe { asm!("tilerelease", options(nostack, nomem)) };
        }
    }

    /// # Safety
    /// The tiles are configured, and `c` is 32 rows of 32 numbers, `row` numbers apart, that nobody else has.
    unsafe fn block_by_tiles(a: &[u16], b: &[u16], strip: usize, c: *mut f32, row: usize) {
        let ([a0, a1], [b0, b1]) = (two(a, strip), two(b, strip));
        // SAFETY: every step reads a tile of each of the four strips, which are `strip` long, a multiple of the tile; the
        // four results fill c.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{a0} + {row}*1]",
                "tileloadd tmm6, [{b0} + {row}*1]",
                "tileloadd tmm7, [{b1} + {row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{a1} + {row}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a0}, 1024",
                "add {a1}, 1024",
                "add {b0}, 1024",
                "add {b1}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{c} + {c_row}*1], tmm0",
                "tilestored [{c} + {c_row}*1 + 64], tmm1",
                "tilestored [{below} + {c_row}*1], tmm2",
                "tilestored [{below} + {c_row}*1 + 64], tmm3",
                a0 = inout(reg) a0.as_ptr() => _,
                a1 = inout(reg) a1.as_ptr() => _,
                b0 = inout(reg) b0.as_ptr() => _,
                b1 = inout(reg) b1.as_ptr() => _,
                steps = inout(reg) strip / TILE => _,
                row = in(reg) 64_usize,
                c = in(reg) c,
                below = in(reg) c.add(EDGE * row),
                c_row = in(reg) 4 * row,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn block_by_vectors(a: &[u16], b: &[u16], strip: usize, c: &mut [f32; BLOCK * BLOCK]) {
        const ROWS: usize = 8;
        let [b0, b1] = two(b, strip);
        for (a, c) in two(a, strip).into_iter().zip(c.chunks_exact_mut(EDGE * BLOCK)) {
            for (part, c) in c.chunks_exact_mut(ROWS * BLOCK).enumerate() {
                let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
                for step in (0..strip).step_by(DEPTH) {
                    // Pair `pair` of this tile's rows, and of its columns.
                    let (tile, pair) = (step / TILE * TILE, step % TILE / DEPTH);
                    // SAFETY: a row of 32 numbers of a tile; both types are 512 bits of any content.
                    let columns: [__m512bh; 2] = [b0, b1].map(|b| unsafe {
                        std::mem::transmute(_mm512_loadu_si512(b[step..step + DEPTH].as_ptr().cast()))
                    });
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let at = tile + (part * ROWS + row) * DEPTH + 2 * pair;
                        let [x, y] = [a[at], a[at + 1]].map(i32::from);
                        // SAFETY: both types are 512 bits of any content.
                        let both: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi32(x | y << 16)) };
                        sums[0] = _mm512_dpbf16_ps(sums[0], both, columns[0]);
                        sums[1] = _mm512_dpbf16_ps(sums[1], both, columns[1]);
                    }
                }
                for (c, sums) in c.chunks_exact_mut(BLOCK).zip(sums) {
                    let (left, right) = c.split_at_mut(EDGE);
                    // SAFETY: 16 numbers each.
                    unsafe {
                        _mm512_storeu_ps(left.as_mut_ptr(), sums[0]);
                        _mm512_storeu_ps(right.as_mut_ptr(), sums[1]);
                    }
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use ndarray::Array2;

        use super::*;

        fn rounded(x: f32) -> f64 {
            let bits = x.to_bits();
            f64::from(f32::from_bits((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000))
        }

        #[test]
        fn products_are_those_of_rounded_operands() {
            let Some(best) = level() else { return };
            let matrix = |m, n, seed: usize| {
                Array2::from_shape_fn((m, n), |(i, j)| {
                    ((i * 313 + j * 71 + seed) % 1009) as f32 / 500.0 - 1.0
                })
            };
            for (m, k, n) in [(1, 1, 1), (16, 32, 16), (37, 65, 50), (67, 700, 131), (129, 31, 17)] {
                let (a, b) = (matrix(m, k, 1), matrix(k, n, 2));
                let exact = a.mapv(rounded).dot(&b.mapv(rounded));
                let [a_by_columns, b_by_columns] = [&a, &b].map(|x| x.t().as_standard_layout().into_owned());
                for level in [Level::Vectors, best] {
                    for (a, b) in
                        [(a.view(), b.view()), (a_by_columns.t(), b.view()), (a.view(), b_by_columns.t())]
                    {
                        let c = product(a, b, level);
                        assert_eq!(c.len(), m * n);
                        for (c, exact) in c.iter().zip(&exact) {
                            assert!(
                                (f64::from(*c) - exact).abs() < 2e-4,
                                "{m} {k} {n} {level:?}: {c}, {exact}"
                            );
                        }
                    }
                }
            }
        }
    }
}
