//! Checkpoints of Hugging Face through the program: written, looked at, run, trained on.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "checkpoints/encoder_decoders.rs"]
mod encoder_decoders;

use common::{Place, Run};

const TRAIN: &str = "Mira B-PER\nsaw O\nLisbon B-LOC\n\nBern B-LOC\nsleeps O\n\n";

/// What a run that succeeded printed.
#[track_caller]
fn done(run: &Run) -> String {
    run.succeeds().stdout()
}

/// A tagger as BERT configures it, written as a checkpoint `bert`.
fn place() -> Place {
    let place = Place::new();
    place.write("train.conll", TRAIN).write("dev.conll", TRAIN);
    let sets = [
        "data.train=train.conll",
        "data.dev=dev.conll",
        "tokenizer.kind=word",
        "model.position=learned",
        "model.residual=post",
        "model.embedding_norm=true",
        "model.n_segments=2",
    ];
    let args: Vec<&str> =
        ["ner", "--out", "run"].into_iter().chain(sets.iter().flat_map(|set| ["--set", *set])).collect();
    place.train(&args).succeeds();
    let export = place.run(&["hub", "export", "--model", "run/model", "--out", "bert"]);
    assert!(done(&export).contains("wrote bert as bert"), "{}", export.stdout());
    place
}

#[test]
fn a_checkpoint_goes_out_and_in() {
    let place = place();
    let shown = done(&place.run(&["hub", "inspect", "bert"]));
    for part in ["BERT", "token_classification", "B-LOC", "F32", "residual = \"post\""] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let found = done(&place.run(&["hub", "inspect", "bert", "--json"]));
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["family"], "BERT");
    // The same answers as the model that it was made of.
    place.write("text.txt", "Mira saw Bern\n");
    let answer =
        |model: &str| done(&place.run(&["predict", "--model", model, "--input", "text.txt", "--json"]));
    assert_eq!(answer("bert"), answer("run/model"));
    // The same numbers, to the bit.
    place.write(
        "ids.json",
        r#"{"input_ids": [[1, 2, 3], [2, 3, 0]], "attention_mask": [[1, 1, 1], [1, 1, 0]]}"#,
    );
    for model in ["bert", "run/model"] {
        let args = ["forward", "--model", model, "--ids", "ids.json", "--hidden", "--out", "out.safetensors"];
        let said = done(&place.run(&args));
        assert!(said.contains("logits [2, 3, 3]") && said.contains("last_hidden_state [2, 3, 16]"), "{said}");
        std::fs::rename(place.path("out.safetensors"), place.path(&format!("{}.out", &model[..3]))).unwrap();
    }
    assert_eq!(std::fs::read(place.path("ber.out")).unwrap(), std::fs::read(place.path("run.out")).unwrap());
    // A tokenizer that cannot be read here goes along.
    std::fs::remove_file(place.path("bert/tokenizer.json")).unwrap();
    place.write("bert/source.spm", [10, 255, 0]).write("bert/vocab.json", r#"{"</s>": 0}"#);
    let export = place.run(&["hub", "export", "--model", "bert", "--out", "again"]);
    assert!(done(&export).contains("wrote again as bert"), "{}", export.stdout());
    assert!(export.stderr().contains("target.spm: no such file"), "{}", export.stderr());
    assert_eq!(std::fs::read(place.path("again/source.spm")).unwrap(), [10, 255, 0]);
    assert_eq!(place.read("again/vocab.json"), r#"{"</s>": 0}"#);
}

#[test]
fn a_checkpoint_is_trained_on_with_the_same_labels_or_others() {
    let place = place();
    let train = |out: &str, labels: &str| {
        place.write("more.conll", labels);
        let sets = ["data.train=more.conll", "data.dev=more.conll", "model.from=bert", "train.epochs=1"];
        let args: Vec<&str> = ["train", "ner", "--out", out]
            .into_iter()
            .chain(sets.iter().flat_map(|set| ["--set", *set]))
            .collect();
        let run = place.run(&args);
        run.succeeds();
        run.stderr()
    };
    let said = train("same", TRAIN);
    assert!(!said.contains("checkpoint new"), "{said}");
    // What was asked for and gives way is named.
    let sets = ["data.train=more.conll", "data.dev=more.conll", "model.from=bert", "model.position=alibi"];
    let sets = sets.iter().flat_map(|set| ["--set", *set]);
    let args: Vec<&str> = ["ner", "--out", "scheme"].into_iter().chain(sets).collect();
    place.train(&args).says(0, &["those of model.from; ", "model.position"]);
    let said = train("other", &TRAIN.replace("B-PER", "B-ORG"));
    assert!(said.contains("checkpoint new: classifier.bias, classifier.weight"), "{said}");
    assert!(place.path("other/model/model.safetensors").exists());
}

#[test]
fn the_files_of_a_tokenizer_stay_as_they_were() {
    let place = place();
    // Ours come with a class that puts nothing of its own over tokenizer.json.
    let config = common::json(&place.path("bert/tokenizer_config.json"));
    let model = common::json(&place.path("run/model/config.json"));
    assert_eq!(config["tokenizer_class"], "PreTrainedTokenizerFast");
    assert_eq!(config["model_max_length"], model["stack"]["max_seq_len"]);
    assert_eq!(config["model_input_names"][1], "token_type_ids");
    assert!(model.get("family").is_none());
    // Those of a checkpoint are its own, also after training.
    let tokenizer = place.read("bert/tokenizer.json");
    let files = [
        (
            "tokenizer_config.json",
            r#"{"tokenizer_class": "BertTokenizer", "do_lower_case": false,  "model_max_length": 31}"#,
        ),
        ("special_tokens_map.json", r#"{"mask_token": "[MASK]"}"#),
        ("chat_template.jinja", "{{ messages }}\n"),
        ("tokenizer.json", tokenizer.as_str()),
    ];
    for (name, text) in files {
        place.write(&format!("bert/{name}"), text);
    }
    place.write("bert/spm.model", [10, 255, 0]);
    let sets = ["data.train=train.conll", "data.dev=dev.conll", "model.from=bert", "train.epochs=1"];
    let sets = sets.iter().flat_map(|set| ["--set", *set]);
    let args: Vec<&str> = ["train", "ner", "--out", "more"].into_iter().chain(sets).collect();
    place.run(&args).succeeds();
    assert_eq!(common::json(&place.path("more/model/config.json"))["family"], "bert");
    for (model, out) in [("more/model", "out"), ("bert", "copy")] {
        done(&place.run(&["hub", "export", "--model", model, "--out", out]));
        for (name, text) in files {
            assert_eq!(place.read(&format!("{out}/{name}")), text, "{out}/{name}");
        }
    }
    // Of a tokenizer that is not read here the files are copied, and that is said.
    std::fs::remove_file(place.path("bert/tokenizer.json")).unwrap();
    let export = place.run(&["hub", "export", "--model", "bert", "--out", "pieces"]);
    export.says(0, &["the tokenizer is copied as it is, since it cannot be read", "spm.model"]);
    assert_eq!(std::fs::read(place.path("pieces/spm.model")).unwrap(), [10, 255, 0]);
}

/// Rows with labels, for a model with the words of [`TRAIN`].
fn write_rows(place: &Place) {
    place
        .write("rows.tsv", "text\tlabel\nMira saw Lisbon\tgood\nBern sleeps\tbad\n")
        .write("labels.tsv", "text\tlabels\nMira saw Lisbon\tgood,old\nBern sleeps\tbad\n")
        .write("scores.tsv", "text\tscore\nMira saw Lisbon\t3\nBern sleeps\t1\n");
}

#[test]
fn a_classifier_of_rows_keeps_its_layers_and_pooling_for_other_tasks() {
    let place = place();
    write_rows(&place);
    let train = |recipe: &str, file: &str, out: &str, sets: &[&str]| {
        let files = [format!("data.train={file}"), format!("data.dev={file}")];
        let sets = files.iter().map(String::as_str).chain(sets.iter().copied());
        let sets = sets.flat_map(|set| ["--set", set]);
        let args: Vec<&str> = [recipe, "--out", out].into_iter().chain(sets).collect();
        place.train(&args).succeeds();
        let model = format!("{out}/model");
        let config = common::json(&place.path(&format!("{model}/config.json")));
        done(&place.run(&["eval", "--model", &model, "--data", file]));
        config["head"].as_object().unwrap().values().next().unwrap().clone()
    };
    // BERT reads the first token, through a pooler.
    let rows = train("classify", "rows.tsv", "rows", &["model.from=bert"]);
    assert!(rows["pooling"] == "first" && rows["layers"]["transform"].is_object(), "{rows}");
    let from = "model.from=rows/model";
    place.write("others.tsv", "text\tlabel\nMira saw Lisbon\tnew\nBern sleeps\told\n");
    for (recipe, file) in
        [("regression", "scores.tsv"), ("multilabel", "labels.tsv"), ("classify", "others.tsv")]
    {
        let head = train(recipe, file, recipe, &[from]);
        assert!(head["pooling"] == "first" && head["layers"] == rows["layers"], "{recipe}: {head}");
    }
    let head = train("regression", "scores.tsv", "mean", &[from, "model.pooling=mean"]);
    assert!(head["pooling"] == "mean" && head["layers"] == rows["layers"], "{head}");
    let head = train("classify", "rows.tsv", "last", &["model.from=bert", "model.pooling=last"]);
    assert_eq!(head["pooling"], "last");
    // A head that stays pools as it did, and that is said.
    let sets = ["data.train=rows.tsv", "data.dev=rows.tsv", from, "model.pooling=mean"];
    let sets = sets.iter().flat_map(|set| ["--set", *set]);
    let args: Vec<&str> = ["classify", "--out", "same"].into_iter().chain(sets).collect();
    place.train(&args).says(0, &["model.pooling is that of model.from"]);
}

#[test]
fn an_adapter_is_trained_put_on_and_merged() {
    let place = place();
    let train = |from: &str, adapter: &str, out: &str| {
        let (from, adapter) = (format!("model.from={from}"), format!("train.adapter={adapter}"));
        let sets = ["data.train=train.conll", "data.dev=dev.conll", "train.epochs=2", &from, &adapter];
        let args: Vec<&str> = ["train", "ner", "--out", out]
            .into_iter()
            .chain(sets.iter().flat_map(|set| ["--set", *set]))
            .collect();
        place.run(&args)
    };
    place.write("ids.json", "[[1, 2, 3], [2, 3, 1]]");
    let forward = |args: &[&str]| {
        let all = ["forward", "--ids", "ids.json", "--out", "out.safetensors"];
        done(&place.run(&[&all[..], args].concat()));
        std::fs::read(place.path("out.safetensors")).unwrap()
    };
    let cases = [("bert", "lora"), ("bert", "dora"), ("bert", "ia3"), ("run/model", "lora")];
    for (idx, (from, kind)) in cases.into_iter().enumerate() {
        let out = format!("adapted{idx}");
        let run = train(from, kind, &out);
        run.succeeds();
        assert!(run.stderr().contains("numbers are trained"), "{}", run.stderr());
        let (adapter, model) = (format!("{out}/adapter"), format!("{out}/model"));
        let config: serde_json::Value =
            serde_json::from_str(&place.read(&format!("{adapter}/adapter_config.json"))).unwrap();
        assert_eq!(config["peft_type"], if kind == "ia3" { "IA3" } else { "LORA" });
        let of_run = forward(&["--model", &model]);
        assert_ne!(of_run, forward(&["--model", from]), "{kind}");
        assert_eq!(of_run, forward(&["--model", from, "--adapter", &adapter]), "{kind}");
        let merged = format!("merged{idx}");
        done(&place.run(&["model", "merge", "--model", from, "--adapter", &adapter, "--out", &merged]));
        assert_eq!(of_run, forward(&["--model", &merged]), "{kind}");
    }
    // Weights are merged without a tokenizer too.
    let tokenizer = place.read("bert/tokenizer.json");
    std::fs::remove_file(place.path("bert/tokenizer.json")).unwrap();
    let merge = ["model", "merge", "--model", "bert", "--adapter", "adapted0/adapter", "--out", "without"];
    place.run(&merge).says(0, &["the merged model has no tokenizer"]);
    let merged = forward(&["--model", "without"]);
    assert_eq!(merged, forward(&["--model", "merged0"]));
    place.write("bert/tokenizer.json", tokenizer);
    // Other labels: the head is the adapter's.
    place.write("train.conll", TRAIN.replace("B-PER", "B-ORG") + "Basel B-LOC\nis O\nB B-PER\n\n");
    for (from, out) in [("bert", "four"), ("run/model", "five")] {
        train(from, "lora", out).succeeds();
        let (adapter, model) = (format!("{out}/adapter"), format!("{out}/model"));
        let of_run = forward(&["--model", &model]);
        assert_eq!(of_run, forward(&["--model", from, "--adapter", &adapter]), "{from}");
    }
    place.write("train.conll", TRAIN);
    // Two heads cannot both be the head.
    let two = ["--adapter", "adapted0/adapter", "--adapter", "adapted2/adapter"];
    let ids = ["forward", "--model", "bert", "--ids", "ids.json", "--out", "o"];
    let run = place.run(&[&ids[..], &two].concat());
    assert_eq!(run.code(), Some(1), "{}", run.stderr());
    assert!(run.stderr().contains("in an earlier adapter too"), "{}", run.stderr());
    let run = place.run(&[&ids[..], &["--adapter", "run/model"]].concat());
    assert!(run.stderr().contains("adapter_config.json"), "{}", run.stderr());
    for (from, adapter, said) in [
        ("bert", "lore", "lora"),
        ("bert", "{ lora = { r = 0 } }", "train.adapter.lora.r"),
        ("bert", "{ lora = { targets = [\"gate_proj\"] } }", "no gate_proj"),
    ] {
        let run = train(from, adapter, "wrong");
        assert_eq!(run.code(), Some(2), "{}", run.stderr());
        assert!(run.stderr().contains(said), "{said} in {}", run.stderr());
    }
    let new =
        ["train", "ner", "--set", "data.train=train.conll", "--set", "train.adapter=lora", "--out", "new"];
    let run = place.run(&new);
    assert_eq!(run.code(), Some(2), "{}", run.stderr());
    assert!(run.stderr().contains("model.from"), "{}", run.stderr());
}

#[test]
fn an_adapter_brings_all_that_is_new() {
    let place = Place::new();
    let text = "Mira saw Lisbon and Bern\nBern sleeps while Mira sees it\n".repeat(9);
    place.write("book.txt", text).write("train.conll", TRAIN);
    let train = |recipe: &str, out: &str, sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", *set]);
        let args: Vec<&str> = [recipe, "--out", out].into_iter().chain(sets).collect();
        place.train(&args).succeeds();
    };
    let of_text = [
        "data.train=book.txt",
        "data.dev=book.txt",
        "data.test=book.txt",
        "tokenizer.kind=word",
        "model.max_seq_len=32",
        "train.eval_batch_size=16",
    ];
    let as_bert =
        ["model.position=learned", "model.residual=post", "model.embedding_norm=true", "model.n_segments=2"];
    train("mlm", "mlm", &[&of_text[..], &as_bert].concat());
    // A tagger of the same tokens: the head of an adapter for hidden words is new there.
    train("ner", "tags", &["data.train=train.conll", "data.dev=train.conll", "model.from=mlm/model"]);
    done(&place.run(&["hub", "export", "--model", "tags/model", "--out", "bert"]));
    for (from, out, bias) in
        [("tags/model", "ours", "output_bias"), ("bert", "theirs", "cls.predictions.bias")]
    {
        let of_base = format!("model.from={from}");
        train("mlm", out, &[&of_text[..], &[&of_base, "train.adapter=lora"]].concat());
        let adapter = format!("{out}/adapter");
        let bytes = std::fs::read(place.path(&format!("{adapter}/adapter_model.safetensors"))).unwrap();
        for part in ["transform.dense.weight", bias] {
            assert!(String::from_utf8_lossy(&bytes).contains(part), "{part} is not in the adapter of {from}");
        }
        // The objective comes with the adapter too.
        let args = ["eval", "--model", from, "--adapter", &adapter, "--data", "book.txt", "--json"];
        let found: serde_json::Value = serde_json::from_str(&done(&place.run(&args))).unwrap();
        let report = common::json(&place.path(&format!("{out}/report.json")));
        assert_eq!(found["metrics"], report["metrics"], "{from}");
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let place = place();
    place.write("ids.json", "[[1, 2], [3]]");
    let run = place.run(&["forward", "--model", "bert", "--ids", "ids.json", "--out", "o"]);
    assert_eq!(run.code(), Some(2), "{}", run.stderr());
    assert!(run.stderr().contains("row 1 of input_ids has 1 ids"), "{}", run.stderr());
    for (ids, said) in [
        (
            r#"{"input_ids": [[1, 2], [3, 4]], "attention_mask": [[1, 1], [1]]}"#,
            "row 1 of attention_mask has 1 numbers, expected 2",
        ),
        // As many numbers, in other rows.
        (
            r#"{"input_ids": [[1, 2], [3, 4]], "token_type_ids": [[0, 0, 0, 0]]}"#,
            "token_type_ids has 1 rows, expected 2",
        ),
    ] {
        place.write("ids.json", ids);
        let run = place.run(&["forward", "--model", "bert", "--ids", "ids.json", "--out", "o"]);
        assert_eq!(run.code(), Some(2), "{}", run.stderr());
        assert!(run.stderr().contains(said), "{}", run.stderr());
    }
    // What the model does not read.
    place.write("ids.json", r#"{"input_ids": [[1, 2]], "decoder_input_ids": [[1]]}"#);
    let run = place.run(&["forward", "--model", "bert", "--ids", "ids.json", "--out", "o"]);
    run.says(2, &["ids.json: decoder_input_ids: this model has no decoder"]);
    let sets = ["data.train=train.conll", "data.dev=dev.conll", "tokenizer.kind=word", "model.n_segments=0"];
    let args: Vec<&str> =
        ["ner", "--out", "plain"].into_iter().chain(sets.iter().flat_map(|set| ["--set", *set])).collect();
    place.train(&args).succeeds();
    place.write("ids.json", r#"{"input_ids": [[1, 2]], "token_type_ids": [[0, 0]]}"#);
    let run = place.run(&["forward", "--model", "plain/model", "--ids", "ids.json", "--out", "o"]);
    run.says(2, &["ids.json: token_type_ids: this model has no vectors of segments"]);
    let run = place.run(&["hub", "export", "--model", "run/model", "--out", "g", "--as", "gpt2"]);
    assert!(run.stderr().contains("gpt2") && run.stderr().contains("no such model"), "{}", run.stderr());
    let run = place.run(&["hub", "inspect", "run"]);
    assert!(run.stderr().contains("config.json"), "{}", run.stderr());
    // A configuration that cannot be is a mistake of what was asked for, whatever reads it; so is a file that is none.
    let config = place.read("bert/config.json");
    let change = |from: &str, to: &str| {
        assert!(config.contains(from), "{from} in {config}");
        place.write("bert/config.json", config.replace(from, to));
    };
    place.write("ids.json", "[[1, 2]]").write("text.txt", "Mira saw Bern\n");
    std::fs::remove_file(place.path("bert/tokenizer.json")).unwrap();
    let everywhere = |said: &[&str]| {
        for args in [
            &["forward", "--model", "bert", "--ids", "ids.json", "--out", "o"][..],
            &["predict", "--model", "bert", "--input", "text.txt"][..],
            &["hub", "inspect", "bert"][..],
        ] {
            place.run(args).says(2, said);
        }
    };
    change("\"gelu\"", "\"foo\"");
    everywhere(&["bert/config.json", "hidden_act = \"foo\": expected one of gelu, "]);
    change("\"bert\"", "\"mamba\"");
    everywhere(&["model_type = \"mamba\" is not a family"]);
    place.write("bert/config.json", &config[..config.len() / 2]);
    everywhere(&["bert/config.json", "expected a table of JSON", "EOF"]);
    // A build that can download asks the server, or with --offline the cache.
    if !cfg!(feature = "download") {
        let run = place.run(&["hub", "pull", "org/name", "--revision", "v1"]);
        assert_eq!(run.code(), Some(1), "{}", run.stderr());
        assert!(run.stderr().contains("`cargo xtask hub pull org/name --revision v1`"), "{}", run.stderr());
    }
}

/// A start ahead of a text, and an end behind it.
fn start_and_end() -> serde_json::Value {
    let special = |token: &str| serde_json::json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let text = |name: &str| serde_json::json!({ "Sequence": { "id": name, "type_id": 0 } });
    serde_json::json!({
        "type": "TemplateProcessing",
        "single": [special("[BOS]"), text("A"), special("[EOS]")],
        "pair": [special("[BOS]"), text("A"), text("B"), special("[EOS]")],
        "special_tokens": {
            "[BOS]": { "id": "[BOS]", "ids": [5], "tokens": ["[BOS]"] },
            "[EOS]": { "id": "[EOS]", "ids": [6], "tokens": ["[EOS]"] }
        }
    })
}

#[test]
fn prompts_begin_as_the_tokenizer_of_a_checkpoint_says() {
    let place = Place::new();
    place.train(&["first-stories", "--out", "run"]).succeeds();
    let export = place.run(&["hub", "export", "--model", "run/model", "--out", "out"]);
    assert!(done(&export).contains("wrote out as gpt_neox"), "{}", export.stdout());
    let written = |model: &str, prompt: &str, more: &[&str]| {
        let args = ["generate", "--model", model, "--prompt", prompt, "--temperature", "0", "--json"];
        let options = ["--max-new-tokens", "7", "--min-new-tokens", "7", "--log-probs", "0"];
        let line = done(&place.run(&[&args[..], &options, more].concat()));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["generated"].clone()
    };
    // A model that began here has read nothing ahead of its texts, and its checkpoint goes on so.
    let plain = written("run/model", "The ", &[]);
    assert_eq!(written("out", "The ", &[]), plain);
    let mut tokenizer = common::json(&place.path("out/tokenizer.json"));
    tokenizer["post_processor"] = start_and_end();
    place.write("out/tokenizer.json", tokenizer.to_string());
    let started = written("run/model", "[BOS]The ", &["--parse-special"]);
    assert_ne!(started, plain);
    assert_eq!(written("out", "The ", &[]), started);
    assert_eq!(written("out", "[BOS]The ", &["--parse-special"]), started);
    // So does what is trained from it.
    place.write("more.txt", "The ferry came.\nThe ferry went.\n".repeat(20));
    place
        .train(&["lm", "--out", "more", "--set", "data.train=more.txt", "--set", "model.from=out"])
        .succeeds();
    let more = written("more/model", "The ", &[]);
    assert_eq!(written("more/model", "[BOS]The ", &["--parse-special"]), more);
    let mut config = common::json(&place.path("more/model/config.json"));
    assert_eq!(config["add_bos_token"], true);
    config["add_bos_token"] = false.into();
    place.write("more/model/config.json", config.to_string());
    assert_ne!(written("more/model", "The ", &[]), more);
}

const PAIRS: &str = "source\ttarget\nwhere is my parcel\ttrack it on the map\nstop the order\tit is cancelled now\n\
                     a new password\tset it in the account\nwrite to a person\tthe chat is open\n";

#[test]
fn a_sentence_embedder_is_trained_and_goes_out_and_in() {
    let place = Place::new();
    place.write("pairs.tsv", PAIRS).write("text.txt", "where is my order\n\na person\n");
    let data = ["data.train=pairs.tsv", "data.dev=pairs.tsv"];
    let sets = [
        "tokenizer.kind=word",
        "model.position=learned",
        "model.residual=post",
        "model.embedding_norm=true",
        "model.n_segments=2",
        "train.in_batch_negatives.symmetric=true",
    ];
    let train = |out: &str, sets: &[&str]| {
        let sets = data.iter().chain(sets).flat_map(|set| ["--set", *set]);
        let args: Vec<&str> = ["embed", "--out", out].into_iter().chain(sets).collect();
        place.train(&args).succeeds();
    };
    train("run", &sets);
    let scores = done(&place.run(&["eval", "--model", "run/model", "--data", "pairs.tsv"]));
    assert!(scores.contains("mrr@10") && scores.contains("recall@1 "), "{scores}");
    // The same vectors as the model that it was made of.
    let export = place.run(&["hub", "export", "--model", "run/model", "--out", "out"]);
    assert!(done(&export).contains("wrote out as bert"), "{}", export.stdout());
    assert!(place.path("out/1_Pooling/config.json").is_file() && place.path("out/modules.json").is_file());
    let embed = |model: &str, more: &[&str]| {
        let args: Vec<&str> = ["embed", "--model", model].into_iter().chain(more.iter().copied()).collect();
        place.run(&args)
    };
    let lines = done(&embed("run/model", &["--input", "text.txt"]));
    assert_eq!(lines, done(&embed("out", &["--input", "text.txt"])));
    let line: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(line["text"], "where is my order");
    assert_eq!(line["embedding"].as_array().unwrap().len(), 16);
    for name in ["v.npy", "v.safetensors", "v.jsonl"] {
        let said = done(&embed("out", &["--input", "text.txt", "--out", name]));
        assert!(said.contains("embeddings [3, 16]") && place.path(name).is_file(), "{name}: {said}");
    }
    assert_eq!(place.read("v.jsonl"), lines);
    let two = done(&embed("out", &["--text", "where is my order", "--text", "a person"]));
    assert_eq!(two.lines().count(), 2);
    embed("out", &["--text", "a", "--prompt", "query"]).says(2, &["--prompt", "no prompt \"query\""]);
    embed("out", &["--text", "a", "--out", "v.bin"]).says(2, &["v.bin", ".safetensors"]);
    place.write("bad.jsonl", "{\"text\": \"a\"}\n{\"txet\": \"b\"}\n");
    embed("out", &["--jsonl", "--input", "bad.jsonl"]).says(1, &["bad.jsonl:2", "\"text\""]);
    train("again", &["model.from=out"]);
    train("more", &["model.from=run/model", "model.max_seq_len=5"]);
    let config = common::json(&place.path("more/model/config.json"));
    assert_eq!(config["head"]["sentence_embedding"]["max_seq_len"], 5);
    // An adapter of vectors goes on a model folder, and on none of sentence-transformers.
    train("lora", &["model.from=run/model", "train.adapter=lora"]);
    let adapted = embed("run/model", &["--input", "text.txt", "--adapter", "lora/adapter"]);
    assert_eq!(done(&adapted).lines().count(), 3);
    embed("out", &["--text", "a", "--adapter", "lora/adapter"])
        .says(2, &["--adapter", "sentence-transformers"]);
    let merge = |adapter: &str| {
        place.run(&["model", "merge", "--model", "out", "--adapter", adapter, "--out", "merged"])
    };
    merge("lora/adapter").says(2, &["lora/adapter", "sentence-transformers"]);
    assert!(!place.path("merged").exists());
    // One of another task goes on the checkpoint in it.
    place.write("tags.conll", "where O\nis O\nparcel B-THING\n\na O\nperson B-WHO\n\n");
    let sets = ["data.train=tags.conll", "data.dev=tags.conll", "model.from=out", "train.adapter=lora"];
    let sets = sets.iter().flat_map(|set| ["--set", *set]);
    place.train(&["ner", "--out", "tags"].into_iter().chain(sets).collect::<Vec<_>>()).succeeds();
    let tags = |args: &[&str]| {
        done(&place.run(&[&["predict", "--json", "--input", "text.txt", "--model"], args].concat()))
    };
    let of_run = tags(&["tags/model"]);
    assert_eq!(of_run, tags(&["out", "--adapter", "tags/adapter"]));
    merge("tags/adapter").succeeds();
    assert_eq!(of_run, tags(&["merged"]));
    embed("out", &["--text", "a", "--adapter", "tags/adapter"]).says(2, &["expected a sentence embedder"]);
    // Without a list of modules, and with an adapter of peft, which says nothing of pooling: the mean.
    std::fs::remove_file(place.path("out/modules.json")).unwrap();
    train("vectors", &["model.from=out", "train.adapter=lora"]);
    std::fs::remove_file(place.path("vectors/adapter/locus_model.json")).unwrap();
    let vector = |run: &Run| {
        let line: serde_json::Value = serde_json::from_str(done(run).lines().next().unwrap()).unwrap();
        line["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<f64>>()
    };
    let args = ["--text", "where is my parcel"];
    let of_run = vector(&embed("vectors/model", &args));
    let found = vector(&embed("out", &[&args[..], &["--adapter", "vectors/adapter"]].concat()));
    let length = found.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!((length - 1.0).abs() > 1e-3, "as long as it is: {length}");
    assert!(found.len() == of_run.len());
    assert!(found.iter().zip(&of_run).all(|(x, y)| (x / length - y).abs() < 1e-5), "{found:?}, {of_run:?}");
}
