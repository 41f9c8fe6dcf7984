//! Folders of `sentence-transformers`: embeddings, gradients and the way back; what is refused.
//!
//! `oracle/sentence_embeddings.py` writes the goldens.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::module::{Param as Parameter, ParamId};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use locus_backend::rng::Key;
use locus_heads::{
    Cosent, CosineBounds, HeadConfig, Labels, PairLoss, SentenceEmbeddingConfig, TaskBatch, TaskModel,
    TokenPooling, Trainable,
};
use locus_hub::{Saved, Weights, is_sentence_folder, load_sentence, read_sentence, save};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::B;
use crate::parity::case::{Case, Param, cases, golden, numbers};
use crate::parity::draw::unit;
use crate::parity::run::{compare, compare_gradient, compare_gradients};

const CASES: [&str; 16] = [
    "all",
    "causal",
    "cls",
    "cosent",
    "cosine",
    "dense",
    "last",
    "max",
    "mean",
    "mean_sqrt_len",
    "normalize_first",
    "pairs",
    "softmax",
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
    loss: Value,
}

/// What pairs come with in a case.
fn pair_loss(name: &str) -> PairLoss {
    match name {
        "cosine" => PairLoss::Cosine(CosineBounds::default()),
        "cosent" => PairLoss::Cosent(Cosent::default()),
        "softmax" => PairLoss::Softmax { n_labels: 5 },
        _ => PairLoss::InBatchNegatives,
    }
}

impl Sentences {
    pub(crate) fn read(name: &str) -> Self {
        let path = golden().join(format!("sentences/{name}.json"));
        let json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        Self {
            case: Case::of(&path, &json),
            files: serde_json::from_value(json["files"].clone()).unwrap(),
            prompt_length: json["prompt_length"].as_u64().unwrap() as usize,
            loss: json["loss"].clone(),
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

    fn labels(&self) -> Labels {
        let numbers = || numbers(&self.loss["labels"]).into_iter();
        match pair_loss(&self.case.name) {
            PairLoss::InBatchNegatives => Labels::InBatchPairs,
            PairLoss::Softmax { .. } => Labels::PairLabels(numbers().map(|x| x as i32).collect()),
            _ => Labels::PairValues(numbers().map(|x| x as f32).collect()),
        }
    }

    /// Gives the layer of the loss of labels the values that it has there.
    fn draw_classifier(&self, model: &mut TaskModel<B>) {
        let (Some(params), TaskModel::SentenceEmbedder(model)) = (self.loss["classifier"].as_object(), model)
        else {
            return;
        };
        let draw = |name: &str| {
            let param = Param::read(&params[name]);
            TensorData::new(param.draw(name), param.shape)
        };
        let device = Default::default();
        let weight = Tensor::<B, 2>::from_data(draw("classifier.weight"), &device).transpose();
        let bias = Tensor::<B, 1>::from_data(draw("classifier.bias"), &device);
        let classifier = model.classifier.as_mut().unwrap();
        classifier.weight = Parameter::initialized(ParamId::new(), weight.detach().require_grad());
        classifier.bias = Some(Parameter::initialized(ParamId::new(), bias.detach().require_grad()));
    }

    /// The largest relative difference of the gradients of that layer.
    fn compare_classifier(
        &self,
        model: &TaskModel<B>,
        grads: &<B as AutodiffBackend>::Gradients,
    ) -> Result<f64, String> {
        let (Some(params), TaskModel::SentenceEmbedder(model)) = (self.loss["classifier"].as_object(), model)
        else {
            return Ok(0.0);
        };
        let classifier = model.classifier.as_ref().ok_or("no classifier")?;
        let bias = classifier.bias.as_ref().ok_or("no bias")?;
        let of_weight = classifier.weight.val().grad(grads).ok_or("no gradient")?.transpose();
        let of_bias = bias.val().grad(grads).ok_or("no gradient")?;
        let found: [(&str, Vec<f32>); 2] = [
            ("classifier.weight", of_weight.into_data().iter::<f32>().collect()),
            ("classifier.bias", of_bias.into_data().iter::<f32>().collect()),
        ];
        let mut largest = 0.0_f64;
        for (name, grad) in &found {
            let want = Param::read(&params[*name]).grad.ok_or("no gradient in the golden")?;
            largest = largest.max(compare_gradient(name, grad, want, 0.0)?);
        }
        Ok(largest)
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
    sentence.head.pair_loss = pair_loss(name);
    let mut loaded =
        sentence.load::<B>(Key::new(1), &Default::default()).map_err(|error| error.to_string())?;
    // Folders do not have the layer of the loss of labels.
    let new: &[&str] = if name == "softmax" { &["classifier.weight", "classifier.bias"] } else { &[] };
    if loaded.new != new || !loaded.dropped.is_empty() {
        return Err(format!("new {:?}, dropped {:?}", loaded.new, loaded.dropped));
    }
    golden.draw_classifier(&mut loaded.model);
    let (config, tokens) = (&loaded.checkpoint.config, case.tokens());
    let TaskModel::SentenceEmbedder(model) = &loaded.model else { return Err("another head".to_owned()) };
    let embedded = model.embed(&tokens, golden.prompt_length, None).map_err(|error| error.to_string())?;
    if embedded.dims().to_vec() != case.shape {
        return Err(format!("embeddings of {:?}, expected {:?}", embedded.dims(), case.shape));
    }
    let values: Vec<f32> = embedded.to_data().iter::<f32>().collect();
    let of_values = compare(&values, &case.values, &vec![true; values.len()], 1e-5)?;
    let loss: Tensor<B, 1> = match golden.loss["value"].as_f64() {
        Some(want) => {
            let batch = TaskBatch { tokens, labels: golden.labels() };
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
    let of_grads = of_grads.max(golden.compare_classifier(&loaded.model, &grads)?);
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
    // A loss is no part of a folder.
    let own_loss = name == "symmetric" || pair_loss(name) != PairLoss::InBatchNegatives;
    if !own_loss && again.config().head != config.head {
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

/// Another order of numbers, another number, another label: the loss is further off than the tolerance.
#[test]
fn a_planted_error_in_a_loss_is_found() {
    let value = |name: &str, change: &dyn Fn(&mut SentenceEmbeddingConfig, &mut Labels)| {
        let (golden, folder) = (Sentences::read(name), tempfile::tempdir().unwrap());
        golden.write(folder.path());
        let mut sentence = read_sentence(folder.path()).unwrap();
        let mut labels = golden.labels();
        sentence.head.pair_loss = pair_loss(name);
        change(&mut sentence.head, &mut labels);
        let mut loaded = sentence.load::<B>(Key::new(1), &Default::default()).unwrap();
        golden.draw_classifier(&mut loaded.model);
        let loss = loaded.model.loss(&TaskBatch { tokens: golden.case.tokens(), labels }, None).unwrap();
        let value: Vec<f32> = (loss.sum / loss.weight).to_data().iter::<f32>().collect();
        compare(&value, &[golden.loss["value"].as_f64().unwrap()], &[true], 1e-5)
    };
    for name in ["cosine", "cosent", "softmax"] {
        value(name, &|_, _| {}).unwrap();
        let order = value(name, &|_, labels| match labels {
            Labels::PairValues(values) => values.swap(0, 1),
            Labels::PairLabels(labels) => labels.swap(0, 1),
            _ => panic!("{labels:?}"),
        });
        assert!(order.is_err(), "{name}");
    }
    let equal = value("cosent", &|_, labels| *labels = Labels::PairValues(vec![1.5, 4.0, 1.25]));
    assert!(equal.is_err(), "equal numbers are not compared");
    let scale = value("cosent", &|head, _| head.pair_loss = PairLoss::Cosent(Cosent { scale: 10.0 }));
    assert!(scale.is_err(), "another scale");
    let as_cosine = value("cosent", &|head, _| head.pair_loss = pair_loss("cosine"));
    assert!(as_cosine.is_err(), "another loss");
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
