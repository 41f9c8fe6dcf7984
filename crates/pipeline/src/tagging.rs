//! Tags for word sequences of any length, well formed where the labels are IOB2 tags.

use burn::tensor::backend::Backend;
use locus_data::Item;
use locus_embedding::position::PositionScheme;
use locus_heads::TokenClassifier;
use locus_metrics::tags::is_tag_set;

use crate::decode::Transitions;
use crate::{Codec, PipelineError};

/// The tag of one word.
#[derive(Clone, Debug, PartialEq)]
pub struct TaggedWord {
    /// The number of the label.
    pub label: usize,
    /// Its probability.
    pub probability: f64,
    /// The log-probabilities of all labels.
    pub log_probs: Vec<f64>,
}

/// Tags every word of every sentence, once: long sentences are read in overlapping windows.
///
/// # Errors
/// If a text cannot be tokenised or the model cannot take it.
pub fn tag<B: Backend, P: PositionScheme<B>>(
    model: &TokenClassifier<B, P>,
    codec: &Codec,
    sentences: &[Vec<String>],
    batch_size: usize,
) -> Result<Vec<Vec<TaggedWord>>, PipelineError> {
    let mut tagged: Vec<Vec<Option<TaggedWord>>> =
        sentences.iter().map(|words| vec![None; words.len()]).collect();
    let mut windows = Vec::new();
    for (sentence, words) in sentences.iter().enumerate() {
        windows.extend(codec.windows(words, None)?.into_iter().map(|window| (sentence, window)));
    }
    // Similar lengths together, so that little is padding.
    windows.sort_by_key(|(_, window)| window.item.ids.len());
    for chunk in windows.chunks(batch_size.max(1)) {
        let items: Vec<&Item> = chunk.iter().map(|(_, window)| &window.item).collect();
        let batch = codec.batch(&items)?;
        let logits = model.logits(&batch.tokens, None)?; // [batch, seq, n_labels]
        let [_, seq, n_labels] = logits.dims();
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        for (row, (sentence, window)) in chunk.iter().enumerate() {
            for &(word, column) in &window.columns {
                let start = (row * seq + column) * n_labels;
                tagged[*sentence][word] = Some(best(&logits[start..start + n_labels]));
            }
        }
    }
    let missing = || unreachable!("every word has one owner among the windows");
    let tagged =
        tagged.into_iter().map(|words| words.into_iter().map(|word| word.unwrap_or_else(missing)).collect());
    let Some(labels) = codec.labels.as_ref().filter(|labels| is_tag_set(labels.names())) else {
        return Ok(tagged.collect());
    };
    let transitions = Transitions::iob2(labels.names().iter().map(String::as_str));
    Ok(tagged.map(|words| well_formed(words, &transitions)).collect())
}

/// The same words with the best tags that do not contradict each other.
fn well_formed(mut words: Vec<TaggedWord>, transitions: &Transitions) -> Vec<TaggedWord> {
    let log_probs: Vec<&[f64]> = words.iter().map(|word| &word.log_probs[..]).collect();
    for (word, label) in transitions.best(&log_probs).into_iter().enumerate() {
        words[word].label = label;
        words[word].probability = words[word].log_probs[label].exp();
    }
    words
}

/// The best label of a row of logits.
pub(crate) fn best(logits: &[f32]) -> TaggedWord {
    let log_probs = log_softmax(logits);
    let label = (0..log_probs.len()).max_by(|&a, &b| log_probs[a].total_cmp(&log_probs[b]).then(b.cmp(&a)));
    let label = label.unwrap_or(0);
    TaggedWord { label, probability: log_probs[label].exp(), log_probs }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    logits.iter().map(|&x| f64::from(x - max) - total.ln()).collect()
}
