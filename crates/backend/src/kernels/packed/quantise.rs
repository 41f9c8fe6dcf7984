//! Rounding to bf16 and to int8.

/// The nearest bf16, the even one of two; NaN stays NaN.
pub(super) fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let round = 0x7FFF + ((bits >> 16) & 1);
    (if x.is_nan() { bits | 0x0040_0000 } else { bits + round } >> 16) as u16
}

/// Symmetric 8-bit numbers: `x ≈ step · q` with `q` in −127..=127.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// What a quantised 1 stands for: 0 where all numbers count as 0, NaN where one is not finite.
    pub(super) step: f32,
    inverse: f32,
}

impl Scale {
    /// The step that lets the largest of the numbers be ±127.
    #[inline(always)]
    pub(super) fn of(numbers: impl Iterator<Item = f32>) -> Self {
        // Without their sign, floats are ordered as their bits are, infinity and NaN above all others.
        let largest = numbers.fold(0, |max, x| max.max(x.to_bits() & 0x7FFF_FFFF));
        Self::from_step(f32::from_bits(largest) / 127.0)
    }

    /// The scale of this step. A step whose inverse would overflow counts as 0, an infinite one as NaN.
    #[inline(always)]
    pub(super) fn from_step(step: f32) -> Self {
        if !step.is_finite() {
            Self { step: f32::NAN, inverse: 0.0 }
        } else if step < f32::MIN_POSITIVE {
            Self { step: 0.0, inverse: 0.0 }
        } else {
            Self { step, inverse: 1.0 / step }
        }
    }

    /// The nearest of the 8-bit numbers, the even one of two.
    #[inline(always)]
    pub(super) fn quantise(&self, x: f32) -> i8 {
        const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it leaves an integer in the low bits
        (x * self.inverse + ROUND).to_bits() as i8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_the_nearest_and_ties_go_to_even() {
        let back = |x: f32| f32::from_bits(u32::from(bf16(x)) << 16);
        assert_eq!([1.0, -0.5, 0.0, f32::INFINITY].map(back), [1.0, -0.5, 0.0, f32::INFINITY]);
        // Between 1 and its successor 1 + 2⁻⁷: the middle goes to 1, the next middle up, since 1 + 2⁻⁷ is odd.
        let middle = 1.0 + 2.0_f32.powi(-8);
        assert_eq!([middle, middle.next_up(), middle.next_down()].map(back), [1.0, 1.007_812_5, 1.0]);
        assert_eq!(back(1.0 + 3.0 * 2.0_f32.powi(-8)), 1.015_625);
        assert_eq!(back(f32::MAX), f32::INFINITY);
        assert!(back(f32::from_bits(0x7F80_0001)).is_nan() && back(-f32::NAN).is_nan());
    }

    #[test]
    fn int8_reaches_127_and_rounds_to_the_nearest() {
        let scale = Scale::of([0.3, -2.54, 1.0].into_iter());
        assert_eq!(
            [-2.54, 2.54, 0.0, 0.0299, 0.0301, -0.0301].map(|x| scale.quantise(x)),
            [-127, 127, 0, 1, 2, -2]
        );
        let one = Scale::of([127.0].into_iter());
        assert_eq!([0.5, 1.5, 2.5, -0.5, -1.5].map(|x| one.quantise(x)), [0, 2, 2, 0, -2]);
        for largest in [1e-30, 3.3e-7, 0.1, 77.7, 1e30, f32::MAX] {
            let scale = Scale::of([largest].into_iter());
            assert_eq!([largest, -largest].map(|x| scale.quantise(x)), [127, -127], "{largest}");
        }
    }

    #[test]
    fn nothing_and_what_is_not_finite_have_steps_of_their_own() {
        let step = |x: f32| Scale::of([1.0, x].into_iter()).step;
        assert!([f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY].iter().all(|&x| step(x).is_nan()));
        assert_eq!(Scale::of([0.0, -0.0, 1e-40].into_iter()).step, 0.0);
        assert_eq!(Scale::of(std::iter::empty()).step, 0.0);
    }
}
