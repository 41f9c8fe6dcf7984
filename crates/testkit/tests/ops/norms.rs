//! Norms.

use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use locus_backend::{ops, reference};
use locus_testkit::on_backends;

use super::{golden, seeded};
use crate::common::{Case, Run, assert_same, values};

pub(super) fn norm_run<B: AutodiffBackend, const D: usize>(
    case: &Case<'_, B>,
    f: impl Fn(Tensor<B, D>, Tensor<B, 1>, Tensor<B, 1>) -> Tensor<B, D>,
) -> Run {
    let (x, gamma, beta) = (case.leaf::<D>("x"), case.leaf::<1>("gamma"), case.leaf::<1>("beta"));
    run!(case, f(x.clone(), gamma.clone(), beta.clone()), x => "grad.x", gamma => "grad.gamma", beta => "grad.beta")
}

pub(super) fn layer_norm<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let case = Case::<B> { golden: &golden, name: "layer_norm.plain", device };
    let fast = norm_run::<B, 3>(&case, |x, gamma, beta| ops::layer_norm(x, gamma, beta, 1e-5));
    let slow = norm_run::<B, 3>(&case, |x, gamma, beta| reference::layer_norm(x, gamma, beta, 1e-5));
    case.assert_golden("fast", &fast);
    case.assert_golden("reference", &slow);
    assert_same("layer_norm", &fast, &slow);

    let case = Case::<B> { golden: &golden, name: "layer_norm.large_eps", device };
    let with_eps = |eps| norm_run::<B, 2>(&case, |x, gamma, beta| ops::layer_norm(x, gamma, beta, eps));
    let slow = norm_run::<B, 2>(&case, |x, gamma, beta| reference::layer_norm(x, gamma, beta, 0.5));
    case.assert_golden("fast", &with_eps(0.5));
    case.assert_golden("reference", &slow);
    assert_same("layer_norm", &with_eps(0.5), &slow);
    case.assert_planted("eps", &with_eps(0.501));
    // √(var · 11/10 + eps) instead of √(var + eps).
    let unbiased = norm_run::<B, 2>(&case, |x, gamma, beta| {
        ops::layer_norm(x, gamma.clone() * (10.0_f64 / 11.0).sqrt(), beta, 0.5 * 10.0 / 11.0)
    });
    case.assert_planted("unbiased variance", &unbiased);
}

type View<B> = fn(Tensor<B, 2>) -> Tensor<B, 2>;

/// Inputs that are views: transposed, cut out, and both.
pub(super) fn layer_norm_of_views<B: AutodiffBackend>(device: &B::Device) {
    let (gamma, beta) = (seeded::<B, 1>([7], "gamma", device), seeded::<B, 1>([7], "beta", device));
    let wide = || seeded::<B, 2>([11, 13], "wide", device).require_grad();
    let views: [(&str, View<B>); 3] = [
        ("cut", |x| x.narrow(1, 2, 7)),
        ("rows", |x| x.narrow(0, 4, 7).narrow(1, 0, 7)),
        ("transposed", |x| x.transpose().narrow(1, 3, 7)),
    ];
    for (name, view) in views {
        let run = |fast: bool| {
            let leaf = wide();
            let x = view(leaf.clone());
            let (gamma, beta) = (gamma.clone(), beta.clone());
            let y = if fast {
                ops::layer_norm(x, gamma, beta, 1e-5)
            } else {
                reference::layer_norm(x, gamma, beta, 1e-5)
            };
            let upstream = seeded::<B, 2>([13, 11], "upstream", device);
            let [rows, columns] = y.dims();
            // The gradient comes in as a view too.
            let grads = (y.clone()
                * upstream
                    .transpose()
                    .narrow(0, 0, 11)
                    .repeat_dim(0, 2)
                    .narrow(0, 1, rows)
                    .narrow(1, 3, columns))
            .sum()
            .backward();
            vec![("out", values(&y)), ("grad.x", values(&leaf.grad(&grads).unwrap()))]
        };
        assert_same(name, &run(true), &run(false));
    }
}

/// A constant row has variance 0, a far-off row loses digits: both stay finite, and gradients too.
fn layer_norm_of_constant_rows<B: AutodiffBackend>(device: &B::Device) {
    let x = Tensor::<B, 2>::from_floats([[3.0, 3.0, 3.0], [1e6, 1e6, 1e6 + 1.0], [0.0, 0.0, 0.0]], device)
        .require_grad();
    let y = ops::layer_norm(x.clone(), Tensor::ones([3], device), Tensor::zeros([3], device), 1e-5);
    assert!(values(&y).iter().all(|v| v.is_finite()), "{:?}", values(&y));
    assert_eq!(values(&y)[..3], [0.0; 3]);
    let grad = x.grad(&(y.powi_scalar(2)).sum().backward()).unwrap();
    assert!(values(&grad).iter().all(|v| v.is_finite()), "{:?}", values(&grad));
}

fn norms_refuse_a_scale_of_another_width<B: AutodiffBackend>(device: &B::Device) {
    for width in [1, 3, 12] {
        let (x, gamma) = (Tensor::<B, 2>::ones([2, 6], device), Tensor::<B, 1>::ones([width], device));
        let refused = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
        assert!(
            refused(&|| drop(ops::layer_norm(x.clone(), gamma.clone(), gamma.clone(), 1e-5))),
            "layer norm, {width}"
        );
        assert!(
            refused(&|| drop(ops::layer_norm(x.clone(), Tensor::ones([6], device), gamma.clone(), 1e-5))),
            "beta, {width}"
        );
        assert!(refused(&|| drop(ops::rms_norm(x.clone(), gamma.clone(), 1e-5))), "RMS norm, {width}");
    }
}

fn rms_norm<B: AutodiffBackend>(device: &B::Device) {
    fn of<B: AutodiffBackend, const D: usize>(
        case: &Case<'_, B>,
        f: impl Fn(Tensor<B, D>, Tensor<B, 1>) -> Tensor<B, D>,
    ) -> Run {
        let (x, gamma) = (case.leaf::<D>("x"), case.leaf::<1>("gamma"));
        run!(case, f(x.clone(), gamma.clone()), x => "grad.x", gamma => "grad.gamma")
    }
    let golden = golden();
    let case = Case::<B> { golden: &golden, name: "rms_norm.plain", device };
    let fast = of::<B, 3>(&case, |x, gamma| ops::rms_norm(x, gamma, 1e-6));
    case.assert_golden("fast", &fast);
    assert_same("rms_norm", &fast, &of::<B, 3>(&case, |x, gamma| reference::rms_norm(x, gamma, 1e-6)));

    let case = Case::<B> { golden: &golden, name: "rms_norm.large_eps", device };
    let with_eps = |eps| of::<B, 2>(&case, |x, gamma| ops::rms_norm(x, gamma, eps));
    case.assert_golden("fast", &with_eps(0.5));
    case.assert_planted("eps", &with_eps(0.501));
    let centred = of::<B, 2>(&case, |x, gamma| ops::rms_norm(x.clone() - x.mean_dim(1), gamma, 0.5));
    case.assert_planted("mean subtracted", &centred);
}

on_backends!(
    layer_norm,
    layer_norm_of_views,
    layer_norm_of_constant_rows,
    norms_refuse_a_scale_of_another_width,
    rms_norm,
);
