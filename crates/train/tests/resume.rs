//! A run that is interrupted, at any step, goes on as if it had not been.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::common::{B, Inner, Rows, bits, config, evaluate, events, fit, model, of_kind, trainer};
use burn::module::AutodiffModule;
use locus_heads::TaskBatch;
use locus_train::{
    BatchSource, BoxError, Checkpoint, Evaluation, FitConfig, Interrupter, Resume, Stopped, TrainError,
};

/// Seven batches an epoch in windows of three: the third window of an epoch holds one batch.
fn windows() -> FitConfig {
    FitConfig { accumulate: 3, eval_every_steps: Some(2), checkpoint_every_steps: Some(1), ..config() }
}

fn last_parameters(run: &Path) -> Vec<u32> {
    let last = Checkpoint::open(run.join("checkpoints/step-9")).unwrap();
    bits(&last.load_model::<B, _>(model(0.2)).unwrap())
}

#[test]
fn every_step_resumes_to_the_bit() {
    let whole = tempfile::tempdir().unwrap();
    let report = fit(&trainer(windows(), whole.path()), model(0.2)).unwrap();
    assert_eq!((report.steps, report.epochs, report.stopped), (9, 3, Stopped::Finished));
    let want = last_parameters(whole.path());
    assert_ne!(want, bits(&model(0.2)), "nothing was learned");
    for step in 1..=9 {
        let dir = tempfile::tempdir().unwrap();
        cut_off(whole.path(), dir.path(), step);
        let resumed = fit(&trainer(windows(), dir.path()).resume(Resume::Auto), model(0.2)).unwrap();
        assert_eq!(last_parameters(dir.path()), want, "resumed from step {step}");
        assert_eq!(bits(&resumed.best_model), bits(&report.best_model), "resumed from step {step}");
        assert_eq!((resumed.best_score, resumed.best_step), (report.best_score, report.best_step));
        assert_eq!((resumed.tokens, resumed.steps), (report.tokens, report.steps));
        let losses = |run| {
            of_kind(run, "step").iter().map(|e| (e["step"].clone(), e["loss"].clone())).collect::<Vec<_>>()
        };
        assert_eq!(losses(dir.path()), losses(whole.path()));
    }
}

/// What a run leaves that dies some time after step `last`.
fn cut_off(from: &Path, to: &Path, last: usize) {
    for step in 1..=last {
        let name = format!("checkpoints/step-{step}");
        fs::create_dir_all(to.join(&name)).unwrap();
        for file in fs::read_dir(from.join(&name)).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), to.join(&name).join(file.file_name())).unwrap();
        }
    }
    // The journal of the whole run: what is after the step must go.
    fs::copy(from.join("events.jsonl"), to.join("events.jsonl")).unwrap();
}

#[test]
fn an_interrupt_saves_after_the_step_and_loses_nothing() {
    let (whole, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let report = fit(&trainer(config(), whole.path()), model(0.2)).unwrap();

    /// Asks for a stop while batch 3 of the second epoch is made.
    struct Stopping(Arc<dyn BatchSource<TaskBatch>>, Interrupter);
    impl BatchSource<TaskBatch> for Stopping {
        fn n_batches(&self) -> usize {
            self.0.n_batches()
        }
        fn batch(&self, epoch: usize, idx: usize) -> Result<TaskBatch, BoxError> {
            if (epoch, idx) == (1, 3) {
                self.1.stop(Some("Ctrl-C"));
            }
            self.0.batch(epoch, idx)
        }
    }
    let interrupter = Interrupter::new();
    let source = Arc::new(Stopping(Rows::seven(), interrupter.clone()));
    let cut = trainer(config(), dir.path()).interrupter(interrupter.clone());
    let stopped = cut.fit::<B, _, _>(model(0.2), source, evaluate).unwrap();
    assert_eq!(stopped.stopped, Stopped::Interrupted);
    assert!((7..=11).contains(&stopped.steps), "{}", stopped.steps);
    let last = events(dir.path()).pop().unwrap();
    assert_eq!((last["event"].as_str(), last["reason"].as_str()), (Some("run_interrupted"), Some("Ctrl-C")));

    interrupter.reset();
    let resumed = fit(&cut.resume(Resume::Auto), model(0.2)).unwrap();
    assert_eq!((resumed.stopped, resumed.steps), (Stopped::Finished, report.steps));
    assert_eq!(bits(&resumed.best_model), bits(&report.best_model));
    assert_eq!(of_kind(dir.path(), "run_started").len(), 2);
}

#[test]
fn an_interrupt_during_evaluation_puts_it_off() {
    let dir = tempfile::tempdir().unwrap();
    let interrupter = Interrupter::new();
    let cut = trainer(config(), dir.path()).interrupter(interrupter.clone());
    let asked = interrupter.clone();
    let giving_up = move |_: &Inner| {
        asked.stop(None);
        Err::<Evaluation, BoxError>("stopped".into())
    };
    let report = cut.fit::<B, _, _>(model(0.2), Rows::seven(), giving_up).unwrap();
    assert_eq!((report.stopped, report.steps, report.best_step), (Stopped::Interrupted, 7, None));
    interrupter.reset();
    let resumed = fit(&cut.resume(Resume::Auto), model(0.2)).unwrap();
    let steps: Vec<_> =
        of_kind(dir.path(), "evaluation").iter().map(|e| e["step"].as_u64().unwrap()).collect();
    assert_eq!((steps, resumed.stopped), (vec![7, 14, 21], Stopped::Finished));
}

#[test]
fn a_finished_run_can_go_on_for_longer_and_from_an_earlier_step() {
    let dir = tempfile::tempdir().unwrap();
    fit(&trainer(config(), dir.path()), model(0.2)).unwrap();
    let again = fit(&trainer(config(), dir.path()).resume(Resume::Auto), model(0.2)).unwrap();
    assert_eq!((again.steps, again.stopped), (21, Stopped::Finished));
    let longer = FitConfig { epochs: 4, ..config() };
    let report = fit(&trainer(longer.clone(), dir.path()).resume(Resume::Auto), model(0.2)).unwrap();
    assert_eq!((report.steps, report.epochs), (28, 4));
    let from = Resume::From(dir.path().join("checkpoints/step-14"));
    let short = FitConfig { max_steps: Some(16), ..longer };
    let report = fit(&trainer(short, dir.path()).resume(from), model(0.2)).unwrap();
    assert_eq!((report.steps, report.stopped), (16, Stopped::MaxSteps));
    assert!(
        !dir.path().join("checkpoints/step-28").exists(),
        "what came after step 14 belongs to another run"
    );
    assert_eq!(of_kind(dir.path(), "step").len(), 16);
}

#[test]
fn damage_is_seen_and_the_next_older_checkpoint_is_used() {
    let dir = tempfile::tempdir().unwrap();
    fit(&trainer(config(), dir.path()), model(0.0)).unwrap();
    let path = dir.path().join("checkpoints/step-21");
    let file = path.join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    fs::remove_file(path.join("optimizer.safetensors")).unwrap();
    match Checkpoint::open(&path) {
        Err(TrainError::DamagedCheckpoint { problems, .. }) => assert_eq!(problems.len(), 2, "{problems:?}"),
        other => panic!("{other:?}"),
    }
    let report = fit(&trainer(config(), dir.path()).resume(Resume::Auto), model(0.0)).unwrap();
    assert_eq!((report.steps, of_kind(dir.path(), "step").len()), (21, 21));
    assert!(Checkpoint::open(&path).is_ok(), "it was written anew");
}

#[test]
fn another_run_is_refused_with_all_reasons() {
    let dir = tempfile::tempdir().unwrap();
    fit(&trainer(config(), dir.path()), model(0.0)).unwrap();
    assert!(matches!(fit(&trainer(config(), dir.path()), model(0.0)), Err(TrainError::RunExists(_))));
    let other = FitConfig { seed: 8, accumulate: 2, ..config() };
    let other = trainer(other, dir.path()).fingerprint("other data").resume(Resume::Auto);
    match fit(&other, model(0.0)) {
        Err(TrainError::OtherRun { differences, .. }) => assert_eq!(differences.len(), 3, "{differences:?}"),
        other => panic!("{other:?}"),
    }
    let earlier = Resume::From(dir.path().join("checkpoints/step-7"));
    assert!(matches!(fit(&other.resume(earlier), model(0.0)), Err(TrainError::OtherRun { .. })));
    // The refusal comes before anything is changed.
    assert_eq!(events(dir.path()).last().unwrap()["event"], "run_finished");
    let outside = tempfile::tempdir().unwrap();
    let from = trainer(config(), dir.path()).resume(Resume::From(outside.path().into()));
    assert!(matches!(fit(&from, model(0.0)), Err(TrainError::DamagedCheckpoint { .. })));
    let wider = {
        let config =
            locus_encoder::StackConfig { d_model: 20, n_heads: 2, n_layers: 2, ..Default::default() };
        let head = locus_heads::HeadConfig::TokenClassification {
            n_labels: 3,
            decoding: Default::default(),
            layers: Default::default(),
        };
        locus_heads::TaskModel::<B>::new(
            &head,
            &config,
            11,
            locus_backend::rng::Key::new(1),
            &Default::default(),
        )
    };
    match Checkpoint::open(dir.path().join("checkpoints/step-21")).unwrap().load_model::<B, _>(wider) {
        Err(TrainError::DamagedCheckpoint { problems, .. }) => assert!(problems.len() > 10, "{problems:?}"),
        other => panic!("{:?}", other.map(|model| bits(&model.valid()).len())),
    }
}
