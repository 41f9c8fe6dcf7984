//! Initial weights, made on the host from a key, so that they are the same on every backend.

use std::cell::Cell;

use burn::module::{Param, ParamId};
use burn::tensor::{Shape, Tensor, TensorData, backend::Backend};

use crate::rng::Key;

/// How the numbers of a new parameter are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// All the same.
    Constant(f64),
    /// The normal distribution with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// The uniform distribution on `[-bound, bound)`.
    Uniform {
        /// Half the width.
        bound: f64,
    },
}

thread_local! {
    static DEFERRED: Cell<bool> = const { Cell::new(false) };
}

/// Makes a module whose parameters are drawn only when they are first read, on this thread. It is for loaders, which put others
/// in their place, so that a model never lies in memory twice.
///
/// A copy of a parameter that has not been drawn draws its own, which has other gradients: a loader must read those that it
/// leaves before it gives the module away.
pub fn deferred<T>(make: impl FnOnce() -> T) -> T {
    /// Also where `make` panics.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            DEFERRED.set(self.0);
        }
    }
    let _restore = Restore(DEFERRED.replace(true));
    make()
}

impl Init {
    /// That of PyTorch's linear layers, weights and biases: `U(−1/√fan_in, 1/√fan_in)`.
    pub fn of_fan_in(fan_in: usize) -> Self {
        Self::Uniform { bound: 1.0 / (fan_in as f64).sqrt() }
    }

    /// A trainable parameter of this distribution.
    pub fn param<B: Backend, const D: usize>(
        self,
        shape: [usize; D],
        key: Key,
        device: &B::Device,
    ) -> Param<Tensor<B, D>> {
        if !DEFERRED.get() {
            return Param::initialized(ParamId::new(), self.tensor(shape, key, device).require_grad());
        }
        let draw = move |device: &B::Device, trained: bool| {
            self.tensor::<B, D>(shape, key, device).set_require_grad(trained)
        };
        Param::uninitialized(ParamId::new(), draw, device.clone(), true, Shape::from(shape))
    }

    /// A tensor of this distribution.
    pub fn tensor<B: Backend, const D: usize>(
        self,
        shape: [usize; D],
        key: Key,
        device: &B::Device,
    ) -> Tensor<B, D> {
        let shape = Shape::from(shape);
        let values = self.values(shape.num_elements(), key);
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn values(self, n: usize, key: Key) -> Vec<f32> {
        match self {
            Self::Zeros => vec![0.0; n],
            Self::Ones => vec![1.0; n],
            Self::Constant(value) => vec![value as f32; n],
            Self::Normal { std } => (0..n as u64).map(|i| (std * key.normal(i)) as f32).collect(),
            Self::Uniform { bound } => {
                (0..n as u64).map(|i| (bound * (2.0 * key.uniform(i) - 1.0)) as f32).collect()
            }
        }
    }
}
