//! From a model to a folder.

use std::path::Path;

use burn::tensor::backend::Backend;
use locus_encoder::StackConfig;
use locus_heads::{HeadConfig, TaskModel, TransformConfig};
use locus_model::{ModelConfig, ModelError, WEIGHTS_FILE, replace_dir, write_file};
use serde_json::{Map, Value, json};

use crate::config::{Body, CONFIG_FILE, Checkpoint, HeadKind, Layers, Problem};
use crate::families::{Family, candidates, in_head};
use crate::generation::{GENERATION_FILE, written as written_generation};
use crate::{HubError, sentence, tensors};

/// What a model was written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// A checkpoint that `transformers` loads; its `model_type`.
    Family(&'static str),
    /// A model folder of Locus: no family has such a model.
    Locus,
}

/// Writes a model so that `transformers` loads it: as `model_type` says, or as the family of the checkpoint that it comes from,
/// or as the first family that has such a model; else as a model folder of Locus. `files` are the tokenizer's. Mean and standard
/// deviation of a regressor become part of its last layer. A sentence embedder becomes a folder of `sentence-transformers`; of a
/// detector of replaced tokens the discriminator is written. The weights are written tensor by tensor.
///
/// # Errors
/// If the disk is full, or the asked family does not have such a model.
pub fn save<B: Backend>(
    dir: &Path,
    config: &ModelConfig,
    model: &TaskModel<B>,
    model_type: Option<&str>,
    files: &[(&str, String)],
) -> Result<Saved, HubError> {
    if let (HeadConfig::SentenceEmbedding(head), TaskModel::SentenceEmbedder(embedder)) =
        (&config.head, model)
    {
        return sentence::save(dir, config, head, embedder, model_type, files);
    }
    let beyond = beyond_families(config);
    let mut candidates = candidates(config, model_type).filter(|_| beyond.is_none());
    let Some(checkpoint) = candidates.find_map(|family| written(family, config)) else {
        if let Some(asked) = model_type {
            let path = dir.join(CONFIG_FILE);
            let why = beyond.map(|why| format!(": {why}")).unwrap_or_default();
            let problem = format!("model_type = {asked:?}: this family has no such model{why}");
            return Err(HubError::Config { path, problems: vec![problem] });
        }
        locus_model::save(dir, config, model, files)?;
        return Ok(Saved::Locus);
    };
    let (family, checkpoint) = checkpoint;
    let pretty = |file: &str, json: &Map<String, Value>| {
        serde_json::to_vec_pretty(json)
            .map_err(|error| ModelError::Config { path: dir.join(file), reason: error.to_string() })
    };
    let json = pretty(CONFIG_FILE, &checkpoint.json)?;
    let generation = written_generation(&config.generation, &config.token_ids);
    let generation = generation.map(|json| pretty(GENERATION_FILE, &json)).transpose()?;
    replace_dir(dir, |dir| {
        let path = dir.join(WEIGHTS_FILE);
        tensors::write(&path, family, &checkpoint, config, model)
            .map_err(|error| ModelError::Weights { path, problems: vec![error.to_string()] })?;
        files.iter().try_for_each(|(name, text)| write_file(&dir.join(name), text.as_bytes()))?;
        if let Some(json) = generation {
            write_file(&dir.join(GENERATION_FILE), &json)?;
        }
        write_file(&dir.join(CONFIG_FILE), &json)
    })?;
    Ok(Saved::Family(family.model_type))
}

/// Why no family can hold a model, where that is no matter of its stack.
fn beyond_families(config: &ModelConfig) -> Option<&'static str> {
    match &config.head {
        HeadConfig::Regression { mean, layers, .. } if *mean != 0.0 && !layers.bias => {
            Some("the mean of its numbers is not 0, and its last layer has no bias to hold it")
        }
        HeadConfig::SpanClassification { .. } => {
            Some("its scores are of spans of words, and families score tokens")
        }
        HeadConfig::Ranking { features, .. } if !features.is_empty() => {
            Some("its scores read numbers beside the text")
        }
        HeadConfig::ReplacedTokens(head) => {
            let activation = in_head(config.stack.activation);
            let usual = TransformConfig { activation, bias: true, norm: false };
            (head.transform != usual)
                .then_some("the layer below its scores has not the activation of its stack")
        }
        _ if config.thresholds.iter().any(|threshold| *threshold != 0.5) => {
            Some("its labels have thresholds of their own")
        }
        _ => None,
    }
}

/// The configuration of a model in a family, and the same read again; none where the family does not have it.
pub(crate) fn written(
    family: &'static Family,
    config: &ModelConfig,
) -> Option<(&'static Family, Checkpoint)> {
    let kind = HeadKind::of(&config.head);
    let architecture = family.head_name(kind)?;
    let mut json = (family.write)(&body(config))?;
    json.insert("model_type".to_owned(), family.model_type.into());
    json.insert("architectures".to_owned(), json!([architecture]));
    json.insert("dtype".to_owned(), "float32".into());
    let labels = match &config.head {
        HeadConfig::Regression { .. } | HeadConfig::Ranking { .. } => vec!["LABEL_0".to_owned()],
        _ => config.labels.clone(),
    };
    if !labels.is_empty() {
        let by_number = labels.iter().enumerate().map(|(idx, name)| (idx.to_string(), name.as_str().into()));
        let by_name = labels.iter().enumerate().map(|(idx, name)| (name.clone(), idx.into()));
        json.insert("id2label".to_owned(), Value::Object(by_number.collect()));
        json.insert("label2id".to_owned(), Value::Object(by_name.collect()));
    }
    let problem = match &config.head {
        HeadConfig::Regression { .. } | HeadConfig::Ranking { .. } => Some(Problem::Regression),
        HeadConfig::MultiLabelClassification { .. } => Some(Problem::MultiLabelClassification),
        HeadConfig::SequenceClassification { .. } => Some(Problem::SingleLabelClassification),
        _ => None,
    };
    if let Some(problem) = problem {
        json.insert("problem_type".to_owned(), json!(problem));
    }
    // Where positions count from the id of padding, the family's file has written it, and another would be another model.
    [true, false].into_iter().find_map(|replaces| {
        let again = Checkpoint::from_json(family, with_ids(json.clone(), config, replaces), None).ok()?;
        (computation(&again.config) == computation(config)).then_some((family, under_own_head(again, config)))
    })
}

/// A discriminator is read as no head, and written with its own.
fn under_own_head(again: Checkpoint, config: &ModelConfig) -> Checkpoint {
    match &config.head {
        head @ HeadConfig::ReplacedTokens(_) => {
            Checkpoint { config: ModelConfig { head: head.clone(), ..again.config }, ..again }
        }
        _ => again,
    }
}

/// A configuration with the ids of tokens; those that it has already are replaced if asked for.
fn with_ids(mut json: Map<String, Value>, config: &ModelConfig, replaces: bool) -> Map<String, Value> {
    let mut ids = config.token_ids.clone();
    // These classes have one of their own where a file says nothing: that of their vocabularies' end of text.
    if json.get("model_type").is_some_and(|found| found == "bart" || found == "marian") {
        ids.forced_eos = ids.forced_eos.or(ids.eos);
    }
    for (key, id) in ids.named() {
        let is_free = replaces || !json.contains_key(key);
        match id.filter(|&id| (id as usize) < config.vocab_size) {
            Some(id) if is_free => drop(json.insert(key.to_owned(), id.into())),
            // The id that a class has where a file says nothing may lie past the vocabulary.
            None if key == "pad_token_id" && !json.contains_key(key) => {
                json.insert(key.to_owned(), Value::Null);
            }
            _ => {}
        }
    }
    json
}

/// What a family's file reads of a model.
fn body(config: &ModelConfig) -> Body {
    let mut body = Body::encoder(config.vocab_size, config.stack.clone());
    body.form = config.head.forms()[0];
    body.reread = config.head.layers().and_then(|layers| layers.decoder);
    match &config.head {
        HeadConfig::SequenceClassification { layers, pooling, .. }
        | HeadConfig::MultiLabelClassification { layers, pooling, .. }
        | HeadConfig::Regression { layers, pooling, .. }
        | HeadConfig::Ranking { layers, pooling, .. } => {
            body.pooling = *pooling;
            body.rows = Layers { transform: layers.transform.clone(), bias: layers.bias };
        }
        HeadConfig::TokenClassification { layers, .. }
        | HeadConfig::SpanClassification { layers, .. }
        | HeadConfig::QuestionAnswering { layers } => {
            body.tokens = Layers { transform: layers.transform.clone(), bias: layers.bias };
        }
        HeadConfig::MaskedLm { tied, bias, transform } => {
            (body.tied, body.masked) = (*tied, (transform.clone(), *bias));
        }
        HeadConfig::CausalLm { tied, output } | HeadConfig::Seq2Seq { tied, output } => {
            (body.tied, body.output) = (*tied, *output);
        }
        HeadConfig::ReplacedTokens(_) => {}
        HeadConfig::Bare { pooler, .. } => body.pooler.clone_from(pooler),
        HeadConfig::SentenceEmbedding(head) => body.pooler.clone_from(&head.pooler),
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
        // Mean and deviation become part of the last layer; a score is a number, however it was trained.
        HeadConfig::Regression { pooling, layers, .. } | HeadConfig::Ranking { pooling, layers, .. } => {
            HeadConfig::Regression { pooling: *pooling, mean: 0.0, std: 1.0, layers: layers.clone() }
        }
        // What stands beside its stack is looked at elsewhere.
        HeadConfig::ReplacedTokens(_) => HeadConfig::Bare { form: config.head.forms()[0], pooler: None },
        head => head.clone(),
    };
    let mut value =
        json!({ "head": head, "stack": stack, "vocab_size": config.vocab_size, "labels": config.labels });
    clean(&mut value);
    value
}
