//! The tokens behind the masks of a text.

use burn::tensor::backend::Backend;
use locus_data::Item;
use locus_embedding::position::PositionScheme;
use locus_heads::MaskedLm;
use serde::Serialize;

use crate::tagging::log_softmax;
use crate::{Codec, PipelineError};

/// A token for a mask.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilledMask {
    /// The token as text.
    pub token: String,
    /// Its id.
    pub id: u32,
    /// Its probability.
    pub score: f64,
    /// The text with it in the place of the mask. Other masks are left out.
    pub text: String,
}

/// What stands behind the masks of a text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Masks {
    /// For each mask that was read, in their order, the best tokens, the most probable first.
    pub(crate) masks: Vec<Vec<FilledMask>>,
    /// Whether the text was longer than the model reads.
    pub(crate) is_cut: bool,
}

/// The `top_k` most probable tokens for each mask of each text.
pub(crate) fn fill<B: Backend, P: PositionScheme<B>>(
    model: &MaskedLm<B, P>,
    codec: &Codec,
    texts: &[&str],
    top_k: usize,
    batch_size: usize,
) -> Result<Vec<Masks>, PipelineError> {
    let mask = codec.mask_id()?;
    let (mut filled, mut items) = (Vec::with_capacity(texts.len()), Vec::with_capacity(texts.len()));
    for text in texts {
        let (item, is_cut) = codec.parsed(text)?;
        filled.push(Masks { masks: Vec::new(), is_cut });
        items.push(item);
    }
    let mut order: Vec<usize> = (0..items.len()).filter(|&at| items[at].ids.contains(&mask)).collect();
    order.sort_by_key(|&at| items[at].ids.len());
    for chunk in order.chunks(batch_size.max(1)) {
        let rows: Vec<&Item> = chunk.iter().map(|&at| &items[at]).collect();
        let tokens = codec.batch(&rows)?.tokens;
        let mut places = Vec::new();
        for (row, item) in rows.iter().enumerate() {
            places.extend((0..item.ids.len()).filter(|&column| item.ids[column] == mask).map(|c| (row, c)));
        }
        let flat: Vec<usize> = places.iter().map(|(row, column)| row * tokens.seq + column).collect();
        let logits = model.logits_at(&tokens, &flat)?; // [places, vocab_size]
        let [_, vocab_size] = logits.dims();
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        for (&(row, column), logits) in places.iter().zip(logits.chunks(vocab_size)) {
            filled[chunk[row]].masks.push(best(codec, &rows[row].ids, column, logits, top_k)?);
        }
    }
    Ok(filled)
}

/// The most probable tokens of the tokenizer for the mask at `column`.
fn best(
    codec: &Codec,
    ids: &[u32],
    column: usize,
    logits: &[f32],
    top_k: usize,
) -> Result<Vec<FilledMask>, PipelineError> {
    let log_probs = log_softmax(logits);
    let is_token = |&id: &usize| codec.tokenizer.token(id as u32).is_some();
    let mut order: Vec<usize> = (0..log_probs.len()).collect();
    order.sort_by(|&a, &b| log_probs[b].total_cmp(&log_probs[a]).then(a.cmp(&b)));
    let best =
        order.into_iter().filter(is_token).take(top_k).map(|id| -> Result<FilledMask, PipelineError> {
            let mut ids = ids.to_vec();
            ids[column] = id as u32;
            // A token's own text, also where decoding leaves it out.
            let token = match codec.tokenizer.decode(&[id as u32])?.trim() {
                "" => codec.tokenizer.token(id as u32).unwrap_or_default(),
                text => text.to_owned(),
            };
            let text = codec.tokenizer.decode(&ids)?;
            Ok(FilledMask { token, id: id as u32, score: log_probs[id].exp(), text })
        });
    best.collect()
}
