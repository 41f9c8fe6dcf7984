//! From a model to a folder.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_encoder::StackConfig;
use locus_heads::{HeadConfig, TaskModel};
use locus_model::{ModelConfig, WEIGHTS_FILE, replace_dir, write_file};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};

use crate::HubError;
use crate::config::{Body, CONFIG_FILE, Checkpoint, HeadKind, Layers, Problem};
use crate::families::{FAMILIES, Family};
use crate::load::{Names, links, parts};

/// What a model was written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// A checkpoint that `transformers` loads; its `model_type`.
    Family(&'static str),
    /// A model folder of Locus: no family has such a model.
    Locus,
}

/// Writes a model so that `transformers` loads it, as the first family that has such a model, or as `model_type` says; else as
/// a model folder of Locus. `files` are the tokenizer's; `ids` are further keys of `config.json`, such as `pad_token_id`, which
/// `transformers` needs to score batches.
///
/// # Errors
/// If the disk is full, or the asked family does not have such a model.
pub fn save<B: Backend>(
    dir: &Path,
    config: &ModelConfig,
    model: &TaskModel<B>,
    model_type: Option<&str>,
    files: &[(&str, String)],
    ids: &Map<String, Value>,
) -> Result<Saved, HubError> {
    let mut candidates =
        FAMILIES.iter().filter(|family| model_type.is_none_or(|asked| asked == family.model_type));
    let Some(checkpoint) = candidates.find_map(|family| written(family, config)) else {
        if let Some(asked) = model_type {
            let path = dir.join(CONFIG_FILE);
            let problem = format!("model_type = {asked:?}: this family has no such model");
            return Err(HubError::Config { path, problems: vec![problem] });
        }
        locus_model::save(dir, config, model, files)?;
        return Ok(Saved::Locus);
    };
    let (family, mut checkpoint) = checkpoint;
    for (key, id) in ids {
        checkpoint.json.insert(key.clone(), id.clone());
    }
    let weights = tensors(family, &checkpoint, model);
    write(dir, &checkpoint.json, &weights, files)?;
    Ok(Saved::Family(family.model_type))
}

/// The configuration of a model in a family, and the same read again; none where the family does not have it.
fn written(family: &'static Family, config: &ModelConfig) -> Option<(&'static Family, Checkpoint)> {
    let kind = HeadKind::of(&config.head);
    let architecture = family.head_name(kind)?;
    let mut json = (family.write)(&body(config))?;
    json.insert("model_type".to_owned(), family.model_type.into());
    json.insert("architectures".to_owned(), json!([architecture]));
    json.insert("dtype".to_owned(), "float32".into());
    let labels = match &config.head {
        HeadConfig::Regression { .. } => vec!["LABEL_0".to_owned()],
        _ => config.labels.clone(),
    };
    if !labels.is_empty() {
        let by_number = labels.iter().enumerate().map(|(idx, name)| (idx.to_string(), name.as_str().into()));
        let by_name = labels.iter().enumerate().map(|(idx, name)| (name.clone(), idx.into()));
        json.insert("id2label".to_owned(), Value::Object(by_number.collect()));
        json.insert("label2id".to_owned(), Value::Object(by_name.collect()));
    }
    let problem = match &config.head {
        HeadConfig::Regression { .. } => Some(Problem::Regression),
        HeadConfig::MultiLabelClassification { .. } => Some(Problem::MultiLabelClassification),
        HeadConfig::SequenceClassification { .. } => Some(Problem::SingleLabelClassification),
        _ => None,
    };
    if let Some(problem) = problem {
        json.insert("problem_type".to_owned(), json!(problem));
    }
    let again = Checkpoint::from_json(family, json, None).ok()?;
    (computation(&again.config) == computation(config)).then_some((family, again))
}

/// What a family's file reads of a model.
fn body(config: &ModelConfig) -> Body {
    let mut body = Body::encoder(config.vocab_size, config.stack.clone());
    body.form = config.head.forms()[0];
    match &config.head {
        HeadConfig::SequenceClassification { layers, pooling, .. }
        | HeadConfig::MultiLabelClassification { layers, pooling, .. }
        | HeadConfig::Regression { layers, pooling, .. } => {
            body.pooling = *pooling;
            body.rows = Layers { transform: layers.transform.clone(), bias: layers.bias };
        }
        HeadConfig::TokenClassification { layers, .. } | HeadConfig::QuestionAnswering { layers } => {
            body.tokens = Layers { transform: layers.transform.clone(), bias: layers.bias };
        }
        HeadConfig::MaskedLm { tied, bias, transform } => {
            (body.tied, body.masked) = (*tied, (transform.clone(), *bias));
        }
        HeadConfig::CausalLm { tied, output } | HeadConfig::Seq2Seq { tied, output } => {
            (body.tied, body.output) = (*tied, *output);
        }
        HeadConfig::Bare { pooler, .. } => body.pooler.clone_from(pooler),
    }
    body
}

/// A configuration with everything taken out that does not change what a trained model computes.
fn computation(config: &ModelConfig) -> Value {
    fn clean(value: &mut Value) {
        match value {
            Value::Object(table) => {
                for key in ["init_std", "dropout", "attention_dropout"] {
                    table.remove(key);
                }
                // How labels are decoded is no matter of weights, but for learned steps between them.
                if table.get("decoding").is_some_and(|decoding| decoding != "crf") {
                    table.remove("decoding");
                }
                table.values_mut().for_each(clean);
            }
            Value::Array(list) => list.iter_mut().for_each(clean),
            _ => {}
        }
    }
    let stack = &config.stack;
    let stack = StackConfig {
        n_kv_heads: Some(stack.n_kv_heads()),
        d_head: Some(stack.d_head()),
        d_ff: Some(stack.d_ff()),
        ..stack.clone()
    };
    let head = match &config.head {
        // Without scores over the vocabulary it does not matter.
        HeadConfig::Regression { pooling, layers, .. } => {
            HeadConfig::Regression { pooling: *pooling, mean: 0.0, std: 1.0, layers: layers.clone() }
        }
        head => head.clone(),
    };
    let mut value =
        json!({ "head": head, "stack": stack, "vocab_size": config.vocab_size, "labels": config.labels });
    clean(&mut value);
    value
}

/// The tensors of a checkpoint: name, shape and values.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn tensors<B: Backend>(family: &Family, checkpoint: &Checkpoint, model: &TaskModel<B>) -> Tensors {
    struct Values(Names, BTreeMap<String, (Vec<usize>, Vec<f32>)>);
    impl<B: Backend> ModuleVisitor<B> for Values {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.0.leave(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            let values = param.val().into_data().convert::<f32>().iter().collect();
            self.1.insert(self.0.here(), (param.dims().to_vec(), values));
        }
    }
    let mut values = Values(Names::default(), BTreeMap::new());
    model.visit(&mut values);
    let values = values.1;
    let shapes = values.iter().map(|(name, (shape, _))| (name.clone(), shape.clone())).collect();
    let prefix = if HeadKind::of(&checkpoint.config.head) == HeadKind::Bare { "" } else { family.prefix };
    let mut written = Tensors::new();
    let mut done = std::collections::BTreeSet::new();
    for link in links(family, checkpoint, prefix, &shapes).links {
        let parts = parts(&link, &shapes, checkpoint.config.stack.n_heads);
        let Some(shape) = parts.whole().filter(|_| !done.contains(&link.ours)) else { continue };
        let mut whole = vec![0.0; shape.iter().product()];
        for (part, name) in link.ours.iter().enumerate() {
            parts.put(&mut whole, part, &values[name].1);
        }
        written.insert(link.theirs, (shape, whole));
        done.insert(link.ours);
    }
    written
}

fn write(
    dir: &Path,
    config: &Map<String, Value>,
    tensors: &Tensors,
    files: &[(&str, String)],
) -> Result<(), HubError> {
    let path = dir.join(WEIGHTS_FILE);
    let wrong = |problem: String| HubError::Weights { path: path.clone(), problems: vec![problem] };
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| (name, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let mut views = Vec::with_capacity(tensors.len());
    for (name, (shape, _)) in tensors {
        let view = TensorView::new(Dtype::F32, shape.clone(), &bytes[name]);
        views.push((name.clone(), view.map_err(|error| wrong(error.to_string()))?));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let weights = safetensors::serialize(views, Some(metadata)).map_err(|error| wrong(error.to_string()))?;
    let json = serde_json::to_vec_pretty(config).map_err(|error| wrong(error.to_string()))?;
    replace_dir(dir, |dir| {
        write_file(&dir.join(WEIGHTS_FILE), &weights)?;
        files.iter().try_for_each(|(name, text)| write_file(&dir.join(name), text.as_bytes()))?;
        write_file(&dir.join(CONFIG_FILE), &json)
    })?;
    Ok(())
}
