//! Matrix products.

use gemm::Parallelism;
use ndarray::{ArrayView2, ArrayViewMut2};

use super::{bf16, few_rows, update};
use crate::ops::Products;

/// `a·b` in row-major order, on all threads where it is large enough to be worth it.
pub(super) fn matmul(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, products: Products) -> Vec<f32> {
    if let Some(c) = few_rows::product(a, b, true) {
        return c;
    }
    if products == Products::Bf16
        && let Some(c) = bf16::product(a, b)
    {
        return c;
    }
    let (m, n) = (a.nrows(), b.ncols());
    let mut c = Vec::with_capacity(m * n);
    let whole = c.as_mut_ptr();
    // SAFETY: the elements up to `m·n` are allocated, and a product with `beta = 0` writes each without reading it.
    unsafe {
        product(1.0, a, b, 0.0, whole, [n as isize, 1], Parallelism::Rayon(0));
        c.set_len(m * n);
    }
    c
}

/// `c ← c + a·b`, as [`matmul`].
pub(super) fn add_product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, c: &mut [f32], products: Products) {
    let (m, n) = (a.nrows(), b.ncols());
    assert_eq!(c.len(), m * n, "c must be as large as the product");
    if products == Products::Bf16 {
        return update(c, &matmul(a, b, products), |c, product| c + product);
    }
    // SAFETY: c is borrowed for writing and has the product's size.
    unsafe { product(1.0, a, b, 1.0, c.as_mut_ptr(), [n as isize, 1], Parallelism::Rayon(0)) };
}

/// `c ← alpha · a·b + beta · c` on this thread alone, for use inside of a parallel loop.
pub(super) fn matmul_here(
    alpha: f32,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    beta: f32,
    mut c: ArrayViewMut2<'_, f32>,
) {
    assert_eq!(c.dim(), (a.nrows(), b.ncols()), "c must be as large as the product");
    if beta == 0.0
        && let Some(few) = few_rows::product(a, b, false)
    {
        c.iter_mut().zip(few).for_each(|(c, product)| *c = alpha * product);
        return;
    }
    let &[row, column] = c.strides() else { unreachable!("a matrix has two strides") };
    // SAFETY: the view vouches that every element of c under its strides may be read and written by nobody else.
    unsafe { product(alpha, a, b, beta, c.as_mut_ptr(), [row, column], Parallelism::None) };
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

/// # Safety
/// Nobody else may read or write `c[i·row + j·column]` for `i < a.nrows()` and `j < b.ncols()`, and unless `beta` is 0
/// they must be initialised.
unsafe fn product(
    alpha: f32,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    beta: f32,
    c: *mut f32,
    [row, column]: [isize; 2],
    threads: Parallelism,
) {
    let ((m, k), n) = (a.dim(), b.ncols());
    assert_eq!(b.nrows(), k, "a [{m}, {k}] must fit b");
    let ([a_row, a_col], [b_row, b_col]) = (strides(&a), strides(&b));
    // SAFETY: the views vouch that every element of [m, k] and [k, n] under their strides may be read, the caller for
    // those of c.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            column,
            row,
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
