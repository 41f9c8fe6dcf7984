//! Tokens with a meaning of their own.

use locus_heads::HeadConfig;

use super::Codec;
use crate::PipelineError;

impl Codec {
    /// The id that fills short rows up.
    pub fn pad_id(&self) -> u32 {
        self.tokenizer.specials().fill()
    }

    /// The text of ids that a model chose. Rows of its table that the tokenizer has no token for have no text, as in
    /// `transformers`.
    pub(crate) fn text(&self, ids: &[u32]) -> Result<String, PipelineError> {
        let known: Vec<u32> = ids.iter().copied().filter(|&id| self.tokenizer.token(id).is_some()).collect();
        Ok(self.tokenizer.decode(&known)?)
    }

    /// The token that stands for what is to be filled in.
    pub(crate) fn mask_id(&self) -> Result<u32, PipelineError> {
        let mask = self.tokenizer.specials().mask;
        mask.ok_or(PipelineError::NoToken { token: "mask", task: self.task() })
    }

    /// The token that starts a target.
    pub(crate) fn start_id(&self) -> Result<u32, PipelineError> {
        let specials = self.tokenizer.specials();
        let named = match self.head {
            HeadConfig::Seq2Seq { .. } => self.token_ids.decoder_start,
            _ => self.token_ids.bos,
        };
        named
            .or(specials.bos)
            .or(specials.cls)
            .ok_or(PipelineError::NoToken { token: "begin-of-text", task: self.task() })
    }

    /// The tokens that end a generated text; none where no such token is known.
    pub(crate) fn stop_ids(&self) -> Vec<u32> {
        let mut ids = self.ends.clone();
        ids.extend(self.tokenizer.specials().eos.filter(|id| !self.ends.contains(id)));
        ids
    }

    /// The tokens that end a generated target.
    pub(crate) fn end_ids(&self) -> Result<Vec<u32>, PipelineError> {
        if self.ends.is_empty() { Ok(vec![self.end_id()?]) } else { Ok(self.ends.clone()) }
    }

    /// The token that ends a target.
    pub(crate) fn end_id(&self) -> Result<u32, PipelineError> {
        let specials = self.tokenizer.specials();
        let named = self.token_ids.eos;
        named
            .or(specials.eos)
            .or(specials.sep)
            .ok_or(PipelineError::NoToken { token: "end-of-text", task: self.task() })
    }
}
