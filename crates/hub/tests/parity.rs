//! Every family and head against `transformers`: outputs, the gradient of every tensor, and the way back.
//!
//! `oracle/checkpoints.py` writes the goldens. Weights are drawn from a hash of their names on both sides, so that a golden
//! holds the numbers of the outcome only. With `LOCUS_CHECKPOINTS` only cases whose names begin so are run; with
//! `LOCUS_EXPORTS` what is written stays in that folder, beside what we compute, for `oracle/exports.py` to load.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod folders;
mod hostile;
mod sentences;
mod parity {
    pub(crate) mod adapters;
    pub(crate) mod case;
    pub(crate) mod classes;
    mod configs;
    pub(crate) mod draw;
    pub(crate) mod export;
    mod odd;
    pub(crate) mod run;
    pub(crate) mod table;
}

use std::path::Path;

use locus_hub::{Saved, Weights, load, save};
use parity::case::{Case, cases};
use parity::run::{compare, gradients, output};
use parity::table::{Figures, Table};

type B = burn::backend::Autodiff<locus_testkit::device::NdArray>;

#[test]
fn outputs_gradients_and_the_way_back_are_those_of_transformers() {
    let mut failures = Vec::new();
    let mut table = Table::default();
    let cases = cases();
    for case in &cases {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("theirs");
        case.write(&dir);
        match std::panic::catch_unwind(|| check(case, &dir, &folder.path().join("ours"))) {
            Ok(Ok(figures)) => table.add(case, figures),
            Ok(Err(problem)) => failures.push(format!("{}: {problem}", case.name)),
            Err(_) => failures.push(format!("{}: a panic", case.name)),
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    if std::env::var_os("LOCUS_CHECKPOINTS").is_some() {
        return;
    }
    table.check_page();
}

fn check(case: &Case, dir: &Path, out: &Path) -> Result<Figures, String> {
    let device = Default::default();
    let loaded = load::<B>(dir, &device).map_err(|error| error.to_string())?;
    if (!loaded.new.is_empty() && !case.has_new_output()) || loaded.dropped != case.unread() {
        return Err(format!("new {:?}, dropped {:?}", loaded.new, loaded.dropped));
    }
    let (config, model) = (&loaded.checkpoint.config, &loaded.model);
    let (result, logits) = output(case, model)?;
    let outputs = compare(&logits, &case.values, &case.keep(), 1e-5)?;
    // Back: the same tensors to the bit, and a configuration that reads as the same model.
    let model_type = Some(case.model_type());
    let saved = save(out, config, model, model_type, &[]).map_err(|error| error.to_string())?;
    if saved != Saved::Family(loaded_family(model_type)) {
        return Err(format!("saved as {saved:?}"));
    }
    let weights = Weights::open(out).map_err(|error| error.to_string())?;
    let new = |name: &&str| case.has_new_output() && ["final_logits_bias", "lm_head.weight"].contains(name);
    let names: Vec<&str> = weights.names().filter(|name| !new(name)).collect();
    let mut want: Vec<String> = case.params.keys().map(|name| case.written(name)).collect();
    want.sort();
    if names != want {
        return Err(format!("wrote {names:?}, expected {want:?}"));
    }
    for (name, param) in &case.params {
        let (written, is_read) = (case.written(name), !case.unread().contains(&name.as_str()));
        let values = if is_read { param.draw(name) } else { vec![0.0; param.shape.iter().product()] };
        if weights.read(&written)? != values || weights.facts(&written).unwrap().shape != param.shape {
            return Err(format!("{name} came back changed"));
        }
    }
    if let Some(exports) = std::env::var_os("LOCUS_EXPORTS") {
        let exports = Path::new(&exports);
        std::fs::create_dir_all(exports).unwrap();
        save(&exports.join(&case.name), config, model, model_type, &[]).map_err(|error| error.to_string())?;
        parity::export::write(case, &logits, exports);
    }
    let again = load::<B>(out, &device).map_err(|error| error.to_string())?;
    if again.checkpoint.config.stack.position != config.stack.position {
        return Err(format!("config came back as {:?}", again.checkpoint.config));
    }
    if again.checkpoint.config.head != config.head {
        return Err(format!("the head came back as {:?}", again.checkpoint.config.head));
    }
    if output(case, &again.model)?.1 != logits {
        return Err("what came back computes something else".to_owned());
    }
    if case.counts_by_row() {
        return Ok(Figures { outputs, gradients: None });
    }
    let gradients = gradients(case, config, model, result, &out.with_extension("grads"))?;
    Ok(Figures { outputs, gradients: Some(gradients) })
}

fn loaded_family(model_type: Option<&str>) -> &'static str {
    locus_hub::family_names().into_iter().find(|name| Some(*name) == model_type).unwrap_or_default()
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
