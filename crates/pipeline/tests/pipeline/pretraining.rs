//! What is learned from plain text: batches, scores, corpora.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use burn::module::AutodiffModule;
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::rng::Key;
use locus_data::corpus::{Corpus, CorpusBuilder};
use locus_data::objective::denoising::Denoising;
use locus_data::objective::masked::MaskUnit;
use locus_data::{Examples, IGNORE, Tokenizer, TokenizerKind};
use locus_embedding::Tokens;
use locus_heads::{GradientCheckpointing, HeadConfig, Labels, Pooling, TaskBatch, TaskModel, Trainable};
use locus_model::{ModelConfig, save};
use locus_pipeline::{
    Codec, Masking, Objective, Packing, Pipeline, Replacing, TrainingSet, WriteOptions, evaluate,
};
use locus_testkit::on_processors;

use crate::stack;

fn documents() -> Vec<String> {
    let names = ["Mira", "Tolland", "小明", "Anna", "Keller", "Ben", "Cora"];
    let document = |(at, name): (usize, &&str)| {
        let other = names[(at * 3 + 1) % names.len()];
        format!("{name} visited Lisbon . {other} was late . They saw the old harbour and {name} slept .")
    };
    names.iter().enumerate().map(document).collect()
}

fn masked() -> HeadConfig {
    HeadConfig::MaskedLm { tied: true, bias: true, transform: Default::default() }
}

/// Whole words are replaced, by a generator of one head of two.
fn replacing() -> (HeadConfig, Objective) {
    let replacing = Replacing { unit: MaskUnit::Word, temperature: 0.9, ..Replacing::default() };
    (HeadConfig::ReplacedTokens(replacing.head()), Objective::ReplacedTokens(replacing))
}

fn next() -> HeadConfig {
    HeadConfig::CausalLm { tied: true, output: Default::default() }
}

/// A model that nobody trained, and its codec.
fn learner<B: Backend>(
    head: HeadConfig,
    objective: Option<Objective>,
    device: &B::Device,
) -> (TaskModel<B>, Codec) {
    let tokens = objective.as_ref().map(Objective::special_tokens).unwrap_or_default();
    let tokenizer = Tokenizer::train(TokenizerKind::Word, 300, false, documents()).unwrap();
    let tokenizer = tokenizer.with_special_tokens(&tokens).unwrap();
    let labels = objective.as_ref().map(Objective::labels).unwrap_or_default();
    let labels = labels.iter().map(|&label| label.to_owned()).collect();
    let config = ModelConfig::new(head, labels, tokenizer.vocab_size(), stack());
    let model = TaskModel::new(&config.head, &config.stack, config.vocab_size, Key::new(4), device);
    let mut codec = Codec::new(&config, tokenizer).unwrap();
    codec.objective = objective;
    (model, codec)
}

/// The rows of a batch as the model reads them, without padding.
fn as_read(batch: &TaskBatch) -> Vec<Vec<u32>> {
    let (tokens, seq) = (&batch.tokens, batch.tokens.seq);
    let row = |row: usize| {
        let cells = (row * seq..(row + 1) * seq).filter(|&at| tokens.keep[at]);
        cells.map(|at| tokens.ids[at]).collect()
    };
    (0..tokens.batch).map(row).collect()
}

/// The same before tokens were hidden.
fn originals(batch: &TaskBatch) -> Vec<Vec<u32>> {
    let Labels::PerToken(labels) = &batch.labels else { panic!("labels of tokens") };
    let (tokens, seq) = (&batch.tokens, batch.tokens.seq);
    let cell = |at: usize| u32::try_from(labels[at]).unwrap_or(tokens.ids[at]);
    let row = |row: usize| (row * seq..(row + 1) * seq).filter(|&at| tokens.keep[at]).map(cell).collect();
    (0..tokens.batch).map(row).collect()
}

fn epoch(set: &TrainingSet, epoch: usize) -> Vec<TaskBatch> {
    (0..set.n_batches()).map(|idx| set.batch(epoch, idx).unwrap()).collect()
}

fn masks_are_a_function_of_seed_epoch_and_row<B: AutodiffBackend>(device: &B::Device) {
    let (_, codec) = learner::<B>(masked(), Some(Objective::Mlm(Masking::default())), device);
    let codec = Arc::new(codec);
    let set = |seed| TrainingSet::of_documents(codec.clone(), &documents(), 3, seed).unwrap();
    let (a, b) = (set(1), set(1));
    // Out of order, and again: what a run does that goes on.
    assert_eq!(a.batch(3, 1).unwrap(), {
        b.batch(0, 0).unwrap();
        b.batch(3, 1).unwrap()
    });
    assert_ne!(epoch(&a, 1), epoch(&set(2), 1));
    let rows = |number: usize| {
        let mut rows: Vec<Vec<u32>> = epoch(&a, number).iter().flat_map(originals).collect();
        rows.sort();
        rows
    };
    assert_eq!(rows(1), rows(2), "every epoch has the same text");
    let hidden = |number: usize| {
        let mut rows: Vec<Vec<u32>> = epoch(&a, number).iter().flat_map(as_read).collect();
        rows.sort();
        rows
    };
    assert_ne!(hidden(1), hidden(2), "with other masks");
}

fn masked_words_are_scored_as_they_are_learned<B: AutodiffBackend>(device: &B::Device) {
    let (model, codec) =
        learner::<B::InnerBackend>(masked(), Some(Objective::Mlm(Masking::default())), device);
    let examples = Examples::Text(documents());
    let items = codec.encode(&examples).unwrap().items;
    let loss = model.loss(&codec.batch(&items.iter().collect::<Vec<_>>()).unwrap(), None).unwrap();
    let mean = loss.sum.into_data().iter::<f64>().sum::<f64>() / loss.weight;
    let evaluation = evaluate(&model, &codec, &examples, 2).unwrap();
    let found = evaluation.metrics["loss"];
    assert!((mean - found).abs() < 1e-5, "{mean} and {found}");
    assert!((found.exp() - evaluation.metrics["perplexity"]).abs() < 1e-6);
    assert!((0.0..=1.0).contains(&evaluation.metrics["masked_accuracy"]));
    assert_eq!(evaluation.n_examples, items.len());
    assert_eq!(evaluate(&model, &codec, &examples, 5).unwrap().n_examples, items.len());
    let again = codec.encode(&examples).unwrap().items;
    assert_eq!(items, again, "the same masks every time");
}

fn replaced_tokens_are_drawn_again_after_a_break<B: AutodiffBackend>(device: &B::Device) {
    let (head, objective) = replacing();
    let (model, codec) = learner::<B>(head, Some(objective), device);
    let TaskModel::ReplacedTokenDetector(model) = model else { panic!("another head") };
    let codec = Arc::new(codec);
    let set = |seed| TrainingSet::of_documents(codec.clone(), &documents(), 3, seed).unwrap();
    let (whole, resumed) = (set(1), set(1));
    epoch(&whole, 0);
    let (batch, again) = (whole.batch(1, 1).unwrap(), resumed.batch(1, 1).unwrap());
    assert_eq!(batch, again);
    let read = |batch: &TaskBatch, key| model.replace(batch, key).unwrap().tokens.ids;
    // With dropout too.
    for key in [None, Some(Key::new(5))] {
        assert_eq!(read(&batch, key), read(&again, key));
    }
    let Labels::Replaced { labels, quantiles, .. } = &batch.labels else { panic!("{:?}", batch.labels) };
    assert_eq!((labels.len(), quantiles.len()), (batch.tokens.ids.len(), batch.tokens.ids.len()));
    for other in [set(2).batch(1, 1).unwrap(), whole.batch(2, 1).unwrap()] {
        let Labels::Replaced { quantiles: others, .. } = &other.labels else { panic!("{:?}", other.labels) };
        assert_ne!(quantiles, others);
    }
    let batches = (0..3).flat_map(|number| epoch(&whole, number));
    let labels = batches.flat_map(|batch| model.replace(&batch, None).unwrap().is_replaced);
    let n_replaced = labels.filter(|label| *label == 1).count();
    assert!(n_replaced > 20, "a model that knows nothing replaces most: {n_replaced}");
}

fn replaced_tokens_are_scored_as_they_are_learned<B: AutodiffBackend>(device: &B::Device) {
    let (head, objective) = replacing();
    let (model, codec) = learner::<B::InnerBackend>(head.clone(), Some(objective), device);
    let examples = Examples::Text(documents());
    let items = codec.encode(&examples).unwrap().items;
    let loss = model.loss(&codec.batch(&items.iter().collect::<Vec<_>>()).unwrap(), None).unwrap();
    let mean = loss.sum.into_data().iter::<f64>().sum::<f64>() / loss.weight;
    let evaluation = evaluate(&model, &codec, &examples, 2).unwrap();
    let found = |name: &str| evaluation.metrics[name];
    assert!((mean - found("loss")).abs() < 1e-4 * mean, "{mean} and {}", found("loss"));
    let parts = found("generator_loss") + 50.0 * found("discriminator_loss");
    assert!((parts - found("loss")).abs() < 1e-9, "{parts} and {}", found("loss"));
    let samples = evaluation.samples.as_ref().unwrap().score();
    assert!((samples - found("loss")).abs() < 1e-9, "{samples} and {}", found("loss"));
    for name in ["masked_accuracy", "replaced_precision", "replaced_recall", "replaced_f1"] {
        assert!((0.0..=1.0).contains(&found(name)), "{name}: {}", found(name));
    }
    assert_eq!((evaluation.score_name, evaluation.n_examples), ("loss", items.len()));
    let other = evaluate(&model, &codec, &examples, 5).unwrap();
    assert!((other.metrics["loss"] - found("loss")).abs() < 1e-3, "the same draws in other batches");
    // A folder has the generator too, and the objective.
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("model");
    let mut config = ModelConfig::new(head, Vec::new(), codec.tokenizer.vocab_size(), stack());
    config.objective = Some(serde_json::to_value(objective).unwrap());
    save(&dir, &config, &model, &codec.tokenizer.files().unwrap()).unwrap();
    let pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    let expected = evaluate(&model, &codec, &examples, pipeline.batch_size).unwrap();
    assert_eq!(pipeline.evaluate(&examples).unwrap().metrics, expected.metrics);
    let error = pipeline.predict(&["Mira visited"]).unwrap_err().to_string();
    assert!(error.contains("replaced-token detection"), "{error}");
}

fn a_generator_and_a_discriminator_learn<B: AutodiffBackend>(device: &B::Device) {
    let (head, objective) = replacing();
    let (mut model, codec) = learner::<B>(head, Some(objective), device);
    let codec = Arc::new(codec);
    let set = TrainingSet::of_documents(codec.clone(), &documents(), 3, 1).unwrap();
    let score = |model: &TaskModel<B>| {
        evaluate(&model.valid(), &codec, &Examples::Text(documents()), 16).unwrap().metrics
    };
    let first = score(&model);
    let mut optimizer = AdamWConfig::new().init();
    for number in 0..40 {
        for batch in epoch(&set, number) {
            let mut sums = GradientsParams::new();
            let key = Some(Key::new(8).child(number as u64));
            model.backward(&batch, key, GradientCheckpointing::None, &mut sums).unwrap();
            model = optimizer.step(0.005, model, sums);
        }
    }
    let last = score(&model);
    for (name, factor) in [("loss", 0.6), ("generator_loss", 0.85), ("discriminator_loss", 0.7)] {
        assert!(last[name] < factor * first[name], "{name}: {first:?} → {last:?}");
    }
}

fn every_objective_fits_its_model<B: AutodiffBackend>(device: &B::Device) {
    let pairs = || HeadConfig::Seq2Seq { tied: true, output: Default::default() };
    let order = HeadConfig::SequenceClassification {
        n_labels: 2,
        pooling: Pooling::Mean,
        layers: Default::default(),
    };
    let cases = [
        (masked(), Objective::Mlm(Masking { unit: MaskUnit::Word, ..Masking::default() })),
        (HeadConfig::ReplacedTokens(Default::default()), Objective::ReplacedTokens(Replacing::default())),
        (next(), Objective::PrefixLm(Default::default())),
        (pairs(), Objective::SpanCorruption(Default::default())),
        (pairs(), Objective::Denoising(Default::default())),
        (order, Objective::SentenceOrder {}),
    ];
    for (head, objective) in cases {
        let (model, codec) = learner::<B::InnerBackend>(head, Some(objective), device);
        let score = evaluate(&model, &codec, &Examples::Text(documents()), 3).unwrap();
        assert!(score.metrics["loss"].is_finite(), "{}: {score}", objective.name());
        let set = TrainingSet::of_documents(Arc::new(codec), &documents(), 3, 1).unwrap();
        assert!(set.n_items() >= documents().len(), "{}", objective.name());
        for batch in [epoch(&set, 0), epoch(&set, 1)].concat() {
            assert!(batch.tokens.seq <= 12, "{}: {} tokens", objective.name(), batch.tokens.seq);
            if let Labels::Target { tokens, .. } = &batch.labels {
                assert!(tokens.seq <= 12, "{}: a target of {} tokens", objective.name(), tokens.seq);
            }
            let loss = model.loss(&batch, None).unwrap();
            assert!(loss.sum.into_data().iter::<f64>().sum::<f64>().is_finite());
            assert_eq!(batch.tokens.prefix.is_some(), matches!(objective, Objective::PrefixLm(_)));
        }
    }
}

fn a_tokenizer_without_sentinels_is_refused<B: AutodiffBackend>(device: &B::Device) {
    let pairs = HeadConfig::Seq2Seq { tied: true, output: Default::default() };
    let (_, mut codec) = learner::<B>(pairs, None, device);
    codec.objective = Some(Objective::SpanCorruption(Default::default()));
    let error = TrainingSet::of_documents(Arc::new(codec), &documents(), 3, 1).unwrap_err().to_string();
    assert!(error.contains("<extra_id_0>"), "{error}");
}

fn packed_documents_do_not_see_each_other<B: AutodiffBackend>(device: &B::Device) {
    let (model, mut codec) = learner::<B::InnerBackend>(next(), None, device);
    codec.packing = Packing::Documents;
    let texts = ["Mira visited Lisbon", "小明 was late"].map(str::to_owned);
    let nats = |texts: &[String]| {
        let items = codec.encode(&Examples::Text(texts.to_vec())).unwrap().items;
        assert_eq!(items.len(), 1, "all fits one row");
        let loss = model.loss(&codec.batch(&[&items[0]]).unwrap(), None).unwrap();
        (loss.sum.into_data().iter::<f64>().sum::<f64>(), loss.weight)
    };
    let (both, n_both) = nats(&texts);
    let (first, n_first) = nats(&texts[..1]);
    let (second, n_second) = nats(&texts[1..]);
    // Three words and an end of each are predicted, from the start token on.
    assert_eq!((n_both, n_first), (n_first + n_second, 4.0));
    assert!((both - first - second).abs() < 1e-4, "{both} is not {first} + {second}");
}

fn prompts_start_as_documents_do<B: AutodiffBackend>(device: &B::Device) {
    let (model, codec) = learner::<B::InnerBackend>(next(), None, device);
    let mut config = ModelConfig::new(next(), Vec::new(), codec.tokenizer.vocab_size(), stack());
    config.packing = Packing::Documents;
    let pipeline = Pipeline::new(config, model, codec.tokenizer).unwrap();
    let options =
        WriteOptions { max_new_tokens: 1, min_new_tokens: 1, log_probs: Some(1), ..WriteOptions::default() };
    let written = pipeline.generate("Mira visited", &options, &mut |_| ControlFlow::Continue(())).unwrap();
    let token = &written.tokens[0];
    let tokenizer = &pipeline.codec.tokenizer;
    let nats = |ids: Vec<u32>| {
        let n = ids.len();
        let mut labels = vec![IGNORE; n];
        labels[n - 1] = tokenizer.id(&token.token).unwrap() as i32;
        let tokens = Tokens::new([1, n], ids, vec![true; n], None).unwrap();
        let batch = TaskBatch { tokens, labels: Labels::PerToken(labels) };
        pipeline.model.loss(&batch, None).unwrap().sum.into_data().iter::<f64>().sum::<f64>()
    };
    let ids = tokenizer.encode("Mira visited").unwrap().ids;
    let started = [vec![tokenizer.specials().bos.unwrap()], ids.clone()].concat();
    let (with, without) = (nats(started), nats(ids));
    assert!((with + token.log_prob).abs() < 1e-4, "{with} and {}", token.log_prob);
    assert!((without + token.log_prob).abs() > 1e-3, "the start token changes nothing");
}

fn bits_are_those_of_the_whole_text_or_none<B: AutodiffBackend>(device: &B::Device) {
    let (model, mut codec) = learner::<B::InnerBackend>(next(), None, device);
    let examples = Examples::Text(documents());
    let has_bits = |codec: &Codec| {
        let evaluation = evaluate(&model, codec, &examples, 3).unwrap();
        assert!(evaluation.metrics["loss"].is_finite());
        ["bits_per_byte", "bits_per_char"].map(|name| evaluation.metrics.contains_key(name))
    };
    codec.packing = Packing::Documents;
    assert_eq!(has_bits(&codec), [true; 2]);
    // Word pieces as BERT has them: no token for the start of a text.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/tokenizers/bert-uncased");
    let tokenizer = Tokenizer::from_file(&folder).unwrap();
    assert_eq!(tokenizer.specials().bos, None);
    let config = ModelConfig::new(next(), Vec::new(), tokenizer.vocab_size(), stack());
    let model: TaskModel<B::InnerBackend> =
        TaskModel::new(&config.head, &config.stack, config.vocab_size, Key::new(4), device);
    let mut codec = Codec::new(&config, tokenizer).unwrap();
    let bits =
        |codec: &Codec| evaluate(&model, codec, &examples, 3).unwrap().metrics.contains_key("bits_per_byte");
    assert!(bits(&codec));
    codec.packing = Packing::Documents;
    assert!(!bits(&codec), "the first token of each document is not predicted");
}

fn damaged_texts_keep_their_frame<B: AutodiffBackend>(device: &B::Device) {
    let pairs = HeadConfig::Seq2Seq { tied: true, output: Default::default() };
    // Many masks that stand for nothing: longer than the model reads.
    let long = Denoising { infill: 0.3, mean_span: 0.1, ..Denoising::default() };
    let (_, codec) = learner::<B>(pairs, Some(Objective::Denoising(long)), device);
    let after = codec.tokenizer.frame().after.clone();
    assert!(!after.is_empty());
    let set = TrainingSet::of_documents(Arc::new(codec), &documents(), 3, 1).unwrap();
    let rows: Vec<Vec<u32>> = epoch(&set, 0).iter().flat_map(as_read).collect();
    assert!(rows.iter().any(|row| row.len() == 12), "some are cut");
    assert!(rows.iter().all(|row| row.len() <= 12 && row.ends_with(&after)), "{rows:?}");
}

fn corpus(dir: &Path, tokenizer: &Tokenizer) -> Arc<Corpus> {
    let file = dir.join("text.txt");
    std::fs::write(&file, documents().join("\n\n")).unwrap();
    let built = CorpusBuilder::new(tokenizer, &dir.join("corpus")).build(&[file], &mut |_| ()).unwrap();
    Arc::new(built.corpus)
}

fn a_corpus_is_read_row_by_row<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let (_, codec) = learner::<B>(next(), None, device);
    let corpus = corpus(dir.path(), &codec.tokenizer);
    let n_tokens = corpus.n_tokens() as usize;
    for packing in [Packing::Stream, Packing::Documents] {
        let mut codec = codec.clone();
        codec.packing = packing;
        let codec = Arc::new(codec);
        let set = |seed| TrainingSet::of_corpus(codec.clone(), corpus.clone(), 3, seed).unwrap();
        let (a, b) = (set(1), set(1));
        assert_eq!(a.batch(5, 1).unwrap(), b.batch(5, 1).unwrap());
        assert_ne!(epoch(&a, 0), epoch(&a, 1));
        let rows: usize =
            epoch(&a, 2).iter().map(|batch| batch.tokens.keep.iter().filter(|keep| **keep).count()).sum();
        // Each token but the last is read once.
        // Where documents are apart, the one that there is starts with a token of its own.
        let is_apart = packing == Packing::Documents;
        assert_eq!(
            (rows, epoch(&a, 2)[0].tokens.documents.is_some()),
            (n_tokens - 1 + usize::from(is_apart), is_apart)
        );
        if is_apart {
            // Other text is scored as the corpus is learned.
            let document = Examples::Text(vec![documents().join("\n\n")]);
            let items = codec.encode(&document).unwrap().items;
            let mut expected: Vec<Vec<u32>> = items.into_iter().map(|item| item.ids).collect();
            let mut found: Vec<Vec<u32>> = epoch(&a, 2).iter().flat_map(as_read).collect();
            expected.sort();
            found.sort();
            assert_eq!(found, expected);
        }
    }
    let (_, mut codec) = learner::<B>(masked(), Some(Objective::Mlm(Masking::default())), device);
    let set = TrainingSet::of_corpus(Arc::new(codec.clone()), corpus.clone(), 3, 1).unwrap();
    assert_eq!(set.batch(5, 1).unwrap(), set.batch(5, 1).unwrap());
    let rows: Vec<Vec<u32>> = epoch(&set, 0).iter().flat_map(originals).collect();
    let n: usize = rows.iter().map(|row| row.len() - 2).sum();
    assert!((n_tokens - 1..=n_tokens).contains(&n), "{n} of {n_tokens}");
    let whole = Masking { unit: MaskUnit::Word, ..Masking::default() };
    codec.objective = Some(Objective::Mlm(whole));
    let error = TrainingSet::of_corpus(Arc::new(codec), corpus.clone(), 3, 1).unwrap_err().to_string();
    assert!(error.contains("whole words are found in text"), "{error}");
    let spans = Objective::SpanCorruption(Default::default());
    let head = HeadConfig::Seq2Seq { tied: true, output: Default::default() };
    let (_, codec) = learner::<B>(head, Some(spans), device);
    let error = TrainingSet::of_corpus(Arc::new(codec), corpus, 3, 1).unwrap_err().to_string();
    assert!(error.contains("another tokenizer"), "{error}");
}

on_processors!(
    masks_are_a_function_of_seed_epoch_and_row,
    masked_words_are_scored_as_they_are_learned,
    replaced_tokens_are_drawn_again_after_a_break,
    replaced_tokens_are_scored_as_they_are_learned,
    a_generator_and_a_discriminator_learn,
    every_objective_fits_its_model,
    a_tokenizer_without_sentinels_is_refused,
    packed_documents_do_not_see_each_other,
    prompts_start_as_documents_do,
    bits_are_those_of_the_whole_text_or_none,
    damaged_texts_keep_their_frame,
    a_corpus_is_read_row_by_row,
);
