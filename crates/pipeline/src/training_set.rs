//! The batches of every epoch, as a pure function of seed, epoch and index: any step can be reached directly.

use std::sync::{Arc, Mutex};

use locus_backend::rng::Key;
use locus_data::{BatchLimits, BatchPlan, Item};
use locus_heads::TaskBatch;

use crate::{Codec, PipelineError};

/// Encoded training examples and their order.
#[derive(Debug)]
pub struct TrainingSet {
    codec: Arc<Codec>,
    items: Vec<Item>,
    plan: BatchPlan,
    token_dropout: f64,
    key: Key,
    /// The batches of the epoch that was asked for last, which is derived data: making it again costs a sort.
    epoch: Mutex<(usize, Vec<Vec<usize>>)>,
}

impl TrainingSet {
    /// Batches of at most `batch_size` items of similar length, in an order drawn from the seed. With `token_dropout`
    /// each input token becomes the unknown token with that probability, so that a model learns what to do with words
    /// that it has not seen.
    ///
    /// # Errors
    /// If the batch size is 0.
    pub fn new(
        codec: Arc<Codec>,
        items: Vec<Item>,
        batch_size: usize,
        token_dropout: f64,
        seed: u64,
    ) -> Result<Self, PipelineError> {
        let lengths: Vec<usize> = items.iter().map(|item| item.ids.len()).collect();
        let plan = BatchPlan::new(&lengths, BatchLimits::items(batch_size), seed)?;
        let epoch = Mutex::new((0, plan.batches(0)));
        Ok(Self { codec, items, plan, token_dropout, key: Key::new(seed).named("token dropout"), epoch })
    }

    /// The number of batches in an epoch.
    pub fn n_batches(&self) -> usize {
        self.plan.n_batches()
    }

    /// The number of items in an epoch.
    pub fn n_items(&self) -> usize {
        self.items.len()
    }

    /// The tokens of all items.
    pub fn token_ids(&self) -> impl Iterator<Item = u32> {
        self.items.iter().flat_map(|item| item.ids.iter().copied())
    }

    /// A key that depends on every item, so that two sets can be told apart.
    pub fn fingerprint(&self, key: Key) -> Key {
        self.items.iter().fold(key, |key, item| {
            item.ids
                .iter()
                .fold(key, |key, &id| key.child(u64::from(id)))
                .named(&format!("{:?}", item.labels))
        })
    }

    /// Batch `idx` of an epoch.
    ///
    /// # Errors
    /// If items of different kinds are mixed.
    pub fn batch(&self, epoch: usize, idx: usize) -> Result<TaskBatch, PipelineError> {
        let numbers = {
            let mut cached = self.epoch.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if cached.0 != epoch {
                *cached = (epoch, self.plan.batches(epoch));
            }
            cached.1[idx].clone()
        };
        let items: Vec<&Item> = numbers.iter().map(|&number| &self.items[number]).collect();
        let mut batch = self.codec.batch(&items)?;
        self.drop_tokens(&mut batch, self.key.child(epoch as u64).child(idx as u64));
        Ok(batch)
    }

    fn drop_tokens(&self, batch: &mut TaskBatch, key: Key) {
        let specials = self.codec.tokenizer.specials();
        let Some(unk) = specials.unk.filter(|_| self.token_dropout > 0.0) else { return };
        let frame = [specials.pad, specials.cls, specials.sep, specials.bos, specials.eos];
        for (idx, id) in batch.tokens.ids.iter_mut().enumerate() {
            if !frame.contains(&Some(*id)) && key.uniform(idx as u64) < self.token_dropout {
                *id = unk;
            }
        }
    }
}
