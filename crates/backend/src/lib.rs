//! Backends, devices and the operations that transformers live on.
//!
//! Every layer of Locus is bound by burn's own [`Backend`](burn::tensor::backend::Backend) and nothing else, so it
//! runs on any backend there is. This crate is the only one that names concrete ones:
//!
//! - [`device`] says which backends a build holds and runs a [`Job`](device::Job) on the one a user asks for;
//! - [`ops`] are the heavy operations, as free functions of a plain `B: Backend`. Each runs a kernel where one is
//!   written for the type of `B`, and the reference body otherwise;
//! - [`packed`] holds weights in bf16 or int8, for inference on a CPU;
//! - [`rng`] is the counter-based randomness that makes initialisation and dropout equal on every backend;
//! - [`init`] makes initial weights on the host; [`mask`] is the one place where mask polarity is turned;
//! - [`params`] says where parameters stand in a module.
//!
//! ```
//! use burn::tensor::{Tensor, backend::Backend};
//! use locus_backend::ops;
//!
//! fn norm<B: Backend>(device: &B::Device) -> Tensor<B, 2> {
//!     let x = Tensor::<B, 2>::from_floats([[1.0, 2.0, 3.0]], device);
//!     ops::layer_norm(x, Tensor::ones([3], device), Tensor::zeros([3], device), 1e-5)
//! }
//! # #[cfg(feature = "ndarray")]
//! let y = norm::<locus_backend::device::NdArray>(&Default::default());
//! ```

pub mod device;
pub mod init;
mod kernels;
pub mod mask;
pub mod ops;
pub mod packed;
pub mod params;
pub mod reference;
pub mod rng;
