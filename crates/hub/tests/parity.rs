//! Every family and head against `transformers`: outputs, the gradient of every tensor, and the way back.
//!
//! `oracle/checkpoints.py` writes the goldens. Weights are drawn from a hash of their names on both sides, so that a golden
//! holds the numbers of the outcome only. With `LOCUS_CHECKPOINTS` only cases whose names begin so are run; with
//! `LOCUS_CHECKPOINTS_KEEP` what is written stays in that folder, for `transformers` to load.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod folders;
mod hostile;
mod parity {
    mod adapters;
    pub(crate) mod case;
    pub(crate) mod draw;
    pub(crate) mod run;
}

use std::collections::BTreeMap;
use std::path::Path;

use locus_hub::{Saved, Weights, load, save};
use locus_testkit::assert_part;
use parity::case::{Case, cases};
use parity::run::{compare, gradients, output};

type B = burn::backend::Autodiff<locus_testkit::device::NdArray>;

/// Configurations that ask for something we do not have, and the key that the error names.
const REFUSED: [(&str, &str); 4] = [
    ("deberta-v2-new_head-masked_lm", "legacy"),
    ("bert-relative_key-masked_lm", "position_embedding_type"),
    ("bloom-residual_after_norm-causal_lm", "apply_residual_connection_post_layernorm"),
    ("gpt2-scaled_by_layer-causal_lm", "scale_attn_by_inverse_layer_idx"),
];

/// Heads that we do not have.
const WITHOUT: [&str; 3] = ["bart-bare", "bart-sequence_classification", "t5-bare"];

#[test]
fn outputs_gradients_and_the_way_back_are_those_of_transformers() {
    let mut failures = Vec::new();
    let mut done: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let cases = cases();
    let has = |case: &&Case| {
        !REFUSED.iter().any(|(name, _)| *name == case.name) && !WITHOUT.contains(&case.name.as_str())
    };
    for case in cases.iter().filter(has) {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("theirs");
        case.write(&dir);
        match std::panic::catch_unwind(|| check(case, &dir, &folder.path().join("ours"))) {
            Ok(Ok((outputs, grads))) => {
                println!("{:<45} outputs {outputs:.1e} gradients {grads:.1e}", case.name);
                done.entry(case.config["model_type"].as_str().unwrap().to_owned())
                    .or_default()
                    .push(case.head_and_variant());
            }
            Ok(Err(problem)) => failures.push(format!("{}: {problem}", case.name)),
            Err(_) => failures.push(format!("{}: a panic", case.name)),
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    if std::env::var_os("LOCUS_CHECKPOINTS").is_some() {
        return;
    }
    let rows = done.iter().map(|(family, heads)| format!("| `{family}` | {} |", heads.join(", ")));
    let table = format!("| `model_type` | heads |\n|---|---|\n{}\n", rows.collect::<Vec<_>>().join("\n"));
    assert_part(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/checkpoints.md"),
        "checkpoints",
        &table,
    );
}

/// The largest differences of outputs and of gradients.
fn check(case: &Case, dir: &Path, out: &Path) -> Result<(f64, f64), String> {
    let device = Default::default();
    let loaded = load::<B>(dir, &device).map_err(|error| error.to_string())?;
    if !loaded.new.is_empty() || !loaded.dropped.is_empty() {
        return Err(format!("new {:?}, dropped {:?}", loaded.new, loaded.dropped));
    }
    let (config, model) = (&loaded.checkpoint.config, &loaded.model);
    let (result, logits) = output(case, model)?;
    let of_outputs = compare(&logits, &case.values, &case.keep(), 1e-5)?;
    // Back: the same tensors to the bit, and a configuration that reads as the same model.
    let model_type = case.config["model_type"].as_str();
    let saved = save(out, config, model, model_type, &[]).map_err(|error| error.to_string())?;
    if saved != Saved::Family(loaded_family(model_type)) {
        return Err(format!("saved as {saved:?}"));
    }
    let weights = Weights::open(out).map_err(|error| error.to_string())?;
    let names: Vec<&str> = weights.names().collect();
    let want: Vec<&str> = case.params.keys().map(String::as_str).collect();
    if names != want {
        return Err(format!("wrote {names:?}, expected {want:?}"));
    }
    for (name, param) in &case.params {
        if weights.read(name)? != param.draw(name) || weights.facts(name).unwrap().shape != param.shape {
            return Err(format!("{name} came back changed"));
        }
    }
    if let Some(keep) = std::env::var_os("LOCUS_CHECKPOINTS_KEEP") {
        let keep = Path::new(&keep).join(&case.name);
        save(&keep, config, model, model_type, &[]).map_err(|error| error.to_string())?;
    }
    let again = load::<B>(out, &device).map_err(|error| error.to_string())?;
    if again.checkpoint.config.stack.position != config.stack.position {
        return Err(format!("config came back as {:?}", again.checkpoint.config));
    }
    if case.counts_by_row() {
        return Ok((of_outputs, 0.0));
    }
    let of_gradients = gradients(case, config, model, result, &out.with_extension("grads"))?;
    Ok((of_outputs, of_gradients))
}

fn loaded_family(model_type: Option<&str>) -> &'static str {
    locus_hub::family_names().into_iter().find(|name| Some(*name) == model_type).unwrap_or_default()
}

#[test]
fn an_option_that_is_not_understood_is_named() {
    for (name, key) in REFUSED {
        let all = cases();
        let case = all.iter().find(|case| case.name == name).unwrap();
        let folder = tempfile::tempdir().unwrap();
        case.write(folder.path());
        let error = load::<B>(folder.path(), &Default::default()).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains("expected"), "{name}: {error}");
    }
}

#[test]
fn the_hash_is_that_of_the_oracle() {
    let text = std::fs::read_to_string(parity::case::golden().join("hash.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for value in json["values"].as_array().unwrap() {
        let unit = parity::draw::unit(value["key"].as_str().unwrap(), value["index"].as_u64().unwrap());
        assert!((unit - value["unit"].as_f64().unwrap()).abs() < 1e-15, "{value}");
    }
}
