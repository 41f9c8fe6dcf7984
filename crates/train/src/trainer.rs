//! The way in: a run's folder, configuration and surroundings.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use burn_train::{Interrupter, Learner, SupervisedTraining, TrainingStrategy};
use locus_heads::Trainable;
use serde_json::Value;

use crate::adamw::AdamWOptions;
use crate::checkpoint::{self, Checkpoint, Resume};
use crate::console::Console;
use crate::figures;
use crate::journal::Journal;
use crate::params::parameter_shapes;
use crate::report::peak_memory_bytes;
use crate::run::{Outcome, Run};
use crate::schedule::total_steps;
use crate::start::Start;
use crate::strategy::{Idle, Net, NoLoader, NoLogger, OutcomeSlot, Parts, Strategy};
use crate::{
    AdamW, BatchSource, BoxError, ConfigProblem, ConsoleMode, Evaluation, Event, FitConfig, FitReport,
    RunState, TrainError,
};

/// A training run in a folder: checkpoints in `checkpoints/`, events in `events.jsonl`.
#[derive(Clone)]
pub struct Trainer {
    config: FitConfig,
    folder: PathBuf,
    resume: Resume,
    console: ConsoleMode,
    interrupter: Interrupter,
    fingerprint: String,
    initialization: Option<Value>,
}

impl Trainer {
    /// A new run in `folder`, shown on standard error.
    pub fn new(config: FitConfig, folder: impl Into<PathBuf>) -> Self {
        Self {
            config,
            folder: folder.into(),
            resume: Resume::default(),
            console: ConsoleMode::default(),
            interrupter: Interrupter::new(),
            fingerprint: String::new(),
            initialization: None,
        }
    }

    /// Where the run begins.
    #[must_use]
    pub fn resume(mut self, resume: Resume) -> Self {
        self.resume = resume;
        self
    }

    /// How progress is shown.
    #[must_use]
    pub fn console(mut self, mode: ConsoleMode) -> Self {
        self.console = mode;
        self
    }

    /// What stops the run from outside: `stop` on a clone of it ends the run after the current step, with a checkpoint.
    #[must_use]
    pub fn interrupter(mut self, interrupter: Interrupter) -> Self {
        self.interrupter = interrupter;
        self
    }

    /// What identifies model and data, for instance hashes. A run is only resumed under the same.
    #[must_use]
    pub fn fingerprint(mut self, fingerprint: impl Into<String>) -> Self {
        self.fingerprint = fingerprint.into();
        self
    }

    /// Which tables of the model came from files, for the events of a run that begins.
    #[must_use]
    pub fn initialization(mut self, tables: Value) -> Self {
        self.initialization = Some(tables);
        self
    }

    /// Trains a model on the device that it is on.
    ///
    /// `evaluate` is called after each epoch, or as often as the configuration says, and decides which model is best.
    ///
    /// # Errors
    /// If the configuration is wrong, the run cannot be resumed, data, model or evaluation fail, the loss is not a
    /// number, or something cannot be written. Checkpoints saved before stay as they are.
    pub fn fit<B, M, E>(
        &self,
        model: M,
        source: Arc<dyn BatchSource<M::Batch>>,
        mut evaluate: impl FnMut(&M::InnerModule) -> Result<Evaluation, E> + 'static,
    ) -> Result<FitReport<M::InnerModule>, TrainError>
    where
        B: AutodiffBackend,
        M: Trainable<B> + AutodiffModule<B> + 'static,
        M::InnerModule: 'static,
        E: Into<BoxError>,
    {
        let n_batches = source.n_batches();
        let options = self.check::<B, M>(&model, n_batches)?;
        let checkpoint = self.find_checkpoint()?;
        std::fs::create_dir_all(&self.folder).map_err(|error| TrainError::write(&self.folder, error))?;
        let state = RunState::new(&self.config, n_batches, &self.fingerprint);
        let mut start = Start::<B, M>::anew(model, AdamW::new(options), state);
        if let Some(checkpoint) = &checkpoint {
            start = start.at(checkpoint)?;
        }
        let Start { model, optimizer, state, best_model, saved } = start;
        let step = state.step;
        let mut run = Run {
            folder: self.folder.clone(),
            config: self.config.clone(),
            clock: (state.seconds, Instant::now()),
            state,
            optimizer,
            source,
            evaluate: Box::new(move |model| evaluate(model).map_err(Into::into)),
            journal: Journal::open(&self.folder, step)?,
            best_model,
            saved,
        };
        run.journal.write(&Event::RunStarted {
            step,
            total_steps: total_steps(&self.config, n_batches),
            unix_secs: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
            fingerprint: &self.fingerprint,
            config: &self.config,
        })?;
        if let Some(tables) = self.initialization.as_ref().filter(|_| step == 0) {
            run.journal.write(&Event::Initialization { step, tables })?;
        }
        let (model, outcome) = self.launch::<B, M>(run, model)?;
        Ok(report(outcome, model))
    }

    /// Everything that makes a run impossible before it begins.
    fn check<B: AutodiffBackend, M: AutodiffModule<B>>(
        &self,
        model: &M,
        n_batches: usize,
    ) -> Result<AdamWOptions, TrainError> {
        let mut problems = self.config.check();
        let options = AdamWOptions::from(&self.config);
        let paths = parameter_shapes::<B, M>(model);
        problems.extend(options.unmatched(&paths).into_iter().map(|name| ConfigProblem {
            key: "no_decay".to_owned(),
            found: name.to_owned(),
            allowed: format!("a part of a parameter's path, for instance of '{}'", example(&paths)),
        }));
        if !problems.is_empty() {
            return Err(TrainError::Config(problems));
        }
        if n_batches == 0 { Err(TrainError::NoBatches) } else { Ok(options) }
    }

    fn find_checkpoint(&self) -> Result<Option<Checkpoint>, TrainError> {
        match &self.resume {
            Resume::Never => {
                let taken =
                    ["checkpoints", "events.jsonl"].iter().any(|name| self.folder.join(name).exists());
                if taken { Err(TrainError::RunExists(self.folder.clone())) } else { Ok(None) }
            }
            Resume::From(path) => Checkpoint::open_in(&self.folder, path).map(Some),
            Resume::Auto => {
                let (found, unusable) = checkpoint::newest(&self.folder)?;
                if self.console != ConsoleMode::Quiet {
                    for error in &unusable {
                        // Nobody can be told that standard error is closed.
                        writeln!(std::io::stderr(), "warning: passed over: {error}").unwrap_or_default();
                    }
                }
                match (found, unusable.into_iter().next()) {
                    // Starting anew would write over what someone may still want to save.
                    (None, Some(error)) => Err(error),
                    (found, _) => Ok(found),
                }
            }
        }
    }

    fn launch<B, M>(
        &self,
        run: Run<B, M>,
        model: M,
    ) -> Result<(M::InnerModule, Outcome<M::InnerModule>), TrainError>
    where
        B: AutodiffBackend,
        M: Trainable<B> + AutodiffModule<B> + 'static,
        M::InnerModule: 'static,
    {
        let outcome: OutcomeSlot<M::InnerModule> = Arc::default();
        let strategy = Strategy { run: Mutex::new(Some(run)), outcome: outcome.clone() };
        let training =
            SupervisedTraining::<Parts<B, M>>::new(&self.folder, Arc::new(NoLoader), Arc::new(NoLoader))
                .with_application_logger(None)
                .with_metric_logger(NoLogger)
                .with_interrupter(self.interrupter.clone())
                .with_training_strategy(TrainingStrategy::Custom(Arc::new(strategy)));
        let training = self.render(figures::register::<B, M>(training));
        let trained = training.launch(Learner::new(Net(model), Idle, 0.0));
        let outcome = outcome.lock().ok().and_then(|mut outcome| outcome.take());
        Ok((trained.model.0, outcome.ok_or(TrainError::NoResult)??))
    }

    fn render<LC: burn_train::LearningComponentsTypes>(
        &self,
        training: SupervisedTraining<LC>,
    ) -> SupervisedTraining<LC> {
        #[cfg(feature = "tui")]
        if self.console == ConsoleMode::Tui && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            use burn_train::renderer::tui::TuiMetricsRendererWrapper;
            return training.renderer(TuiMetricsRendererWrapper::new(self.interrupter.clone(), None));
        }
        training.renderer(Console::new(self.console, self.config.log_every_steps))
    }
}

fn report<I>(outcome: Outcome<I>, last_model: I) -> FitReport<I> {
    let Outcome { state, stopped, best_model } = outcome;
    FitReport {
        steps: state.step,
        epochs: state.epoch,
        tokens: state.tokens,
        seconds: state.seconds,
        tokens_per_second: if state.step_seconds > 0.0 {
            state.tokens as f64 / state.step_seconds
        } else {
            0.0
        },
        skipped_steps: state.skipped_steps,
        peak_memory_bytes: peak_memory_bytes(),
        best_score: state.best.map(|best| best.score),
        best_step: state.best.map(|best| best.step),
        stopped,
        best_model: best_model.unwrap_or(last_model),
        last_evaluation: state.last_evaluation,
    }
}

fn example(paths: &[(String, Vec<usize>)]) -> &str {
    paths.first().map_or("", |(path, _)| path)
}
