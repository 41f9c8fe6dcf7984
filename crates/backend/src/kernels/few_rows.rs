//! Products of a few rows with a matrix, as in decoding: bound by reading the matrix, so it is read once and in order.

use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

use super::simd;

/// Up to how many rows this is faster than a blocked product, which rearranges the matrix first.
pub(super) const FEW: usize = 4;
/// How many rows of the matrix a task takes.
const DEPTH: usize = 128;
/// How many columns a task takes: few enough for their sums to stay in the first-level cache.
const WIDTH: usize = 2048;
/// How many columns a task takes where a column lies in one piece.
const COLUMNS: usize = 128;

/// `a · b` in row-major order; `None` where `a` has more than a few rows, or `b` lies neither by rows nor by columns.
pub(super) fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, threads: bool) -> Option<Vec<f32>> {
    let ((m, k), n) = (a.dim(), b.ncols());
    if !(1..=FEW).contains(&m) || k == 0 || n == 0 {
        return None;
    }
    let rows: Vec<&[f32]> = a.rows().into_iter().map(|row| row.to_slice()).collect::<Option<_>>()?;
    if b.t().is_standard_layout() {
        let columns = b.reversed_axes().to_slice()?;
        return Some(by_columns(&rows, columns, n, threads));
    }
    let by_rows = n == 1 || b.strides()[1] == 1;
    by_rows.then(|| by_rows_of(&rows, b, threads))
}

/// Every column of `b` is a dot product with each row.
fn by_columns(rows: &[&[f32]], columns: &[f32], n: usize, threads: bool) -> Vec<f32> {
    let k = columns.len() / n.max(1);
    let dots = |block: &[f32]| -> Vec<f32> {
        simd::dispatch!({
            rows.iter().flat_map(|row| block.chunks_exact(k).map(|column| simd::dot(row, column))).collect()
        })
    };
    let blocks: Vec<Vec<f32>> = match threads {
        true => columns.par_chunks(COLUMNS * k).map(dots).collect(),
        false => vec![dots(columns)],
    };
    let mut y = Vec::with_capacity(rows.len() * n);
    for row in 0..rows.len() {
        for block in &blocks {
            let width = block.len() / rows.len();
            y.extend_from_slice(&block[row * width..(row + 1) * width]);
        }
    }
    y
}

/// Every row of `b`, times an element of each row of `a`, is added up.
fn by_rows_of(rows: &[&[f32]], b: ArrayView2<'_, f32>, threads: bool) -> Vec<f32> {
    let (m, n) = (rows.len(), b.ncols());
    let mut y = vec![0.0; m * n];
    if !threads {
        if let Ok(y) = ArrayViewMut2::from_shape((m, n), &mut y) {
            add_rows(rows, 0, b, y);
        }
        return y;
    }
    let tasks: Vec<(usize, usize)> = (0..b.nrows())
        .step_by(DEPTH)
        .flat_map(|top| (0..n).step_by(WIDTH).map(move |left| (top, left)))
        .collect();
    let parts: Vec<Vec<f32>> = tasks
        .par_iter()
        .map(|&(top, left)| {
            let (bottom, right) = ((top + DEPTH).min(b.nrows()), (left + WIDTH).min(n));
            let tile = b.slice(ndarray::s![top..bottom, left..right]);
            let mut part = vec![0.0; m * (right - left)];
            if let Ok(part) = ArrayViewMut2::from_shape((m, right - left), &mut part) {
                add_rows(rows, top, tile, part);
            }
            part
        })
        .collect();
    // In the order of the rows of `b`, whatever thread was first.
    for (&(_, left), part) in tasks.iter().zip(&parts) {
        let width = part.len() / m;
        for (y, part) in y.chunks_exact_mut(n).zip(part.chunks_exact(width)) {
            simd::update(&mut y[left..left + width], part, |y, part| y + part);
        }
    }
    y
}

/// `y += a[.., top..]·b`.
fn add_rows(rows: &[&[f32]], top: usize, b: ArrayView2<'_, f32>, y: ArrayViewMut2<'_, f32>) {
    // Without the instruction a fused product would be a call for every element.
    #[cfg(target_arch = "x86_64")]
    if !is_x86_feature_detected!("fma") {
        return add_rows_by::<false>(rows, top, b, y);
    }
    add_rows_by::<true>(rows, top, b, y);
}

/// `a·b + y`, rounded once where fused.
#[inline(always)]
fn added<const FUSED: bool>(a: f32, b: f32, y: f32) -> f32 {
    if FUSED { a.mul_add(b, y) } else { a * b + y }
}

/// Four rows of `b` at a time.
///
/// NUMERICS: each is added in its turn, by fused products where there are some, as in a blocked product: decoding then
/// differs from reading a text at once as little as it can.
fn add_rows_by<const FUSED: bool>(
    rows: &[&[f32]],
    top: usize,
    b: ArrayView2<'_, f32>,
    mut y: ArrayViewMut2<'_, f32>,
) {
    const AT_A_TIME: usize = 4;
    simd::dispatch!({
        for (piece, b) in b.axis_chunks_iter(Axis(0), AT_A_TIME).enumerate() {
            let first = top + piece * AT_A_TIME;
            for (a, mut y) in rows.iter().zip(y.rows_mut()) {
                let Some(y) = y.as_slice_mut() else { unreachable!("the sums lie by rows") };
                let row = |i: usize| match b.index_axis(Axis(0), i).to_slice() {
                    Some(row) => row,
                    None => unreachable!("the matrix lies by rows"),
                };
                match a[first..first + b.nrows()] {
                    [a0, a1, a2, a3] => {
                        let (b0, b1, b2, b3) = (row(0), row(1), row(2), row(3));
                        for ((((y, b0), b1), b2), b3) in y.iter_mut().zip(b0).zip(b1).zip(b2).zip(b3) {
                            let sum = added::<FUSED>(a1, *b1, added::<FUSED>(a0, *b0, *y));
                            *y = added::<FUSED>(a3, *b3, added::<FUSED>(a2, *b2, sum));
                        }
                    }
                    ref rest => {
                        for (i, a) in rest.iter().enumerate() {
                            simd::update(y, row(i), |y, b| added::<FUSED>(*a, b, y));
                        }
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn matrix(m: usize, n: usize, seed: usize) -> Array2<f32> {
        Array2::from_shape_fn((m, n), |(i, j)| ((i * 31 + j * 17 + seed) % 23) as f32 / 7.0 - 1.5)
    }

    #[test]
    fn products_of_all_layouts_and_odd_sizes() {
        for (m, k, n) in [(1, 1, 1), (1, 131, 2051), (3, 257, 129), (4, 7, 1), (2, 128, 300)] {
            let (a, b) = (matrix(m, k, 1), matrix(k, n, 5));
            let by_columns = b.t().as_standard_layout().into_owned();
            let exact = a.mapv(f64::from).dot(&b.mapv(f64::from));
            for threads in [false, true] {
                for b in [b.view(), by_columns.t()] {
                    let y = product(a.view(), b, threads).unwrap();
                    for (y, exact) in y.iter().zip(&exact) {
                        assert!((f64::from(*y) - exact).abs() < 2e-4, "{m} {k} {n}: {y} for {exact}");
                    }
                }
            }
        }
        for (m, k, n) in [(5, 3, 2), (0, 3, 5), (2, 3, 0), (0, 3, 0), (2, 0, 3)] {
            assert!(product(matrix(m, k, 0).view(), matrix(k, n, 0).view(), true).is_none(), "{m} {k} {n}");
        }
    }
}
