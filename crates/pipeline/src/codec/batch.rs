//! Items as batches.

use std::iter::repeat;

use locus_data::{HostBatch, HostLabels, Item, ItemLabels, PadSide, collate};
use locus_embedding::Tokens;
use locus_heads::{Candidates, HeadConfig, Labels, TaskBatch};

use super::Codec;
use crate::entities::row_of;
use crate::{PipelineError, pairs, ranking};

impl Codec {
    /// Items as a batch, padded on the right.
    ///
    /// # Errors
    /// If items of different kinds are mixed.
    pub fn batch(&self, items: &[&Item]) -> Result<TaskBatch, PipelineError> {
        if let HeadConfig::SentenceEmbedding(_) = self.head {
            return self.batch_of_pairs(items);
        }
        if items.iter().any(|item| matches!(item.labels, ItemLabels::Candidates(_))) {
            return self.batch_of_candidates(items);
        }
        if items.iter().any(|item| matches!(item.labels, ItemLabels::Replaced { .. })) {
            return self.batch_of_replaced(items);
        }
        if let HeadConfig::SpanClassification { .. } = self.head {
            return self.batch_of_words(items);
        }
        let host = collate(items, self.pad_id(), PadSide::Right, self.tokenizer.vocab_size())?;
        task_batch(host)
    }

    /// Hidden tokens with the quantiles at which a generator's are drawn; those of padding are 0.
    fn batch_of_replaced(&self, items: &[&Item]) -> Result<TaskBatch, PipelineError> {
        let (mut rows, mut of_rows) = (Vec::new(), Vec::new());
        for item in items {
            let (labels, quantiles) = match &item.labels {
                ItemLabels::Replaced { labels, quantiles } => {
                    (ItemLabels::PerToken(labels.clone()), quantiles.as_slice())
                }
                other => (other.clone(), Default::default()),
            };
            rows.push(Item { ids: item.ids.clone(), labels, ..Item::default() });
            of_rows.push(quantiles);
        }
        let rows: Vec<&Item> = rows.iter().collect();
        let host = collate(&rows, self.pad_id(), PadSide::Right, self.tokenizer.vocab_size())?;
        let padded = |row: &[f64]| row.iter().copied().chain(repeat(0.0)).take(host.seq).collect::<Vec<_>>();
        let quantiles: Vec<f64> = of_rows.into_iter().flat_map(padded).collect();
        let TaskBatch { tokens, labels } = task_batch(host)?;
        let labels = match labels {
            Labels::PerToken(labels) => Labels::Replaced { labels, quantiles, tokens_per_hidden: None },
            other => other,
        };
        Ok(TaskBatch { tokens, labels })
    }

    /// Each candidate as a row behind its query.
    fn batch_of_candidates(&self, items: &[&Item]) -> Result<TaskBatch, PipelineError> {
        let (mut rows, mut candidates) = (Vec::new(), Candidates::default());
        for query in items {
            let of_query = ranking::candidates(query);
            candidates.sizes.push(of_query.len());
            for candidate in of_query {
                rows.push(self.cut(query.ids.clone(), Some(candidate.ids.clone())).0);
                candidates.gains.push(candidate.gain);
                candidates.features.extend_from_slice(&candidate.features);
            }
        }
        let rows: Vec<&Item> = rows.iter().collect();
        let host = collate(&rows, self.pad_id(), PadSide::Right, self.tokenizer.vocab_size())?;
        Ok(TaskBatch { labels: Labels::Ranking(candidates), ..task_batch(host)? })
    }

    /// Rows with their words and the entities among them.
    fn batch_of_words(&self, items: &[&Item]) -> Result<TaskBatch, PipelineError> {
        let ids = |item: &&Item| Item { ids: item.ids.clone(), ..Item::default() };
        let alone: Vec<Item> = items.iter().map(ids).collect();
        let alone: Vec<&Item> = alone.iter().collect();
        let host = collate(&alone, self.pad_id(), PadSide::Right, self.tokenizer.vocab_size())?;
        let labels = Labels::SpansOfWords(items.iter().map(|item| row_of(item)).collect());
        Ok(TaskBatch { labels, ..task_batch(host)? })
    }

    /// Pairs as one batch: all sources, then all targets. Items without a target are sources alone.
    fn batch_of_pairs(&self, items: &[&Item]) -> Result<TaskBatch, PipelineError> {
        let side = |ids: &[u32]| Item { ids: ids.to_vec(), ..Item::default() };
        let sources = items.iter().map(|item| side(&item.ids));
        let targets = items.iter().filter_map(|item| match &item.labels {
            ItemLabels::Target { ids, .. } | ItemLabels::Pair { ids, .. } => Some(side(ids)),
            _ => None,
        });
        let rows: Vec<Item> = sources.chain(targets).collect();
        let rows: Vec<&Item> = rows.iter().collect();
        let host = collate(&rows, self.pad_id(), PadSide::Right, self.tokenizer.vocab_size())?;
        let labels = if rows.len() == 2 * items.len() { pairs::labels(items) } else { Labels::None };
        Ok(TaskBatch { labels, ..task_batch(host)? })
    }
}

fn task_batch(host: HostBatch) -> Result<TaskBatch, PipelineError> {
    let [batch, seq] = [host.batch, host.seq];
    let mut tokens = Tokens::new([batch, seq], host.ids, host.keep, host.segments).map_err(from_embedding)?;
    if let Some(documents) = host.documents {
        tokens = tokens.with_documents(documents).map_err(from_embedding)?;
    }
    if let Some(prefixes) = host.prefixes {
        // Rows are padded on the right, so a prefix starts in the first column.
        let prefix = prefixes.iter().flat_map(|&len| (0..seq).map(move |column| column < len)).collect();
        tokens = tokens.with_prefix(prefix).map_err(from_embedding)?;
    }
    let labels = match host.labels {
        HostLabels::None => Labels::None,
        HostLabels::PerToken(labels) => Labels::PerToken(labels),
        HostLabels::PerRow(labels) => Labels::PerRow(labels),
        HostLabels::MultiHot(cells) => Labels::MultiHot(cells.into_iter().map(|cell| cell as i32).collect()),
        HostLabels::Values(values) => Labels::Values(values),
        HostLabels::Spans(spans) => Labels::Spans(spans),
        HostLabels::Target { ids, keep, labels, seq } => Labels::Target {
            tokens: Tokens::new([batch, seq], ids, keep, None).map_err(from_embedding)?,
            labels,
        },
    };
    Ok(TaskBatch { tokens, labels })
}

fn from_embedding(error: locus_embedding::EmbeddingError) -> PipelineError {
    PipelineError::Head(error.into())
}
