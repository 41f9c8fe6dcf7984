//! Shards, element types, other heads, names of labels, models that no family has.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::Tensor;
use half::{bf16, f16};
use locus_backend::rng::Key;
use locus_embedding::position::{LearnedConfig, PositionConfig};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{EmbeddingProjection, Residual, StackConfig};
use locus_heads::{
    FeatureScale, HeadConfig, Overlap, RankingLoss, RankingScore, SpanConfig, TagDecoding, TaskModel,
};
use locus_hub::{HeadKind, Request, Saved, inspect, load, load_with, save};
use locus_model::ModelConfig;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use crate::B;
use crate::parity::case::{Case, cases};
use crate::parity::run::output;

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap()
}

fn labels(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Writes the tensors that `chosen` names, with these bytes per number.
fn write(
    case: &Case,
    path: &Path,
    dtype: Dtype,
    bytes: impl Fn(f32) -> Vec<u8>,
    chosen: impl Fn(usize) -> bool,
) {
    let chosen: Vec<_> =
        case.params.iter().enumerate().filter(|(idx, _)| chosen(*idx)).map(|(_, p)| p).collect();
    let data: BTreeMap<&String, Vec<u8>> = chosen
        .iter()
        .map(|(name, param)| (*name, param.draw(name).into_iter().flat_map(&bytes).collect()))
        .collect();
    let views = chosen.iter().map(|(name, param)| {
        ((*name).clone(), TensorView::new(dtype, param.shape.clone(), &data[*name]).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn shards_are_read_as_one_file() {
    let (case, folder) = (case("llama-causal_lm"), tempfile::tempdir().unwrap());
    case.write(folder.path());
    let whole = load::<B>(folder.path(), &Default::default()).unwrap();
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let file = |shard: usize| format!("model-0000{}-of-00002.safetensors", shard + 1);
    for shard in 0..2 {
        let path = folder.path().join(file(shard));
        write(&case, &path, Dtype::F32, |x| x.to_le_bytes().to_vec(), |idx| idx % 2 == shard);
    }
    let map: BTreeMap<&String, String> =
        case.params.keys().enumerate().map(|(idx, name)| (name, file(idx % 2))).collect();
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let sharded = load::<B>(folder.path(), &Default::default()).unwrap();
    assert_eq!(output(&case, &sharded.model).unwrap().1, output(&case, &whole.model).unwrap().1);
    fs::remove_file(folder.path().join(file(1))).unwrap();
    let error = load::<B>(folder.path(), &Default::default()).unwrap_err().to_string();
    assert!(error.contains("model-00002-of-00002.safetensors is missing"), "{error}");
}

#[test]
fn half_precision_is_read_exactly() {
    let (case, folder) = (case("bert-masked_lm"), tempfile::tempdir().unwrap());
    case.write(folder.path());
    let path = folder.path().join("model.safetensors");
    let name = "bert.embeddings.word_embeddings.weight";
    let drawn = case.params[name].draw(name);
    let table = |model: &TaskModel<B>| {
        let TaskModel::MaskedLm(model) = model else { panic!("another head") };
        let tokens = model.encoder.embeddings.tokens.as_ref().unwrap();
        tokens.val().to_data().iter::<f32>().collect::<Vec<_>>()
    };
    write(&case, &path, Dtype::F16, |x| f16::from_f32(x).to_le_bytes().to_vec(), |_| true);
    let want: Vec<f32> = drawn.iter().map(|&x| f16::from_f32(x).to_f32()).collect();
    assert_eq!(table(&load::<B>(folder.path(), &Default::default()).unwrap().model), want);
    write(&case, &path, Dtype::BF16, |x| bf16::from_f32(x).to_le_bytes().to_vec(), |_| true);
    let want: Vec<f32> = drawn.iter().map(|&x| bf16::from_f32(x).to_f32()).collect();
    assert_eq!(table(&load::<B>(folder.path(), &Default::default()).unwrap().model), want);
    let found = inspect(folder.path()).unwrap();
    assert_eq!((found.family, found.n_tensors), ("BERT", case.params.len()));
    assert!(found.bytes.contains_key("BF16"));
}

#[test]
fn another_head_begins_anew_and_is_named() {
    let (case, folder) = (case("bert-masked_lm"), tempfile::tempdir().unwrap());
    case.write(folder.path());
    let request = Request::Tokens { labels: labels(&["O", "B-X"]), decoding: TagDecoding::WellFormed };
    let loaded = load_with::<B>(folder.path(), Some(&request), Key::new(3), &Default::default()).unwrap();
    assert_eq!(loaded.new, ["classifier.bias", "classifier.weight"]);
    assert!(loaded.dropped.iter().all(|name| name.starts_with("cls.predictions.")), "{:?}", loaded.dropped);
    assert_eq!(loaded.checkpoint.config.labels, ["O", "B-X"]);
    // A decoder as a classifier, and a head that the family does not have.
    let request = Request::Label(labels(&["a", "b", "c"]));
    let folder = tempfile::tempdir().unwrap();
    self::case("gpt2-causal_lm").write(folder.path());
    let loaded = load_with::<B>(folder.path(), Some(&request), Key::new(3), &Default::default()).unwrap();
    assert_eq!(loaded.new, ["classifier.weight"]);
    let error = load_with::<B>(folder.path(), Some(&Request::MaskedLm), Key::new(3), &Default::default());
    assert!(error.unwrap_err().to_string().contains("MaskedLm"));
}

#[test]
fn a_head_of_spans_stands_on_a_checkpoint_and_is_written_as_ours() {
    let spans = SpanConfig { head_size: 6, max_words: 3, overlap: Overlap::None, ..SpanConfig::default() };
    let request = Request::Spans { labels: labels(&["LOC", "ORG"]), spans: spans.clone() };
    let own = ["end_proj", "label_proj", "start_proj"];
    let new: Vec<String> =
        own.iter().flat_map(|name| [format!("{name}.bias"), format!("{name}.weight")]).collect();
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("bert");
    case("bert-masked_lm").write(&from);
    let loaded = load_with::<B>(&from, Some(&request), Key::new(3), &Default::default()).unwrap();
    assert_eq!(loaded.new, new);
    let config = &loaded.checkpoint.config;
    let HeadConfig::SpanClassification { n_labels: 2, spans: found, .. } = &config.head else {
        panic!("another head")
    };
    assert_eq!(*found, spans);
    let (dir, files) = (folder.path().join("m"), [("tokenizer.json", "{}".to_owned())]);
    assert_eq!(save(&dir, config, &loaded.model, None, &files).unwrap(), Saved::Locus);
    let (again, model) = locus_model::load::<B>(&dir, &Default::default()).unwrap();
    assert_eq!(again, *config);
    let logits =
        |model: &TaskModel<B>| model.outputs(&self::case("bert-masked_lm").tokens(), None).unwrap().logits;
    assert_eq!(logits(&model), logits(&loaded.model));
    let error = save(&dir, config, &loaded.model, Some("bert"), &files).unwrap_err().to_string();
    assert!(error.contains("no such model") && error.contains("spans of words"), "{error}");
}

#[test]
fn an_encoder_is_taken_out_of_an_encoder_decoder() {
    let (case, folder) = (case("t5-seq2seq_lm"), tempfile::tempdir().unwrap());
    case.write(folder.path());
    let request = Request::Tokens { labels: labels(&["O", "B-X"]), decoding: TagDecoding::WellFormed };
    let loaded = load_with::<B>(folder.path(), Some(&request), Key::new(3), &Default::default()).unwrap();
    assert_eq!(loaded.new, ["classifier.bias", "classifier.weight"]);
    assert!(!loaded.dropped.is_empty(), "the decoder");
    assert!(loaded.dropped.iter().all(|name| name.starts_with("decoder.")), "{:?}", loaded.dropped);
    let hidden =
        load_with::<B>(folder.path(), Some(&Request::Bare), Key::new(3), &Default::default()).unwrap();
    let TaskModel::Bare(alone) = &hidden.model else { panic!("another head") };
    let whole = load::<B>(folder.path(), &Default::default()).unwrap();
    let TaskModel::Seq2Seq(whole) = &whole.model else { panic!("another head") };
    let states = whole.encode(&case.tokens(), None).unwrap().states;
    let numbers = |x: Tensor<B, 3>| x.to_data().iter::<f32>().collect::<Vec<_>>();
    assert_eq!(numbers(alone.hidden(&case.tokens(), None).unwrap()), numbers(states));
    // Without a class an encoder and a decoder are both wanted, with a head that writes.
    let path = folder.path().join("config.json");
    let mut config = case.config.clone();
    config.as_object_mut().unwrap().remove("architectures");
    fs::write(path, config.to_string()).unwrap();
    let loaded = load::<B>(folder.path(), &Default::default()).unwrap();
    assert_eq!(loaded.checkpoint.saved_head, HeadKind::EncoderDecoder);
    assert!(matches!(loaded.model, TaskModel::Seq2Seq(_)) && loaded.new.is_empty(), "{:?}", loaded.new);
}

#[test]
fn a_decoder_reads_a_text_once_more() {
    // The labels of a model of entailment; an end stands between its two texts, and the last one counts.
    let (case_of_rows, folder) = (case("bart-sequence_classification"), tempfile::tempdir().unwrap());
    let mut config = case_of_rows.config.clone();
    config["id2label"] = serde_json::json!({ "0": "contradiction", "1": "neutral", "2": "entailment" });
    case_of_rows.write_as(folder.path(), &config, |name| name);
    let loaded = load::<B>(folder.path(), &Default::default()).unwrap();
    assert_eq!(loaded.checkpoint.config.labels, ["contradiction", "neutral", "entailment"]);
    let TaskModel::SequenceClassifier(model) = &loaded.model else { panic!("another head") };
    let mut tokens = case_of_rows.tokens();
    let ends = tokens.ids.iter().filter(|&&id| id == 2).count();
    assert_eq!(ends, 2 * tokens.batch);
    let last = tokens.seq - 1;
    tokens.ids[last] = 9;
    assert!(model.logits(&tokens, None).is_ok(), "the end between the texts");
    tokens.ids[2] = 9;
    let error = model.logits(&tokens, None).unwrap_err().to_string();
    assert!(error.contains("row 0 has no token 2"), "{error}");
    // A model that writes gives its stacks to a head that has yet to be trained.
    for (name, head) in [("bart-seq2seq_lm", "final_logits_bias"), ("t5-v1_1-seq2seq_lm", "lm_head.weight")] {
        let (case, folder) = (case(name), tempfile::tempdir().unwrap());
        case.write(folder.path());
        let load = |request| load_with::<B>(folder.path(), Some(&request), Key::new(3), &Default::default());
        let loaded = load(Request::Label(labels(&["a", "b", "c"]))).unwrap();
        let new = ["classifier.bias", "classifier.weight", "transform.dense.bias", "transform.dense.weight"];
        assert_eq!(loaded.new, new, "{name}");
        assert_eq!(loaded.dropped, [head], "{name}");
        let loaded = load(Request::Answer).unwrap();
        assert_eq!(loaded.new, new[..2], "{name}");
        let TaskModel::QuestionAnswerer(model) = &loaded.model else { panic!("another head") };
        assert_eq!(model.logits(&case.tokens(), None).unwrap().dims()[2], 2);
    }
    // An encoder alone has no decoder to give.
    let (case, folder) = (case("t5-encoder"), tempfile::tempdir().unwrap());
    case.write(folder.path());
    let error = load_with::<B>(folder.path(), Some(&Request::Answer), Key::new(3), &Default::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("decoder.block.0") && error.contains("is missing"), "{error}");
}

#[test]
fn a_head_that_only_became_ours_is_not_kept_where_one_is_asked_for() {
    for name in ["bert-multiple_choice", "roberta-multiple_choice", "bert-next_sentence"] {
        let (case, folder) = (case(name), tempfile::tempdir().unwrap());
        case.write(folder.path());
        let request = Request::Label(labels(&["follows", "does not follow"]));
        let loaded = load_with::<B>(folder.path(), Some(&request), Key::new(3), &Default::default()).unwrap();
        let news: Vec<&str> = loaded.new.iter().map(String::as_str).collect();
        assert!(news.contains(&"classifier.bias") && news.contains(&"classifier.weight"), "{name}: {news:?}");
        // BERT's pooler stands below both heads, RoBERTa's only below that of choices.
        assert_eq!(news.contains(&"transform.dense.weight"), name.starts_with("roberta"), "{name}: {news:?}");
    }
}

#[test]
fn what_a_checkpoint_was_saved_with_is_told_without_loading_it() {
    for (name, head, position) in [
        ("bert-multiple_choice", HeadKind::MultipleChoice, "learned"),
        ("bert-next_sentence", HeadKind::NextSentence, "learned"),
        ("bert-relative_key-masked_lm", HeadKind::MaskedLm, "shaw"),
        ("t5-bare", HeadKind::EncoderDecoder, "t5"),
        ("mt5-encoder", HeadKind::Bare, "t5"),
        ("llama-question_answering", HeadKind::QuestionAnswering, "rotary"),
    ] {
        let (case, folder) = (case(name), tempfile::tempdir().unwrap());
        case.write(folder.path());
        let found = inspect(folder.path()).unwrap();
        assert_eq!((found.head, found.n_tensors), (head, case.params.len()), "{name}");
        let n: usize = case.params.values().map(|param| param.shape.iter().product::<usize>()).sum();
        assert_eq!((found.n_parameters, found.bytes["F32"]), (n, 4 * n), "{name}");
        assert_eq!(found.config.stack.position.name(), position, "{name}");
    }
}

#[test]
fn labels_are_named_and_counted_as_the_configuration_says() {
    let (case, folder) = (case("bert-sequence_classification"), tempfile::tempdir().unwrap());
    case.write(folder.path());
    let with = |edits: serde_json::Value| {
        let mut config = case.config.clone();
        let table = config.as_object_mut().unwrap();
        for key in ["id2label", "label2id", "num_labels", "problem_type"] {
            table.remove(key);
        }
        table.extend(edits.as_object().unwrap().clone());
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        load::<B>(folder.path(), &Default::default()).map_err(|error| error.to_string())
    };
    let names = serde_json::json!({ "0": "no", "1": "yes", "2": "perhaps" });
    let loaded = with(serde_json::json!({ "num_labels": 3 })).unwrap();
    assert_eq!(loaded.checkpoint.config.labels, ["LABEL_0", "LABEL_1", "LABEL_2"]);
    // Names count, whatever number stands beside them.
    let loaded = with(serde_json::json!({ "id2label": names, "num_labels": 2 })).unwrap();
    assert_eq!(loaded.checkpoint.config.labels, ["no", "yes", "perhaps"]);
    assert!(matches!(loaded.checkpoint.config.head, HeadConfig::SequenceClassification { .. }));
    let several = serde_json::json!({ "id2label": names, "problem_type": "multi_label_classification" });
    let head = with(several).unwrap().checkpoint.config.head;
    assert!(matches!(head, HeadConfig::MultiLabelClassification { n_labels: 3, .. }), "{head:?}");
    let error = with(serde_json::json!({ "num_labels": 2 })).unwrap_err();
    assert!(error.contains("classifier.weight is [3, 18], expected [2, 18]"), "{error}");
    let error = with(serde_json::json!({ "id2label": { "1": "a", "2": "b", "3": "c" } })).unwrap_err();
    assert!(error.contains("id2label: expected a name for each number from 0 to 2"), "{error}");
}

#[test]
fn the_same_labels_keep_the_head_and_others_do_not() {
    let (case, folder) = (case("bert-sequence_classification"), tempfile::tempdir().unwrap());
    case.write(folder.path());
    let with = |names: &[&str]| {
        let request = Request::Label(labels(names));
        load_with::<B>(folder.path(), Some(&request), Key::new(3), &Default::default()).unwrap()
    };
    let kept = with(&["LABEL_0", "LABEL_1", "LABEL_2"]);
    assert!(kept.new.is_empty() && kept.dropped.is_empty());
    // As many are no less other ones.
    for names in [&["yes", "no"][..], &["yes", "no", "LABEL_2"][..]] {
        let other = with(names);
        assert_eq!(other.dropped, ["classifier.bias", "classifier.weight"]);
        assert_eq!(other.new, ["classifier.bias", "classifier.weight"]);
    }
}

#[test]
fn a_head_for_numbers_that_is_kept_keeps_its_scale() {
    let (case, folder) = (case("bert-regression-sequence_classification"), tempfile::tempdir().unwrap());
    case.write(folder.path());
    let request = Request::Number { mean: 3.0, std: 2.0 };
    let kept = load_with::<B>(folder.path(), Some(&request), Key::new(3), &Default::default()).unwrap();
    assert!(kept.new.is_empty() && kept.dropped.is_empty());
    let HeadConfig::Regression { mean, std, .. } = kept.checkpoint.config.head else {
        panic!("another head")
    };
    assert_eq!((mean, std), (0.0, 1.0));
}

#[test]
fn a_ranker_keeps_the_scores_of_choices_and_of_pairs() {
    let request = |n_features| Request::Ranking {
        loss: RankingLoss::Softmax,
        score: RankingScore::Accuracy,
        features: vec![FeatureScale { mean: 1.0, std: 2.0 }; n_features],
    };
    for name in ["roberta-multiple_choice", "bert-regression-sequence_classification"] {
        let (case, folder) = (case(name), tempfile::tempdir().unwrap());
        case.write(folder.path());
        let with = |n_features| {
            load_with::<B>(folder.path(), Some(&request(n_features)), Key::new(3), &Default::default())
                .unwrap()
        };
        let kept = with(0);
        assert!(kept.new.is_empty() && kept.dropped.is_empty(), "{name}: {:?}", kept.new);
        assert!(matches!(kept.checkpoint.config.head, HeadConfig::Ranking { .. }), "{name}");
        let more = with(2);
        assert!(more.new == ["features.weight"] && more.dropped.is_empty(), "{name}: {:?}", more.new);
    }
}

#[test]
fn a_regressor_is_written_with_its_scale() {
    let (case, folder) = (case("bert-regression-sequence_classification"), tempfile::tempdir().unwrap());
    let (from, out) = (folder.path().join("from"), folder.path().join("out"));
    case.write(&from);
    let loaded = load::<B>(&from, &Default::default()).unwrap();
    let mut config = loaded.checkpoint.config;
    if let HeadConfig::Regression { mean, std, .. } = &mut config.head {
        (*mean, *std) = (3.0, 2.0);
    }
    assert_eq!(save(&out, &config, &loaded.model, None, &[]).unwrap(), Saved::Family("bert"));
    let again = load::<B>(&out, &Default::default()).unwrap();
    let numbers = |model: &TaskModel<B>| output(&case, model).unwrap().1;
    for (got, raw) in numbers(&again.model).into_iter().zip(numbers(&loaded.model)) {
        let want = 3.0 + 2.0 * raw;
        assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{got}, expected {want}");
    }
}

#[test]
fn options_of_generation_go_out_as_they_came_in() {
    let (case, folder) = (case("gpt2-causal_lm"), tempfile::tempdir().unwrap());
    let (from, out) = (folder.path().join("from"), folder.path().join("out"));
    case.write(&from);
    let options = serde_json::json!({
        "eos_token_id": [2, 3], "do_sample": true, "top_p": 0.9, "watermarking_config": { "bias": 2.5 }
    });
    fs::write(from.join("generation_config.json"), options.to_string()).unwrap();
    let loaded = load::<B>(&from, &Default::default()).unwrap();
    let config = &loaded.checkpoint.config;
    assert_eq!(config.token_ids.eos, Some(2));
    assert!(config.add_bos_token, "texts of a decoder begin as its tokenizer says");
    assert_eq!(config.generation().unwrap().ends(), [2, 3]);
    save(&out, config, &loaded.model, None, &[]).unwrap();
    let written = fs::read_to_string(out.join("generation_config.json")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    for (key, value) in options.as_object().unwrap() {
        assert_eq!(&written[key], value, "{key}");
    }
    let again = load::<B>(&out, &Default::default()).unwrap().checkpoint.config;
    assert_eq!(again.token_ids, config.token_ids);
    // Without any there is no such file.
    let plain = ModelConfig { generation: Default::default(), ..config.clone() };
    save(&out, &plain, &loaded.model, None, &[]).unwrap();
    assert!(!out.join("generation_config.json").exists());
}

#[test]
fn what_no_config_json_can_say_is_saved_as_ours() {
    let folder = tempfile::tempdir().unwrap();
    // A decoder's scores have no bias that could hold the mean.
    let from = folder.path().join("gpt2");
    case("gpt2-sequence_classification").write(&from);
    let request = Request::Number { mean: 3.0, std: 2.0 };
    let loaded = load_with::<B>(&from, Some(&request), Key::new(3), &Default::default()).unwrap();
    let out = folder.path().join("numbers");
    assert_eq!(save(&out, &loaded.checkpoint.config, &loaded.model, None, &[]).unwrap(), Saved::Locus);
    let error = save(&out, &loaded.checkpoint.config, &loaded.model, Some("gpt2"), &[]).unwrap_err();
    assert!(error.to_string().contains("no bias"), "{error}");
    let from = folder.path().join("bert");
    case("bert-sequence_classification").write(&from);
    let request = Request::Labels(labels(&["a", "b"]));
    let loaded = load_with::<B>(&from, Some(&request), Key::new(3), &Default::default()).unwrap();
    let mut config = loaded.checkpoint.config;
    for (threshold, saved) in [(0.5, Saved::Family("bert")), (0.25, Saved::Locus)] {
        config.thresholds = vec![threshold; 2];
        let out = folder.path().join(format!("labels-{threshold}"));
        assert_eq!(save(&out, &config, &loaded.model, None, &[]).unwrap(), saved);
    }
}

#[test]
fn ids_of_tokens_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, pad: Option<u32>| {
        let (from, out) = (folder.path().join(name), folder.path().join(format!("{name}-{pad:?}")));
        case(name).write(&from);
        let loaded = load::<B>(&from, &Default::default()).unwrap();
        let mut config = loaded.checkpoint.config;
        config.token_ids.pad = pad;
        let family = case(name).config["model_type"].as_str().unwrap().to_owned();
        save(&out, &config, &loaded.model, Some(&family), &[]).unwrap();
        let json = fs::read_to_string(out.join("config.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&json).unwrap()
    };
    let json = written("gpt2-sequence_classification", Some(7));
    for (key, id) in [("pad_token_id", 7), ("bos_token_id", 1), ("eos_token_id", 2)] {
        assert_eq!(json[key], id, "{key}");
    }
    // ModernBERT's own id of padding is past the vocabulary.
    let json = written("modernbert-masked_lm", None);
    assert!(json.get("pad_token_id").is_some_and(serde_json::Value::is_null), "{json}");
    let json = written("t5-seq2seq_lm", Some(3));
    for (key, id) in [("pad_token_id", 3), ("decoder_start_token_id", 0), ("eos_token_id", 1)] {
        assert_eq!(json[key], id, "{key}");
    }
}

#[test]
fn a_checkpoint_stays_of_its_family() {
    let folder = tempfile::tempdir().unwrap();
    // Families whose models others have too, and the first that does.
    for (name, changes, first) in [
        ("xlm-roberta-token_classification", json!({ "sep_token_id": 5, "cls_token_id": 3 }), "roberta"),
        ("mt5-seq2seq_lm", json!({}), "t5"),
        ("mistral-token_classification", json!({ "sliding_window": null }), "llama"),
        // No layer turns.
        ("smollm3-token_classification", json!({ "no_rope_layers": [0, 0] }), "smollm3"),
    ] {
        let mut case = case(name);
        for (key, value) in changes.as_object().unwrap() {
            case.config[key.as_str()] = value.clone();
        }
        let (from, out) = (folder.path().join(name), folder.path().join(format!("{name}-out")));
        case.write(&from);
        let loaded = load::<B>(&from, &Default::default()).unwrap();
        // As a model folder has it.
        let config = serde_json::to_string(&loaded.checkpoint.config).unwrap();
        let config: ModelConfig = serde_json::from_str(&config).unwrap();
        let written = |config: &ModelConfig| match save(&out, config, &loaded.model, None, &[]).unwrap() {
            Saved::Family(family) => family,
            Saved::Locus => "none",
        };
        assert_eq!(written(&config), case.model_type(), "{name}");
        let json = fs::read_to_string(out.join("config.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        for (key, value) in changes.as_object().unwrap() {
            assert_eq!(&json[key.as_str()], value, "{name}");
        }
        assert_eq!(written(&ModelConfig { family: None, ..config }), first, "{name}");
    }
}

#[test]
fn another_family_is_taken_where_the_own_has_no_such_model() {
    let folder = tempfile::tempdir().unwrap();
    let stack = StackConfig {
        d_model: 12,
        n_heads: 3,
        d_ff: Some(17),
        max_seq_len: 7,
        norm_eps: 1e-12,
        residual: Residual::Post,
        embedding_norm: true,
        n_segments: 2,
        position: PositionConfig::Learned(LearnedConfig::default()),
        ..StackConfig::default()
    };
    let head = HeadConfig::TokenClassification {
        n_labels: 2,
        decoding: TagDecoding::default(),
        layers: Default::default(),
    };
    let mut config = ModelConfig::new(head, labels(&["O", "B-X"]), 11, stack);
    let model = TaskModel::<B>::new(&config.head, &config.stack, 11, Key::new(1), &Default::default());
    for (own, written) in
        [(None, "bert"), (Some("electra"), "electra"), (Some("gpt2"), "bert"), (Some("new"), "bert")]
    {
        config.family = own.map(str::to_owned);
        let out = folder.path().join(own.unwrap_or("none"));
        assert_eq!(save(&out, &config, &model, None, &[]).unwrap(), Saved::Family(written), "{own:?}");
    }
}

#[test]
fn a_head_on_a_projected_output_is_as_wide_as_that() {
    let (case, folder) = (case("opt-post_norm-causal_lm"), tempfile::tempdir().unwrap());
    case.write(folder.path());
    let request = Request::Label(labels(&["a", "b", "c"]));
    let loaded = load_with::<B>(folder.path(), Some(&request), Key::new(3), &Default::default()).unwrap();
    let TaskModel::SequenceClassifier(model) = &loaded.model else { panic!("another head") };
    assert_eq!(model.logits(&case.tokens(), None).unwrap().dims()[1], 3);
}

#[test]
fn a_model_that_no_family_has_is_saved_as_ours() {
    let folder = tempfile::tempdir().unwrap();
    let stack = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    let head = HeadConfig::TokenClassification {
        n_labels: 2,
        decoding: TagDecoding::default(),
        layers: Default::default(),
    };
    let config = ModelConfig::new(head, labels(&["O", "B-X"]), 11, stack);
    let model = TaskModel::<B>::new(&config.head, &config.stack, 11, Key::new(1), &Default::default());
    let dir = folder.path().join("m");
    let files = [("tokenizer.json", "{}".to_owned())];
    assert_eq!(save(&dir, &config, &model, None, &files).unwrap(), Saved::Locus);
    assert_eq!(locus_model::load_config(&dir).unwrap(), config);
    let error = save(&dir, &config, &model, Some("bert"), &files).unwrap_err().to_string();
    assert!(error.contains("bert") && error.contains("no such model"), "{error}");
}

#[test]
fn a_discriminator_is_written_without_its_generator() {
    let folder = tempfile::tempdir().unwrap();
    let stack = StackConfig {
        d_model: 12,
        n_heads: 3,
        d_ff: Some(17),
        max_seq_len: 7,
        norm_eps: 1e-12,
        residual: Residual::Post,
        embedding_norm: true,
        embedding_projection: EmbeddingProjection::Factorised { width: 5 },
        n_segments: 2,
        position: PositionConfig::Learned(LearnedConfig::default()),
        ..StackConfig::default()
    };
    let config = ModelConfig::new(HeadConfig::ReplacedTokens(Default::default()), Vec::new(), 11, stack);
    let model = TaskModel::<B>::new(&config.head, &config.stack, 11, Key::new(1), &Default::default());
    let out = folder.path().join("electra");
    assert_eq!(save(&out, &config, &model, None, &[]).unwrap(), Saved::Family("electra"));
    let json = fs::read_to_string(out.join("config.json")).unwrap();
    assert!(json.contains("ElectraForPreTraining"), "{json}");
    let bytes = fs::read(out.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let names = file.names();
    let has = |name: &str| names.contains(&name);
    assert!(has("discriminator_predictions.dense.weight"), "{names:?}");
    assert!(has("electra.embeddings_project.weight"), "{names:?}");
    assert_eq!(file.tensor("discriminator_predictions.dense_prediction.weight").unwrap().shape(), [1, 12]);
    assert!(names.iter().all(|name| !name.starts_with("generator")), "{names:?}");
    // What is read is the stack.
    let loaded = load::<B>(&out, &Default::default()).unwrap();
    assert_eq!(loaded.checkpoint.saved_head, HeadKind::ReplacedTokens);
    assert_eq!(loaded.dropped.len(), 4, "{:?}", loaded.dropped);
    let (TaskModel::Bare(bare), TaskModel::ReplacedTokenDetector(model)) = (&loaded.model, &model) else {
        panic!("another head")
    };
    let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None).unwrap();
    let batch = TokenBatch::from_host(tokens.clone(), 11, &Default::default()).unwrap();
    let hidden = model.encoder.forward(&batch, None, None, None).unwrap();
    assert_eq!(bare.hidden(&tokens, None).unwrap().into_data(), hidden.into_data());
    // No other family has such a head.
    let error = save(&out, &config, &TaskModel::ReplacedTokenDetector(model.clone()), Some("bert"), &[]);
    assert!(error.unwrap_err().to_string().contains("no such model"));
}
