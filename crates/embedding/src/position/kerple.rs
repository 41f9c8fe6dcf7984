//! KERPLE: a bias that falls with distance by a kernel with two learned numbers per head.
//!
//! Formula: `−p_h · ln(1 + a_h·|i − j|)` (logarithmic) or `−a_h · |i − j|^(p_h)` (power) is added to the scaled scores. Chi et
//! al. 2022, arXiv:2205.09921; initial values and bounds as in the authors' code: `p` from
//! `U(0, 2)`, `a` from `U(0, 1)`, both at least 0.01, and `p` at most 2 in the power kernel.
//! Convention: a number outside its bounds counts as the bound, and its gradient draws it back.
//! Parameters: `2 · n_heads`, of each layer in the paper (`position_sharing = "per_layer"`). Limit: none. Cache: the final
//! key.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::ScoreBias;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::PositionShape;
use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::numerics::{held, ln_1p};
use super::relative::Relative;
use super::scheme::{LayerPass, Pass, Prepared, Scheme};

/// How the bias falls with distance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// `−p · ln(1 + a·|Δ|)`, which extrapolates best in the paper.
    #[default]
    Log,
    /// `−a · |Δ|^p`.
    Power,
}

/// Configuration of [`Kerple`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KerpleConfig {
    /// How the bias falls with distance.
    pub kernel: Kernel,
}

impl SchemeConfig for KerpleConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Bias,
            does: "a kernel of distance, `log` or `power`",
            parameters: "2·n_heads",
            longer_texts: "well",
            paper: "arXiv:2205.09921",
        }
    }
}

impl KerpleConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Kerple<B> {
        // From U(0, 2 · half).
        let uniform = |half: f64, name: &str| {
            let centred = Init::Uniform { bound: half }.param([shape.n_heads], key.named(name), device);
            centred.map(|x| (x + half).detach().require_grad())
        };
        Kerple { p: uniform(1.0, "p"), a: uniform(0.5, "a"), kernel: self.kernel }
    }
}

/// Adds a kernel of distance.
#[derive(Module, Debug)]
pub struct Kerple<B: Backend> {
    /// `p`, `[n_heads]`.
    pub p: Param<Tensor<B, 1>>,
    /// `a`, `[n_heads]`.
    pub a: Param<Tensor<B, 1>>,
    #[module(skip)]
    kernel: Kernel,
}

/// The least value of `a` and `p`.
const LEAST: f64 = 0.01;

impl<B: Backend> Kerple<B> {
    /// `[heads, distances]`.
    fn values(&self, distances: &[f64], device: &B::Device) -> Tensor<B, 2> {
        let row = |f: &dyn Fn(f64) -> f64| {
            let values: Vec<f32> = distances.iter().map(|d| f(d.abs()) as f32).collect();
            Tensor::<B, 2>::from_data(TensorData::new(values, [1, distances.len()]), device)
        };
        let column = |x: Tensor<B, 1>| x.unsqueeze_dim::<2>(1); // [heads, 1]
        let a = column(held(self.a.val(), LEAST, f32::MAX.into()));
        match self.kernel {
            Kernel::Log => {
                let p = column(held(self.p.val(), LEAST, f32::MAX.into()));
                -p * ln_1p(a * row(&|d| d))
            }
            Kernel::Power => {
                let p = column(held(self.p.val(), LEAST, 2.0));
                // NUMERICS: |Δ|^p = exp(p · ln |Δ|), with a logarithm of 0 that any p makes vanish.
                -a * (p * row(&|d| d.ln().max(-1e5))).exp()
            }
        }
    }
}

impl<B: Backend> Scheme<B> for Kerple<B> {
    fn name(&self) -> &'static str {
        "kerple"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        Prepared::new(Relative::of(pass).bias(|distances| self.values(distances, device)))
    }

    fn bias(&self, at: &LayerPass<'_, B>) -> ScoreBias<B> {
        at.prepared.get::<ScoreBias<B>>().clone()
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Param, ParamId};
    use burn::tensor::Tensor;
    use locus_testkit::device::NdArray;

    use super::{Kernel, Kerple, LEAST};

    type B = burn::backend::Autodiff<NdArray>;

    #[test]
    fn numbers_outside_their_bounds_count_as_the_bound_and_are_drawn_back() {
        let device = Default::default();
        let param = |x: f32| {
            Param::initialized(ParamId::new(), Tensor::<B, 1>::from_floats([x], &device).require_grad())
        };
        let kerple = Kerple { p: param(3.0), a: param(-1.0), kernel: Kernel::Power };
        let values = kerple.values(&[0.0, -1.0, 3.0], &device);
        let want = [0.0, -LEAST as f32, -9.0 * LEAST as f32];
        locus_testkit::assert_close("bias", &values, &want, 1e-7, 1e-5);
        let grads = values.sum().backward();
        let grad = |param: &Param<Tensor<B, 1>>| param.grad(&grads).expect("a gradient").into_scalar();
        // d/da of −a·(1 + 3^p) at p = 2; d/dp of it, at a = 0.01.
        assert!((grad(&kerple.a) + 10.0).abs() < 1e-4, "{}", grad(&kerple.a));
        assert!((grad(&kerple.p) + 0.09 * 3.0_f32.ln()).abs() < 1e-4, "{}", grad(&kerple.p));
    }
}
