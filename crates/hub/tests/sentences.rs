//! Folders of `sentence-transformers`: embeddings, gradients and the way back; what is refused.
//!
//! `oracle/sentence_embeddings.py` writes the goldens.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use locus_backend::rng::Key;
use locus_heads::{
    HeadConfig, Labels, SentenceEmbeddingConfig, TaskBatch, TaskModel, TokenPooling, Trainable,
};
use locus_hub::{Saved, Weights, is_sentence_folder, load_sentence, read_sentence, save};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::B;
use crate::parity::case::{Case, Param, cases, golden};
use crate::parity::draw::unit;
use crate::parity::run::{compare, compare_gradients};

const CASES: [&str; 13] = [
    "all",
    "causal",
    "cls",
    "dense",
    "last",
    "max",
    "mean",
    "mean_sqrt_len",
    "normalize_first",
    "pairs",
    "symmetric",
    "weighted_mean",
    "without_prompt",
];

/// A golden file.
pub(crate) struct Sentences {
    case: Case,
    /// Files of the folder, by name.
    files: BTreeMap<String, String>,
    prompt_length: usize,
    /// The loss whose gradients the file has; else they are those of a weighted sum.
    loss: Option<f64>,
}

impl Sentences {
    pub(crate) fn read(name: &str) -> Self {
        let path = golden().join(format!("sentences/{name}.json"));
        let json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        Self {
            case: Case::of(&path, &json),
            files: serde_json::from_value(json["files"].clone()).unwrap(),
            prompt_length: json["prompt_length"].as_u64().unwrap() as usize,
            loss: json["loss"]["value"].as_f64(),
        }
    }

    /// Writes the folder as `sentence-transformers` would.
    pub(crate) fn write(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("config.json"), self.case.config.to_string()).unwrap();
        for (name, text) in &self.files {
            fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            fs::write(dir.join(name), text).unwrap();
        }
        let mut folders: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
        for name in self.case.params.keys() {
            let name = name.as_str();
            let (folder, tensor) = name.rsplit_once('/').unwrap_or(("", name));
            folders.entry(folder).or_default().push((name, tensor));
        }
        for (folder, names) in folders {
            write_tensors(&dir.join(folder), &self.case.params, &names);
        }
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.files[name]).unwrap()
    }
}

/// Writes drawn tensors, each by the name that it is drawn by and the one in the file.
fn write_tensors(dir: &Path, params: &BTreeMap<String, Param>, names: &[(&str, &str)]) {
    let bytes_of =
        |name: &str| -> Vec<u8> { params[name].draw(name).iter().flat_map(|x| x.to_le_bytes()).collect() };
    let bytes: Vec<Vec<u8>> = names.iter().map(|&(name, _)| bytes_of(name)).collect();
    let views = names.iter().zip(&bytes).map(|((name, tensor), bytes)| {
        (*tensor, TensorView::new(Dtype::F32, params[*name].shape.clone(), bytes).unwrap())
    });
    fs::write(dir.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn embeddings_gradients_and_the_way_back_are_those_of_sentence_transformers() {
    let mut failures = Vec::new();
    for name in CASES {
        let folder = tempfile::tempdir().unwrap();
        match check(name, &Sentences::read(name), folder.path()) {
            Ok((values, grads)) => println!("{name:<20} embeddings {values:.1e} gradients {grads:.1e}"),
            Err(problem) => failures.push(format!("{name}: {problem}")),
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

/// The largest differences of embeddings and of gradients.
fn check(name: &str, golden: &Sentences, folder: &Path) -> Result<(f64, f64), String> {
    let (case, dir, out) = (&golden.case, folder.join("theirs"), folder.join("ours"));
    golden.write(&dir);
    let mut sentence = read_sentence(&dir).map_err(|error| error.to_string())?;
    sentence.head.loss.symmetric = name == "symmetric";
    let loaded = sentence.load::<B>(Key::new(1), &Default::default()).map_err(|error| error.to_string())?;
    if !loaded.new.is_empty() || !loaded.dropped.is_empty() {
        return Err(format!("new {:?}, dropped {:?}", loaded.new, loaded.dropped));
    }
    let (config, tokens) = (&loaded.checkpoint.config, case.tokens());
    let TaskModel::SentenceEmbedder(model) = &loaded.model else { return Err("another head".to_owned()) };
    let embedded = model.embed(&tokens, golden.prompt_length, None).map_err(|error| error.to_string())?;
    if embedded.dims().to_vec() != case.shape {
        return Err(format!("embeddings of {:?}, expected {:?}", embedded.dims(), case.shape));
    }
    let values: Vec<f32> = embedded.to_data().iter::<f32>().collect();
    let of_values = compare(&values, &case.values, &vec![true; values.len()], 1e-5)?;
    let loss: Tensor<B, 1> = match golden.loss {
        Some(want) => {
            let batch = TaskBatch { tokens, labels: Labels::InBatchPairs };
            let loss = model.loss(&batch, None).map_err(|error| error.to_string())?;
            let mean = loss.sum / loss.weight;
            let got: Vec<f32> = mean.to_data().iter::<f32>().collect();
            compare(&got, &[want], &[true], 1e-5)?;
            mean
        }
        None => {
            let upstream = (0..values.len() as u64).map(|i| unit("upstream", i) as f32).collect::<Vec<_>>();
            let upstream = TensorData::new(upstream, embedded.dims());
            (embedded * Tensor::from_data(upstream, &Default::default())).sum()
        }
    };
    let grads = loss.backward();
    let of_grads = compare_gradients(case, config, &loaded.model, &grads, &folder.join("grads"))?;
    // Back: the same tensors to the bit, the same modules, and a configuration that reads as the same model.
    let model_type = case.config["model_type"].as_str();
    let saved = save(&out, config, &loaded.model, model_type, &[]).map_err(|error| error.to_string())?;
    if !matches!(saved, Saved::Family(family) if Some(family) == model_type) {
        return Err(format!("saved as {saved:?}"));
    }
    for (name, param) in &case.params {
        let (folder, tensor) = name.rsplit_once('/').unwrap_or(("", name.as_str()));
        let weights = Weights::open(&out.join(folder)).map_err(|error| error.to_string())?;
        if weights.read(tensor)? != param.draw(name) || weights.facts(tensor).unwrap().shape != param.shape {
            return Err(format!("{name} came back changed"));
        }
    }
    for name in golden.files.keys() {
        let written = fs::read_to_string(out.join(name)).map_err(|error| format!("{name}: {error}"))?;
        let (mut want, got) = (golden.json(name), serde_json::from_str::<Value>(&written).unwrap());
        if let Some(settings) = want.as_object_mut() {
            settings.remove("__version__");
        }
        if got != want {
            return Err(format!("{name} came back as {got}, was {want}"));
        }
    }
    let again = read_sentence(&out).map_err(|error| error.to_string())?;
    if name != "symmetric" && again.config().head != config.head {
        return Err(format!("the head came back as {:?}", again.head));
    }
    Ok((of_values, of_grads))
}

/// Another pooling, or a layer that is left out, is further off than the tolerance.
#[test]
fn a_planted_error_is_found() {
    use TokenPooling::{Cls, Last, Max, Mean, MeanSqrtLen, WeightedMean};
    let others = [
        ("cls", Last),
        ("max", Mean),
        ("mean", MeanSqrtLen),
        ("mean_sqrt_len", Mean),
        ("weighted_mean", Mean),
        ("last", Cls),
        ("normalize_first", WeightedMean),
        ("causal", Max),
    ];
    let planted = |name: &str, change: &dyn Fn(&mut SentenceEmbeddingConfig, &mut usize)| {
        let (golden, folder) = (Sentences::read(name), tempfile::tempdir().unwrap());
        golden.write(folder.path());
        let mut sentence = read_sentence(folder.path()).unwrap();
        let mut n_prompt_tokens = golden.prompt_length;
        change(&mut sentence.head, &mut n_prompt_tokens);
        let loaded = sentence.load::<B>(Key::new(1), &Default::default()).unwrap();
        let TaskModel::SentenceEmbedder(model) = &loaded.model else { panic!("another head") };
        let embedded = model.embed(&golden.case.tokens(), n_prompt_tokens, None).unwrap();
        let values: Vec<f32> = embedded.to_data().iter::<f32>().collect();
        let keep = vec![true; values.len()];
        assert!(compare(&values, &golden.case.values, &keep, 1e-5).is_err(), "{name}");
    };
    for (name, other) in others {
        planted(name, &|head, _| head.pooling = vec![other]);
    }
    planted("last", &|head, _| head.layers.clear());
    planted("without_prompt", &|_, n_prompt_tokens| *n_prompt_tokens = 1);
    planted("without_prompt", &|head, _| head.include_prompt = true);
}

#[test]
fn a_checkpoint_without_a_list_of_modules_is_averaged() {
    let case = cases().into_iter().find(|case| case.name == "bert-bare").unwrap();
    let folder = tempfile::tempdir().unwrap();
    case.write(folder.path());
    assert!(!is_sentence_folder(folder.path()));
    let with_pooler = load_sentence::<B>(folder.path(), &Default::default()).unwrap();
    let HeadConfig::SentenceEmbedding(head) = &with_pooler.checkpoint.config.head else {
        panic!("another head")
    };
    assert_eq!(head.pooling, [TokenPooling::Mean]);
    assert!(head.pooler.is_some() && head.layers.is_empty());
    // A folder may lack the pooler, which nothing reads: here and on the way back.
    let without: Vec<(&str, &str)> = case
        .params
        .keys()
        .filter(|name| !name.starts_with("pooler."))
        .map(|name| (&name[..], &name[..]))
        .collect();
    write_tensors(folder.path(), &case.params, &without);
    let loaded = load_sentence::<B>(folder.path(), &Default::default()).unwrap();
    let out = folder.path().join("out");
    let saved = save(&out, &loaded.checkpoint.config, &loaded.model, None, &[]).unwrap();
    assert_eq!(saved, Saved::Family("bert"));
    let again = load_sentence::<B>(&out, &Default::default()).unwrap();
    let vectors = |model: &TaskModel<B>| {
        let TaskModel::SentenceEmbedder(model) = model else { panic!("another head") };
        model.embed(&case.tokens(), 0, None).unwrap().to_data().iter::<f32>().collect::<Vec<_>>()
    };
    assert_eq!(vectors(&again.model), vectors(&with_pooler.model));
}

#[test]
fn what_is_not_understood_is_named() {
    let golden = Sentences::read("all");
    let error = |change: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        golden.write(folder.path());
        change(folder.path());
        load_sentence::<B>(folder.path(), &Default::default()).unwrap_err().to_string()
    };
    let replaced = |file: &'static str, from: &'static str, to: &'static str| {
        let said = error(&|dir| {
            let text = fs::read_to_string(dir.join(file)).unwrap();
            assert!(text.contains(from), "{from} in {text}");
            fs::write(dir.join(file), text.replace(from, to)).unwrap();
        });
        assert!(said.contains(file), "{said}");
        said
    };
    let said = replaced("modules.json", "models.Dense", "models.LayerNorm");
    assert!(said.contains("models.LayerNorm: expected Dense or Normalize"), "{said}");
    let said = replaced("modules.json", "models.Transformer", "models.StaticEmbedding");
    assert!(said.contains("module 0 is StaticEmbedding: expected Transformer"), "{said}");
    let said = replaced("modules.json", "\"2_Dense\"", "\"../2_Dense\"");
    assert!(said.contains("expected a folder inside this one"), "{said}");
    let said = replaced("1_Pooling/config.json", "12", "13");
    assert!(said.contains("word_embedding_dimension = 13: expected 12"), "{said}");
    let said = replaced("2_Dense/config.json", "activation.Tanh", "activation.Mish");
    assert!(said.contains("activation.Mish") && said.contains("expected one of"), "{said}");
    let said = replaced("2_Dense/config.json", "\"in_features\": 72", "\"in_features\": 12");
    assert!(said.contains("in_features = 12: expected 72"), "{said}");
    let said = replaced("config_sentence_transformers.json", "SentenceTransformer", "SparseEncoder");
    assert!(said.contains("SparseEncoder"), "{said}");
    let said = error(&|dir| fs::remove_file(dir.join("2_Dense/model.safetensors")).unwrap());
    assert!(said.contains("2_Dense") && said.contains("model.safetensors"), "{said}");
    let said = error(&|dir| {
        let dense = dir.join("2_Dense");
        write_tensors(&dense, &golden.case.params, &[("2_Dense/linear.bias", "linear.weight")]);
    });
    assert!(said.contains("linear.weight is [7], expected [7, 72]"), "{said}");
    assert!(said.contains("linear.bias is missing"), "{said}");
}
