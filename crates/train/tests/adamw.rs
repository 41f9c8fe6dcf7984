//! The optimizer, through the whole harness, against PyTorch.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::sync::Arc;

use burn::backend::Autodiff;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::AutodiffBackend, backend::Backend};
use locus_backend::rng::Key;
use locus_heads::{HeadError, LossSum, Trainable};
use locus_testkit::device::NdArray;
use locus_testkit::{Golden, assert_close, on_backends, worst};
use locus_train::{
    BatchSource, BoxError, Checkpoint, ClipNorm, ConsoleMode, Evaluation, FitConfig, Schedule, Trainer,
    Warmup,
};

const STEPS: usize = 10;
const FAULTS: [&str; 6] =
    ["coupled_decay", "decay_everywhere", "swapped_betas", "no_warmup", "clip_each", "no_clip"];

fn golden() -> Golden {
    Golden::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/adamw.safetensors"))
}

/// `sum(coefficient · sin(parameter))` as loss.
#[derive(Module, Debug)]
struct Sines<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    bias: Param<Tensor<B, 1>>,
    embedding: Param<Tensor<B, 2>>,
}

impl<B: Backend> Sines<B> {
    fn start(device: &B::Device) -> Self {
        let golden = golden();
        Self {
            weight: golden.param("start.weight", device),
            bias: golden.param("start.bias", device),
            embedding: golden.param("start.embedding", device),
        }
    }
}

struct Coefficients {
    weight: Vec<f32>,
    bias: Vec<f32>,
    embedding: Vec<f32>,
    /// What the loss is multiplied by, and divided by again.
    rows: f64,
}

impl<B: Backend> Trainable<B> for Sines<B> {
    type Batch = Coefficients;

    fn loss(&self, batch: &Coefficients, _: Option<Key>) -> Result<LossSum<B>, HeadError> {
        fn term<B: Backend, const D: usize>(param: &Param<Tensor<B, D>>, values: &[f32]) -> Tensor<B, 1> {
            let (param, device) = (param.val(), param.device());
            let dims = param.dims();
            let coefficients = Tensor::<B, 1>::from_floats(values, &device).reshape(dims);
            (param.sin() * coefficients).sum()
        }
        let sum = term(&self.weight, &batch.weight) + term(&self.bias, &batch.bias);
        let sum = (sum + term(&self.embedding, &batch.embedding)) * batch.rows;
        Ok(LossSum { sum, weight: batch.rows })
    }

    fn n_tokens(_: &Coefficients) -> usize {
        1
    }
}

struct Steps(Golden);

impl BatchSource<Coefficients> for Steps {
    fn n_batches(&self) -> usize {
        STEPS
    }

    fn batch(&self, _: usize, idx: usize) -> Result<Coefficients, BoxError> {
        let row = |name: &str| {
            let values = self.0.values(&format!("coefficients.{name}"));
            let len = values.len() / STEPS;
            values[idx * len..(idx + 1) * len].to_vec()
        };
        let [weight, bias, embedding] = ["weight", "bias", "embedding"].map(row);
        Ok(Coefficients { weight, bias, embedding, rows: 3.0 + idx as f64 })
    }
}

fn train<B: AutodiffBackend>(run: &Path, device: &B::Device) {
    let config = FitConfig {
        epochs: 1,
        learning_rate: 0.05,
        schedule: Schedule::Cosine,
        warmup: Warmup::Steps(3),
        betas: [0.8, 0.97],
        eps: 1e-8,
        weight_decay: 0.3,
        no_decay: vec!["embedding".to_owned()],
        clip_norm: ClipNorm::Max(1.5),
        checkpoint_every_steps: Some(1),
        keep_checkpoints: STEPS,
        ..FitConfig::default()
    };
    let evaluate = |_: &Sines<B::InnerBackend>| Ok::<_, BoxError>(Evaluation::default());
    let trainer = Trainer::new(config, run).console(ConsoleMode::Quiet);
    trainer.fit::<B, _, _>(Sines::<B>::start(device), Arc::new(Steps(golden())), evaluate).unwrap();
}

fn after<B: Backend>(run: &Path, step: usize, device: &B::Device) -> Sines<B> {
    let checkpoint = Checkpoint::open(run.join(format!("checkpoints/step-{step}"))).unwrap();
    checkpoint.load_model::<B, _>(Sines::start(device)).unwrap()
}

fn ten_steps_are_those_of_pytorch<B: AutodiffBackend>(device: &B::Device) {
    let (dir, golden) = (tempfile::tempdir().unwrap(), golden());
    train::<B>(dir.path(), device);
    for step in 1..=STEPS {
        let model = after::<B::InnerBackend>(dir.path(), step, device);
        let want = |name: &str| {
            let values = golden.values(&format!("after.{name}"));
            let len = values.len() / STEPS;
            values[(step - 1) * len..step * len].to_vec()
        };
        let at = |name: &str| format!("{name} after step {step}");
        assert_close(&at("weight"), &model.weight.val(), &want("weight"), 1e-5, 0.0);
        assert_close(&at("bias"), &model.bias.val(), &want("bias"), 1e-5, 0.0);
        assert_close(&at("embedding"), &model.embedding.val(), &want("embedding"), 1e-5, 0.0);
    }
}

on_backends!(ten_steps_are_those_of_pytorch);

/// The tolerance above tells each fault from the truth, by a wide margin.
#[test]
fn every_planted_fault_would_be_seen() {
    let (dir, golden) = (tempfile::tempdir().unwrap(), golden());
    train::<Autodiff<NdArray>>(dir.path(), &Default::default());
    let model = after::<NdArray>(dir.path(), STEPS, &Default::default());
    let values = |data: burn::tensor::TensorData| data.iter::<f32>().collect::<Vec<_>>();
    let got = [
        ("weight", values(model.weight.val().into_data())),
        ("bias", values(model.bias.val().into_data())),
        ("embedding", values(model.embedding.val().into_data())),
    ];
    for fault in FAULTS {
        let excess = got.iter().filter_map(|(name, got)| {
            worst(got, golden.values(&format!("planted.{fault}.{name}")), 1e-5, 0.0).map(|(_, excess)| excess)
        });
        assert!(excess.fold(f64::MIN, f64::max) > 1e-3, "{fault} is not told apart");
    }
}
