//! Products with weights, and the activation behind them.

use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use locus_backend::ops::{self, Activation};
use locus_backend::reference;
use locus_testkit::{assert_close, on_backends};

use super::golden;
use crate::common::{ATOL, Case, RTOL, assert_same};

fn linear<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let case = Case::<B> { golden: &golden, name: "linear.bias", device };
    let of = |f: &dyn Fn(Tensor<B, 3>, Tensor<B, 2>, Tensor<B, 1>) -> Tensor<B, 3>| {
        let (x, weight, bias) = (case.leaf::<3>("x"), case.leaf::<2>("weight"), case.leaf::<1>("bias"));
        run!(case, f(x.clone(), weight.clone(), bias.clone()), x => "grad.x", weight => "grad.weight", bias => "grad.bias")
    };
    let fast = of(&|x, weight, bias| ops::linear(x, weight, Some(bias)));
    let slow = of(&|x, weight, bias| reference::linear(x, weight, Some(bias)));
    case.assert_golden("fast", &fast);
    case.assert_golden("reference", &slow);
    assert_same("linear", &fast, &slow);
    case.assert_planted(
        "bias twice",
        &of(&|x, weight, bias| ops::linear(x, weight, Some(bias.clone())) + bias.unsqueeze()),
    );

    let case = Case::<B> { golden: &golden, name: "linear.plain", device };
    let of = |factor: f64| {
        let (x, weight) = (case.leaf::<2>("x"), case.leaf::<2>("weight"));
        run!(case, ops::linear(x.clone() * factor, weight.clone(), None), x => "grad.x", weight => "grad.weight")
    };
    case.assert_golden("fast", &of(1.0));
    case.assert_planted("scaled", &of(1.001));
}

fn gelu<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let case = Case::<B> { golden: &golden, name: "gelu", device };
    let of = |f: fn(Tensor<B, 1>) -> Tensor<B, 1>| {
        let x = case.leaf::<1>("x");
        run!(case, f(x.clone()), x => "grad.x")
    };
    case.assert_golden("fast", &of(|x| ops::activation(x, Activation::Gelu)));
    case.assert_golden("reference", &of(reference::gelu));
    case.assert_planted("tanh", &of(burn::tensor::activation::gelu_approximate));
    let plain = ops::activation(case.leaf::<1>("x").inner(), Activation::Gelu);
    assert_close("gelu without autodiff", &plain, golden.values("gelu.out"), ATOL, RTOL);
}

on_backends!(linear, gelu);
