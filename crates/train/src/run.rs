//! The loop: evaluate and save where due, then one optimizer step.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use burn::data::dataloader::Progress;
use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use burn_train::{EventProcessorTraining, Interrupter, LearnerEvent, TrainingItem};
use locus_backend::rng::Key;
use locus_heads::Trainable;

use crate::batches::Prefetch;
use crate::checkpoint;
use crate::figures::{EvaluationFigures, StepFigures};
use crate::gradients::{Gradients, gradients};
use crate::journal::Journal;
use crate::schedule::total_steps;
use crate::strategy::Events;
use crate::{
    AdamW, BatchSource, BoxError, Evaluation, Event, FitConfig, RunState, Stopped, TrainError, learning_rate,
};

/// After so many steps in succession whose gradient is not finite, the run has failed: a step or two happen, this many
/// do not mend.
const MAX_SKIPPED_IN_SUCCESSION: usize = 10;

/// Says how good a model is.
pub(crate) type Evaluate<I> = Box<dyn FnMut(&I) -> Result<Evaluation, BoxError>>;

/// A run that is ready to go.
pub(crate) struct Run<B: AutodiffBackend, M: Trainable<B> + AutodiffModule<B>> {
    pub(crate) folder: PathBuf,
    pub(crate) config: FitConfig,
    pub(crate) state: RunState,
    pub(crate) optimizer: AdamW<B::InnerBackend>,
    pub(crate) source: Arc<dyn BatchSource<M::Batch>>,
    pub(crate) evaluate: Evaluate<M::InnerModule>,
    pub(crate) journal: Journal,
    pub(crate) best_model: Option<M::InnerModule>,
    /// The latest checkpoint.
    pub(crate) saved: Option<(usize, PathBuf)>,
    /// Seconds that the run had taken before it was resumed, and when it went on.
    pub(crate) clock: (f64, Instant),
}

/// What a run came to.
pub(crate) struct Outcome<I> {
    pub(crate) state: RunState,
    pub(crate) stopped: Stopped,
    pub(crate) best_model: Option<I>,
}

/// A step that is computed and not yet taken.
struct Step {
    gradients: Gradients,
    figures: StepFigures,
    n_batches: usize,
    skipped: bool,
    start: Instant,
}

enum Next {
    Step(Box<Step>),
    Stop(Stopped),
}

impl<B, M> Run<B, M>
where
    B: AutodiffBackend,
    M: Trainable<B> + AutodiffModule<B> + 'static,
    M::InnerModule: 'static,
{
    /// Trains to the end. The model is given back in any case: burn-train asks for it.
    pub(crate) fn drive(
        &mut self,
        model: M,
        events: &mut Events<B, M>,
        interrupter: &Interrupter,
    ) -> (M, Result<Outcome<M::InnerModule>, TrainError>) {
        let (model, ended) = self.go(model, events, interrupter);
        let step = self.state.step;
        let ended = match ended {
            Ok(stopped) => self.note_end(stopped, interrupter).map(|()| stopped),
            Err(error) => {
                // Where the journal cannot be written either, the first error is the one to show.
                self.journal.write(&Event::RunFailed { step, error: &error.chain() }).ok();
                Err(error)
            }
        };
        let outcome = ended.map(|stopped| Outcome {
            state: self.state.clone(),
            stopped,
            best_model: self.best_model.take(),
        });
        (model, outcome)
    }

    fn go(
        &mut self,
        mut model: M,
        events: &mut Events<B, M>,
        interrupter: &Interrupter,
    ) -> (M, Result<Stopped, TrainError>) {
        let (epoch, batch) = (self.state.epoch, self.state.batch);
        let mut batches = Prefetch::start(self.source.clone(), epoch, batch, self.config.epochs);
        loop {
            let step = match self.next(&model, &mut batches, events, interrupter) {
                Ok(Next::Step(step)) => *step,
                Ok(Next::Stop(stopped)) => return (model, Ok(stopped)),
                Err(error) => return (model, Err(error)),
            };
            let scale = step.gradients.scale(self.config.clip_norm);
            let Step { gradients, mut figures, n_batches, skipped, start } = step;
            if !skipped {
                model = self.optimizer.step::<B, M>(model, gradients.sums, scale, figures.lr);
            }
            figures.tokens_per_second = figures.tokens as f64 / start.elapsed().as_secs_f64().max(1e-9);
            if let Err(error) = self.stepped(figures, n_batches, skipped, start, events) {
                return (model, Err(error));
            }
        }
    }

    /// Does what is due before the next step, and computes that step.
    fn next(
        &mut self,
        model: &M,
        batches: &mut Prefetch<M::Batch>,
        events: &mut Events<B, M>,
        interrupter: &Interrupter,
    ) -> Result<Next, TrainError> {
        let end = self.end();
        if !interrupter.should_stop() && self.evaluation_due(end) {
            match self.evaluate(model, events) {
                Ok(()) => self.save(model)?,
                // An evaluation that gives up because the run is stopped is done after the resume.
                Err(_) if interrupter.should_stop() => {}
                Err(error) => return Err(error),
            }
        }
        let stop = match end {
            _ if interrupter.should_stop() => Some(Stopped::Interrupted),
            Some(stopped) => Some(stopped),
            None if self.config.patience.is_some_and(|n| self.state.stale_rounds >= n) => {
                Some(Stopped::EarlyStopped)
            }
            None => None,
        };
        let is_saved = self.saved.as_ref().is_some_and(|(step, _)| *step == self.state.step);
        let due = |n| self.state.step > 0 && self.state.step.is_multiple_of(n);
        if !is_saved && (stop.is_some() || self.config.checkpoint_every_steps.is_some_and(due)) {
            self.save(model)?;
        }
        match stop {
            Some(stopped) => Ok(Next::Stop(stopped)),
            None => Ok(Next::Step(Box::new(self.compute(model, batches)?))),
        }
    }

    fn end(&self) -> Option<Stopped> {
        if self.state.epoch >= self.config.epochs {
            Some(Stopped::Finished)
        } else if self.config.max_steps.is_some_and(|max| self.state.step >= max) {
            Some(Stopped::MaxSteps)
        } else {
            None
        }
    }

    fn evaluation_due(&self, end: Option<Stopped>) -> bool {
        let step = self.state.step;
        let due = match self.config.eval_every_steps {
            Some(n) => step.is_multiple_of(n),
            None => self.state.batch == 0,
        };
        step > 0 && self.state.evaluated_step != Some(step) && (due || end.is_some())
    }

    fn evaluate(&mut self, model: &M, events: &mut Events<B, M>) -> Result<(), TrainError> {
        let step = self.state.step;
        let model = model.valid();
        let evaluation = (self.evaluate)(&model).map_err(|source| TrainError::Evaluation { step, source })?;
        if let Some(difference) = self.state.unlike(&evaluation) {
            return Err(TrainError::Evaluation { step, source: difference.into() });
        }
        let best = self.state.evaluated(&evaluation);
        if best {
            self.best_model = Some(model);
        }
        let Evaluation { metrics, score, score_name, table } = &evaluation;
        let (epoch, round, score) = (self.state.epoch, self.state.rounds, *score);
        self.journal.write(&Event::Evaluation { step, epoch, round, score_name, score, best, metrics })?;
        let shown = match score_name.as_str() {
            "" => String::new(),
            name => format!("{name} {:.4}", metrics.get(name).unwrap_or(&score)),
        };
        let figures = EvaluationFigures { step, score, shown, best, table: table.clone() };
        events.process_train(LearnerEvent::EndEpoch(round));
        events.process_valid(LearnerEvent::ProcessedItem(self.item(figures, None)));
        events.process_valid(LearnerEvent::EndEpoch(round));
        Ok(())
    }

    fn save(&mut self, model: &M) -> Result<(), TrainError> {
        let (step, (before, start)) = (self.state.step, self.clock);
        self.state.seconds = before + start.elapsed().as_secs_f64();
        let path = checkpoint::save::<B, M>(&self.folder, &self.state, model, &self.optimizer)?;
        self.journal.write(&Event::Checkpoint { step, path: &path })?;
        self.saved = Some((step, path));
        checkpoint::prune(&self.folder, self.config.keep_checkpoints, step)
    }

    /// The gradient of the next window of batches. A window ends with its epoch.
    fn compute(&mut self, model: &M, batches: &mut Prefetch<M::Batch>) -> Result<Step, TrainError> {
        let start = Instant::now();
        let (step, epoch, first) = (self.state.step, self.state.epoch, self.state.batch);
        let n_batches = self.config.accumulate.min(self.state.n_batches - first);
        let mut window = (0..n_batches).map(|_| batches.next()).collect::<Result<Vec<_>, _>>()?;
        let key = Key::new(self.config.seed).named("dropout").child(step as u64);
        let checkpointing = self.config.gradient_checkpointing;
        let gradients = gradients::<B, M>(model, &mut window, key, checkpointing)
            .map_err(|(i, source)| TrainError::Batch { step: step + 1, epoch, batch: first + i, source })?;
        let lr = learning_rate(&self.config, step, total_steps(&self.config, self.state.n_batches));
        let figures = StepFigures {
            loss: gradients.loss,
            lr,
            grad_norm: gradients.norm,
            tokens: gradients.tokens,
            tokens_per_second: 0.0,
            data_wait_secs: batches.take_waited().as_secs_f64(),
        };
        // A window without a single label has no loss; there is nothing to learn and nothing wrong.
        let unlabelled = gradients.weight == 0.0;
        if !unlabelled && !gradients.loss.is_finite() {
            let (last_loss, checkpoint) = (self.state.last_loss, self.latest());
            let loss = gradients.loss;
            return Err(TrainError::NonFiniteLoss {
                step: step + 1,
                batch: first,
                epoch,
                loss,
                lr,
                last_loss,
                checkpoint,
            });
        }
        let exploded = !unlabelled && !gradients.norm.is_finite();
        self.state.skipped_in_succession = if exploded { self.state.skipped_in_succession + 1 } else { 0 };
        if self.state.skipped_in_succession >= MAX_SKIPPED_IN_SUCCESSION {
            let (n, checkpoint) = (MAX_SKIPPED_IN_SUCCESSION, self.latest());
            return Err(TrainError::NonFiniteGradients { step: step + 1, n, checkpoint });
        }
        Ok(Step { gradients, figures, n_batches, skipped: exploded || unlabelled, start })
    }

    /// Notes a step that is done.
    fn stepped(
        &mut self,
        figures: StepFigures,
        n_batches: usize,
        skipped: bool,
        start: Instant,
        events: &mut Events<B, M>,
    ) -> Result<(), TrainError> {
        let epoch = self.state.epoch;
        self.state.advance(n_batches);
        self.state.tokens += figures.tokens as u64;
        self.state.skipped_steps += usize::from(skipped);
        if figures.loss.is_finite() {
            self.state.last_loss = Some(figures.loss);
        }
        let StepFigures { loss, lr, grad_norm, tokens, tokens_per_second, data_wait_secs } = figures;
        let step = self.state.step;
        self.state.step_seconds += start.elapsed().as_secs_f64();
        self.journal.write(&Event::Step {
            step,
            epoch,
            loss,
            lr,
            grad_norm,
            skipped,
            tokens,
            tokens_per_second,
            data_wait_secs,
        })?;
        events.process_train(LearnerEvent::ProcessedItem(self.item(figures, Some(lr))));
        Ok(())
    }

    fn item<T>(&self, figures: T, lr: Option<f64>) -> TrainingItem<T> {
        let total = total_steps(&self.config, self.state.n_batches);
        // Shown from 1: the epoch that the last step belonged to.
        let epoch = self.state.epoch + usize::from(self.state.batch > 0);
        let (steps, epochs) =
            (Progress::new(self.state.step, total), Progress::new(epoch, self.config.epochs));
        TrainingItem::new(figures, steps, epochs, Some(self.state.step), lr)
    }

    fn note_end(&mut self, stopped: Stopped, interrupter: &Interrupter) -> Result<(), TrainError> {
        let (before, start) = self.clock;
        self.state.seconds = before + start.elapsed().as_secs_f64();
        let (step, reason) = (self.state.step, interrupter.get_message());
        let (seconds, best_score) = (self.state.seconds, self.state.best.map(|best| best.score));
        self.journal.write(&match stopped {
            Stopped::Interrupted => Event::RunInterrupted { step, reason: reason.as_deref() },
            _ => Event::RunFinished { step, stopped, seconds, best_score },
        })
    }

    fn latest(&self) -> Option<PathBuf> {
        self.saved.as_ref().map(|(_, path)| path.clone())
    }
}
