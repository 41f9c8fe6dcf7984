//! Pre-training, and what is made of its models.

use crate::common::{Place, json};

const TEXT: &[u8] = include_bytes!("../../../../datasets/first-stories/train.txt");

fn sets<'a>(sets: &[&'a str]) -> Vec<&'a str> {
    sets.iter().flat_map(|set| ["--set", *set]).collect()
}

fn number(report: &serde_json::Value, metric: &str) -> f64 {
    report["metrics"][metric].as_f64().unwrap_or_else(|| panic!("no {metric}: {report}"))
}

/// Evaluation has the same masks every time: the report says what it says, to the bit where batches are the same.
fn scores_again(place: &Place, run: &str) {
    let model = format!("{run}/model");
    let text = place.run(&["eval", "--model", &model, "--data", "book.txt", "--json"]).succeeds().stdout();
    let evaluation: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(evaluation["metrics"], json(&place.path(&format!("{run}/report.json")))["metrics"], "{run}");
}

#[test]
fn an_encoder_is_pretrained_on_text_and_then_tags_words() {
    let place = Place::new();
    place.write("book.txt", TEXT);
    let of_text = sets(&[
        "data.train=book.txt",
        "data.test=book.txt",
        "tokenizer.vocab_size=300",
        "model.max_seq_len=32",
        "train.eval_batch_size=16",
    ]);
    place.train(&[&["mlm", "--out", "mlm"], &of_text[..]].concat()).succeeds();
    let report = json(&place.path("mlm/report.json"));
    assert!((number(&report, "loss").exp() - number(&report, "perplexity")).abs() < 1e-6);
    assert!((0.0..=1.0).contains(&number(&report, "masked_accuracy")));
    assert!(place.read("mlm/run.toml").contains("[objective.mlm]"));
    scores_again(&place, "mlm");
    // It goes on from its own model, and another head stands on its stack.
    let from = sets(&["model.from=mlm/model"]);
    place.train(&[&["mlm", "--out", "more"], &of_text[..], &from[..]].concat()).succeeds();
    assert!(number(&json(&place.path("more/report.json")), "loss") < number(&report, "loss"));
    let run = place.train(&[&["first-news", "--out", "ner"], &from[..]].concat());
    run.says(0, &["the stack is taken", "the head is new"]);
    assert!(json(&place.path("ner/report.json"))["metrics"]["entity_f1"].is_number());
    place
        .train(&[&["first-stories", "--out", "lm"], &from[..]].concat())
        .says(2, &["model.from", "head", "both directions"]);
}

#[test]
fn every_objective_trains() {
    let place = Place::new();
    place.write("book.txt", TEXT);
    let small = [
        "data.train=book.txt",
        "data.test=book.txt",
        "tokenizer.kind=char",
        "model.max_seq_len=32",
        "train.max_steps=3",
        "train.eval_batch_size=16",
    ];
    for recipe in ["prefix-lm", "span-corruption", "denoising", "sentence-order", "replaced-tokens"] {
        place.train(&[&[recipe, "--out", recipe], &sets(&small)[..]].concat()).succeeds();
        let report = json(&place.path(&format!("{recipe}/report.json")));
        assert!(number(&report, "loss") > 0.0, "{recipe}");
        scores_again(&place, recipe);
    }
    let from = sets(&["model.from=span-corruption/model", "train.max_steps=3"]);
    place.train(&[&["reverse", "--out", "fine"], &from[..]].concat()).succeeds();
    // A tokenizer that was made without sentinels has none.
    place.train(&[&["denoising", "--out", "bpe"], &sets(&small)[..]].concat()).succeeds();
    let file = sets(&["tokenizer.file=bpe/model"]);
    place
        .train(&[&["span-corruption", "--out", "none"], &sets(&small[..1])[..], &file[..]].concat())
        .says(1, &["<extra_id_0>"]);
}

#[test]
fn tasks_begin_from_the_discriminator() {
    let place = Place::new();
    place.write("book.txt", TEXT);
    let small = sets(&[
        "data.train=book.txt",
        "data.test=book.txt",
        "tokenizer.vocab_size=300",
        "model.max_seq_len=32",
        "train.max_steps=3",
    ]);
    place.train(&[&["replaced-tokens", "--out", "both"], &small[..]].concat()).succeeds();
    let report = json(&place.path("both/report.json"));
    let parts = number(&report, "generator_loss") + 50.0 * number(&report, "discriminator_loss");
    assert!((parts - number(&report, "loss")).abs() < 1e-9, "{report}");
    assert!((0.0..=1.0).contains(&number(&report, "replaced_f1")));
    assert!(place.read("both/model/config.json").contains("generator_width"));
    let from = sets(&["model.from=both/model", "train.max_steps=3"]);
    let run = place.train(&[&["first-news", "--out", "ner"], &from[..]].concat());
    run.says(0, &["the stack is taken", "the head is new"]);
    let wider = sets(&["objective.replaced_tokens.generator_width=0.5"]);
    place
        .train(&[&["replaced-tokens", "--out", "more"], &small[..], &from[..], &wider[..]].concat())
        .says(0, &["the generator is that of model.from"]);
    place
        .run(&["predict", "--model", "both/model", "--pairs"])
        .says(2, &["replaced-token detection", "--pairs"]);
    let check =
        |keys: &[&str]| place.run(&[&["config", "check", "replaced-tokens"], &sets(keys)[..]].concat());
    check(&[
        "data.train=x",
        "objective.replaced_tokens.rate=2",
        "objective.replaced_tokens.generator_width=0",
        "objective.replaced_tokens.temperature=-1",
        "train.label_smoothing=0.1",
        "train.adapter=lora",
        "model.tied=false",
    ])
    .says(
        2,
        &[
            "objective.replaced_tokens.rate = 2: expected a share",
            "objective.replaced_tokens.generator_width = 0: expected a share above 0",
            "objective.replaced_tokens.temperature = -1",
            "train.label_smoothing",
            "are trained whole",
            "model.tied",
        ],
    );
    // The model fits its scheme, and the generator, a sixth of it, does not.
    check(&[
        "data.train=x",
        "model.d_model=18",
        "model.n_heads=6",
        "model.position=transformer_xl",
        "objective.replaced_tokens.generator_width=0.125",
    ])
    .says(
        2,
        &[
            "1 problem",
            "objective.replaced_tokens.generator_width = 0.125: expected another share",
            "d_model = 3",
        ],
    );
}

#[test]
fn objectives_are_checked_with_all_else() {
    let place = Place::new();
    let check =
        |recipe: &str, keys: &[&str]| place.run(&[&["config", "check", recipe], &sets(keys)[..]].concat());
    check(
        "mlm",
        &[
            "data.train=x",
            "objective.mlm.rate=2",
            "objective.mlm.mask_share=0.9",
            "objective.mlm.random_share=0.3",
            "data.token_dropout=0.1",
            "data.packing=documents",
            "train.epochs=0",
        ],
    )
    .says(
        2,
        &[
            "objective.mlm.rate = 2: expected a share",
            "together",
            "data.token_dropout = 0.1",
            "data.packing",
            "only for lm",
            "train.epochs",
        ],
    );
    check("mlm", &["data.train=x", "objective.mlm.rat=1"]).says(2, &["objective", "'rat'", "'rate'"]);
    check("first-news", &["objective.mlm.rate=0.2"])
        .says(2, &["objective = mlm: expected none for this task"]);
    check("mlm", &["data.train=x", "objective.denoising.infill=0.2"])
        .says(2, &["objective.mlm, for this task"]);
    check("mlm", &["data.corpus=x"])
        .says(2, &["data.train with this objective: whole words", "tokenizer.file"]);
    check("prefix-lm", &["data.train=x", "model.position=fox", "train.epochs=0"]).says(
        2,
        &["model.position = fox", "may see later keys: gates add up along what came before", "train.epochs"],
    );
    check("first-news", &["data.target_language=zh"]).says(2, &["data.target_language", "seq2seq"]);
    let explained =
        place.run(&["config", "explain", "span-corruption", "--set", "data.train=x"]).succeeds().stdout();
    assert!(
        explained.contains("[objective.span_corruption]") && explained.contains("density = 0.15"),
        "{explained}"
    );
}

#[test]
fn models_learn_from_a_packed_corpus() {
    let place = Place::new();
    place.write("book.txt", TEXT);
    let of_text = sets(&[
        "data.train=book.txt",
        "tokenizer.vocab_size=300",
        "model.max_seq_len=32",
        "train.max_steps=3",
    ]);
    place.train(&[&["mlm", "--out", "first"], &of_text[..]].concat()).succeeds();
    let pack = ["data", "pack", "book.txt", "--tokenizer", "first/model", "--out", "corpus"];
    place.run(&pack).succeeds();
    let of_corpus = sets(&[
        "data.corpus=corpus",
        "data.dev=book.txt",
        "tokenizer.file=first/model",
        "model.max_seq_len=32",
        "objective.mlm.unit=token",
    ]);
    place.train(&[&["mlm", "--out", "mlm"], &of_corpus[..]].concat()).says(0, &["rows of a corpus"]);
    assert!(number(&json(&place.path("mlm/report.json")), "masked_accuracy") >= 0.0);
    for packing in ["data.packing=stream", "data.packing=documents"] {
        let out = packing.rsplit('=').next().unwrap();
        let set = sets(&[packing]);
        place.train(&[&["lm", "--out", out], &of_corpus[..8], &set[..]].concat()).succeeds();
        assert!(number(&json(&place.path(&format!("{out}/report.json"))), "bits_per_byte") > 0.0);
    }
    let other = sets(&["tokenizer.file=stream/model/tokenizer.json", "data.corpus=nowhere"]);
    place.train(&[&["lm", "--out", "no"], &other[..]].concat()).says(1, &["locus data pack"]);
}

#[test]
fn translations_are_scored_by_their_language() {
    let place = Place::new();
    let few = sets(&["train.max_steps=5", "data.target_language=zh"]);
    place.train(&[&["reverse", "--out", "out"], &few[..]].concat()).succeeds();
    let report = json(&place.path("out/report.json"));
    assert_eq!(report["score_name"], "bleu");
    assert!((0.0..=100.0).contains(&number(&report, "chrf")) && number(&report, "bleu") >= 0.0);
    let signature = report["signatures"][0].as_str().unwrap();
    assert!(signature.contains("tok:zh"), "{signature}");
    assert!(place.read("out/report.txt").contains(signature));
    assert!(place.read("out/model/config.json").contains("\"target_language\": \"zh\""));
    // The same scores from the folder, by the same search.
    place.write("pairs.tsv", "source\ttarget\na b c\tc b a\nb b\tb b\nk j\tj k\n");
    let searched =
        sets(&["train.max_steps=5", "data.train=pairs.tsv", "data.dev=pairs.tsv", "train.eval_beams=3"]);
    place.write(
        "pairs.toml",
        "task = 'seq2seq'\n[data]\ntarget_language = 'en'\n[tokenizer]\nkind = 'word'\n",
    );
    place.train(&[&["pairs.toml", "--out", "searched"], &searched[..]].concat()).succeeds();
    let eval = ["eval", "--model", "searched/model", "--data", "pairs.tsv", "--beams", "3", "--json"];
    let evaluation: serde_json::Value = serde_json::from_str(&place.run(&eval).succeeds().stdout()).unwrap();
    for score in ["rouge1", "rouge2", "rougeL"] {
        assert!((0.0..=1.0).contains(&number(&evaluation, score)), "{score}");
    }
    assert_eq!(evaluation["metrics"], json(&place.path("searched/report.json"))["metrics"]);
    let zero = sets(&["data.train=pairs.tsv", "train.eval_beams=0"]);
    place
        .train(&[&["pairs.toml", "--out", "none"], &zero[..]].concat())
        .says(2, &["train.eval_beams = 0", "1 to"]);
}
