//! Labels for texts.

use burn::tensor::backend::Backend;
use locus_data::Item;
use locus_embedding::position::PositionScheme;
use locus_heads::SequenceClassifier;

use crate::tagging::{TaggedWord, best};
use crate::{Codec, PipelineError};

/// The best label of every item, in their order.
pub(crate) fn classify<B: Backend, P: PositionScheme<B>>(
    model: &SequenceClassifier<B, P>,
    codec: &Codec,
    items: &[Item],
    batch_size: usize,
) -> Result<Vec<TaggedWord>, PipelineError> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&idx| items[idx].ids.len());
    let mut labelled: Vec<(usize, TaggedWord)> = Vec::with_capacity(items.len());
    for chunk in order.chunks(batch_size.max(1)) {
        // A pair and a single text cannot share a batch where only one has segments.
        for group in chunk.chunk_by(|&a, &b| items[a].segments.is_some() == items[b].segments.is_some()) {
            let rows: Vec<&Item> = group.iter().map(|&idx| &items[idx]).collect();
            let logits = model.logits(&codec.batch(&rows)?.tokens, None)?; // [batch, n_labels]
            let [_, n_labels] = logits.dims();
            let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
            labelled.extend(group.iter().copied().zip(logits.chunks(n_labels).map(best)));
        }
    }
    labelled.sort_by_key(|(idx, _)| *idx);
    Ok(labelled.into_iter().map(|(_, label)| label).collect())
}
