//! Vectors of texts.

use burn::tensor::backend::AutodiffBackend;
use locus_data::{Examples, TokenizerKind};
use locus_heads::{EmbeddingLayer, HeadConfig, SentenceEmbeddingConfig, TokenPooling};
use locus_pipeline::Pipeline;
use locus_testkit::on_backends;

use crate::{SENTENCE, awkward, folder};

fn vectors_for_every_input<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let texts = vec![SENTENCE.to_lowercase(), "find".to_owned()];
    let head = SentenceEmbeddingConfig {
        pooling: vec![TokenPooling::Mean, TokenPooling::Last],
        include_prompt: false,
        layers: vec![EmbeddingLayer::Normalize],
        max_seq_len: Some(9),
        lowercase: true,
        prompts: [("query".to_owned(), "find ".to_owned())].into(),
        ..SentenceEmbeddingConfig::default()
    };
    let head = HeadConfig::SentenceEmbedding(head);
    folder::<B>(dir.path(), head, TokenizerKind::Word, &Examples::Text(texts), device);
    let mut pipeline = Pipeline::<B::InnerBackend>::from_dir(dir.path(), device).unwrap();
    pipeline.batch_size = 3;
    let near = |a: &[f32], b: &[f32]| a.len() == 32 && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    let texts = awkward();
    let vectors = pipeline.embed(&texts).unwrap();
    assert_eq!(vectors.len(), texts.len());
    for (text, vector) in texts.iter().zip(&vectors) {
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{text:?}: {length}");
        assert!(near(vector, &pipeline.embed(&[text]).unwrap()[0]), "{text:?} alone");
    }
    let of = |texts: &[&str], prompt: &str| pipeline.embed_with(texts, prompt).unwrap();
    let plain = of(&["Mira  ", "mira visited lisbon"], "");
    assert_eq!(plain.n_truncated, 0);
    assert!(near(&plain.vectors[0], &of(&["mira"], "").vectors[0]), "case and space do not matter");
    assert!(!near(&plain.vectors[0], &plain.vectors[1]));
    // A prompt is read, though it is not pooled.
    let prompt = pipeline.prompt(Some("query")).unwrap();
    let asked = of(&["mira", "mira visited lisbon"], prompt);
    assert!(!near(&asked.vectors[0], &plain.vectors[0]));
    assert!(!near(&asked.vectors[0], &of(&["find mira"], "").vectors[0]));
    let long = "mira ".repeat(20);
    assert_eq!(of(&[&long, "mira"], "").n_truncated, 1);
    let error = pipeline.prompt(Some("quary")).unwrap_err().to_string();
    assert_eq!(error, "the model has no prompt \"quary\"; it has query");
}

on_backends!(vectors_for_every_input);
