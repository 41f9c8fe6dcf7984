//! Which body of an operation runs: its kernel or its reference.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::{BalancedCheckpointing, CheckpointStrategy};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, ElementConversion, Tensor};
use locus_backend::ops::{self, Targets};
use locus_backend::reference;
use locus_backend::rng::Key;

use super::attention::attention;
use super::cross_entropy::{
    all_ignored, cross_entropy, cross_entropy_run, extreme_logits, nan_logits, targets,
};
use super::norms::{layer_norm, layer_norm_of_views, norm_run};
use super::random::dropout;
use super::{golden, seeded};
use crate::common::{Case, values};

/// The number of operations that autodiff recorded on the longest way from a leaf: a kernel is one, its reference many.
fn depth<B: Backend, C: CheckpointStrategy, const D: usize>(tensor: Tensor<Autodiff<B, C>, D>) -> usize {
    tensor.into_primitive().tensor().node.order
}

fn depths<B: Backend, C: CheckpointStrategy>(device: &B::Device) -> [usize; 2] {
    let x = seeded::<Autodiff<B, C>, 2>([5, 7], "x", device).require_grad();
    let norm = ops::layer_norm(x.clone(), Tensor::ones([7], device), Tensor::zeros([7], device), 1e-5);
    [depth(norm), depth(ops::cross_entropy(x, Targets::new(vec![0, 1, 2, 3, 4])))]
}

/// Without autodiff the graph cannot tell, but the numbers can: a kernel gives the same bits with and without.
fn kernels_run_without_autodiff<B: Backend>(device: &B::Device) {
    let norm = |tracked: bool, fast: bool| {
        fn of<B: Backend>(fast: bool, device: &B::Device) -> Vec<f32> {
            let [x, gamma, beta] = ["x", "gamma", "beta"].map(|name| seeded::<B, 2>([31, 37], name, device));
            let [gamma, beta] = [gamma, beta].map(|x| x.narrow(0, 0, 1).squeeze_dim(0));
            values(&if fast {
                ops::layer_norm(x, gamma, beta, 1e-5)
            } else {
                reference::layer_norm(x, gamma, beta, 1e-5)
            })
        }
        if tracked { of::<Autodiff<B>>(fast, device) } else { of::<B>(fast, device) }
    };
    assert_eq!(norm(false, true), norm(true, true));
    assert_ne!(norm(false, true), norm(false, false), "the kernel rounds differently somewhere");

    // The kernel sums rows in f64: three times ln 2 is lost beside 2^24 in f32.
    let logits =
        Tensor::<B, 2>::from_floats([[16_777_216.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], device);
    let loss: f32 = ops::cross_entropy(logits, Targets::new(vec![1; 4])).into_scalar().elem();
    assert_eq!(loss, 16_777_218.0);
}

/// The goldens of the operations with kernels, on a backend that has none.
#[cfg_attr(not(any(feature = "ndarray", feature = "flex")), allow(dead_code, reason = "no CPU backend"))]
fn works_on_foreign<B: AutodiffBackend>()
where
    B::Device: Default,
{
    let device = B::Device::default();
    layer_norm::<B>(&device);
    layer_norm_of_views::<B>(&device);
    cross_entropy::<B>(&device);
    nan_logits::<B>(&device);
    all_ignored::<B>(&device);
    extreme_logits::<B>(&device);
    attention::<B>(&device);
    dropout::<B>(&device);
}

/// The element type belongs to the tensor, not to the backend: doubles are not for the kernels, which take f32.
#[cfg_attr(not(any(feature = "ndarray", feature = "flex")), allow(dead_code, reason = "no CPU backend"))]
fn doubles<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let case = Case::<B> { golden: &golden, name: "layer_norm.large_eps", device };
    let double = DType::F64;
    let norm = norm_run::<B, 2>(&case, |x, gamma, beta| {
        let y = ops::layer_norm(x.cast(double), gamma.cast(double), beta.cast(double), 0.5);
        assert_eq!(y.dtype(), double);
        y.cast(DType::F32)
    });
    case.assert_golden("doubles", &norm);
    let name = "smoothed_weighted";
    let case = Case::<B> { golden: &golden, name: "cross_entropy.smoothed_weighted", device };
    let loss = |logits: Tensor<B, 2>, targets| {
        let loss = ops::cross_entropy(logits.cast(double), targets);
        assert_eq!(loss.dtype(), double);
        loss.cast(DType::F32)
    };
    case.assert_golden("doubles", &cross_entropy_run(&case, targets(name), loss));
    let case = Case::<B> { golden: &golden, name: "dropout", device };
    let x = case.leaf::<3>("x");
    let key = Some(Key::new(7).named("dropout").child(3));
    let run = run!(case, ops::dropout(x.clone().cast(double), 0.3, key).cast(DType::F32), x => "grad.x");
    case.assert_golden("doubles", &run);
}

macro_rules! which_body {
    ($name:ident) => {
        #[test]
        fn kernels_are_taken() {
            use locus_testkit::device::$name as Cpu;
            let device = Default::default();
            // Reshape, kernel, reshape; and the kernel alone.
            let [norm, loss] =
                super::depths::<Cpu, burn::backend::autodiff::checkpoint::strategy::NoCheckpointing>(&device);
            assert!(norm <= 3 && loss == 1, "{norm}, {loss}");
            super::kernels_run_without_autodiff::<Cpu>(&device);
            let [norm, loss] = super::depths::<Cpu, super::BalancedCheckpointing>(&device);
            assert!(norm > 5 && loss > 5, "a foreign backend runs the reference bodies: {norm}, {loss}");
        }

        #[test]
        fn foreign_backends_run_the_reference() {
            use locus_testkit::device::$name as Cpu;
            super::works_on_foreign::<super::Autodiff<Cpu, super::BalancedCheckpointing>>();
            super::works_on_foreign::<super::Autodiff<super::Autodiff<Cpu>>>();
        }

        #[test]
        fn doubles_run_the_reference() {
            super::doubles::<super::Autodiff<locus_testkit::device::$name>>(&Default::default());
        }
    };
}

locus_testkit::on_ndarray! { mod ndarray_kernels { which_body!(NdArray); } }
locus_testkit::on_flex! { mod flex_kernels { which_body!(Flex); } }
