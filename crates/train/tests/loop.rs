//! The loop: accumulation, evaluation, early stopping, guards, events, failures to write.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::common::{
    B, Inner, Model, Rows, bits, config, evaluate, events, fit, model, of_kind, rows, trainer,
};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::rng::Key;
use locus_encoder::StackConfig;
use locus_heads::{
    GradientCheckpointing, HeadConfig, HeadError, Labels, LossSum, ReplacedTokensConfig, TaskBatch,
    TaskModel, Trainable,
};
use locus_testkit::device::NdArray;
use locus_train::{
    BatchSource, BoxError, Checkpoint, ClipNorm, Evaluation, FitConfig, FitReport, Schedule, Stopped,
    TrainError, Warmup,
};

/// Parameters of a model after one epoch, and how many steps it took.
fn learned(
    model: Model,
    source: impl BatchSource<TaskBatch> + 'static,
    accumulate: usize,
) -> (usize, Vec<f32>) {
    let dir = tempfile::tempdir().unwrap();
    let (clip_norm, warmup) = (ClipNorm::Max(0.5), Warmup::Steps(0));
    // eps as large as the gradients: where it is small, Adam turns the rounding of a gradient of 0 into a full step.
    let config = FitConfig {
        epochs: 1,
        accumulate,
        clip_norm,
        warmup,
        schedule: Schedule::Constant,
        eps: 1e-2,
        ..config()
    };
    let evaluate = |_: &Inner| Ok::<_, BoxError>(Evaluation::default());
    let report = trainer(config, dir.path()).fit::<B, _, _>(model, Arc::new(source), evaluate).unwrap();
    struct Values(Vec<f32>);
    impl<B: Backend> ModuleVisitor<B> for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.0.extend(param.val().into_data().iter::<f32>());
        }
    }
    let mut values = Values(vec![]);
    report.best_model.visit(&mut values);
    (report.steps, values.0)
}

#[test]
fn accumulation_is_token_exact_to_the_last_partial_window() {
    // Rows have two to five tokens, and 13 rows leave windows of 4 · 2 and of 2 + 2 + 1: a mean of means would be off.
    let (steps, accumulated) = learned(model(0.0), Rows { n_rows: 13, batch_size: 2 }, 4);
    let (same, whole) = learned(model(0.0), Rows { n_rows: 13, batch_size: 8 }, 1);
    assert_eq!((steps, same), (2, 2));
    let worst = accumulated.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-6, "{worst}");
    // The same rows in other windows are told apart.
    let (_, other) = learned(model(0.0), Rows { n_rows: 13, batch_size: 2 }, 3);
    assert!(other.iter().zip(&whole).any(|(a, b)| (a - b).abs() > 1e-4));
}

/// The rows with none, one or two of their tokens hidden.
struct Hidden(Rows);

impl BatchSource<TaskBatch> for Hidden {
    fn n_batches(&self) -> usize {
        self.0.n_batches()
    }

    fn batch(&self, epoch: usize, idx: usize) -> Result<TaskBatch, BoxError> {
        let TaskBatch { mut tokens, .. } = self.0.batch(epoch, idx)?;
        let (mut labels, mut quantiles) = (vec![-100; tokens.ids.len()], vec![0.5; tokens.ids.len()]);
        for row in 0..tokens.batch {
            let first = row * tokens.seq;
            for cell in first..first + tokens.ids[first] as usize % 3 {
                (labels[cell], quantiles[cell]) =
                    (tokens.ids[cell] as i32, 0.25 + 0.5 * (cell - first) as f64);
                tokens.ids[cell] = 10;
            }
        }
        Ok(TaskBatch { tokens, labels: Labels::Replaced { labels, quantiles, tokens_per_hidden: None } })
    }
}

#[test]
fn accumulation_is_exact_where_a_loss_is_two_means() {
    // Batches have different shares of hidden tokens.
    let detector = || -> Model {
        let stack =
            StackConfig { d_model: 12, n_layers: 1, n_heads: 2, dropout: 0.0, ..StackConfig::default() };
        let stack = StackConfig { attention_dropout: 0.0, init_std: 0.1, ..stack };
        let head = HeadConfig::ReplacedTokens(ReplacedTokensConfig::default());
        assert_eq!(head.check(&stack), []);
        TaskModel::new(&head, &stack, 11, Key::new(1), &Default::default())
    };
    let of =
        |batch_size, accumulate| learned(detector(), Hidden(Rows { n_rows: 13, batch_size }), accumulate);
    let ((steps, accumulated), (same, whole)) = (of(2, 4), of(8, 1));
    assert_eq!((steps, same), (2, 2));
    let worst = accumulated.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
    let (_, other) = of(2, 3);
    assert!(other.iter().zip(&whole).any(|(a, b)| (a - b).abs() > 1e-4));
}

#[test]
fn it_learns_keeps_the_best_and_tells_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = FitConfig { epochs: 20, learning_rate: 0.03, keep_checkpoints: 2, ..config() };
    let report = fit(&trainer(config, dir.path()), model(0.0)).unwrap();
    assert_eq!((report.steps, report.epochs, report.stopped), (140, 20, Stopped::Finished));
    assert!(report.best_score.is_some_and(|score| score > -0.2), "{:?}", report.best_score);
    assert_eq!(evaluate(&report.best_model).ok().map(|e| e.score), report.best_score);
    assert!(report.tokens_per_second > 0.0 && report.seconds > 0.0 && report.skipped_steps == 0);
    // Row r has 2 + r % 4 tokens.
    assert_eq!(report.tokens, 20 * (0..14).map(|row| 2 + row % 4).sum::<u64>());
    let run = dir.path();
    let kinds = ["run_started", "step", "evaluation", "checkpoint", "run_finished"]
        .map(|kind| of_kind(run, kind).len());
    assert_eq!(kinds, [1, 140, 20, 20, 1]);
    let step = &of_kind(run, "step")[3];
    for key in ["step", "epoch", "loss", "lr", "grad_norm", "tokens", "tokens_per_second", "data_wait_secs"] {
        assert!(step[key].is_number(), "{key}: {step}");
    }
    assert!(of_kind(run, "evaluation")[0]["metrics"]["loss"].is_number());
    let kept: Vec<_> = fs::read_dir(run.join("checkpoints")).unwrap().collect();
    assert!((2..=3).contains(&kept.len()), "{kept:?}");
    let best = run.join(format!("checkpoints/step-{}", report.best_step.unwrap()));
    let best = Checkpoint::open(best).unwrap().load_model::<B, _>(model(0.0)).unwrap();
    assert_eq!(bits(&best), bits(&report.best_model));
}

#[test]
fn patience_ends_the_run_with_the_best_model() {
    let dir = tempfile::tempdir().unwrap();
    let scores = [0.1, 0.4, 0.3, f64::NAN, 0.4, 0.9];
    let round = Cell::new(0);
    let scored = move |_: &Inner| {
        round.set(round.get() + 1);
        Ok::<_, BoxError>(Evaluation { score: scores[round.get() - 1], ..Evaluation::default() })
    };
    let config = FitConfig { epochs: 9, patience: Some(3), ..config() };
    let report = trainer(config, dir.path()).fit::<B, _, _>(model(0.0), Rows::seven(), scored).unwrap();
    assert_eq!((report.stopped, report.steps), (Stopped::EarlyStopped, 35));
    assert_eq!((report.best_score, report.best_step), (Some(0.4), Some(14)));
    let best = Checkpoint::open(dir.path().join("checkpoints/step-14")).unwrap();
    assert_eq!(bits(&best.load_model::<B, _>(model(0.0)).unwrap()), bits(&report.best_model));
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let run = |seed| {
        let dir = tempfile::tempdir().unwrap();
        bits(&fit(&trainer(FitConfig { seed, ..config() }, dir.path()), model(0.2)).unwrap().best_model)
    };
    let first = run(1);
    assert_eq!(first, run(1));
    assert_ne!(first, run(2), "dropout does not depend on the seed");
}

#[test]
fn gradient_checkpointing_changes_no_bit_of_a_run() {
    let run = |gradient_checkpointing| {
        let dir = tempfile::tempdir().unwrap();
        let config = FitConfig { accumulate: 2, gradient_checkpointing, ..config() };
        let report = fit(&trainer(config, dir.path()), model(0.2)).unwrap();
        let curve: Vec<_> = of_kind(dir.path(), "step")
            .into_iter()
            .map(|step| (step["loss"].clone(), step["grad_norm"].clone()))
            .collect();
        (curve, bits(&report.best_model))
    };
    let whole = run(GradientCheckpointing::None);
    assert_eq!(whole.0.len(), 12);
    assert!(whole == run(GradientCheckpointing::Block));
}

#[test]
fn a_model_is_asked_for_what_the_configuration_says() {
    let run = |gradient_checkpointing| {
        let dir = tempfile::tempdir().unwrap();
        let config = FitConfig { max_steps: Some(1), gradient_checkpointing, ..config() };
        let evaluate = |_: &Refusing<NdArray>| Ok::<_, BoxError>(Evaluation::default());
        let model = Refusing { model: model(0.0) };
        trainer(config, dir.path()).fit::<B, _, _>(model, Rows::seven(), evaluate)
    };
    assert!(run(GradientCheckpointing::None).is_ok());
    let error = run(GradientCheckpointing::Block).unwrap_err();
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert!(reason.contains("not again"), "{error}: {reason}");
}

/// A model that refuses to run its blocks again.
#[derive(Module, Debug)]
struct Refusing<B: Backend> {
    model: TaskModel<B>,
}

impl<B: Backend> Trainable<B> for Refusing<B> {
    type Batch = TaskBatch;

    fn loss(&self, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        self.model.loss(batch, key)
    }

    fn backward(
        &self,
        batch: &TaskBatch,
        key: Option<Key>,
        checkpointing: GradientCheckpointing,
        sums: &mut GradientsParams,
    ) -> Result<LossSum<B::InnerBackend>, HeadError>
    where
        B: AutodiffBackend,
    {
        match checkpointing {
            GradientCheckpointing::None => self.model.backward(batch, key, checkpointing, sums),
            GradientCheckpointing::Block => Err(HeadError::Options(vec!["not again".to_owned()])),
        }
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        <TaskModel<B> as Trainable<B>>::n_tokens(batch)
    }
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_before_it_spoils_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let error =
        poisoned(dir.path(), |at| if at == (1, 2) { Poison::Loss } else { Poison::None }).unwrap_err();
    let text = error.to_string();
    let intact = dir.path().join("checkpoints/step-7");
    for part in ["step 10", "loss is inf", "learning rate", "last finite loss was 0.", "batch 2 of epoch 1"] {
        assert!(text.contains(part), "'{part}' in: {text}");
    }
    assert!(text.contains(&intact.display().to_string()), "{text}");
    assert!(Checkpoint::open(intact).is_ok());
    assert_eq!(events(dir.path()).last().unwrap()["event"], "run_failed");
}

#[test]
fn a_gradient_that_is_not_finite_is_left_out_unless_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    let report =
        poisoned(dir.path(), |(_, idx)| if idx == 2 { Poison::Gradient } else { Poison::None }).unwrap();
    assert_eq!((report.steps, report.skipped_steps), (21, 3));
    assert!(bits(&report.best_model).into_iter().all(|value| f32::from_bits(value).is_finite()));
    let skipped: Vec<_> = of_kind(dir.path(), "step")
        .iter()
        .filter(|e| e["skipped"] == true)
        .map(|e| e["step"].clone())
        .collect();
    assert_eq!(skipped, [3, 10, 17]);

    let dir = tempfile::tempdir().unwrap();
    let error = poisoned(dir.path(), |_| Poison::Gradient).unwrap_err();
    assert!(matches!(error, TrainError::NonFiniteGradients { step: 10, n: 10, .. }), "{error}");
}

#[derive(Clone, Copy)]
enum Poison {
    None,
    Loss,
    Gradient,
}

/// A run whose batches are poisoned by epoch and index.
fn poisoned(
    run: &Path,
    poison: fn((usize, usize)) -> Poison,
) -> Result<FitReport<Poisonable<NdArray>>, TrainError> {
    struct Poisoned(fn((usize, usize)) -> Poison);
    impl BatchSource<(TaskBatch, Poison)> for Poisoned {
        fn n_batches(&self) -> usize {
            7
        }
        fn batch(&self, epoch: usize, idx: usize) -> Result<(TaskBatch, Poison), BoxError> {
            Ok((rows(&[idx, idx + 7]), (self.0)((epoch, idx))))
        }
    }
    let evaluate = |_: &Poisonable<NdArray>| Ok::<_, BoxError>(Evaluation::default());
    trainer(config(), run).fit::<B, _, _>(
        Poisonable { model: model(0.0) },
        Arc::new(Poisoned(poison)),
        evaluate,
    )
}

/// The model, with a loss or a gradient that overflows for some batches.
#[derive(Module, Debug)]
struct Poisonable<B: Backend> {
    model: TaskModel<B>,
}

impl<B: Backend> Trainable<B> for Poisonable<B> {
    type Batch = (TaskBatch, Poison);

    fn loss(&self, (batch, poison): &(TaskBatch, Poison), key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        let LossSum { sum, weight } = self.model.loss(batch, key)?;
        let sum = match poison {
            Poison::None => sum,
            Poison::Loss => sum * f32::MAX * f32::MAX,
            Poison::Gradient => sum.clone() + (sum.clone() - sum.detach()) * f32::MAX,
        };
        Ok(LossSum { sum, weight })
    }

    fn n_tokens(batch: &(TaskBatch, Poison)) -> usize {
        <TaskModel<B> as Trainable<B>>::n_tokens(&batch.0)
    }
}

#[test]
fn a_window_without_labels_is_left_out() {
    struct Unlabelled;
    impl BatchSource<TaskBatch> for Unlabelled {
        fn n_batches(&self) -> usize {
            2
        }
        fn batch(&self, _: usize, _: usize) -> Result<TaskBatch, BoxError> {
            let TaskBatch { tokens, .. } = rows(&[3]);
            Ok(TaskBatch { tokens, labels: Labels::PerToken(vec![-100; 5]) })
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let report =
        trainer(config(), dir.path()).fit::<B, _, _>(model(0.0), Arc::new(Unlabelled), evaluate).unwrap();
    assert_eq!((report.steps, report.skipped_steps), (6, 6));
    assert_eq!(bits(&report.best_model), bits(&model(0.0)));
    assert!(of_kind(dir.path(), "step")[0]["loss"].is_null());
}

#[test]
fn a_failed_save_names_the_path_and_leaves_the_checkpoint_before() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("checkpoints");
    // In the place of the second checkpoint lies a file: a folder cannot be renamed onto it.
    let blocking = {
        let root = root.clone();
        move |model: &Inner| {
            fs::write(root.join("step-14"), "").ok();
            evaluate(model)
        }
    };
    let error =
        trainer(config(), dir.path()).fit::<B, _, _>(model(0.0), Rows::seven(), blocking).unwrap_err();
    assert!(
        matches!(&error, TrainError::Io { action: "write", path, .. } if path.ends_with("step-14")),
        "{error}"
    );
    assert!(Checkpoint::open(root.join("step-7")).is_ok());
    assert!(!root.join(".step-14.tmp").exists());

    let file = tempfile::NamedTempFile::new().unwrap();
    let error = fit(&trainer(config(), file.path()), model(0.0)).unwrap_err();
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
}

#[test]
fn what_the_caller_does_wrong_is_said_before_or_where_it_happens() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = FitConfig { accumulate: 0, no_decay: vec!["embeding".to_owned()], ..config() };
    match fit(&trainer(wrong, dir.path()), model(0.0)) {
        Err(TrainError::Config(problems)) => assert_eq!(problems.len(), 2, "{problems:?}"),
        other => panic!("{other:?}"),
    }
    let none = Arc::new(Rows { n_rows: 0, batch_size: 2 });
    let empty = trainer(config(), dir.path()).fit::<B, _, _>(model(0.0), none, evaluate);
    assert!(matches!(empty, Err(TrainError::NoBatches)));

    let failing = |_: &Inner| Err::<Evaluation, BoxError>("no dev set".into());
    let error = trainer(config(), dir.path()).fit::<B, _, _>(model(0.0), Rows::seven(), failing).unwrap_err();
    assert!(matches!(error, TrainError::Evaluation { step: 7, .. }));
    let failed = events(dir.path()).pop().unwrap();
    assert_eq!(failed["error"], "the evaluation after step 7 failed: no dev set");

    struct Wrong;
    impl BatchSource<TaskBatch> for Wrong {
        fn n_batches(&self) -> usize {
            1
        }
        fn batch(&self, _: usize, _: usize) -> Result<TaskBatch, BoxError> {
            Ok(TaskBatch { labels: Labels::PerRow(vec![0]), ..rows(&[1]) })
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let model: Model = model(0.0);
    let error = trainer(config(), dir.path()).fit::<B, _, _>(model, Arc::new(Wrong), evaluate).unwrap_err();
    assert!(matches!(error, TrainError::Batch { step: 1, epoch: 0, batch: 0, .. }), "{error}");
}
