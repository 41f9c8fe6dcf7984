//! Loops over slices that the compiler turns into the widest vectors the processor has.

/// Sums and maxima are kept in this many lanes, whatever the processor, so that they come out the same on all.
const LANES: usize = 16;

/// Computes an expression compiled for what the processor has (AVX-512, AVX2, NEON or plain), found at run time. Only what
/// is inlined into the expression profits: the functions below are, and closures within are to be marked if they are long.
///
/// PERF: a macro, because the closure must be marked too. Called for each kind of processor it is not inlined by itself, and
/// then compiled for none of them; `mul_add` becomes a call for every element.
macro_rules! dispatch {
    ($body:expr) => {
        $crate::kernels::simd::run(
            #[inline(always)]
            || $body,
        )
    };
}
pub(super) use dispatch;

/// See [`dispatch!`].
#[inline(always)]
pub(super) fn run<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// `eˣ` within 2 units in the last place; 0 below −87.3, where the result would leave the normal numbers.
///
/// `x = n·ln 2 + r`, and a polynomial of `r` (Cephes, `expf`).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it leaves an integer in the low bits
    let clamped = if x > 88.0 { 88.0 } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * 0.693_359_4 + n * 2.121_944_4e-4; // ln 2 in two parts
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let two_to_n = f32::from_bits(shifted.to_bits().wrapping_sub(0x4B40_0000).wrapping_add(127) << 23);
    let y = if x > 88.72 { f32::INFINITY } else { p * two_to_n };
    if x < -87.3 { 0.0 } else { y }
}

/// The error function within 3 units in the last place: the rational minimax approximation of Eigen and XLA, constant
/// where it has reached 1 in f32.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    const ONE_FROM: f32 = 3.832_507;
    let whole = x;
    let x = if x > ONE_FROM { ONE_FROM } else { x };
    let x = if x < -ONE_FROM { -ONE_FROM } else { x };
    let x2 = x * x;
    let p = -2.726_142_3e-10;
    let p = p * x2 + 2.770_681_4e-8;
    let p = p * x2 - 2.101_024e-6;
    let p = p * x2 - 5.692_506_4e-5;
    let p = p * x2 - 7.349_906_3e-4;
    let p = p * x2 - 2.954_6e-3;
    let p = p * x2 - 1.609_603_3e-2;
    let q = -1.456_607_2e-5;
    let q = q * x2 - 2.133_740_5e-4;
    let q = q * x2 - 1.682_827e-3;
    let q = q * x2 - 7.373_329e-3;
    let q = q * x2 - 1.426_473_9e-2;
    let y = x * p / q;
    // NUMERICS: not 1 less a unit, which GELU multiplies by x.
    let y = if whole >= ONE_FROM { 1.0 } else { y };
    if whole <= -ONE_FROM { -1.0 } else { y }
}

/// The sum, in lanes.
#[inline(always)]
pub(super) fn sum(x: &[f32]) -> f32 {
    fold(x, x, |x, _| x)
}

/// The sum of the products.
#[inline(always)]
pub(super) fn dot(x: &[f32], y: &[f32]) -> f32 {
    fold(x, y, |x, y| x * y)
}

/// The sum of `f` over pairs.
#[inline(always)]
pub(super) fn fold(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (x_lanes, x_rest) = x.as_chunks::<LANES>();
    let (y_lanes, y_rest) = y.as_chunks::<LANES>();
    for (x, y) in x_lanes.iter().zip(y_lanes) {
        for (lane, (&x, &y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += f(x, y);
        }
    }
    let rest: f32 = x_rest.iter().zip(y_rest).map(|(&x, &y)| f(x, y)).sum();
    lanes.iter().sum::<f32>() + rest
}

/// The largest element; NaN is passed over.
#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max })
}

/// `y ← f(y, x)`.
#[inline(always)]
pub(super) fn update(y: &mut [f32], x: &[f32], f: impl Fn(f32, f32) -> f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(*y, x);
    }
}

/// `ln Σ eˣ`. NaN reaches the sum, though not the maximum.
#[inline(always)]
pub(super) fn log_sum_exp(x: &[f32]) -> f32 {
    let max = max(x);
    max + fold(
        x,
        x,
        #[inline(always)]
        |x, _| exp(x - max),
    )
    .ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In units of the last place of `want`.
    fn worst(f: fn(f32) -> f32, want: fn(f64) -> f64, from: f32, to: f32) -> f64 {
        let n = 200_001;
        let x = |i| from + (to - from) * i as f32 / (n - 1) as f32;
        let error = |x: f32| {
            let want = want(f64::from(x));
            let ulp = f64::from(f32::EPSILON) * want.abs().max(f64::from(f32::MIN_POSITIVE));
            (f64::from(f(x)) - want).abs() / ulp
        };
        (0..n).map(|i| error(x(i))).fold(0.0, f64::max)
    }

    /// The series of Abramowitz and Stegun 7.1.6, in f64.
    fn exact_erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= 2.0 * x * x / (2 * n + 1) as f64;
            sum += term;
        }
        2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
    }

    #[test]
    fn exp_and_erf_are_exact_to_a_few_units() {
        let exp_error = dispatch!(worst(exp, f64::exp, -87.0, 88.0));
        assert!(exp_error < 3.0, "{exp_error}");
        let erf_error = dispatch!(worst(erf, exact_erf, -5.0, 5.0));
        assert!(erf_error < 5.0, "{erf_error}");
    }

    #[test]
    fn exp_at_its_ends() {
        assert_eq!([exp(f32::NEG_INFINITY), exp(-1e30), exp(-88.0)], [0.0; 3]);
        assert_eq!((exp(0.0), exp(f32::INFINITY), exp(100.0)), (1.0, f32::INFINITY, f32::INFINITY));
        assert!(exp(f32::NAN).is_nan() && erf(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_maxima_of_any_length() {
        for n in [0, 1, 15, 16, 17, 100] {
            let x: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
            let want: f64 = x.iter().map(|&x| f64::from(x)).sum();
            assert!((f64::from(sum(&x)) - want).abs() < 1e-5, "{n}");
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max), "{n}");
        }
        assert!(log_sum_exp(&[0.0, f32::NAN, 1.0]).is_nan());
    }
}
