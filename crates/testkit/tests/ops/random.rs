//! What is drawn: dropout, first parameters, and the numbers themselves.

use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use locus_backend::init::{Init, deferred};
use locus_backend::ops;
use locus_backend::rng::Key;
use locus_testkit::on_backends;

use super::golden;
use crate::common::{Case, values};

pub(super) fn dropout<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let case = Case::<B> { golden: &golden, name: "dropout", device };
    let of = |p, key| {
        let x = case.leaf::<3>("x");
        run!(case, ops::dropout(x.clone(), p, Some(key)), x => "grad.x")
    };
    let key = Key::new(7).named("dropout").child(3);
    case.assert_golden("dropout", &of(0.3, key));
    case.assert_planted("rate", &of(0.31, key));
    case.assert_planted("key", &of(0.3, key.child(0)));

    let x = case.leaf::<3>("x");
    assert_eq!(values(&ops::dropout(x.clone(), 0.3, None)), values(&x), "without a key it is the identity");
    assert_eq!(values(&ops::dropout(x.clone(), 0.0, Some(key))), values(&x), "at rate 0 it is the identity");
}

/// The rate is right, the mean stays, and the gradient is the mask over 1 − p.
fn dropout_rate<B: AutodiffBackend>(device: &B::Device) {
    let n = 10_007_usize;
    for p in [0.1, 0.5, 0.9] {
        let x = Tensor::<B, 1>::ones([n], device).require_grad();
        let y = ops::dropout(x.clone(), p, Some(Key::new(3).named("rate")));
        let factors = values(&y);
        let dropped = factors.iter().filter(|y| **y == 0.0).count() as f64 / n as f64;
        assert!((dropped - p).abs() < 5.0 * (p * (1.0 - p) / n as f64).sqrt(), "{p}: {dropped}");
        let kept = (1.0 / (1.0 - p)) as f32;
        assert!(factors.iter().all(|&y| y == 0.0 || y == kept));
        assert_eq!(values(&x.grad(&y.sum().backward()).unwrap()), factors);
    }
}

/// What is made for a loader is drawn when it is read, and is the same.
fn deferred_parameters_are_drawn_when_they_are_read<B: AutodiffBackend>(device: &B::Device) {
    let make = || Init::Normal { std: 1.0 }.param::<B, 2>([3, 5], Key::new(7), device);
    let (now, later) = (make(), deferred(make));
    assert!(now.is_initialized() && !later.is_initialized());
    assert_eq!(later.lazy_shape().dims::<2>(), [3, 5]);
    assert_eq!(values(&later.val()), values(&now.val()));
    assert!(later.is_require_grad() && now.is_require_grad());
    assert!(std::panic::catch_unwind(|| deferred::<()>(|| panic!("a module that cannot be"))).is_err());
    assert!(make().is_initialized(), "what comes afterwards is drawn at once");
}

on_backends!(dropout, dropout_rate, deferred_parameters_are_drawn_when_they_are_read);

/// `oracle/ops.py` computes them with plain integers. They may never change: seeds of finished runs depend on them.
#[test]
fn random_numbers_never_change() {
    let text = include_str!("../golden/rng.txt");
    let mut checked = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [seed, path, idx, bits, uniform, normal, below] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let mut key = Key::new(seed.parse().unwrap());
        for part in path.split('/').filter(|part| *part != "-") {
            key = part.parse().map_or_else(|_| key.named(part), |idx| key.child(idx));
        }
        let idx: u64 = idx.parse().unwrap();
        assert_eq!(key.bits(idx), bits.parse::<u64>().unwrap(), "{line}");
        assert_eq!(key.uniform(idx), uniform.parse::<f64>().unwrap(), "{line}");
        assert_eq!(key.below(idx, 1_000_003), below.parse::<u64>().unwrap(), "{line}");
        // The logarithm and the cosine may differ in the last digit between platforms.
        assert!((key.normal(idx) - normal.parse::<f64>().unwrap()).abs() < 1e-13, "{line}");
        checked += 1;
    }
    assert_eq!(checked, 63);
}
