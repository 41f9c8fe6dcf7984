//! Labels and numbers for texts.

use burn::tensor::backend::Backend;
use locus_data::Item;
use locus_embedding::position::PositionScheme;
use locus_heads::SequenceClassifier;

use crate::{Codec, PipelineError};

/// The outputs of every item, in their order, `[items][n_labels]`.
pub(crate) fn outputs<B: Backend, P: PositionScheme<B>>(
    model: &SequenceClassifier<B, P>,
    codec: &Codec,
    items: &[Item],
    batch_size: usize,
) -> Result<Vec<Vec<f32>>, PipelineError> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&idx| items[idx].ids.len());
    let mut outputs = vec![Vec::new(); items.len()];
    for chunk in order.chunks(batch_size.max(1)) {
        // A pair and a single text cannot share a batch where only one has segments.
        for group in chunk.chunk_by(|&a, &b| items[a].segments.is_some() == items[b].segments.is_some()) {
            let rows: Vec<&Item> = group.iter().map(|&idx| &items[idx]).collect();
            let logits = model.logits(&codec.batch(&rows)?.tokens, None)?; // [batch, n_labels]
            let [_, n_labels] = logits.dims();
            let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
            for (&idx, logits) in group.iter().zip(logits.chunks(n_labels)) {
                outputs[idx] = logits.to_vec();
            }
        }
    }
    Ok(outputs)
}

/// The probability of each label on its own.
pub(crate) fn sigmoid(logits: &[f32]) -> Vec<f64> {
    logits.iter().map(|&z| 1.0 / (1.0 + (-f64::from(z)).exp())).collect()
}
