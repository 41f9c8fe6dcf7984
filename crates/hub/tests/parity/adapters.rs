//! Adapters against `peft`: outputs, the gradient of every tensor, merging, and the way back.
//!
//! `oracle/adapters.py` writes the goldens; tensors are drawn as those of checkpoints are.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use locus_backend::rng::Key;
use locus_heads::{
    AdapterConfig, HostAdapter, HostArray, HostChange, Ia3Config, LoraConfig, Target, TaskModel,
};
use locus_hub::{
    AdapterBase, Loaded, load, load_checkpoint, read_adapted_config, read_adapter, write_adapter,
};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::case::{Case, Param, cases, golden, numbers};
use super::draw::unit;
use super::run::{Gradients, compare, compare_gradient, output};
use crate::B;

const TENSORS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

/// An adapter on one of the checkpoints.
pub(crate) struct Golden {
    name: String,
    pub(crate) case: Case,
    pub(crate) config: Value,
    params: BTreeMap<String, Param>,
    values: Vec<f64>,
}

/// All goldens whose checkpoint is among those that are run.
fn goldens() -> Vec<Golden> {
    let mut files: Vec<_> =
        golden().join("adapters").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 25);
    let only = std::env::var("LOCUS_CHECKPOINTS").unwrap_or_default();
    let mut all = Vec::new();
    for path in files {
        let json: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let base = json["base"].as_str().unwrap();
        if !base.starts_with(&only) {
            continue;
        }
        let params = json["params"].as_object().unwrap().iter();
        all.push(Golden {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            case: Case::read(&golden().join(format!("{base}.json"))),
            config: json["adapter_config"].clone(),
            params: params.map(|(name, param)| (name.clone(), Param::read(param))).collect(),
            values: numbers(&json["outputs"]["logits"]["values"]),
        });
    }
    all
}

impl Golden {
    pub(crate) fn named(name: &str) -> Option<Self> {
        goldens().into_iter().find(|golden| golden.name == name)
    }

    pub(crate) fn base(&self) -> Loaded<B> {
        let folder = tempfile::tempdir().unwrap();
        self.case.write(folder.path());
        load::<B>(folder.path(), &Default::default()).unwrap()
    }

    /// Writes the adapter as `peft` would, with values that are those of another tensor.
    pub(crate) fn write(&self, dir: &Path, config: &Value, source: impl Fn(&str) -> String) {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join(CONFIG), config.to_string()).unwrap();
        let values = |name: &str| self.params[name].draw(name);
        let tensors = self
            .params
            .iter()
            .map(|(name, param)| (name.clone(), (param.shape.clone(), values(&source(name)))));
        write_tensors(dir, &tensors.collect());
    }

    fn adapter(&self, base: &Loaded<B>) -> HostAdapter {
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path(), &self.config, str::to_owned);
        read_adapter(folder.path(), AdapterBase::Checkpoint(&base.checkpoint), &base.model).unwrap()
    }

    fn difference(&self, model: &TaskModel<B>) -> Result<f64, String> {
        let (_, logits) = output(&self.case, model)?;
        compare(&logits, &self.values, &self.case.keep(), 1e-5)
    }
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn write_tensors(dir: &Path, tensors: &Tensors) {
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let bytes: BTreeMap<&String, Vec<u8>> =
        tensors.iter().map(|(name, (_, values))| (name, bytes(values))).collect();
    let views = tensors.iter().map(|(name, (shape, _))| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap())
    });
    std::fs::write(dir.join(TENSORS), safetensors::serialize(views, None).unwrap()).unwrap();
}

fn read_tensors(dir: &Path) -> Tensors {
    let bytes = std::fs::read(dir.join(TENSORS)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let values = |view: &TensorView<'_>| {
        view.data().as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect::<Vec<f32>>()
    };
    tensors.into_iter().map(|(name, view)| (name, (view.shape().to_vec(), values(&view)))).collect()
}

fn adapted(base: &Loaded<B>, adapter: &HostAdapter) -> TaskModel<B> {
    let mut model = base.model.clone();
    model.add_adapter("golden", adapter).unwrap();
    model
}

#[test]
fn outputs_gradients_merging_and_the_way_back_are_those_of_peft() {
    let mut failures = Vec::new();
    for golden in goldens() {
        match std::panic::catch_unwind(|| check(&golden)) {
            Ok(Ok((outputs, grads))) => {
                println!("{:<45} outputs {outputs:.1e} gradients {grads:.1e}", golden.name);
            }
            Ok(Err(problem)) => failures.push(format!("{}: {problem}", golden.name)),
            Err(_) => failures.push(format!("{}: a panic", golden.name)),
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

fn check(golden: &Golden) -> Result<(f64, f64), String> {
    let base = golden.base();
    let adapter = golden.adapter(&base);
    let mut model = adapted(&base, &adapter);
    let of_outputs = golden.difference(&model)?;
    let of_gradients = gradients(golden, &base, &model, &adapter)?;
    // Back: the same tensors to the bit, and a configuration that reads as the same adapter.
    if model.adapter("golden", &adapter) != adapter {
        return Err("read from the model it is another".to_owned());
    }
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = AdapterBase::Checkpoint(&base.checkpoint);
    let notes = write_adapter(folder.path(), checkpoint, &base.model, &adapter, "base", &[])
        .map_err(|error| error.to_string())?;
    if !notes.is_empty() {
        return Err(notes.join("\n"));
    }
    let want: Tensors = golden
        .params
        .iter()
        .map(|(name, param)| (name.clone(), (param.shape.clone(), param.draw(name))))
        .collect();
    if read_tensors(folder.path()) != want {
        return Err("its tensors came back changed".to_owned());
    }
    let again = read_adapter(folder.path(), checkpoint, &base.model).map_err(|error| error.to_string())?;
    if again != adapter {
        return Err("it came back changed".to_owned());
    }
    model.merge_adapters();
    golden.difference(&model).map_err(|problem| format!("merged: {problem}"))?;
    Ok((of_outputs, of_gradients))
}

/// The largest relative difference of a gradient's norm or products, over all tensors of the adapter.
fn gradients(
    golden: &Golden,
    base: &Loaded<B>,
    model: &TaskModel<B>,
    adapter: &HostAdapter,
) -> Result<f64, String> {
    let (out, _) = output(&golden.case, model)?;
    let (n, keep) = (out.dims()[0], golden.case.keep());
    let upstream = (0..n).map(|i| if keep[i] { unit("upstream", i as u64) as f32 } else { 0.0 });
    let upstream = TensorData::new(upstream.collect::<Vec<_>>(), [n]);
    let grads = (out * Tensor::from_data(upstream, &Default::default())).sum().backward();
    let of_model = model.clone().map(&mut Gradients { grads: &grads });
    let mut of_adapter = of_model.adapter("golden", adapter);
    let name = golden.case.name.as_str();
    if name.starts_with("gpt2") || name.starts_with("gpt_neox") {
        share(&mut of_adapter);
    }
    // Written as an adapter, the gradients have the names and the layout of peft.
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = AdapterBase::Checkpoint(&base.checkpoint);
    write_adapter(folder.path(), checkpoint, &base.model, &of_adapter, "base", &[])
        .map_err(|error| error.to_string())?;
    let found = read_tensors(folder.path());
    let wants = || golden.params.iter().filter_map(|(name, param)| Some((name, param.grad?)));
    let largest_norm = wants().map(|(_, (norm, _))| norm).fold(0.0, f64::max);
    let mut largest = 0.0_f64;
    for (name, want) in wants() {
        let (_, grad) = found.get(name).ok_or_else(|| format!("no gradient of {name}"))?;
        largest = largest.max(compare_gradient(name, grad, want, largest_norm)?);
    }
    Ok(largest)
}

/// What three projections have an A of their own for is one A in `peft`, whose gradient is the sum.
fn share(of_adapter: &mut HostAdapter) {
    let mut sums: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let block = |path: &str| path.split_once(".attn.").map(|(block, _)| block.to_owned());
    for (path, change) in &of_adapter.changes {
        let (HostChange::LowRank { a, .. }, Some(block)) = (change, block(path)) else { continue };
        let sum = sums.entry(block).or_insert_with(|| vec![0.0; a.values.len()]);
        sum.iter_mut().zip(&a.values).for_each(|(sum, x)| *sum += x);
    }
    for (path, change) in &mut of_adapter.changes {
        if let (HostChange::LowRank { a, .. }, Some(block)) = (change, block(path)) {
            a.values.clone_from(&sums[&block]);
        }
    }
}

#[test]
fn a_planted_error_is_seen_in_every_adapter() {
    let mut failures = Vec::new();
    for golden in goldens() {
        let base = golden.base();
        let folder = tempfile::tempdir().unwrap();
        let mut seen = |what: &str, config: &Value, source: &dyn Fn(&str) -> String| {
            golden.write(folder.path(), config, source);
            let checkpoint = AdapterBase::Checkpoint(&base.checkpoint);
            let adapter = read_adapter(folder.path(), checkpoint, &base.model).unwrap();
            if golden.difference(&adapted(&base, &adapter)).is_ok() {
                failures.push(format!("{}: {what}", golden.name));
            }
        };
        if golden.config["peft_type"] == "LORA" {
            let mut config = golden.config.clone();
            config["lora_alpha"] = json!(14.0);
            config["alpha_pattern"] = json!({});
            seen("alpha doubled", &config, &str::to_owned);
            config = golden.config.clone();
            config["use_rslora"] = json!(config["use_rslora"] != true);
            seen("the other scale", &config, &str::to_owned);
        }
        if golden.config["peft_type"] == "IA3" {
            let twin = |name: &str| {
                let (layer, other) = (".1.", ".0.");
                let twin = name.replacen(layer, other, 1);
                if golden.params.contains_key(&twin) { twin } else { name.to_owned() }
            };
            seen("vectors of another layer", &golden.config, &twin);
        } else {
            // Of Llama one layer has adapters: there the A of its values for that of its queries.
            let is_llama = golden.name.starts_with("llama-causal_lm");
            let (own, other) = if is_llama { ("q_proj", "v_proj") } else { (".0.", ".1.") };
            let twin = |name: &str| {
                let twin = name.replacen(own, other, 1);
                let shape = |name: &str| golden.params.get(name).map(|param| param.shape.clone());
                let fits = name.contains("lora_A") && shape(&twin) == shape(name);
                if fits { twin } else { name.to_owned() }
            };
            seen("A of another projection", &golden.config, &twin);
        }
    }
    assert!(failures.is_empty(), "not seen:\n{}", failures.join("\n"));
}

#[test]
fn everything_wrong_with_an_adapter_is_one_error() {
    let Some(golden) = Golden::named("bert-sequence_classification-dora") else { return };
    let base = golden.base();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let error = || {
        let checkpoint = AdapterBase::Checkpoint(&base.checkpoint);
        read_adapter(dir, checkpoint, &base.model).unwrap_err().to_string()
    };
    assert!(error().contains("adapter_config.json"), "{}", error());
    golden.write(dir, &golden.config, str::to_owned);
    let sound = read_tensors(dir);
    let layer = "base_model.model.bert.encoder.layer.0.attention.self.query";
    let mut tensors = sound.clone();
    tensors.remove(&format!("{layer}.lora_A.weight")).unwrap();
    tensors.insert(format!("{layer}.lora_B.weight"), (vec![18, 2], vec![0.0; 36]));
    tensors.insert("base_model.model.bert.pooler.dense.weight".to_owned(), (vec![1], vec![0.0]));
    tensors.get_mut(&format!("{layer}.lora_magnitude_vector")).unwrap().1[3] = f32::NAN;
    write_tensors(dir, &tensors);
    let found = error();
    for part in ["lora_A.weight [3, 18] is missing", "[18, 2], expected [18, 3]", "pooler.dense", "NaN"] {
        assert!(found.contains(part), "{part} in {found}");
    }
    write_tensors(dir, &sound);
    let rows = [
        (json!({ "peft_type": "LOHA" }), "peft_type"),
        (json!({ "use_qalora": true }), "use_qalora"),
        (json!({ "target_parameters": ["x"] }), "target_parameters"),
        (json!({ "layer_replication": [[0, 1]] }), "layer_replication"),
        (json!({ "init_lora_weights": "pissa" }), "init_lora_weights"),
        (json!({ "something_new": 3 }), "something_new"),
        (json!({ "r": 0 }), "r = 0"),
        (json!({ "r": 5 }), "expected [5, 18]"),
        (json!({ "lora_alpha": "7" }), "lora_alpha"),
        (json!({ "target_modules": "(" }), "target_modules"),
        (json!({ "target_modules": null }), "target_modules"),
        (json!({ "target_modules": ["query"] }), "value.lora_A.weight is not a tensor"),
        (json!({ "layers_to_transform": [0] }), "layer.1.attention.self.query.lora_A.weight is not a tensor"),
        (json!({ "modules_to_save": [] }), "classifier.weight is not a tensor"),
        (json!({ "use_dora": false }), "lora_magnitude_vector is not a tensor"),
    ];
    for (edit, part) in rows {
        let mut config = golden.config.clone();
        for (key, value) in edit.as_object().unwrap() {
            config[key] = value.clone();
        }
        std::fs::write(dir.join(CONFIG), config.to_string()).unwrap();
        let found = error();
        assert!(found.contains(part), "{edit}: {part} in {found}");
    }
}

/// An adapter of `peft` that brings a head, on a checkpoint with another.
#[test]
fn the_head_is_that_of_the_adapter() {
    let Some(golden) = Golden::named("bert-sequence_classification-lora") else { return };
    let folder = tempfile::tempdir().unwrap();
    let masked = Case::read(&super::case::golden().join("bert-masked_lm.json"));
    masked.write(&folder.path().join("base"));
    golden.write(&folder.path().join("adapter"), &golden.config, str::to_owned);
    let [base, adapter] = ["base", "adapter"].map(|name| folder.path().join(name));
    let checkpoint = read_adapted_config(&base, &adapter).unwrap();
    assert_eq!(checkpoint.config.labels, ["LABEL_0", "LABEL_1", "LABEL_2"]);
    let loaded = load_checkpoint::<B>(&base, checkpoint, Key::new(0), &Default::default()).unwrap();
    let adapter = read_adapter(&adapter, AdapterBase::Checkpoint(&loaded.checkpoint), &loaded.model).unwrap();
    for name in ["classifier.weight", "classifier.bias"] {
        assert!(adapter.saved.contains_key(name) && loaded.new.iter().any(|new| new == name), "{name}");
    }
}

/// A new adapter of a model, with drawn numbers in place of those that change nothing.
fn drawn(config: &AdapterConfig, model: &TaskModel<B>, seed: u64) -> HostAdapter {
    let key = Key::new(seed);
    let mut adapter = HostAdapter::new(config, model, key).unwrap();
    for (path, change) in &mut adapter.changes {
        let draw = |values: &mut Vec<f32>, mean: f64| {
            let key = key.named(path);
            (0..).zip(values).for_each(|(i, value)| *value = (mean + 0.2 * key.normal(i)) as f32);
        };
        match change {
            HostChange::LowRank { b, .. } => draw(&mut b.values, 0.0),
            HostChange::Scale { vector, .. } => draw(vector, 1.0),
        }
    }
    adapter
}

fn logits(case: &Case, model: &TaskModel<B>) -> Vec<f64> {
    output(case, model).unwrap().1.iter().map(|x| f64::from(*x)).collect()
}

fn assert_close(case: &Case, model: &TaskModel<B>, want: &[f64]) {
    let (_, got) = output(case, model).unwrap();
    compare(&got, want, &case.keep(), 1e-5).unwrap();
}

#[test]
fn several_adapters_add_up_and_are_chosen_by_name() {
    let Some(Golden { case, .. }) = Golden::named("llama-causal_lm-lora") else { return };
    let folder = tempfile::tempdir().unwrap();
    case.write(folder.path());
    let base = load::<B>(folder.path(), &Default::default()).unwrap();
    let config = |r| AdapterConfig::Lora(LoraConfig { r, alpha: 2.0 * r as f64, ..LoraConfig::default() });
    let (one, two) = (drawn(&config(2), &base.model, 1), drawn(&config(3), &base.model, 2));
    // What adds up is one adapter of both ranks.
    let mut both = one.clone();
    for (path, change) in &mut both.changes {
        let (HostChange::LowRank { a, b, alpha, .. }, HostChange::LowRank { a: more_a, b: more_b, .. }) =
            (change, &two.changes[path])
        else {
            unreachable!("LoRA only")
        };
        let rows = a.values.chunks(2).zip(more_a.values.chunks(3));
        let values = rows.flat_map(|(row, more)| [row, more].concat()).collect();
        *a = HostArray { shape: vec![a.shape[0], 5], values };
        b.values.extend(&more_b.values);
        *b = HostArray { shape: vec![5, b.shape[1]], values: std::mem::take(&mut b.values) };
        *alpha = 10.0;
    }
    let [of_one, of_two, of_both] =
        [&one, &two, &both].map(|adapter| logits(&case, &adapted(&base, adapter)));
    let mut model = base.model.clone();
    model.add_adapter("one", &one).unwrap();
    assert!(model.add_adapter("one", &two).unwrap_err()[0].contains("one"));
    model.add_adapter("two", &two).unwrap();
    assert_close(&case, &model, &of_both);
    model.set_active_adapters(&["two"]).unwrap();
    assert_close(&case, &model, &of_two);
    model.set_active_adapters(&["one"]).unwrap();
    assert_close(&case, &model, &of_one);
    model.set_active_adapters(&[]).unwrap();
    assert_eq!(logits(&case, &model), logits(&case, &base.model));
    assert!(model.set_active_adapters(&["three"]).unwrap_err().to_string().contains("three"));
    let dora = AdapterConfig::Dora(LoraConfig::default());
    model.add_adapter("dora", &drawn(&dora, &base.model, 3)).unwrap();
    let error = model.set_active_adapters(&["one", "dora"]).unwrap_err();
    assert!(error.to_string().contains("DoRA acts alone"), "{error}");
    model.set_active_adapters(&["one", "two"]).unwrap();
    model.merge_adapters();
    assert_close(&case, &model, &of_both);
}

#[test]
fn a_new_adapter_changes_nothing_and_is_written_for_peft_exactly() {
    let every =
        vec![Target::QProj, Target::KProj, Target::VProj, Target::OProj, Target::UpProj, Target::DownProj];
    let lora = LoraConfig { r: 3, targets: every, ..LoraConfig::default() };
    let configs = [
        AdapterConfig::Lora(lora.clone()),
        // Values without queries and keys: a fused projection is changed in part.
        AdapterConfig::Lora(LoraConfig {
            layers: Some(vec![1]),
            targets: vec![Target::VProj],
            ..lora.clone()
        }),
        AdapterConfig::Dora(lora),
        AdapterConfig::Ia3(Ia3Config::default()),
    ];
    let mut done = 0;
    for case in cases() {
        if !["gpt2-causal_lm", "gpt_neox-causal_lm", "bloom-causal_lm", "t5-seq2seq_lm"]
            .contains(&&*case.name)
        {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        case.write(&folder.path().join("base"));
        let base = load::<B>(&folder.path().join("base"), &Default::default()).unwrap();
        for config in &configs {
            let new = HostAdapter::new(config, &base.model, Key::new(5)).unwrap();
            assert_close(&case, &adapted(&base, &new), &logits(&case, &base.model));
            let adapter = drawn(config, &base.model, 7);
            let want = logits(&case, &adapted(&base, &adapter));
            let dir = folder.path().join(config.name());
            for on in [AdapterBase::Checkpoint(&base.checkpoint), AdapterBase::Locus] {
                write_adapter(&dir, on, &base.model, &adapter, "base", &[]).unwrap();
                let again = read_adapter(&dir, on, &base.model).unwrap();
                assert_close(&case, &adapted(&base, &again), &want);
            }
        }
        done += 1;
    }
    assert!(done > 0 || std::env::var_os("LOCUS_CHECKPOINTS").is_some());
}

#[test]
fn only_the_adapter_and_the_head_are_trained() {
    let Some(golden) = Golden::named("bert-sequence_classification-lora") else { return };
    let base = golden.base();
    let also_train = vec!["final_norm".to_owned(), "layers.9".to_owned()];
    let config =
        AdapterConfig::Lora(LoraConfig { also_train, layers: Some(vec![0, 7]), ..LoraConfig::default() });
    let problems = HostAdapter::new(&config, &base.model, Key::new(1)).unwrap_err().join("; ");
    assert!(problems.contains("layer 7") && problems.contains("layers.9"), "{problems}");
    let adapter =
        HostAdapter::new(&AdapterConfig::Lora(LoraConfig::default()), &base.model, Key::new(1)).unwrap();
    let model = adapted(&base, &adapter).with_only_trained(&|path| adapter.saved.contains_key(path));
    let (out, _) = output(&golden.case, &model).unwrap();
    let grads = out.sum().backward();
    let TaskModel::SequenceClassifier(model) = model else { unreachable!("as it was saved") };
    let q_proj = &model.encoder.layers[0].attn.q_proj;
    assert!(q_proj.weight.val().grad(&grads).is_none(), "a frozen weight");
    assert!(model.classifier.weight.val().grad(&grads).is_some(), "the head");
    let locus_encoder::Change::LowRank(change) = &q_proj.adapters[0].change else { unreachable!("LoRA") };
    let b = change.b.val().grad(&grads).expect("a gradient of B");
    assert!(b.into_data().iter::<f32>().any(|x| x != 0.0));
}

/// Beside the changes of an output that is not tied `peft` writes the weight below them, which takes the place of the base's.
#[test]
fn an_output_of_its_own_comes_with_its_weight() {
    let Some(golden) = Golden::named("llama-causal_lm-lora") else { return };
    let base = golden.base();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (d_model, vocab_size, rank) = (24, 41, 2);
    let mut config = golden.config.clone();
    config["layers_to_transform"] = Value::Null;
    (config["r"], config["lora_alpha"]) = (json!(rank), json!(6.0));
    let draw = |name: &str, n: usize| (0..n).map(|i| unit(name, i as u64) as f32).collect::<Vec<f32>>();
    let below = draw("below", vocab_size * d_model);
    let (a, b) = (draw("a", rank * d_model), draw("b", vocab_size * rank));
    let tensors = [
        ("base_layer.weight", vec![vocab_size, d_model], &below),
        ("lora_A.weight", vec![rank, d_model], &a),
        ("lora_B.weight", vec![vocab_size, rank], &b),
    ];
    let tensors = tensors
        .into_iter()
        .map(|(name, shape, values)| (format!("base_model.model.lm_head.{name}"), (shape, values.clone())));
    write_tensors(dir, &tensors.collect());
    let mut read = |targets: &[&str]| {
        config["target_modules"] = json!(targets);
        std::fs::write(dir.join(CONFIG), config.to_string()).unwrap();
        read_adapter(dir, AdapterBase::Checkpoint(&base.checkpoint), &base.model)
    };
    let mut model = adapted(&base, &read(&["lm_head"]).unwrap());
    model.merge_adapters();
    let TaskModel::CausalLm(model) = &model else { panic!("another head") };
    let merged = model.lm_head.as_ref().unwrap().weight.val().to_data(); // [d_model, vocab_size]
    for (idx, found) in merged.iter::<f32>().enumerate() {
        let (row, column) = (idx % vocab_size, idx / vocab_size);
        let product = (0..rank).map(|r| b[row * rank + r] * a[r * d_model + column]).sum::<f32>();
        let want = below[row * d_model + column] + 3.0 * product;
        assert!((found - want).abs() <= 1e-5, "[{row}, {column}]: {found}, expected {want}");
    }
    // Where nothing of it is changed it has no place.
    let error = read(&["q_proj"]).unwrap_err().to_string();
    assert!(error.contains("lm_head.base_layer.weight is not a tensor of this adapter"), "{error}");
}
