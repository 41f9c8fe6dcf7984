//! Vectors of texts.

use burn::tensor::backend::Backend;
use locus_data::Item;
use locus_embedding::position::PositionScheme;
use locus_heads::{HeadConfig, SentenceEmbedder, TaskModel};

use crate::{Codec, Pipeline, PipelineError};

/// The vectors of texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    /// One per text, in their order.
    pub vectors: Vec<Vec<f32>>,
    /// How many texts were longer than the model reads, and were cut at their ends.
    pub n_truncated: usize,
}

impl<B: Backend> Pipeline<B> {
    /// One vector per text, in their order, with the prompt that the model has for texts by default, if any.
    ///
    /// # Errors
    /// If the model is no sentence embedder, or a text cannot be tokenised.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<f32>>, PipelineError> {
        Ok(self.embed_with(texts, self.prompt(None)?)?.vectors)
    }

    /// The text of a prompt of the model; without a name, of the one that it has for texts by default.
    ///
    /// # Errors
    /// If the model is no sentence embedder or has no such prompt.
    pub fn prompt(&self, name: Option<&str>) -> Result<&str, PipelineError> {
        let HeadConfig::SentenceEmbedding(head) = &self.config.head else {
            return Err(self.not_an_embedder());
        };
        let Some(name) = name.or(head.default_prompt.as_deref()) else { return Ok("") };
        head.prompts.get(name).map(String::as_str).ok_or_else(|| PipelineError::UnknownPrompt {
            asked: name.to_owned(),
            known: head.prompts.keys().cloned().collect(),
        })
    }

    /// One vector per text, in their order; `prompt` is put before each.
    ///
    /// # Errors
    /// As [`Pipeline::embed`].
    pub fn embed_with<S: AsRef<str>>(&self, texts: &[S], prompt: &str) -> Result<Embeddings, PipelineError> {
        let TaskModel::SentenceEmbedder(model) = &self.model else { return Err(self.not_an_embedder()) };
        let n_prompt_tokens = if prompt.is_empty() { 0 } else { self.codec.n_prompt_tokens(prompt)? };
        let mut n_truncated = 0;
        let mut items = Vec::with_capacity(texts.len());
        for text in texts {
            let (item, cut) = self.codec.embedded(&format!("{prompt}{}", text.as_ref()))?;
            n_truncated += usize::from(cut);
            items.push(item);
        }
        let vectors = embed(model, &self.codec, &items, n_prompt_tokens, self.batch_size)?;
        Ok(Embeddings { vectors, n_truncated })
    }

    fn not_an_embedder(&self) -> PipelineError {
        PipelineError::WrongTask { task: self.codec.task(), asked: "give a vector per text" }
    }
}

/// The vector of every item, in their order. Texts of about one length share a batch.
pub(crate) fn embed<B: Backend, P: PositionScheme<B>>(
    model: &SentenceEmbedder<B, P>,
    codec: &Codec,
    items: &[Item],
    n_prompt_tokens: usize,
    batch_size: usize,
) -> Result<Vec<Vec<f32>>, PipelineError> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&idx| items[idx].ids.len());
    let mut vectors = vec![Vec::new(); items.len()];
    for chunk in order.chunks(batch_size.max(1)) {
        let rows: Vec<&Item> = chunk.iter().map(|&idx| &items[idx]).collect();
        let batch = codec.batch(&rows)?;
        let embedded = model.embed(&batch.tokens, n_prompt_tokens, None)?; // [batch, d_embedding]
        let [_, width] = embedded.dims();
        let numbers: Vec<f32> = embedded.into_data().iter::<f32>().collect();
        for (&idx, vector) in chunk.iter().zip(numbers.chunks(width)) {
            vectors[idx] = vector.to_vec();
        }
    }
    Ok(vectors)
}
