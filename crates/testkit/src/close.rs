//! Comparison with stated tolerances. NaN fails.

use burn::tensor::{Tensor, backend::Backend};

/// Asserts `|got − want| ≤ atol + rtol · |want|` for every element.
///
/// # Panics
/// If shapes or lengths differ, an element is too far off, or one is not a number; the worst element is named.
#[track_caller]
pub fn assert_close<B: Backend, const D: usize>(
    what: &str,
    got: &Tensor<B, D>,
    want: &[f32],
    atol: f64,
    rtol: f64,
) {
    let dims = got.dims();
    let got: Vec<f32> = got.to_data().iter::<f32>().collect();
    assert_eq!(got.len(), want.len(), "{what}: {dims:?} has {} elements, want {}", got.len(), want.len());
    if let Some((idx, excess)) = worst(&got, want, atol, rtol)
        && excess > 0.0
    // NaN has become infinity in `worst`
    {
        panic!(
            "{what} {dims:?}: element {idx} is {}, want {} (tolerance {atol} + {rtol} · |want| exceeded by {excess:e})",
            got[idx], want[idx]
        );
    }
}

/// The element that exceeds the tolerance most (or falls short of it least), and by how much; NaN exceeds all.
pub fn worst(got: &[f32], want: &[f32], atol: f64, rtol: f64) -> Option<(usize, f64)> {
    let excess = got.iter().zip(want).map(|(&got, &want)| {
        let excess = f64::from(got - want).abs() - (atol + rtol * f64::from(want).abs());
        if excess.is_nan() { f64::INFINITY } else { excess }
    });
    excess.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::worst;

    #[test]
    fn nan_and_infinity_fail() {
        for bad in [f32::NAN, f32::INFINITY] {
            assert_eq!(worst(&[1.0, bad], &[1.0, bad], 1.0, 1.0), Some((1, f64::INFINITY)));
        }
    }

    #[test]
    fn the_tolerance_is_a_sum() {
        let excess = |got| worst(&[got], &[2.0], 0.1, 0.1).map(|w| w.1).unwrap_or_default();
        assert!(excess(2.29) < 0.0 && excess(2.31) > 0.0);
    }
}
