//! The classes of `transformers`: each is read, or refused by its name.

use locus_hub::Checkpoint;
use serde_json::json;

use super::case::cases;

/// A line for each class: `model_type` and name. `oracle/checkpoints.py` writes them.
const CLASSES: &str = include_str!("classes.txt");

/// The classes that are not read: encoders used as decoders and decoders without their encoder, heads of pre-training
/// beside one that is read, and models of images.
const NOT_READ: [&str; 10] = [
    "BartForCausalLM",
    "BertLMHeadModel",
    "ElectraForCausalLM",
    "GPT2DoubleHeadsModel",
    "Gemma3ForConditionalGeneration",
    "Gemma3ForSequenceClassification",
    "Gemma3Model",
    "MarianForCausalLM",
    "RobertaForCausalLM",
    "XLMRobertaForCausalLM",
];

#[test]
fn every_class_is_read_or_refused_by_name() {
    let cases = cases();
    let mut refused = Vec::new();
    for line in CLASSES.lines() {
        let (model_type, class) = line.split_once(' ').unwrap();
        let Some(case) = cases.iter().find(|case| case.model_type() == model_type) else { continue };
        let mut config = case.config.clone();
        config["architectures"] = json!([class]);
        // What the first case's head wrote for itself.
        for key in ["id2label", "label2id", "problem_type"] {
            config.as_object_mut().unwrap().remove(key);
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        if let Err(error) = Checkpoint::read(folder.path(), None) {
            let error = error.to_string();
            assert!(
                error.contains(&format!("architectures = {class:?}: expected one of")),
                "{line}: {error}"
            );
            refused.push(class);
        }
    }
    refused.sort_unstable();
    if std::env::var_os("LOCUS_CHECKPOINTS").is_none() {
        assert_eq!(refused, NOT_READ);
    }
}
