//! Running a loaded model and comparing.

#[path = "planted.rs"]
mod planted;

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use locus_embedding::TokenBatch;
use locus_heads::TaskModel;
use locus_hub::{Weights, save};
use locus_model::ModelConfig;

use super::case::Case;
use super::draw::unit;
use crate::B;

/// The output, in the graph and on the host; an error where its shape is another than that of the golden.
pub(crate) fn output(case: &Case, model: &TaskModel<B>) -> Result<(Tensor<B, 1>, Vec<f32>), String> {
    let tokens = case.tokens();
    let flat = |x: Tensor<B, 3>| {
        let (shape, n) = (x.dims().to_vec(), x.shape().num_elements());
        (shape, x.reshape([n]))
    };
    let out = match model {
        TaskModel::Bare(model) => model.hidden(&tokens, None).map(flat),
        TaskModel::MaskedLm(model) => model.logits(&tokens, None).map(flat),
        TaskModel::CausalLm(model) => model.logits(&tokens, None, None).map(flat),
        TaskModel::TokenClassifier(model) => model.logits(&tokens, None).map(flat),
        TaskModel::QuestionAnswerer(model) => model.logits(&tokens, None).map(flat),
        TaskModel::SpanClassifier(_) => return Err("no checkpoint has spans".to_owned()),
        TaskModel::SequenceClassifier(model) => model.logits(&tokens, None).map(|x| {
            let (shape, n) = (x.dims().to_vec(), x.shape().num_elements());
            (shape, x.reshape([n]))
        }),
        TaskModel::ReplacedTokenDetector(model) => model.logits(&tokens, None).map(|x| {
            let (shape, n) = (x.dims().to_vec(), x.shape().num_elements());
            (shape, x.reshape([n]))
        }),
        TaskModel::SentenceEmbedder(model) => model.embed(&tokens, 0, None).map(|x| {
            let (shape, n) = (x.dims().to_vec(), x.shape().num_elements());
            (shape, x.reshape([n]))
        }),
        TaskModel::Seq2Seq(model) if case.has_new_output() => {
            let vocab_size = case.config["vocab_size"].as_u64().unwrap() as usize;
            let target = case.target().ok_or("no decoder_input_ids")?;
            let target = TokenBatch::<B>::from_host(target, vocab_size, &Default::default()).unwrap();
            model
                .encode(&tokens, None)
                .and_then(|memory| Ok(model.body.decode(&target, &memory, None, None)?))
                .map(flat)
        }
        TaskModel::Seq2Seq(model) => {
            let target = case.target().ok_or("no decoder_input_ids")?;
            model
                .encode(&tokens, None)
                .and_then(|memory| model.logits(&target, &memory, None, None))
                .map(flat)
        }
    };
    let (shape, out) = out.map_err(|error| error.to_string())?;
    if shape != case.shape {
        return Err(format!("an output of {shape:?}, expected {:?}", case.shape));
    }
    let host = out.to_data().iter::<f32>().collect();
    Ok((out, host))
}

/// The largest difference relative to max(1, |want|).
pub(crate) fn compare(got: &[f32], want: &[f64], keep: &[bool], tolerance: f64) -> Result<f64, String> {
    if got.len() != want.len() {
        return Err(format!("{} outputs, expected {}", got.len(), want.len()));
    }
    let mut largest = 0.0_f64;
    for (idx, ((got, want), keep)) in got.iter().zip(want).zip(keep).enumerate() {
        let difference = (f64::from(*got) - want).abs() / want.abs().max(1.0);
        if *keep && (difference.is_nan() || difference > tolerance) {
            return Err(format!("output {idx} is {got}, expected {want}"));
        }
        if *keep {
            largest = largest.max(difference);
        }
    }
    Ok(largest)
}

/// Puts gradients in the place of parameters.
pub(crate) struct Gradients<'a> {
    pub(crate) grads: &'a <B as AutodiffBackend>::Gradients,
}

impl ModuleMapper<B> for Gradients<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, value, mapper) = param.consume();
        let grad = value.grad(self.grads).map_or_else(|| value.zeros_like(), Tensor::from_inner);
        Param::from_mapped_value(id, grad, mapper)
    }
}

/// The largest relative difference of a gradient's norm or products, over all tensors of the checkpoint.
pub(crate) fn gradients(
    case: &Case,
    config: &ModelConfig,
    model: &TaskModel<B>,
    output: Tensor<B, 1>,
    dir: &Path,
) -> Result<f64, String> {
    let n = output.dims()[0];
    let keep = case.keep();
    let upstream = (0..n).map(|i| if keep[i] { unit("upstream", i as u64) as f32 } else { 0.0 });
    let upstream = TensorData::new(upstream.collect::<Vec<_>>(), [n]);
    let grads = (output * Tensor::from_data(upstream, &Default::default())).sum().backward();
    compare_gradients(case, config, model, &grads, dir)
}

/// The same of gradients that have been computed.
pub(crate) fn compare_gradients(
    case: &Case,
    config: &ModelConfig,
    model: &TaskModel<B>,
    grads: &<B as AutodiffBackend>::Gradients,
    dir: &Path,
) -> Result<f64, String> {
    // Written as a checkpoint, the gradients have the names and the layout of transformers.
    let of_model = model.clone().map(&mut Gradients { grads });
    let model_type = case.config["model_type"].as_str();
    save(dir, config, &of_model, model_type, &[]).map_err(|error| error.to_string())?;
    let weights = Weights::open(dir).map_err(|error| error.to_string())?;
    // Dense layers of sentence embedders have folders of their own.
    let read = |name: &str| match name.rsplit_once('/') {
        Some((folder, name)) => {
            Weights::open(&dir.join(folder)).map_err(|error| error.to_string())?.read(name)
        }
        None => weights.read(&case.written(name)),
    };
    let found: BTreeMap<&String, Vec<f32>> =
        case.params.keys().map(|name| Ok((name, read(name)?))).collect::<Result<_, String>>()?;
    let norms = case.params.values().filter_map(|param| param.grad).map(|(norm, _)| norm);
    let largest_norm = norms.fold(0.0, f64::max);
    let mut largest = 0.0_f64;
    for (name, param) in &case.params {
        // Marian's texts begin with the padding id, whose row PyTorch's `padding_idx` does not train.
        if case.model_type() == "marian" && name == "model.shared.weight" {
            continue;
        }
        let (grad, Some(want)) = (&found[name], param.grad) else { continue };
        largest = largest.max(compare_gradient(name, grad, want, largest_norm)?);
    }
    Ok(largest)
}

/// The largest relative difference of a gradient's norm or products.
pub(crate) fn compare_gradient(
    name: &str,
    grad: &[f32],
    (want_norm, want_dots): (f64, [f64; 3]),
    largest_norm: f64,
) -> Result<f64, String> {
    let mut largest = 0.0_f64;
    let dot = |n: usize| -> f64 {
        let key = format!("{name}#{n}");
        grad.iter().enumerate().map(|(i, g)| f64::from(*g) * unit(&key, i as u64)).sum()
    };
    let norm = grad.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    // Gradients that are zero in exact arithmetic are so up to the rounding of the others.
    let scale = want_norm.max(1e-3 * largest_norm);
    let numbers = [(norm, want_norm), (dot(0), want_dots[0]), (dot(1), want_dots[1]), (dot(2), want_dots[2])];
    for (got, want) in numbers {
        let difference = (got - want).abs() / scale;
        if difference.is_nan() || difference > 1e-4 {
            return Err(format!("gradient of {name}: {got}, expected {want} (norm {want_norm})"));
        }
        largest = largest.max(difference);
    }
    Ok(largest)
}
