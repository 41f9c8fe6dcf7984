//! The tensors of a checkpoint to be written: each is made when its turn comes, so that a model is not held twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::params::ParamPath;
use locus_heads::{HeadConfig, TaskModel};
use locus_model::ModelConfig;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};

use crate::config::{Checkpoint, HeadKind};
use crate::families::{Family, unread};
use crate::keys::How;
use crate::load::{links, parts};

/// Values that are fetched when they are asked for.
type Later<'a> = Box<dyn Fn() -> Vec<f32> + 'a>;

/// A tensor to be written.
struct Pending<'a> {
    shape: Vec<usize>,
    values: Later<'a>,
}

/// Writes the weights of a model under the names of a family, tensor by tensor.
///
/// # Errors
/// If the disk is full or the file cannot be written.
pub(crate) fn write<B: Backend>(
    path: &Path,
    family: &Family,
    checkpoint: &Checkpoint,
    config: &ModelConfig,
    model: &TaskModel<B>,
) -> io::Result<()> {
    let ours = parameters(&config.head, model);
    let shapes: BTreeMap<String, Vec<usize>> =
        ours.iter().map(|(name, pending)| (name.clone(), pending.shape.clone())).collect();
    let n_heads = checkpoint.config.stack.n_heads;
    let prefix = family.prefix_of(HeadKind::of(&checkpoint.config.head));
    let links = links(family, checkpoint, prefix, &shapes).links;
    let (mut theirs, mut done) = (BTreeMap::new(), BTreeSet::new());
    for link in &links {
        let Some(shape) = parts(link, &shapes, n_heads).whole().filter(|_| done.insert(&link.ours)) else {
            continue;
        };
        let n: usize = shape.iter().product();
        let (ours, shapes) = (&ours, &shapes);
        let values = move || -> Vec<f32> {
            if let ([name], How::Same | How::Row) = (link.ours.as_slice(), link.how) {
                return (ours[name].values)();
            }
            let (parts, mut whole) = (parts(link, shapes, n_heads), vec![0.0; n]);
            for (part, name) in link.ours.iter().enumerate() {
                parts.put(&mut whole, part, &(ours[name].values)());
            }
            whole
        };
        theirs.insert(link.theirs.clone(), Pending { shape, values: Box::new(values) });
    }
    if let Some((name, shape)) = unread(family, config, prefix) {
        let n = shape.iter().product();
        theirs.insert(name, Pending { shape, values: Box::new(move || vec![0.0; n]) });
    }
    stream(path, &theirs)
}

/// Writes a safetensors file, each tensor in pieces: the format's own library would hold its numbers and its bytes at once.
fn stream(path: &Path, tensors: &BTreeMap<String, Pending<'_>>) -> io::Result<()> {
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let mut end = 0;
    for (name, Pending { shape, .. }) in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * size_of::<f32>();
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for Pending { values, .. } in tensors.values() {
        for piece in values().chunks(1 << 16) {
            let bytes: Vec<u8> = piece.iter().flat_map(|value| value.to_le_bytes()).collect();
            file.write_all(&bytes)?;
        }
    }
    // The folder is put into its place after this, so the file must be on the disk.
    file.into_inner()?.sync_all()
}

/// The parameters of a model by name.
fn parameters<B: Backend>(head: &HeadConfig, model: &TaskModel<B>) -> BTreeMap<String, Pending<'static>> {
    struct All(ParamPath, BTreeMap<String, Pending<'static>>);
    impl<B: Backend> ModuleVisitor<B> for All {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.0.leave(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            let tensor = param.val();
            let values = move || rows(&tensor);
            self.1.insert(self.0.name(), Pending { shape: param.dims().to_vec(), values: Box::new(values) });
        }
    }
    let mut all = All(ParamPath::default(), BTreeMap::new());
    model.visit(&mut all);
    let mut all = all.1;
    scale_numbers(head, &mut all);
    all
}

/// The values of a tensor, some rows at a time: the backend copies what it gives, more than once.
fn rows<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Vec<f32> {
    const PIECE: usize = 1 << 20;
    let (n, n_rows) = (tensor.shape().num_elements(), tensor.dims()[0]);
    let step = (PIECE * n_rows.max(1) / n.max(1)).max(1);
    let mut values = Vec::with_capacity(n);
    for start in (0..n_rows).step_by(step) {
        let piece = tensor.clone().narrow(0, start, step.min(n_rows - start));
        values.extend(piece.into_data().convert::<f32>().iter::<f32>());
    }
    values
}

/// Makes the last layer of a regressor give the numbers themselves: `mean + std · (x·w + b) = x·(std·w) + (std·b + mean)`.
fn scale_numbers(head: &HeadConfig, all: &mut BTreeMap<String, Pending<'static>>) {
    let HeadConfig::Regression { mean, std, .. } = *head else { return };
    for (name, shift) in [("classifier.weight", 0.0), ("classifier.bias", mean)] {
        if let Some(Pending { shape, values }) = all.remove(name) {
            let scale = move |value: f32| (std * f64::from(value) + shift) as f32;
            let scaled = move || -> Vec<f32> { values().into_iter().map(scale).collect() };
            all.insert(name.to_owned(), Pending { shape, values: Box::new(scaled) });
        }
    }
}

/// Tensors that are held: name, shape and values.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The bytes of a safetensors file.
pub(crate) fn serialized(tensors: &Tensors) -> Result<Vec<u8>, String> {
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| (name, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let mut views = Vec::with_capacity(tensors.len());
    for (name, (shape, _)) in tensors {
        let view = TensorView::new(Dtype::F32, shape.clone(), &bytes[name]);
        views.push((name.clone(), view.map_err(|error| error.to_string())?));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}
