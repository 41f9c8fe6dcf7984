//! A case of a golden file, and what an operation made of it: the output and the gradients.
#![allow(unreachable_pub, dead_code, reason = "each test program uses its part")]

use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_testkit::{Golden, worst};

pub const ATOL: f64 = 1e-6;
pub const RTOL: f64 = 1e-5;

/// One case of the golden file on a device.
pub struct Case<'a, B: Backend> {
    pub golden: &'a Golden,
    pub name: &'a str,
    pub device: &'a B::Device,
}

/// The output of an operation and the gradients of its inputs.
pub type Run = Vec<(&'static str, Vec<f32>)>;

impl<B: AutodiffBackend> Case<'_, B> {
    pub fn leaf<const D: usize>(&self, key: &str) -> Tensor<B, D> {
        self.golden.tensor::<B, D>(&format!("{}.{key}", self.name), self.device).require_grad()
    }

    /// How far the worst element lies outside the tolerance, and what it belongs to.
    pub fn excess(&self, run: &Run) -> (f64, &'static str) {
        let parts = run.iter().map(|(key, got)| {
            let want = self.golden.values(&format!("{}.{key}", self.name));
            assert_eq!(got.len(), want.len(), "{}.{key}", self.name);
            (worst(got, want, ATOL, RTOL).unwrap().1, *key)
        });
        parts.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
    }

    #[track_caller]
    pub fn assert_golden(&self, what: &str, run: &Run) {
        let (excess, key) = self.excess(run);
        assert!(excess <= 0.0, "{what} {}.{key} exceeds the tolerance by {excess:e}", self.name);
    }

    /// A wrong operation must be seen, and not by a hair.
    #[track_caller]
    pub fn assert_planted(&self, error: &str, run: &Run) {
        let (excess, _) = self.excess(run);
        assert!(excess > 100.0 * ATOL, "{}: the planted error '{error}' was not seen", self.name);
    }
}

#[track_caller]
pub fn assert_same(what: &str, fast: &Run, reference: &Run) {
    for ((key, fast), (_, reference)) in fast.iter().zip(reference) {
        let (idx, excess) = worst(fast, reference, ATOL, RTOL).unwrap();
        assert!(excess <= 0.0, "{what} {key}[{idx}]: {} fast, {} reference", fast[idx], reference[idx]);
    }
}

/// `run!(case, out, x => "grad.x", …)`: the output's values and the gradients of `sum(out · upstream)`.
#[macro_export]
macro_rules! run {
    ($case:expr, $out:expr, $($leaf:ident => $key:literal),+) => {{
        let out = $out;
        let upstream = $case.golden.tensor(&format!("{}.upstream", $case.name), $case.device);
        let grads = (out.clone() * upstream).sum().backward();
        let run: $crate::common::Run =
            vec![("out", $crate::common::values(&out)), $(($key, $crate::common::values(&$leaf.grad(&grads).expect($key)))),+];
        run
    }};
}

pub fn values<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}
