//! A tag for each word.

use burn::tensor::backend::AutodiffBackend;
use locus_backend::rng::Key;
use locus_data::{Examples, ItemLabels, Tokenizer, TokenizerKind};
use locus_heads::{HeadConfig, TagDecoding, TaskModel};
use locus_model::ModelConfig;
use locus_pipeline::{Pipeline, Prediction};
use locus_testkit::on_backends;

use crate::{SENTENCE, awkward, folder, stack, tagged, tagged_examples};

fn entities_for_every_input<B: AutodiffBackend>(device: &B::Device) {
    for decoding in [TagDecoding::Independent, TagDecoding::WellFormed, TagDecoding::Crf] {
        entities_with::<B>(decoding, device);
    }
}

fn entities_with<B: AutodiffBackend>(decoding: TagDecoding, device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let examples = tagged_examples();
    folder::<B>(
        &dir,
        HeadConfig::TokenClassification { n_labels: 4, decoding, layers: Default::default() },
        TokenizerKind::WordPiece,
        &examples,
        device,
    );
    let pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    let texts = awkward();
    let answers = pipeline.predict(&texts).unwrap();
    assert_eq!(answers.len(), texts.len());
    for (given, answer) in texts.iter().zip(&answers) {
        let Prediction::Entities { text, words, tags, entities } = answer else { panic!("{answer:?}") };
        assert_eq!((text, words.len()), (given, tags.len()));
        for entity in entities {
            assert_eq!(entity.text, text[entity.start..entity.end]);
            assert!(entity.score > 0.0 && entity.score <= 1.0);
        }
    }
    // A hundred words in windows of twelve tokens: every one has its tag.
    let Prediction::Entities { tags, .. } = &answers[7] else { panic!() };
    assert_eq!(tags.len(), 100);
    let evaluation = pipeline.evaluate(&examples).unwrap();
    assert_eq!(evaluation.entity_report.as_ref().unwrap().micro().support, 4);
    assert_eq!(evaluation.token_report.as_ref().unwrap().weighted_avg().support, 11);
    assert!(evaluation.metrics["loss"].is_finite());
}

fn a_label_stands_on_each_word_once<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let text = vec!["Lisbon"; 50].join(" ");
    let examples = Examples::Tagged(vec![tagged(&text, &vec!["B-LOC"; 50].join(" "))]);
    let head = HeadConfig::TokenClassification {
        n_labels: 2,
        decoding: Default::default(),
        layers: Default::default(),
    };
    let codec = folder::<B>(&dir.path().join("m"), head, TokenizerKind::Char, &examples, device);
    let items = codec.encode(&examples).unwrap().items;
    let n: usize = items
        .iter()
        .map(|item| match &item.labels {
            ItemLabels::PerToken(labels) => labels.iter().filter(|&&label| label >= 0).count(),
            _ => 0,
        })
        .sum();
    assert_eq!(n, 50);
    assert!(items.iter().all(|item| item.ids.len() <= 12));
}

/// Labels that are no tags, such as parts of speech, are the names of entities, whole.
fn names_of_types_are_whole<B: AutodiffBackend>(device: &B::Device) {
    let head = HeadConfig::TokenClassification {
        n_labels: 3,
        decoding: Default::default(),
        layers: Default::default(),
    };
    let labels = ["NOUN", "VERB", "LABEL_0"].map(str::to_owned).to_vec();
    let tokenizer = Tokenizer::train(TokenizerKind::Char, 300, false, [SENTENCE]).unwrap();
    let config = ModelConfig::new(head, labels, tokenizer.vocab_size(), stack());
    let model = TaskModel::<B::InnerBackend>::new(
        &config.head,
        &config.stack,
        config.vocab_size,
        Key::new(4),
        device,
    );
    let pipeline = Pipeline::new(config, model, tokenizer).unwrap();
    let answers = pipeline.predict(&["Mira visited Lisbon", "Lisbon Lisbon visited Mira"]).unwrap();
    for answer in &answers {
        let Prediction::Entities { text, tags, entities, .. } = answer else { panic!("{answer:?}") };
        let mut names: Vec<&String> = tags.iter().collect();
        names.dedup();
        assert_eq!(entities.iter().map(|entity| &entity.label).collect::<Vec<_>>(), names);
        let covered: Vec<&str> = entities.iter().map(|entity| entity.text.as_str()).collect();
        assert_eq!(covered.join(" "), *text);
    }
}

on_backends!(entities_for_every_input, a_label_stands_on_each_word_once, names_of_types_are_whole);
