//! What scores stand on: one stack, or an encoder with a decoder that reads the text once more.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::rng::Key;
use locus_embedding::position::PositionScheme;
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{Memory, Stack};
use serde::{Deserialize, Serialize};

use crate::backward::{check_own_table, through_both, through_stack, whole};
use crate::{GradientCheckpointing, HeadError, LossSum};

/// A decoder between an encoder and the scores. It reads the text that the encoder has read, shifted by one token, and attends
/// to the encoder's output; the scores stand on its own (Lewis et al. 2019, arXiv:1910.13461, §3.1 and §3.2).
///
/// ```
/// use locus_heads::{ClassifierConfig, HeadConfig, RereadConfig};
/// let decoder = Some(RereadConfig { start: 2, end: 2 });
/// let layers = ClassifierConfig { decoder, ..ClassifierConfig::default() };
/// assert_eq!(HeadConfig::QuestionAnswering { layers }.forms().len(), 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RereadConfig {
    /// The id that the decoder reads first.
    pub start: u32,
    /// The id that ends a text. Where a row is scored at its last token, it is the last one of this id.
    pub end: u32,
}

impl RereadConfig {
    /// What the decoder reads: in every row the start, then the real tokens but the last; padding stays where it is.
    fn shifted(self, tokens: &Tokens) -> Tokens {
        let mut ids = tokens.ids.clone();
        for row in 0..tokens.batch {
            let mut before = self.start;
            for cell in (row * tokens.seq..(row + 1) * tokens.seq).filter(|&cell| tokens.keep[cell]) {
                before = std::mem::replace(&mut ids[cell], before);
            }
        }
        Tokens { ids, ..tokens.clone() }
    }

    /// The column of a row's last end of a text.
    pub(crate) fn end_of(self, tokens: &Tokens, row: usize) -> Option<usize> {
        let first = row * tokens.seq;
        (0..tokens.seq).rev().find(|i| tokens.keep[first + i] && tokens.ids[first + i] == self.end)
    }

    /// That every row of real tokens has an end.
    pub(crate) fn check_ends(self, tokens: &Tokens) -> Result<(), HeadError> {
        let lacks = |row: &usize| tokens.last_real(*row).is_some() && self.end_of(tokens, *row).is_none();
        match (0..tokens.batch).find(lacks) {
            Some(row) => Err(HeadError::NoEnd { row, end: self.end }),
            None => Ok(()),
        }
    }
}

/// The stacks below the scores of a head.
pub(crate) struct Trunk<'a, B: Backend, P> {
    pub(crate) encoder: &'a Stack<B, P>,
    /// What reads once more.
    pub(crate) decoder: Option<(&'a Stack<B, P>, RereadConfig)>,
    pub(crate) vocab_size: usize,
}

impl<B: Backend, P: PositionScheme<B>> Trunk<'_, B, P> {
    /// The vectors that scores stand on, `[batch, seq, d_model]`.
    pub(crate) fn forward(&self, tokens: &Tokens, key: Option<Key>) -> Result<Tensor<B, 3>, HeadError> {
        let source = self.batch(tokens.clone())?;
        let states = self.encoder.forward(&source, None, None, key)?;
        let Some((decoder, config)) = self.decoder else { return Ok(states) };
        let target = self.batch(config.shifted(tokens))?;
        let memory = Memory::between(self.encoder, decoder, states, &source);
        Ok(decoder.forward(&target, Some(&memory), None, key.map(decoder_key))?)
    }

    /// Adds to `sums` the gradients of a loss that `loss_of` computes from those vectors; gives its value.
    pub(crate) fn backward<M: Module<B>>(
        &self,
        model: &M,
        tokens: &Tokens,
        key: Option<Key>,
        checkpointing: GradientCheckpointing,
        sums: &mut GradientsParams,
        loss_of: impl FnOnce(Tensor<B, 3>) -> Result<LossSum<B>, HeadError>,
    ) -> Result<LossSum<B::InnerBackend>, HeadError>
    where
        B: AutodiffBackend,
    {
        let Some((decoder, config)) = self.decoder else {
            let tokens = self.batch(tokens.clone())?;
            return through_stack(model, self.encoder, &tokens, key, checkpointing, sums, loss_of);
        };
        if checkpointing == GradientCheckpointing::None {
            return Ok(whole(model, loss_of(self.forward(tokens, key)?)?, sums));
        }
        check_own_table(decoder)?;
        let (source, target) = (self.batch(tokens.clone())?, self.batch(config.shifted(tokens))?);
        let read = self.encoder.forward_segments(&source, None, key)?;
        let memory = Memory::between(self.encoder, decoder, read.output(), &source);
        let reread = decoder.forward_segments(&target, Some(&memory), key.map(decoder_key))?;
        through_both(model, read, reread, sums, loss_of)
    }

    fn batch(&self, tokens: Tokens) -> Result<TokenBatch<B>, HeadError> {
        Ok(TokenBatch::from_host(tokens, self.vocab_size, &self.encoder.device())?)
    }
}

fn decoder_key(key: Key) -> Key {
    key.named("decoder")
}

#[cfg(test)]
mod tests {
    use locus_embedding::Tokens;
    use locus_embedding::position::Form;
    use locus_encoder::StackConfig;

    use super::RereadConfig;
    use crate::{ClassifierConfig, HeadConfig, HeadError};

    fn tokens() -> Tokens {
        let ids = vec![5, 2, 7, 2, 9, 0, 0, 0, 6, 8];
        let keep = vec![true, true, true, true, false, false, false, false, true, true];
        Tokens::new([2, 5], ids, keep, None).expect("fits")
    }

    #[test]
    fn a_text_is_shifted_within_its_row() {
        let config = RereadConfig { start: 3, end: 2 };
        let shifted = config.shifted(&tokens());
        assert_eq!(shifted.ids, [3, 5, 2, 7, 9, 0, 0, 0, 3, 6]);
        assert_eq!((shifted.keep, shifted.positions), (tokens().keep, tokens().positions));
    }

    #[test]
    fn a_row_ends_at_its_last_end() {
        let config = RereadConfig { start: 3, end: 2 };
        assert_eq!([0, 1].map(|row| config.end_of(&tokens(), row)), [Some(3), None]);
        assert_eq!(config.check_ends(&tokens()), Err(HeadError::NoEnd { row: 1, end: 2 }));
        assert_eq!(RereadConfig { start: 3, end: 8 }.end_of(&tokens(), 1), Some(4));
        // Padding has no end.
        assert_eq!(RereadConfig { start: 3, end: 9 }.end_of(&tokens(), 0), None);
        let empty = Tokens::new([1, 2], vec![0; 2], vec![false; 2], None).expect("fits");
        assert_eq!(config.check_ends(&empty), Ok(()));
    }

    #[test]
    fn what_stands_on_both_stacks() {
        let stack = StackConfig { d_model: 12, n_heads: 2, ..StackConfig::default() };
        let decoder = Some(RereadConfig { start: 3, end: 2 });
        let layers = ClassifierConfig { decoder, ..ClassifierConfig::default() };
        let answers = HeadConfig::QuestionAnswering { layers: layers.clone() };
        assert_eq!(answers.forms(), [Form::Bidirectional, Form::Causal]);
        assert_eq!(answers.check(&stack), []);
        let key_of = |head: &HeadConfig| head.check(&stack).first().map(|problem| problem.key.clone());
        let causal = ClassifierConfig { form: Form::Causal, ..layers.clone() };
        let wrong = HeadConfig::QuestionAnswering { layers: causal };
        assert_eq!(key_of(&wrong).as_deref(), Some("layers.form"));
        let tags = HeadConfig::TokenClassification { n_labels: 3, decoding: Default::default(), layers };
        assert_eq!(key_of(&tags).as_deref(), Some("layers.decoder"));
    }
}
