//! Matrix products.

use gemm::Parallelism;
use ndarray::{ArrayView2, ArrayViewMut2};

/// `c ← alpha · a·b + beta · c`, on all threads where the product is large enough to be worth it.
pub(super) fn matmul(
    alpha: f32,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    beta: f32,
    c: ArrayViewMut2<'_, f32>,
) {
    product(alpha, a, b, beta, c, Parallelism::Rayon(0));
}

/// [`matmul`] on this thread alone, for use inside of a parallel loop.
pub(super) fn matmul_here(
    alpha: f32,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    beta: f32,
    c: ArrayViewMut2<'_, f32>,
) {
    product(alpha, a, b, beta, c, Parallelism::None);
}

/// Elements as a matrix.
pub(super) fn matrix(elements: &[f32], rows: usize, columns: usize) -> ArrayView2<'_, f32> {
    match ArrayView2::from_shape((rows, columns), elements) {
        Ok(view) => view,
        Err(error) => unreachable!("made with this size: {error}"),
    }
}

/// Elements as a matrix to be written.
pub(super) fn matrix_mut(elements: &mut [f32], rows: usize, columns: usize) -> ArrayViewMut2<'_, f32> {
    match ArrayViewMut2::from_shape((rows, columns), elements) {
        Ok(view) => view,
        Err(error) => unreachable!("made with this size: {error}"),
    }
}

fn product(
    alpha: f32,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    beta: f32,
    mut c: ArrayViewMut2<'_, f32>,
    threads: Parallelism,
) {
    let ((m, k), n) = (a.dim(), b.ncols());
    assert_eq!((b.nrows(), c.dim()), (k, (m, n)), "a [{m}, {k}] · b must fit c");
    let ([a_row, a_col], [b_row, b_col]) = (strides(&a), strides(&b));
    let &[c_row, c_col] = c.strides() else { unreachable!("a matrix has two strides") };
    // SAFETY: the views vouch that every element of [m, k], [k, n] and [m, n] under their strides may be read, and that
    // nobody else reads or writes those of c meanwhile.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            c_col,
            c_row,
            beta != 0.0,
            a.as_ptr(),
            a_col,
            a_row,
            b.as_ptr(),
            b_col,
            b_row,
            beta,
            alpha,
            false,
            false,
            false,
            threads,
        );
    }
}

fn strides(matrix: &ArrayView2<'_, f32>) -> [isize; 2] {
    let &[row, column] = matrix.strides() else { unreachable!("a matrix has two strides") };
    [row, column]
}
