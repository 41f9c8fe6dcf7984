//! What the tests of the harness share: a model, batches, a run folder.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;
use std::sync::Arc;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_encoder::StackConfig;
use locus_heads::{HeadConfig, Labels, TaskBatch, TaskModel, Trainable};
use locus_testkit::device::NdArray;
use locus_train::{
    BatchSource, BoxError, ConsoleMode, Evaluation, FitConfig, FitReport, TrainError, Trainer,
};

pub(crate) type B = Autodiff<NdArray>;
pub(crate) type Model = TaskModel<B>;
pub(crate) type Inner = TaskModel<NdArray>;

const VOCAB: u32 = 11;
const N_LABELS: u32 = 3;

/// Rows of different lengths whose label of a token is its id modulo 3; shuffled anew each epoch.
pub(crate) struct Rows {
    pub(crate) n_rows: usize,
    pub(crate) batch_size: usize,
}

impl Rows {
    /// Seven batches of two rows.
    pub(crate) fn seven() -> Arc<dyn BatchSource<TaskBatch>> {
        Arc::new(Self { n_rows: 14, batch_size: 2 })
    }

    fn order(&self, epoch: usize) -> Vec<usize> {
        let key = Key::new(5).child(epoch as u64);
        let mut rows: Vec<usize> = (0..self.n_rows).collect();
        rows.sort_by_key(|&row| key.bits(row as u64));
        rows
    }
}

impl BatchSource<TaskBatch> for Rows {
    fn n_batches(&self) -> usize {
        self.n_rows.div_ceil(self.batch_size)
    }

    fn batch(&self, epoch: usize, idx: usize) -> Result<TaskBatch, BoxError> {
        let order = self.order(epoch);
        let last = order.len().min((idx + 1) * self.batch_size);
        Ok(rows(&order[idx * self.batch_size..last]))
    }
}

/// The rows of these numbers: row `r` has `2 + r % 4` tokens, padded to five.
pub(crate) fn rows(rows: &[usize]) -> TaskBatch {
    const SEQ: usize = 5;
    let (mut ids, mut keep, mut labels) = (vec![], vec![], vec![]);
    for &row in rows {
        for at in 0..SEQ {
            let real = at < 2 + row % 4;
            let id = 1 + Key::new(9).child(row as u64).below(at as u64, u64::from(VOCAB) - 1) as u32;
            ids.push(if real { id } else { 0 });
            keep.push(real);
            labels.push(if real { (id % N_LABELS) as i32 } else { -100 });
        }
    }
    let tokens = Tokens::new([rows.len(), SEQ], ids, keep, None).unwrap();
    TaskBatch { tokens, labels: Labels::PerToken(labels) }
}

/// A token classifier with dropout.
pub(crate) fn model(dropout: f64) -> Model {
    let config = StackConfig {
        d_model: 12,
        n_layers: 1,
        n_heads: 2,
        dropout,
        attention_dropout: dropout,
        init_std: 0.1,
        ..StackConfig::default()
    };
    let head = HeadConfig::TokenClassification {
        n_labels: N_LABELS as usize,
        decoding: Default::default(),
        layers: Default::default(),
    };
    assert_eq!(head.check(&config), []);
    TaskModel::new(&head, &config, VOCAB as usize, Key::new(1), &Default::default())
}

pub(crate) fn config() -> FitConfig {
    FitConfig { epochs: 3, learning_rate: 0.01, keep_checkpoints: 100, seed: 7, ..FitConfig::default() }
}

pub(crate) fn trainer(config: FitConfig, run: &Path) -> Trainer {
    Trainer::new(config, run).console(ConsoleMode::Quiet)
}

/// The score of all rows: the negative mean loss.
pub(crate) fn evaluate(model: &Inner) -> Result<Evaluation, BoxError> {
    let loss = model.loss(&rows(&(0..14).collect::<Vec<_>>()), None)?;
    let mean = f64::from(loss.sum.into_scalar()) / loss.weight;
    let table = Some(format!("class  F1\n    0  {mean:.3}"));
    Ok(Evaluation {
        metrics: [("loss".to_owned(), mean)].into(),
        score: -mean,
        score_name: "-loss".to_owned(),
        table,
    })
}

pub(crate) fn fit(trainer: &Trainer, model: Model) -> Result<FitReport<Inner>, TrainError> {
    trainer.fit::<B, _, _>(model, Rows::seven(), evaluate)
}

/// All parameters, as bits.
pub(crate) fn bits<B: Backend, M: Module<B>>(model: &M) -> Vec<u32> {
    struct Bits(Vec<u32>);
    impl<B: Backend> ModuleVisitor<B> for Bits {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.0.extend(param.val().into_data().iter::<f32>().map(f32::to_bits));
        }
    }
    let mut found = Bits(vec![]);
    model.visit(&mut found);
    found.0
}

/// The events of a run.
pub(crate) fn events(run: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run.join("events.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events of one kind.
pub(crate) fn of_kind(run: &Path, kind: &str) -> Vec<serde_json::Value> {
    events(run).into_iter().filter(|event| event["event"] == kind).collect()
}
