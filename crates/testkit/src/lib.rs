//! What the tests of Locus share: backends, tolerances, golden files.
//!
//! [`on_backends!`] emits a generic test once per backend of the build: `ndarray` by default, `flex`, `wgpu`
//! and `cuda` with the features of these names.

mod close;
mod golden;
mod gradients;
mod page;

pub use close::{assert_close, worst};
pub use golden::Golden;
pub use gradients::{Gradients, gradients, relative_error};
pub use locus_backend::device;
pub use page::assert_part;

/// Whether the backend computes on the processor. On a GPU's backend, which compiles a program for every operation and
/// size, tests of many configurations take examples.
pub fn on_processor<B: burn::tensor::backend::Backend>(device: &B::Device) -> bool {
    let name = B::name(device);
    name.contains("ndarray") || name.contains("flex")
}

/// Emits each generic function `fn name<B: AutodiffBackend>(device: &B::Device)` as a test per built-in backend:
/// `on_backends!(name, other)` makes `ndarray::name`, `flex::name`, ….
#[macro_export]
macro_rules! on_backends {
    ($($name:ident),+ $(,)?) => {
        $crate::on_ndarray! { mod ndarray { $(
            #[test]
            fn $name() {
                super::$name::<burn::backend::Autodiff<$crate::device::NdArray>>(&Default::default());
            }
        )+ } }
        $crate::on_flex! { mod flex { $(
            #[test]
            fn $name() {
                super::$name::<burn::backend::Autodiff<$crate::device::Flex>>(&Default::default());
            }
        )+ } }
        $crate::on_wgpu! { mod wgpu { $(
            #[test]
            fn $name() {
                super::$name::<burn::backend::Autodiff<$crate::device::Wgpu>>(&Default::default());
            }
        )+ } }
        $crate::on_cuda! { mod cuda { $(
            #[test]
            fn $name() {
                super::$name::<burn::backend::Autodiff<$crate::device::Cuda>>(&Default::default());
            }
        )+ } }
    };
}

/// As [`on_backends!`], for tests that a GPU's backend need not repeat: of what is computed on the host, or of very many
/// sizes, for each of which it compiles programs.
#[macro_export]
macro_rules! on_processors {
    ($($name:ident),+ $(,)?) => {
        $crate::on_ndarray! { mod ndarray { $(
            #[test]
            fn $name() {
                super::$name::<burn::backend::Autodiff<$crate::device::NdArray>>(&Default::default());
            }
        )+ } }
        $crate::on_flex! { mod flex { $(
            #[test]
            fn $name() {
                super::$name::<burn::backend::Autodiff<$crate::device::Flex>>(&Default::default());
            }
        )+ } }
    };
}

macro_rules! only_with {
    ($dollar:tt $macro:ident, $feature:literal) => {
        /// Its argument where the testkit was built with the backend, nothing otherwise.
        #[cfg(feature = $feature)]
        #[macro_export]
        macro_rules! $macro {
                                                    ($dollar($dollar code:tt)*) => { $dollar($dollar code)* };
                                                }
        /// Its argument where the testkit was built with the backend, nothing otherwise.
        #[cfg(not(feature = $feature))]
        #[macro_export]
        macro_rules! $macro {
            ($dollar($dollar code:tt)*) => {};
        }
    };
}

only_with!($ on_ndarray, "ndarray");
only_with!($ on_flex, "flex");
only_with!($ on_wgpu, "wgpu");
only_with!($ on_cuda, "cuda");
