//! Activations, element by element, alone or as the gate of another tensor.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::{Cpu, Kernel, Primitive, elements, map2, shape, simd, update};

/// A function of one number.
pub(crate) trait Function: Debug + Default + Send + Sync + 'static {
    fn value(x: f32) -> f32;
    /// The derivative.
    fn slope(x: f32) -> f32;
}

/// `f(x)`.
#[derive(Debug, Default)]
pub(crate) struct Activation<F>(PhantomData<F>);

impl<F: Function> Kernel<1> for Activation<F> {
    type Saved<K: Cpu> = Primitive<K>;

    fn forward<K: Cpu>(&self, [x]: [Primitive<K>; 1]) -> (Primitive<K>, Primitive<K>) {
        let y = {
            let x = elements::<K>(&x);
            map2(
                &x,
                &x,
                #[inline(always)]
                |x, _| F::value(x),
            )
        };
        (K::tensor(y, &shape::<K>(&x)), x)
    }

    fn backward<K: Cpu>(
        &self,
        x: Primitive<K>,
        mut dy: Primitive<K>,
        _: [bool; 1],
    ) -> [Option<Primitive<K>>; 1] {
        update(
            K::elements_mut(&mut dy),
            &elements::<K>(&x),
            #[inline(always)]
            |dy, x| dy * F::slope(x),
        );
        [Some(dy)]
    }
}

/// `f(gate) · up`. Inputs: gate, up, of one shape.
#[derive(Debug, Default)]
pub(crate) struct Gated<F>(PhantomData<F>);

impl<F: Function> Kernel<2> for Gated<F> {
    type Saved<K: Cpu> = [Primitive<K>; 2];

    fn forward<K: Cpu>(&self, [gate, up]: [Primitive<K>; 2]) -> (Primitive<K>, [Primitive<K>; 2]) {
        let y = map2(
            &elements::<K>(&gate),
            &elements::<K>(&up),
            #[inline(always)]
            |gate, up| F::value(gate) * up,
        );
        (K::tensor(y, &shape::<K>(&gate)), [gate, up])
    }

    fn backward<K: Cpu>(
        &self,
        [gate, up]: [Primitive<K>; 2],
        mut dy: Primitive<K>,
        _: [bool; 2],
    ) -> [Option<Primitive<K>>; 2] {
        let (gate, up) = (elements::<K>(&gate), elements::<K>(&up));
        let dup = map2(
            &elements::<K>(&dy),
            &gate,
            #[inline(always)]
            |dy, gate| dy * F::value(gate),
        );
        let dup = K::tensor(dup, &shape::<K>(&dy));
        let dgate = K::elements_mut(&mut dy);
        update(dgate, &up, |dy, up| dy * up);
        update(
            dgate,
            &gate,
            #[inline(always)]
            |dy, gate| dy * F::slope(gate),
        );
        [Some(dy), Some(dup)]
    }
}

/// `x · Φ(x)`.
#[derive(Debug, Default)]
pub(crate) struct Gelu;

impl Function for Gelu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * cdf(x)
    }

    /// `Φ(x) + x·φ(x)`.
    #[inline(always)]
    fn slope(x: f32) -> f32 {
        const INV_SQRT_TAU: f32 = 0.398_942_3;
        cdf(x) + x * INV_SQRT_TAU * simd::exp(-0.5 * x * x)
    }
}

/// The distribution function of the standard normal distribution.
#[inline(always)]
fn cdf(x: f32) -> f32 {
    0.5 + 0.5 * simd::erf(x * std::f32::consts::FRAC_1_SQRT_2)
}

/// `x · σ(2u)` with `u = √(2/π)·(x + 0.044715·x³)`, which is `½x·(1 + tanh u)`.
#[derive(Debug, Default)]
pub(crate) struct GeluTanh;

const SQRT_8_OVER_PI: f32 = 1.595_769;
const CUBIC: f32 = 0.044_715;

impl Function for GeluTanh {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * sigmoid(SQRT_8_OVER_PI * (x + CUBIC * x * x * x))
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        // NUMERICS: beyond, it is 0 or 1 in f32, but powers overflow and give 0 · ∞.
        let x = x.clamp(-64.0, 64.0);
        let s = sigmoid(SQRT_8_OVER_PI * (x + CUBIC * x * x * x));
        s + x * s * (1.0 - s) * SQRT_8_OVER_PI * (1.0 + 3.0 * CUBIC * x * x)
    }
}

/// `max(x, 0)`, of slope 0 at 0.
#[derive(Debug, Default)]
pub(crate) struct Relu;

impl Function for Relu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        // NUMERICS: not `f32::max`, which would hide NaN.
        if x < 0.0 { 0.0 } else { x }
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        if x > 0.0 { 1.0 } else { 0.0 }
    }
}

/// `x · σ(x)`.
#[derive(Debug, Default)]
pub(crate) struct Silu;

impl Function for Silu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * sigmoid(x)
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        let s = sigmoid(x);
        s + x * s * (1.0 - s)
    }
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + simd::exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_out_activations_are_lines() {
        fn check<F: Function>() {
            for x in [100.0, 1e10, 1e25] {
                let ends = [F::value(x), F::slope(x), F::value(-x), F::slope(-x)];
                assert_eq!(ends, [x, 1.0, 0.0, 0.0], "{} at {x}", std::any::type_name::<F>());
                assert!(F::slope(f32::NAN).is_nan() || std::any::type_name::<F>().contains("Relu"));
            }
        }
        check::<Gelu>();
        check::<GeluTanh>();
        check::<Relu>();
        check::<Silu>();
    }
}
