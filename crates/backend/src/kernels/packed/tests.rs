//! Every path that this processor has, and the plain one, against sums in f64 or in integers.

use ndarray::{Array2, ArrayView2};

use super::path::{BF16, INT8};
use super::*;

/// Rows, inputs, outputs: one row to more than two groups, odd and prime, below and above a panel.
const SIZES: [[usize; 3]; 15] = [
    [1, 1, 1],
    [1, 3, 2],
    [1, 67, 131],
    [2, 5, 64],
    [3, 64, 65],
    [4, 129, 7],
    [5, 31, 257],
    [6, 8, 128],
    [7, 2, 63],
    [13, 257, 67],
    [23, 130, 191],
    // Whole tiles of AMX, and groups of 8 rows to two of 17.
    [8, 64, 1],
    [31, 128, 97],
    [33, 192, 67],
    [34, 64, 64],
];

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mixed =
        |i: usize| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed).wrapping_mul(2_246_822_519);
    (0..n).map(|i| ((mixed(i) >> 8) as f32 / 8_388_608.0 - 1.0) * (1.0 + (i % 7) as f32)).collect()
}

struct Layer {
    x: Vec<f32>,
    weight: Array2<f32>,
    bias: Vec<f32>,
}

fn layer([rows, d_in, d_out]: [usize; 3]) -> Layer {
    let weight = Array2::from_shape_vec((d_in, d_out), numbers(d_in * d_out, 2)).expect("as many");
    Layer { x: numbers(rows * d_in, 1), weight, bias: numbers(d_out, 3) }
}

/// The outputs of every path that suits, by its name.
fn all_paths(
    x: &[f32],
    weight: ArrayView2<'_, f32>,
    bias: &[f32],
    precision: Precision,
) -> Vec<(&'static str, Vec<f32>)> {
    let panels = &Panels::new(weight, precision);
    let (d_in, n_rows, bias) = (panels.d_in, x.len() / panels.d_in, Some(bias));
    let outputs = || vec![f32::NAN; n_rows * panels.d_out];
    let int8 = INT8.iter().filter(|path| (path.suits)(n_rows, d_in)).map(|path| {
        let (rows, mut y) = (&Rows::int8(x, d_in, path.layout), outputs());
        Product { rows, panels, bias }.run(path.columns, &mut y);
        (path.name, y)
    });
    let bf16 = BF16.iter().filter(|path| (path.suits)(n_rows, d_in)).map(|path| {
        let (rows, mut y) = (&Rows::f32(x, d_in), outputs());
        Product { rows, panels, bias }.run(path.columns, &mut y);
        (path.name, y)
    });
    match precision {
        Precision::Int8 => int8.collect(),
        Precision::Bf16 => bf16.collect(),
    }
}

/// Step and 8-bit numbers, in another way than the kernels'.
fn quantised(numbers: &[f32]) -> (f32, Vec<i64>) {
    let step = numbers.iter().fold(0.0_f32, |max, x| max.max(x.abs())) / 127.0;
    (step, numbers.iter().map(|x| (x * (1.0 / step)).round_ties_even() as i64).collect())
}

/// The nearer of the two bf16 around a number.
fn nearest_bf16(x: f32) -> f64 {
    let toward_zero = x.to_bits() & 0xFFFF_0000;
    let [near, far] = [toward_zero, toward_zero + 0x1_0000].map(|bits| f64::from(f32::from_bits(bits)));
    let (to_near, to_far) = ((f64::from(x) - near).abs(), (f64::from(x) - far).abs());
    let near_is_even = toward_zero & 0x1_0000 == 0;
    if to_near < to_far || (to_near == to_far && near_is_even) { near } else { far }
}

#[test]
fn int8_is_the_exact_sum_of_the_rounded_numbers() {
    for size in SIZES {
        let Layer { x, weight, bias } = layer(size);
        let columns: Vec<_> =
            weight.columns().into_iter().map(|column| quantised(&column.to_vec())).collect();
        let want: Vec<f32> = x
            .chunks(size[1])
            .map(quantised)
            .flat_map(|(row_step, row)| {
                let outputs = columns.iter().zip(&bias).map(move |((step, column), bias)| {
                    let sum: i64 = row.iter().zip(column).map(|(x, w)| x * w).sum();
                    sum as f32 * (row_step * step) + bias
                });
                outputs.collect::<Vec<_>>()
            })
            .collect();
        for (path, y) in all_paths(&x, weight.view(), &bias, Precision::Int8) {
            assert_eq!(y, want, "{path}, {size:?}");
        }
    }
}

#[test]
fn bf16_is_the_sum_of_products_with_the_rounded_weights() {
    for size in SIZES {
        let [_, d_in, d_out] = size;
        let Layer { x, weight, bias } = layer(size);
        let rounded = weight.mapv(nearest_bf16);
        for (path, y) in all_paths(&x, weight.view(), &bias, Precision::Bf16) {
            for (idx, &y) in y.iter().enumerate() {
                let products =
                    (0..d_in).map(|i| f64::from(x[idx / d_out * d_in + i]) * rounded[[i, idx % d_out]]);
                let (sum, size_of_terms) =
                    products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()));
                let want = sum + f64::from(bias[idx % d_out]);
                // Each of the d_in additions, the product of the plain path and that of the bias round by 2⁻²⁴.
                let tolerance = (d_in + 2) as f64 * 2.0_f64.powi(-24) * (size_of_terms + want.abs());
                assert!(
                    (f64::from(y) - want).abs() <= tolerance,
                    "{path}, {size:?} [{idx}]: {y}, want {want}"
                );
            }
        }
    }
}

#[test]
fn int8_weights_and_activations_at_their_ends_do_not_overflow() {
    let (n_rows, d_out) = (9, 67);
    for d_in in [1021, 1024] {
        for (x, w) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
            let (x_rows, weight) = (vec![x; n_rows * d_in], Array2::from_elem((d_in, d_out), w));
            for (path, y) in all_paths(&x_rows, weight.view(), &vec![0.0; d_out], Precision::Int8) {
                let step = 1.0_f32 / 127.0;
                let want = (127 * 127 * d_in) as f32 * (step * step) * x * w;
                assert!(y.iter().all(|&y| y == want), "{path}: {:?}, want {want}", &y[..2]);
            }
        }
    }
}

#[test]
fn a_transposed_weight_is_read_where_it_lies() {
    let Layer { x, weight, bias } = layer([5, 31, 67]);
    let table = weight.t().as_standard_layout().into_owned();
    for precision in [Precision::Bf16, Precision::Int8] {
        let plain = all_paths(&x, weight.view(), &bias, precision);
        assert_eq!(all_paths(&x, table.t(), &bias, precision), plain, "{precision:?}");
    }
}

#[test]
fn rows_that_are_not_finite_or_zero_stay_by_themselves() {
    for size in [[7, 19, 67], [11, 64, 67]] {
        not_finite_or_zero(size);
    }
}

fn not_finite_or_zero(size @ [n_rows, d_in, d_out]: [usize; 3]) {
    let Layer { mut x, weight, bias } = layer(size);
    let ordinary: Vec<_> =
        [Precision::Bf16, Precision::Int8].map(|p| all_paths(&x, weight.view(), &bias, p)).into();
    x[3] = f32::NAN;
    x[3 * d_in - 1] = f32::INFINITY;
    x[4 * d_in..5 * d_in].fill(0.0);
    for (precision, ordinary) in [Precision::Bf16, Precision::Int8].into_iter().zip(ordinary) {
        for ((path, y), (_, ordinary)) in
            all_paths(&x, weight.view(), &bias, precision).into_iter().zip(ordinary)
        {
            let row = |row: usize| &y[row * d_out..(row + 1) * d_out];
            assert!(row(0).iter().all(|y| y.is_nan()), "{path}, {precision:?}: NaN");
            let not_finite = match precision {
                Precision::Bf16 => row(2).iter().all(|y| y.is_infinite()),
                Precision::Int8 => row(2).iter().all(|y| y.is_nan()),
            };
            assert!(not_finite, "{path}, {precision:?}: infinity");
            assert_eq!(row(4), bias, "{path}, {precision:?}: zero");
            for idx in (0..n_rows).filter(|idx| ![0, 2, 4].contains(idx)) {
                assert_eq!(
                    row(idx),
                    &ordinary[idx * d_out..(idx + 1) * d_out],
                    "{path}, {precision:?}: row {idx}"
                );
            }
        }
    }
}

#[test]
fn weights_that_are_not_finite_or_zero_stay_by_themselves() {
    let Layer { x, mut weight, bias } = layer([3, 19, 67]);
    weight[[4, 1]] = f32::NAN;
    weight[[5, 65]] = f32::NEG_INFINITY;
    weight.column_mut(66).fill(0.0);
    for precision in [Precision::Bf16, Precision::Int8] {
        for (path, y) in all_paths(&x, weight.view(), &bias, precision) {
            for row in y.chunks(67) {
                let finite: Vec<usize> = (0..67).filter(|&column| row[column].is_finite()).collect();
                assert_eq!(
                    finite,
                    (0..67).filter(|column| ![1, 65].contains(column)).collect::<Vec<_>>(),
                    "{path}"
                );
                assert_eq!(row[66], bias[66], "{path}, {precision:?}");
            }
        }
    }
}

#[test]
fn a_row_alone_has_the_bits_that_it_has_among_others() {
    for (precision, d_in) in [(Precision::Bf16, 131), (Precision::Int8, 131), (Precision::Int8, 128)] {
        let Layer { x, weight, bias } = layer([13, d_in, 67]);
        let together = all_paths(&x, weight.view(), &bias, precision);
        for (idx, row) in x.chunks(d_in).enumerate() {
            let alone = all_paths(row, weight.view(), &bias, precision);
            for (path, together) in &together {
                // A path for many rows is compared with the one that is taken for one.
                let (_, y) = alone.iter().find(|(name, _)| name == path).unwrap_or(&alone[0]);
                assert_eq!(y[..], together[idx * 67..(idx + 1) * 67], "{path}, {precision:?}, row {idx}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    // Large enough for several parts.
    let Layer { x, weight, bias } = layer([17, 256, 1031]);
    for precision in [Precision::Bf16, Precision::Int8] {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| all_paths(&x, weight.view(), &bias, precision))
        };
        assert_eq!(on(1), on(2), "{precision:?}");
        assert_eq!(on(1), on(3), "{precision:?}");
    }
}
