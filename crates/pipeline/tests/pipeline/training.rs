//! Batches of training, and its loss.

use std::sync::Arc;

use burn::tensor::backend::AutodiffBackend;
use locus_data::{Examples, TokenizerKind};
use locus_heads::{HeadConfig, Labels, Trainable};
use locus_pipeline::{Pipeline, TrainingSet, evaluate};
use locus_testkit::on_backends;

use crate::{folder, tagged, tagged_examples};

fn training_batches_are_a_function_of_seed_epoch_and_index<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let examples = Examples::Tagged(
        (0..23).map(|i| tagged(&vec!["x"; i % 5 + 1].join(" "), &vec!["O"; i % 5 + 1].join(" "))).collect(),
    );
    let head = HeadConfig::TokenClassification {
        n_labels: 1,
        decoding: Default::default(),
        layers: Default::default(),
    };
    let codec = Arc::new(folder::<B>(&dir.path().join("m"), head, TokenizerKind::Word, &examples, device));
    let set = |seed, dropout| {
        let items = codec.encode(&examples).unwrap().items;
        TrainingSet::new(codec.clone(), items, 4, dropout, seed).unwrap()
    };
    let (a, b, other) = (set(1, 0.5), set(1, 0.5), set(2, 0.5));
    // Out of order, and again.
    let batch = |set: &TrainingSet, epoch, idx| set.batch(epoch, idx).unwrap();
    assert_eq!(batch(&a, 3, 2), {
        batch(&b, 0, 0);
        batch(&b, 3, 2)
    });
    let all = |set: &TrainingSet| (0..set.n_batches()).map(|idx| batch(set, 1, idx)).collect::<Vec<_>>();
    assert_ne!(all(&a), all(&other));
    let rows: usize = all(&a).iter().map(|batch| batch.tokens.batch).sum();
    assert_eq!(rows, 23);
    let unk = codec.tokenizer.specials().unk.unwrap();
    let count = |set: &TrainingSet| {
        all(set).iter().flat_map(|b| b.tokens.ids.clone()).filter(|&id| id == unk).count()
    };
    assert!(count(&a) > 5 && count(&set(1, 0.0)) == 0);
    assert!(matches!(batch(&a, 0, 0).labels, Labels::PerToken(_)));
}

fn evaluation_loss_is_the_training_loss<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let examples = tagged_examples();
    let head = HeadConfig::TokenClassification {
        n_labels: 4,
        decoding: Default::default(),
        layers: Default::default(),
    };
    let codec = folder::<B>(&dir, head, TokenizerKind::Word, &examples, device);
    let pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    let items = codec.encode(&examples).unwrap().items;
    let batch = codec.batch(&items.iter().collect::<Vec<_>>()).unwrap();
    let loss = pipeline.model.loss(&batch, None).unwrap();
    let mean = loss.sum.into_data().iter::<f64>().sum::<f64>() / loss.weight;
    let evaluated = evaluate(&pipeline.model, &codec, &examples, 1).unwrap().metrics["loss"];
    assert!((mean - evaluated).abs() < 1e-5, "{mean} and {evaluated}");
}

on_backends!(training_batches_are_a_function_of_seed_epoch_and_index, evaluation_loss_is_the_training_loss);
