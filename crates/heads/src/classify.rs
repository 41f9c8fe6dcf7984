//! Sequence classification: a label for every row (sentiment, intent, topic), any number of labels (emotions), a number
//! (similarity, rating), or a score by which rows of one query are ranked.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use locus_backend::ops;
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_embedding::position::{Position, PositionScheme};
use locus_encoder::{Linear, Stack};
use serde::{Deserialize, Serialize};

use crate::batch::{classification_loss, multi_label_loss, regression_loss};
use crate::reread::Trunk;
use crate::tag::count_tokens;
use crate::transform::Transform;
use crate::{
    Candidates, GradientCheckpointing, HeadError, Labels, LossOptions, LossSum, RankingLoss, RereadConfig,
    TaskBatch, Trainable,
};

/// How the vectors of a row become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean over its real tokens.
    #[default]
    Mean,
    /// Its first real token, `[CLS]` in BERT.
    First,
    /// Its last real token.
    Last,
}

/// What the outputs of a row mean, and so which loss they are trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// One class of several: cross-entropy of the softmax.
    Class,
    /// Any number of labels: binary cross-entropy of the sigmoid of each.
    Labels,
    /// A number, the only output: squared error.
    Number,
    /// A score, the only output, that is compared with those of the other candidates of a query.
    Ranking(RankingLoss),
}

impl Objective {
    fn task(self) -> &'static str {
        match self {
            Self::Class => "sequence classification",
            Self::Labels => "multi-label classification",
            Self::Number => "regression",
            Self::Ranking(_) => "ranking",
        }
    }

    fn labels(self) -> Labels {
        match self {
            Self::Class => Labels::PerRow(Vec::new()),
            Self::Labels => Labels::MultiHot(Vec::new()),
            Self::Number => Labels::Values(Vec::new()),
            Self::Ranking(_) => Labels::Ranking(Candidates::default()),
        }
    }
}

/// An encoder, a decoder, or one after the other, with a linear layer on the pooled row.
#[derive(Module, Debug)]
pub struct SequenceClassifier<B: Backend, P = Position<B>> {
    /// The encoder.
    pub encoder: Stack<B, P>,
    /// What reads the text once more, after the encoder.
    pub decoder: Option<Stack<B, P>>,
    /// What stands between the stacks and the classifier.
    pub transform: Option<Transform<B>>,
    /// `[d_model, n_labels]`.
    pub classifier: Linear<B>,
    /// What numeric features add to the score of a row, `[n_features, 1]`.
    pub features: Option<Linear<B>>,
    #[module(skip)]
    pub(crate) objective: Objective,
    /// How the decoder reads, where there is one.
    #[module(skip)]
    pub(crate) reread: Option<RereadConfig>,
    pub(crate) vocab_size: usize,
    pub(crate) pooling: usize,
    pub(crate) dropout: f64,
    #[module(skip)]
    pub(crate) loss: LossOptions,
}

impl<B: Backend, P: PositionScheme<B>> SequenceClassifier<B, P> {
    /// The scores of all labels for every row; in regression its number, as [`HeadConfig`](crate::HeadConfig) scales it.
    ///
    /// # Shapes
    /// - tokens: `[batch, seq]`; output: `[batch, n_labels]`
    ///
    /// # Errors
    /// If an id or a position is out of range.
    ///
    /// # Example
    /// ```
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_embedding::Tokens;
    /// use locus_encoder::StackConfig;
    /// use locus_heads::{HeadConfig, TaskModel};
    /// # fn main() -> Result<(), locus_heads::HeadError> {
    /// let stack = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let head = HeadConfig::SequenceClassification { n_labels: 5, pooling: Default::default(), layers: Default::default() };
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::SequenceClassifier(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// assert_eq!(model.logits(&tokens, None)?.dims(), [1, 5]);
    /// # Ok(()) }
    /// ```
    pub fn logits(&self, tokens: &Tokens, key: Option<Key>) -> Result<Tensor<B, 2>, HeadError> {
        let x = self.hidden(tokens, key)?; // [batch, seq, d_model]
        Ok(self.classify(x, tokens, key))
    }

    /// The score of every row as a candidate. Features are standardised, row after row.
    ///
    /// # Shapes
    /// - tokens: `[batch, seq]`; features: `[batch · n_features]`; output: `[batch, 1]`
    ///
    /// # Errors
    /// If an id or a position is out of range, or features are missing or too many.
    ///
    /// # Example
    /// ```
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_embedding::Tokens;
    /// use locus_encoder::StackConfig;
    /// use locus_heads::{FeatureScale, HeadConfig, TaskModel};
    /// # fn main() -> Result<(), locus_heads::HeadError> {
    /// let stack = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let head = HeadConfig::Ranking {
    ///     pooling: Default::default(),
    ///     loss: Default::default(),
    ///     score: Default::default(),
    ///     features: vec![FeatureScale { mean: 0.0, std: 1.0 }; 2],
    ///     layers: Default::default(),
    /// };
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::SequenceClassifier(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// assert_eq!(model.scores(&tokens, &[0.5, -1.0], None)?.dims(), [1, 1]);
    /// # Ok(()) }
    /// ```
    pub fn scores(
        &self,
        tokens: &Tokens,
        features: &[f32],
        key: Option<Key>,
    ) -> Result<Tensor<B, 2>, HeadError> {
        let x = self.hidden(tokens, key)?; // [batch, seq, d_model]
        self.with_features(self.classify(x, tokens, key), features)
    }

    /// Scores with what the features add: as if these stood beside the pooled vector under one linear layer.
    fn with_features(&self, scores: Tensor<B, 2>, features: &[f32]) -> Result<Tensor<B, 2>, HeadError> {
        let [rows, _] = scores.dims();
        let n_features = self.features.as_ref().map_or(0, |linear| linear.weight.dims()[0]);
        if features.len() != rows * n_features {
            return Err(HeadError::WrongFeatureCount { expected: rows * n_features, found: features.len() });
        }
        let Some(linear) = &self.features else { return Ok(scores) };
        let features = TensorData::new(features.to_vec(), [rows, n_features]);
        Ok(scores.clone() + linear.forward(Tensor::<B, 2>::from_data(features, &scores.device())))
    }

    /// The vectors of tokens, `[batch, seq, d_model]`.
    pub(crate) fn hidden(&self, tokens: &Tokens, key: Option<Key>) -> Result<Tensor<B, 3>, HeadError> {
        self.check_ends(tokens)?;
        self.trunk().forward(tokens, key)
    }

    fn trunk(&self) -> Trunk<'_, B, P> {
        let decoder = self.decoder.as_ref().zip(self.reread);
        Trunk { encoder: &self.encoder, decoder, vocab_size: self.vocab_size }
    }

    /// That every row has the token at which it is scored.
    fn check_ends(&self, tokens: &Tokens) -> Result<(), HeadError> {
        match self.reread {
            Some(reread) if self.pooling == Pooling::Last as usize => reread.check_ends(tokens),
            _ => Ok(()),
        }
    }

    /// `[batch, seq, d_model]` → `[batch, n_labels]`.
    pub(crate) fn classify(&self, x: Tensor<B, 3>, tokens: &Tokens, key: Option<Key>) -> Tensor<B, 2> {
        let mut x = self.pool(x, tokens); // [batch, d_model]
        if let Some(transform) = &self.transform {
            x = transform.forward(x);
        }
        self.classifier.forward(ops::dropout(x, self.dropout, key.map(|key| key.named("head"))))
    }

    /// The loss of the encoder's output, `[batch, seq, d_model]`.
    fn loss_of(&self, x: Tensor<B, 3>, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        let logits = || self.classify(x, &batch.tokens, key); // [batch, n_labels]
        let options = self.loss.with(key);
        match (self.objective, &batch.labels) {
            (Objective::Class, Labels::PerRow(labels)) => classification_loss(logits(), labels, options),
            (Objective::Labels, Labels::MultiHot(cells)) => multi_label_loss(logits(), cells, options),
            (Objective::Number, Labels::Values(values)) => regression_loss(logits().squeeze_dim(1), values),
            (Objective::Ranking(loss), Labels::Ranking(candidates)) => {
                let scores = self.with_features(logits(), &candidates.features)?; // [batch, 1]
                loss.of(scores, candidates)
            }
            (objective, labels) => Err(HeadError::WrongLabels {
                head: objective.task(),
                expected: objective.labels().kind(),
                found: labels.kind(),
            }),
        }
    }

    /// `[batch, seq, d_model]` → `[batch, d_model]`, as a weighted sum over each row.
    fn pool(&self, x: Tensor<B, 3>, tokens: &Tokens) -> Tensor<B, 2> {
        let [batch, seq, d_model] = x.dims();
        let weights = tokens.keep.chunks(seq).enumerate().flat_map(|(row, keep)| {
            let real: Vec<usize> = (0..seq).filter(|&i| keep[i]).collect();
            let n = real.len().max(1) as f32;
            let only = |idx: Option<&usize>| (0..seq).map(|i| f32::from(Some(&i) == idx)).collect::<Vec<_>>();
            if self.pooling == Pooling::Mean as usize {
                keep.iter().map(|&keep| if keep { 1.0 / n } else { 0.0 }).collect()
            } else if self.pooling == Pooling::First as usize {
                only(real.first())
            } else {
                let end = self.reread.and_then(|reread| reread.end_of(tokens, row));
                only(end.as_ref().or(real.last()))
            }
        });
        let weights = TensorData::new(weights.collect::<Vec<f32>>(), [batch, 1, seq]);
        Tensor::<B, 3>::from_data(weights, &x.device()).matmul(x).reshape([batch, d_model])
    }
}

impl<B: Backend, P: PositionScheme<B>> Trainable<B> for SequenceClassifier<B, P> {
    type Batch = TaskBatch;

    fn loss(&self, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        self.loss_of(self.hidden(&batch.tokens, key)?, batch, key)
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
        self.check_ends(&batch.tokens)?;
        let loss_of = |x| self.loss_of(x, batch, key);
        self.trunk().backward(self, &batch.tokens, key, checkpointing, sums, loss_of)
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        count_tokens(batch)
    }
}
