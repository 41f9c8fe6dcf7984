//! Vectors of texts.

use std::borrow::Cow;

use burn::tensor::backend::Backend;
use locus_data::{Examples, Item, Pair, Row};
use locus_embedding::position::PositionScheme;
use locus_heads::{HeadConfig, SentenceEmbedder, SentenceEmbeddingConfig, TaskModel};

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
        prompt_of(head, name)
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

/// The text of a prompt; without a name, of the one that stands before texts by default.
fn prompt_of<'a>(head: &'a SentenceEmbeddingConfig, name: Option<&str>) -> Result<&'a str, PipelineError> {
    let Some(name) = name.or(head.default_prompt.as_deref()) else { return Ok("") };
    head.prompts.get(name).map(String::as_str).ok_or_else(|| PipelineError::UnknownPrompt {
        asked: name.to_owned(),
        known: head.prompts.keys().cloned().collect(),
    })
}

impl Codec {
    fn default_prompt(&self) -> Result<&str, PipelineError> {
        match self.head() {
            HeadConfig::SentenceEmbedding(head) => prompt_of(head, None),
            _ => Ok(""),
        }
    }

    /// How many tokens of each text that is scored are those of the default prompt.
    pub(crate) fn n_default_prompt_tokens(&self) -> Result<usize, PipelineError> {
        match self.default_prompt()? {
            "" => Ok(0),
            prompt => self.n_prompt_tokens(prompt),
        }
    }

    /// Examples as they are scored: with the prompt before each text that [`Pipeline::embed`] puts there.
    pub(crate) fn prompted<'a>(&self, examples: &'a Examples) -> Result<Cow<'a, Examples>, PipelineError> {
        let prompt = self.default_prompt()?;
        if prompt.is_empty() {
            return Ok(Cow::Borrowed(examples));
        }
        let before = |text: &String| format!("{prompt}{text}");
        Ok(match examples {
            Examples::Pairs(pairs) => {
                let pair = |pair: &Pair| Pair {
                    source: before(&pair.source),
                    target: before(&pair.target),
                    line: pair.line,
                };
                Cow::Owned(Examples::Pairs(pairs.iter().map(pair).collect()))
            }
            Examples::Scored(rows) => Cow::Owned(Examples::Scored(with_texts(rows, before))),
            Examples::Labelled(rows) => Cow::Owned(Examples::Labelled(with_texts(rows, before))),
            _ => Cow::Borrowed(examples),
        })
    }
}

/// Rows with what `change` makes of their texts.
fn with_texts<L: Clone>(rows: &[Row<L>], change: impl Fn(&String) -> String) -> Vec<Row<L>> {
    let row = |row: &Row<L>| Row {
        text: change(&row.text),
        pair: row.pair.as_ref().map(&change),
        label: row.label.clone(),
        line: row.line,
    };
    rows.iter().map(row).collect()
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
