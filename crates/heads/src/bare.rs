//! A stack without a head: the vectors of tokens.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use locus_backend::rng::Key;
use locus_embedding::position::{Position, PositionScheme};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::Stack;

use crate::tag::count_tokens;
use crate::transform::Transform;
use crate::{HeadError, LossSum, TaskBatch, Trainable};

/// A stack, and a pooler where the checkpoint that it comes from has one.
#[derive(Module, Debug)]
pub struct Bare<B: Backend, P = Position<B>> {
    /// The stack.
    pub encoder: Stack<B, P>,
    /// The pooler, which stands on the first token (BERT's next-sentence task trained it).
    pub transform: Option<Transform<B>>,
    pub(crate) vocab_size: usize,
}

impl<B: Backend, P: PositionScheme<B>> Bare<B, P> {
    /// The vectors of all tokens after the last block.
    ///
    /// # Shapes
    /// - tokens: `[batch, seq]`; output: `[batch, seq, d_model]`
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
    /// let head = HeadConfig::Bare { form: Default::default(), pooler: None };
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::Bare(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// assert_eq!(model.hidden(&tokens, None)?.dims(), [1, 3, 8]);
    /// # Ok(()) }
    /// ```
    pub fn hidden(&self, tokens: &Tokens, key: Option<Key>) -> Result<Tensor<B, 3>, HeadError> {
        let device = self.encoder.device();
        let batch = TokenBatch::from_host(tokens.clone(), self.vocab_size, &device)?;
        Ok(self.encoder.forward(&batch, None, None, key)?)
    }
}

impl<B: Backend, P: PositionScheme<B>> Trainable<B> for Bare<B, P> {
    type Batch = TaskBatch;

    fn loss(&self, batch: &TaskBatch, _key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        Err(HeadError::WrongLabels {
            head: "a model without a head",
            expected: "another head to be trained",
            found: batch.labels.kind(),
        })
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        count_tokens(batch)
    }
}
