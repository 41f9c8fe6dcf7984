//! What a model of any task computes, on the host.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use locus_embedding::Tokens;
use locus_embedding::position::PositionScheme;

use crate::{HeadError, SpanRow, TaskModel};

/// Numbers with their shape, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct HostArray {
    /// The shape.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Vec<f32>,
}

impl<B: Backend, const D: usize> From<Tensor<B, D>> for HostArray {
    fn from(tensor: Tensor<B, D>) -> Self {
        let shape = tensor.dims().to_vec();
        Self { shape, values: tensor.into_data().convert::<f32>().iter().collect() }
    }
}

/// What a forward pass gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// The vectors of tokens after the last block, `[batch, seq, d_model]`; of the decoder, where there are two stacks.
    pub hidden: HostArray,
    /// The scores of the head: per row, per token, over the vocabulary, or per label and span, `[batch, n_labels, seq, longest]`
    /// as of [`SpanClassifier::scores`](crate::SpanClassifier::scores), as if each token were a word. Absent where there is no head.
    pub logits: Option<HostArray>,
}

impl<B: Backend, P: PositionScheme<B>> TaskModel<B, P> {
    /// Runs the model on a batch, without dropout. `target` is what the decoder of an encoder–decoder reads; no other model
    /// reads it, nor segments where it has no vectors for them.
    ///
    /// # Shapes
    /// - tokens: `[batch, seq]`; target: `[batch, target seq]`
    ///
    /// # Errors
    /// If an id or a position is out of range, or there is no target where one is needed.
    pub fn outputs(&self, tokens: &Tokens, target: Option<&Tokens>) -> Result<Outputs, HeadError> {
        let (hidden, logits) = match self {
            Self::TokenClassifier(model) => {
                let hidden = model.encoder.forward(&model.batch(tokens)?, None, None, None)?;
                (hidden.clone(), Some(model.classify(hidden, None).into()))
            }
            Self::SpanClassifier(model) => {
                let hidden = model.encoder.forward(&model.batch(tokens)?, None, None, None)?;
                let rows = SpanRow::of_tokens(tokens);
                (hidden.clone(), Some(model.scores_of(hidden, &rows, None)?.into()))
            }
            Self::SequenceClassifier(model) => {
                let hidden = model.hidden(tokens, None)?;
                (hidden.clone(), Some(model.classify(hidden, tokens, None).into()))
            }
            Self::QuestionAnswerer(model) => {
                let hidden = model.hidden(tokens, None)?;
                (hidden.clone(), Some(model.classify(hidden).into()))
            }
            Self::MaskedLm(model) => {
                let hidden = model.encoder.forward(&model.batch(tokens)?, None, None, None)?;
                (hidden.clone(), Some(model.output().scores(model.transform.forward(hidden)).into()))
            }
            Self::ReplacedTokenDetector(model) => {
                let hidden = model.encoder.forward(&model.batch(tokens)?, None, None, None)?;
                (hidden.clone(), Some(model.detect(hidden).into()))
            }
            Self::CausalLm(model) => {
                let hidden = model.hidden(tokens, None, None)?;
                (hidden.clone(), Some(model.output().scores(hidden).into()))
            }
            Self::Seq2Seq(model) => {
                let Some(target) = target else {
                    return Err(HeadError::WrongLabels {
                        head: "sequence to sequence",
                        expected: "ids for the decoder",
                        found: "none",
                    });
                };
                let memory = model.encode(tokens, None)?;
                let hidden = model.body.decode(&model.batch(target)?, &memory, None, None)?;
                (hidden.clone(), Some(model.output().scores(hidden).into()))
            }
            Self::SentenceEmbedder(model) => {
                (model.encoder.forward(&model.batch(tokens)?, None, None, None)?, None)
            }
            Self::Bare(model) => (model.hidden(tokens, None)?, None),
        };
        Ok(Outputs { hidden: hidden.into(), logits })
    }
}
