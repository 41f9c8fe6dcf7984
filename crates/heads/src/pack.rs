//! Models with bf16 or int8 weights, for inference.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::packed::{PackError, Packed, Precision};
use locus_encoder::{EncoderDecoder, Linear};

use crate::TaskModel;

/// A classifier with fewer weights stays f32: it would cost accuracy and save nothing.
const LARGE: usize = 1 << 16;

impl<B: Backend, P: Module<B>> TaskModel<B, P> {
    /// Rounds the weights for inference: of all projections of the stacks, of the output over the vocabulary, and of a
    /// classifier with at least 65,536 weights. Embeddings, norms, position schemes and biases stay f32.
    ///
    /// A packed model stays as it is. The f32 weights are let go, but for a token table that serves as output too, which is still read as embedding. A
    /// packed model cannot be saved or trained.
    ///
    /// # Errors
    /// If the backend has no kernels for such weights.
    ///
    /// # Example
    /// ```
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_backend::packed::Precision;
    /// use locus_encoder::StackConfig;
    /// use locus_heads::{HeadConfig, TaskModel};
    /// # fn main() -> Result<(), locus_backend::packed::PackError> {
    /// let stack = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let head = HeadConfig::CausalLm { tied: true, output: Default::default() };
    /// let mut model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// model.pack(Precision::Bf16)?;
    /// assert!(model.is_packed());
    /// # Ok(()) }
    /// ```
    pub fn pack(&mut self, precision: Precision) -> Result<(), PackError> {
        match self {
            Self::TokenClassifier(model) => {
                model.encoder.pack(precision)?;
                classifier(&mut model.classifier, precision)
            }
            Self::SequenceClassifier(model) => {
                model.encoder.pack(precision)?;
                model.decoder.iter_mut().try_for_each(|decoder| decoder.pack(precision))?;
                classifier(&mut model.classifier, precision)
            }
            Self::SpanClassifier(model) => model.encoder.pack(precision),
            Self::QuestionAnswerer(model) => {
                model.encoder.pack(precision)?;
                model.decoder.iter_mut().try_for_each(|decoder| decoder.pack(precision))
            }
            Self::MaskedLm(model) => {
                model.encoder.pack(precision)?;
                let table = model.encoder.embeddings.tokens.as_ref();
                output(&mut model.lm_head, &mut model.tied, table, precision)
            }
            Self::ReplacedTokenDetector(model) => {
                model.encoder.pack(precision)?;
                model.generator.encoder.pack(precision)
            }
            Self::CausalLm(model) => {
                model.decoder.pack(precision)?;
                let table = model.decoder.embeddings.tokens.as_ref();
                output(&mut model.lm_head, &mut model.tied, table, precision)
            }
            Self::Seq2Seq(model) => {
                model.body.pack(precision)?;
                let EncoderDecoder { encoder, decoder } = &model.body;
                let table = decoder.embeddings.tokens.as_ref().or(encoder.embeddings.tokens.as_ref());
                output(&mut model.lm_head, &mut model.tied, table, precision)
            }
            Self::SentenceEmbedder(model) => model.encoder.pack(precision),
            Self::Bare(model) => model.encoder.pack(precision),
        }
    }

    /// Whether the weights were rounded.
    pub fn is_packed(&self) -> bool {
        let stack = match self {
            Self::TokenClassifier(model) => &model.encoder,
            Self::SpanClassifier(model) => &model.encoder,
            Self::SequenceClassifier(model) => &model.encoder,
            Self::QuestionAnswerer(model) => &model.encoder,
            Self::MaskedLm(model) => &model.encoder,
            Self::ReplacedTokenDetector(model) => &model.encoder,
            Self::SentenceEmbedder(model) => &model.encoder,
            Self::Bare(model) => &model.encoder,
            Self::CausalLm(model) => &model.decoder,
            Self::Seq2Seq(model) => &model.body.decoder,
        };
        stack.layers.iter().any(|block| block.attn.q_proj.packed.is_some())
    }
}

fn classifier<B: Backend>(linear: &mut Linear<B>, precision: Precision) -> Result<(), PackError> {
    if linear.weight.dims().iter().product::<usize>() < LARGE { Ok(()) } else { linear.pack(precision) }
}

fn output<B: Backend>(
    lm_head: &mut Option<Linear<B>>,
    tied: &mut Option<Packed>,
    table: Option<&Param<Tensor<B, 2>>>,
    precision: Precision,
) -> Result<(), PackError> {
    match (lm_head, table) {
        (Some(lm_head), _) => lm_head.pack(precision)?,
        // [vocab_size, d_model]
        (None, Some(table)) if tied.is_none() => {
            *tied = Some(Packed::new(table.val().transpose(), precision)?);
        }
        _ => {}
    }
    Ok(())
}
