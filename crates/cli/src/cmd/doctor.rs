//! `locus doctor`.

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::device::{BackendKind, Job, run_on};
use locus_backend::packed::Precision;

use super::say;

pub(crate) fn run() -> anyhow::Result<()> {
    say(format_args!(
        "locus {} on {} {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    ))?;
    say(format_args!("threads    {}", rayon::current_num_threads()))?;
    for kind in BackendKind::ALL {
        let state = if kind.is_built_in() {
            match run_on(Some(kind.name()), None, Check) {
                Ok(Ok(())) => format!("works; --device takes {}", kind.devices()),
                Ok(Err(error)) => format!("computes wrongly: {error}"),
                Err(error) => error.to_string(),
            }
        } else {
            format!("not in this build; cargo build --release -p locus --features {} adds it", kind.name())
        };
        say(format_args!("{:<10} {state}", kind.name()))?;
    }
    if [BackendKind::NdArray, BackendKind::Flex].into_iter().any(BackendKind::is_built_in) {
        for precision in [Precision::Bf16, Precision::Int8] {
            let instructions = precision.instructions().join(", ");
            say(format_args!("{:<10} weights: by {instructions}", precision.name()))?;
        }
    }
    Ok(())
}

/// A product and its gradient, compared with what they must be.
struct Check;

impl Job for Check {
    type Out = Result<(), String>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let a = Tensor::<B, 2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device).require_grad();
        let b = Tensor::<B, 2>::from_floats([[5.0, 6.0], [7.0, 8.0]], &device);
        let product = a.clone().matmul(b);
        let values: Vec<f32> = product.clone().into_data().iter::<f32>().collect();
        let grads = product.sum().backward();
        let grad = a.grad(&grads).map(host::<B::InnerBackend>).unwrap_or_default();
        match (values == [19.0, 22.0, 43.0, 50.0], grad == [11.0, 15.0, 11.0, 15.0]) {
            (true, true) => Ok(()),
            _ => Err(format!("product {values:?}, gradient {grad:?}")),
        }
    }
}

fn host<B: Backend>(tensor: Tensor<B, 2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}
