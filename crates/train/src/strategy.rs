//! The place where burn-train hands the training over to our loop.
//!
//! `SupervisedTraining` wants a model that steps, an optimizer, a scheduler and loaders. The loop needs none of them:
//! it takes the model out of the learner and owns it, so that parameters are held once and are updated in place. Where
//! burn-train's types ask for an input, it is [`Infallible`]: the compiler proves that the code is never reached.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::module::{AutodiffModule, Devices, Module, ModuleMapper, ModuleVisitor};
use burn::optim::{GradientsParams, MultiGradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn_train::logger::MetricLogger;
use burn_train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn_train::metric::{MetricDefinition, NumericEntry};
use burn_train::{
    InferenceStep, Learner, LearningComponentsMarker, SupervisedLearningStrategy,
    SupervisedTrainingEventProcessor, TrainLoader, TrainOutput, TrainStep, TrainingComponents, ValidLoader,
};
use locus_heads::Trainable;

use crate::TrainError;
use crate::figures::{EvaluationFigures, StepFigures};
use crate::run::{Outcome, Run};

/// burn-train's name for all types of a training.
pub(crate) type Parts<B, M> = LearningComponentsMarker<B, f64, Net<M>, Idle>;

/// What burn-train's event processor is told.
pub(crate) type Events<B, M> = SupervisedTrainingEventProcessor<Parts<B, M>>;

/// What the run came to, when it is over.
pub(crate) type OutcomeSlot<I> = Arc<Mutex<Option<Result<Outcome<I>, TrainError>>>>;

/// The strategy: runs our loop once.
pub(crate) struct Strategy<B: AutodiffBackend, M: Trainable<B> + AutodiffModule<B>> {
    /// The loop, until it is run.
    pub(crate) run: Mutex<Option<Run<B, M>>>,
    /// Where its outcome goes.
    pub(crate) outcome: OutcomeSlot<M::InnerModule>,
}

impl<B, M> SupervisedLearningStrategy<Parts<B, M>> for Strategy<B, M>
where
    B: AutodiffBackend,
    M: Trainable<B> + AutodiffModule<B> + 'static,
    M::InnerModule: 'static,
{
    fn fit(
        &self,
        components: TrainingComponents<Parts<B, M>>,
        learner: Learner<Parts<B, M>>,
        _train: TrainLoader<Parts<B, M>>,
        _valid: ValidLoader<Parts<B, M>>,
        _starting_epoch: usize,
    ) -> (Net<M>, Events<B, M>) {
        let Net(mut model) = learner.model();
        // The learner's copy shares every tensor; as long as it lives, no update can happen in place.
        drop(learner);
        let mut events = components.event_processor;
        if let Some(mut run) = self.run.lock().ok().and_then(|mut run| run.take()) {
            let (trained, outcome) = run.drive(model, &mut events, &components.interrupter);
            model = trained;
            if let Ok(mut slot) = self.outcome.lock() {
                *slot = Some(outcome);
            }
        }
        (Net(model), events)
    }
}

/// A model in the form that burn-train asks for. Parameter paths are those of the model.
#[derive(Clone, Debug)]
pub(crate) struct Net<M>(pub(crate) M);

impl<M: Send> TrainStep for Net<M> {
    type Input = Infallible;
    type Output = StepFigures;

    fn step(&self, never: Infallible) -> TrainOutput<StepFigures> {
        match never {}
    }
}

impl<M: Send> InferenceStep for Net<M> {
    type Input = Infallible;
    type Output = EvaluationFigures;

    fn step(&self, never: Infallible) -> EvaluationFigures {
        match never {}
    }
}

impl<M> fmt::Display for Net<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<M>())
    }
}

impl<B: Backend, M: Module<B>> Module<B> for Net<M> {
    type Record = M::Record;

    fn collect_devices(&self, devices: Devices<B>) -> Devices<B> {
        self.0.collect_devices(devices)
    }

    fn fork(self, device: &B::Device) -> Self {
        Self(self.0.fork(device))
    }

    fn to_device(self, device: &B::Device) -> Self {
        Self(self.0.to_device(device))
    }

    fn visit<V: ModuleVisitor<B>>(&self, visitor: &mut V) {
        self.0.visit(visitor);
    }

    fn map<V: ModuleMapper<B>>(self, mapper: &mut V) -> Self {
        Self(self.0.map(mapper))
    }

    fn load_record(self, record: Self::Record) -> Self {
        Self(self.0.load_record(record))
    }

    fn into_record(self) -> Self::Record {
        self.0.into_record()
    }
}

impl<B: AutodiffBackend, M: AutodiffModule<B>> AutodiffModule<B> for Net<M> {
    type InnerModule = Net<M::InnerModule>;

    fn valid(&self) -> Self::InnerModule {
        Net(self.0.valid())
    }

    fn from_inner(module: Self::InnerModule) -> Self {
        Self(M::from_inner(module.0))
    }
}

/// The optimizer that the learner has: none. The loop has its own.
#[derive(Clone, Debug)]
pub(crate) struct Idle;

impl<B: AutodiffBackend, N: AutodiffModule<B>> Optimizer<N, B> for Idle {
    type Record = ();

    fn step(&mut self, _lr: f64, module: N, _grads: GradientsParams) -> N {
        module
    }

    fn step_multi(&mut self, _lr: f64, module: N, _grads: MultiGradientsParams) -> N {
        module
    }

    fn to_record(&self) {}

    fn load_record(self, (): ()) -> Self {
        self
    }
}

/// The loader that burn-train has: empty. burn's loaders have no room for errors, for a cursor, or for a bound.
#[derive(Clone, Debug)]
pub(crate) struct NoLoader;

impl<B: Backend> DataLoader<B, Infallible> for NoLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Infallible> + 'a> {
        Box::new(Self)
    }

    fn num_items(&self) -> usize {
        0
    }

    fn to_device(&self, _device: &B::Device) -> Arc<dyn DataLoader<B, Infallible>> {
        Arc::new(Self)
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<B, Infallible>> {
        Arc::new(Self)
    }
}

impl Iterator for NoLoader {
    type Item = Infallible;

    fn next(&mut self) -> Option<Infallible> {
        None
    }
}

impl DataLoaderIterator<Infallible> for NoLoader {
    fn progress(&self) -> Progress {
        Progress::new(0, 0)
    }
}

/// The metric logger that burn-train has: none, or it would write its own files. Answers to every question with
/// nothing, because an error would end the process's event thread.
#[derive(Debug)]
pub(crate) struct NoLogger;

impl MetricLogger for NoLogger {
    fn log(&mut self, _update: MetricsUpdate, _epoch: usize, _split: &Split) {}

    fn read_numeric(
        &mut self,
        _name: &str,
        _epoch: usize,
        _split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        Ok(Vec::new())
    }

    fn log_metric_definition(&mut self, _definition: MetricDefinition) {}

    fn log_epoch_summary(&mut self, _summary: EpochSummary) {}
}
