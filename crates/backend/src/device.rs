//! Which backends this build holds, and how a job runs on the one a user asks for.
//!
//! Features choose what is built in; `--backend` and `--device` choose among it at run time. A program has one generic
//! entry, its [`Job`], so that each backend compiles the program once.

#![cfg_attr(
    not(any(feature = "ndarray", feature = "flex", feature = "wgpu", feature = "cuda")),
    allow(dead_code, unused_imports, unused_variables, reason = "a library build holds no backend")
)]

use std::str::FromStr;

use burn::backend::Autodiff;
use burn::tensor::backend::AutodiffBackend;
use thiserror::Error;

/// The CPU backend on the `ndarray` crate, f32.
#[cfg(feature = "ndarray")]
pub type NdArray = burn_ndarray::NdArray<f32>;
/// The CPU backend that burn is moving to, f32.
#[cfg(feature = "flex")]
pub type Flex = burn_flex::Flex;
/// The GPU backend on wgpu (Vulkan, Metal, DirectX 12 or WebGPU), f32.
#[cfg(feature = "wgpu")]
pub type Wgpu = burn_wgpu::Wgpu<f32, i32, u32>;
/// The GPU backend on CUDA, f32.
#[cfg(feature = "cuda")]
pub type Cuda = burn_cuda::Cuda<f32, i32>;

/// A backend that a build can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// CPU, the default.
    NdArray,
    /// CPU, burn's newer implementation.
    Flex,
    /// Any GPU, through wgpu.
    Wgpu,
    /// An NVIDIA GPU, through CUDA.
    Cuda,
}

impl BackendKind {
    /// Every backend that Locus knows.
    pub const ALL: [Self; 4] = [Self::NdArray, Self::Flex, Self::Wgpu, Self::Cuda];

    /// The name that `--backend` takes, which is also the name of the cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::NdArray => "ndarray",
            Self::Flex => "flex",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }

    /// Whether this build holds it.
    pub fn is_built_in(self) -> bool {
        match self {
            Self::NdArray => cfg!(feature = "ndarray"),
            Self::Flex => cfg!(feature = "flex"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Cuda => cfg!(feature = "cuda"),
        }
    }

    /// The backends of this build, the preferred one first.
    pub fn built_in() -> Vec<Self> {
        Self::ALL.into_iter().filter(|kind| kind.is_built_in()).collect()
    }

    /// The devices that `--device` takes for this backend.
    pub fn devices(self) -> &'static str {
        match self {
            Self::NdArray | Self::Flex => "cpu",
            Self::Wgpu => "default, cpu, discrete:N, integrated:N, virtual:N",
            Self::Cuda => "N (the number of the GPU), default",
        }
    }
}

impl FromStr for BackendKind {
    type Err = BackendError;

    fn from_str(name: &str) -> Result<Self, BackendError> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let nearest = Self::ALL
                .into_iter()
                .max_by(|a, b| strsim::jaro(a.name(), name).total_cmp(&strsim::jaro(b.name(), name)));
            BackendError::Unknown {
                name: name.to_owned(),
                nearest: nearest.map(Self::name).unwrap_or_default(),
                known: names(&Self::ALL),
            }
        })
    }
}

/// Why a backend or device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BackendError {
    /// No backend has this name.
    #[error("unknown backend '{name}': did you mean '{nearest}'? Known backends: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The most similar name.
        nearest: &'static str,
        /// All names.
        known: String,
    },
    /// The backend exists but this program was built without it.
    #[error(
        "backend '{name}' is not in this build, which holds: {built_in}. To build it in: \
         cargo xtask <verb> --backend {name}, or cargo build --release -p locus --features {name}"
    )]
    NotBuiltIn {
        /// What was asked for.
        name: &'static str,
        /// What there is.
        built_in: String,
    },
    /// The device is not one of this backend's.
    #[error("backend '{backend}' has no device '{device}'; it takes: {allowed}")]
    UnknownDevice {
        /// The backend.
        backend: &'static str,
        /// What was asked for.
        device: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The backend could not run on the device.
    #[error("backend '{backend}' does not run on device '{device}': {reason}")]
    Unavailable {
        /// The backend.
        backend: &'static str,
        /// What was asked for.
        device: String,
        /// What the backend said.
        reason: String,
    },
}

/// Work that is written once for every backend.
pub trait Job {
    /// What it gives.
    type Out;

    /// Does the work on `device`. Inference uses `B::InnerBackend`, which records no gradients.
    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out;
}

/// Runs `job` on the named backend and device; the first built-in backend and its default device where not named.
///
/// # Errors
/// If the name is unknown, the backend is not built in, or the device cannot be had.
pub fn run_on<J: Job>(backend: Option<&str>, device: Option<&str>, job: J) -> Result<J::Out, BackendError> {
    let kind = resolve(backend)?;
    let device = device.unwrap_or("default");
    match kind {
        #[cfg(feature = "ndarray")]
        BackendKind::NdArray => cpu(kind, device).map(|()| job.run::<Autodiff<NdArray>>(Default::default())),
        #[cfg(feature = "flex")]
        BackendKind::Flex => cpu(kind, device).map(|()| job.run::<Autodiff<Flex>>(Default::default())),
        #[cfg(feature = "wgpu")]
        BackendKind::Wgpu => {
            let at = wgpu_device(device).ok_or_else(|| no_device(kind, device))?;
            probe::<Wgpu>(kind, device, &at)?;
            Ok(job.run::<Autodiff<Wgpu>>(at))
        }
        #[cfg(feature = "cuda")]
        BackendKind::Cuda => {
            let idx = match device {
                "default" => Some(0),
                number => number.parse().ok(),
            };
            let at = burn_cuda::CudaDevice::new(idx.ok_or_else(|| no_device(kind, device))?);
            probe::<Cuda>(kind, device, &at)?;
            Ok(job.run::<Autodiff<Cuda>>(at))
        }
        #[allow(unreachable_patterns, reason = "every arm is there when all features are on")]
        _ => Err(not_built_in(kind)),
    }
}

/// The backend that `name` stands for in this build.
///
/// # Errors
/// If the name is unknown or the backend is not built in.
pub fn resolve(name: Option<&str>) -> Result<BackendKind, BackendError> {
    let kind = match name {
        Some(name) => name.parse()?,
        None => *BackendKind::built_in().first().ok_or_else(|| not_built_in(BackendKind::NdArray))?,
    };
    if kind.is_built_in() { Ok(kind) } else { Err(not_built_in(kind)) }
}

fn not_built_in(kind: BackendKind) -> BackendError {
    BackendError::NotBuiltIn { name: kind.name(), built_in: names(&BackendKind::built_in()) }
}

fn no_device(kind: BackendKind, device: &str) -> BackendError {
    BackendError::UnknownDevice { backend: kind.name(), device: device.to_owned(), allowed: kind.devices() }
}

#[cfg(any(feature = "ndarray", feature = "flex"))]
fn cpu(kind: BackendKind, device: &str) -> Result<(), BackendError> {
    if matches!(device, "cpu" | "default") { Ok(()) } else { Err(no_device(kind, device)) }
}

#[cfg(feature = "wgpu")]
fn wgpu_device(name: &str) -> Option<burn_wgpu::WgpuDevice> {
    use burn_wgpu::WgpuDevice;
    let (kind, idx) = match name.split_once(':') {
        Some((kind, idx)) => (kind, idx.parse().ok()?),
        None => (name, 0),
    };
    match kind {
        "default" if name == kind => Some(WgpuDevice::DefaultDevice),
        "cpu" if name == kind => Some(WgpuDevice::Cpu),
        "discrete" => Some(WgpuDevice::DiscreteGpu(idx)),
        "integrated" => Some(WgpuDevice::IntegratedGpu(idx)),
        "virtual" => Some(WgpuDevice::VirtualGpu(idx)),
        _ => None,
    }
}

/// Runs one addition, because the GPU runtimes panic where there is no adapter or driver.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn probe<B: burn::tensor::backend::Backend>(
    kind: BackendKind,
    name: &str,
    device: &B::Device,
) -> Result<(), BackendError> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        burn::tensor::Tensor::<B, 1>::ones([2], device).sum().into_data().iter::<f32>().next()
    }));
    std::panic::set_hook(hook);
    let reason = match tried {
        Ok(Some(2.0)) => return Ok(()),
        Ok(other) => format!("1 + 1 gave {other:?}"),
        Err(panic) => panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_else(|| "no adapter or driver was found".to_owned()),
    };
    Err(BackendError::Unavailable { backend: kind.name(), device: name.to_owned(), reason })
}

fn names(kinds: &[BackendKind]) -> String {
    if kinds.is_empty() {
        return "none".to_owned();
    }
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{BackendError, BackendKind, resolve};

    #[test]
    fn a_misspelt_backend_is_answered_with_the_nearest_name() {
        let error = "wpgu".parse::<BackendKind>().expect_err("no such backend");
        assert!(error.to_string().contains("did you mean 'wgpu'"), "{error}");
    }

    #[test]
    fn a_backend_that_is_not_built_in_names_what_is_and_the_command() {
        let Some(absent) = BackendKind::ALL.into_iter().find(|kind| !kind.is_built_in()) else { return };
        let error = resolve(Some(absent.name())).expect_err("not built in");
        assert!(matches!(error, BackendError::NotBuiltIn { .. }));
        assert!(error.to_string().contains(&format!("--features {}", absent.name())), "{error}");
    }
}
