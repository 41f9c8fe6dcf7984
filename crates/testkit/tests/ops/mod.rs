//! The operations of `locus_backend::ops` against JAX goldens and against their reference bodies, values and gradients.
//!
//! `oracle/ops.py` writes the goldens. Each comparison has planted errors beside it that must be seen.

mod attention;
mod bodies;
mod cross_entropy;
mod linear;
mod norms;
mod random;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use locus_backend::init::Init;
use locus_backend::rng::Key;
use locus_testkit::Golden;

fn golden() -> Golden {
    Golden::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ops.safetensors"))
}

fn seeded<B: Backend, const D: usize>(shape: [usize; D], name: &str, device: &B::Device) -> Tensor<B, D> {
    Init::Normal { std: 1.0 }.tensor(shape, Key::new(5).named(name), device)
}
