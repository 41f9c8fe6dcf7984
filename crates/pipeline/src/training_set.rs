//! The batches of every epoch, as a pure function of seed, epoch and index: any step can be reached directly.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use locus_backend::rng::Key;
use locus_data::corpus::{Corpus, CorpusRows};
use locus_data::objective::ExampleKey;
use locus_data::{BatchLimits, BatchPlan, CandidateItem, Item, ItemLabels, lm_blocks};
use locus_heads::TaskBatch;

use crate::pretraining::{Piece, Pretraining};
use crate::{Codec, Objective, Packing, PipelineError, ranking};

/// Training examples and their order.
#[derive(Debug)]
pub struct TrainingSet {
    codec: Arc<Codec>,
    rows: Rows,
    seed: u64,
    token_dropout: f64,
    n_candidates: Option<usize>,
    key: Key,
}

/// Where items come from.
#[derive(Debug)]
enum Rows {
    /// From a list.
    Items(Vec<Item>, Order),
    /// An objective makes them of pieces of text, anew in every epoch.
    Pieces(Vec<Piece>, Pretraining, Order),
    /// From the mapped files of a corpus, when they are needed.
    Corpus(OfCorpus),
}

/// Rows of a corpus.
#[derive(Debug)]
struct OfCorpus {
    rows: CorpusRows,
    /// Tokens from the start of a row to that of the next.
    seq: usize,
    batch_size: usize,
    pretraining: Option<Pretraining>,
}

impl OfCorpus {
    /// The numbers of the rows of a batch.
    fn batch(&self, epoch: usize, idx: usize) -> Vec<u64> {
        let start = (idx * self.batch_size) as u64;
        let places = start..(start + self.batch_size as u64).min(self.rows.n_rows());
        places.map(|place| self.rows.number(epoch as u64, place)).collect()
    }

    fn item(&self, codec: &Codec, key: ExampleKey) -> Result<Item, PipelineError> {
        let (corpus, start) = (self.rows.corpus(), key.example * self.seq as u64);
        let range = |n: usize| start..(start + n as u64).min(corpus.n_tokens());
        let tokens = |n: usize| corpus.tokens(range(n));
        match &self.pretraining {
            Some(pretraining) => {
                let n_tokens = self.seq + pretraining.overlap();
                let mut ids = tokens(n_tokens)?;
                if matches!(pretraining.objective(), Objective::PrefixLm(_)) {
                    ids = longest_part(&ids, &corpus.document_ends(range(n_tokens))).to_vec();
                }
                let piece = pretraining.piece_of(codec, &ids, None);
                pretraining.item(codec, &piece, key)
            }
            None if codec.packing == Packing::Documents => Ok(self.rows.row(key.example)?),
            None => Ok(lm_blocks(&self.rows.tokens(key.example)?, self.seq).swap_remove(0)),
        }
    }
}

/// The longest part of a row that lies in one document, the first of those. A part of one token, which has nothing to
/// predict, is taken with its neighbours.
fn longest_part<'a>(ids: &'a [u32], ends: &[usize]) -> &'a [u32] {
    let starts = [0].into_iter().chain(ends.iter().copied());
    let parts = starts.zip(ends.iter().copied().chain([ids.len()])).map(|(start, end)| &ids[start..end]);
    let longest = parts.min_by_key(|part| std::cmp::Reverse(part.len()));
    longest.filter(|part| part.len() > 1).unwrap_or(ids)
}

/// Rows of similar length share a batch.
#[derive(Debug)]
struct Order {
    plan: BatchPlan,
    /// The batches of the epoch that was asked for last, which is derived data: making it again costs a sort.
    epoch: Mutex<(usize, Vec<Vec<usize>>)>,
}

impl Order {
    fn new(lengths: &[usize], batch_size: usize, seed: u64) -> Result<Self, PipelineError> {
        let plan = BatchPlan::new(lengths, BatchLimits::items(batch_size), seed)?;
        let epoch = Mutex::new((0, plan.batches(0)));
        Ok(Self { plan, epoch })
    }

    fn batch(&self, epoch: usize, idx: usize) -> Vec<usize> {
        let mut cached = self.epoch.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if cached.0 != epoch {
            *cached = (epoch, self.plan.batches(epoch));
        }
        cached.1[idx].clone()
    }
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
        let lengths: Vec<usize> = items.iter().map(length).collect();
        let order = Order::new(&lengths, batch_size, seed)?;
        Ok(Self::of(codec, Rows::Items(items, order), token_dropout, seed))
    }

    /// Batches of what the codec's objective makes of documents: other masks in every epoch, the same for the same seed.
    ///
    /// # Errors
    /// If the codec has no objective, its tokenizer lacks a token that the objective needs, or the batch size is 0.
    pub fn of_documents(
        codec: Arc<Codec>,
        documents: &[String],
        batch_size: usize,
        seed: u64,
    ) -> Result<Self, PipelineError> {
        let Some(pretraining) = codec.pretraining()? else {
            return Err(PipelineError::WrongTask { task: codec.task(), asked: "learn from text alone" });
        };
        let pieces = pretraining.pieces(&codec, documents)?;
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.ids.len() + piece.second.len()).collect();
        let order = Order::new(&lengths, batch_size, seed)?;
        Ok(Self::of(codec, Rows::Pieces(pieces, pretraining, order), 0.0, seed))
    }

    /// Batches of the rows of a corpus, which are read when they are needed: for the codec's objective, or, without one, for
    /// a language model.
    ///
    /// # Errors
    /// If the corpus was made with another tokenizer, is empty, has no text that the objective needs, the tokenizer puts several
    /// tokens ahead of a text, or the batch size is 0.
    pub fn of_corpus(
        codec: Arc<Codec>,
        corpus: Arc<Corpus>,
        batch_size: usize,
        seed: u64,
    ) -> Result<Self, PipelineError> {
        if batch_size == 0 {
            return Err(PipelineError::Options(vec!["a batch needs at least one row".to_owned()]));
        }
        corpus.check_tokenizer(&codec.tokenizer)?;
        let pretraining = codec.pretraining()?;
        let seq = match &pretraining {
            Some(pretraining) => {
                if let Some(why) = pretraining.objective().needs_text() {
                    let name = pretraining.objective().name();
                    return Err(PipelineError::Options(vec![format!(
                        "{name} from a corpus of tokens: {why}"
                    )]));
                }
                pretraining.text_len(&codec)? - pretraining.overlap()
            }
            None => codec.max_seq_len,
        };
        // The files have no token ahead of documents; they get the one that other text gets.
        let start = match codec.text_start()[..] {
            [] => None,
            [token] => Some(token),
            ref tokens => {
                return Err(PipelineError::Options(vec![format!(
                    "data.corpus: expected a tokenizer that puts at most one token ahead of a text, found {}; take data.train",
                    tokens.len()
                )]));
            }
        };
        let rows = CorpusRows::new(corpus, seq, seed)?.with_start(start);
        let of_corpus = OfCorpus { rows, seq, batch_size, pretraining };
        Ok(Self::of(codec, Rows::Corpus(of_corpus), 0.0, seed))
    }

    fn of(codec: Arc<Codec>, rows: Rows, token_dropout: f64, seed: u64) -> Self {
        let key = Key::new(seed).named("token dropout");
        Self { codec, rows, seed, token_dropout, n_candidates: None, key }
    }

    /// The same with at most so many candidates of each query: all that are worth something, and others, at least one, which
    /// are drawn anew in every epoch.
    #[must_use]
    pub fn with_candidates(mut self, n_candidates: Option<usize>) -> Self {
        self.n_candidates = n_candidates;
        self
    }

    /// The number of batches in an epoch.
    pub fn n_batches(&self) -> usize {
        match &self.rows {
            Rows::Items(_, order) | Rows::Pieces(_, _, order) => order.plan.n_batches(),
            Rows::Corpus(corpus) => (corpus.rows.n_rows() as usize).div_ceil(corpus.batch_size),
        }
    }

    /// The number of items in an epoch.
    pub fn n_items(&self) -> usize {
        match &self.rows {
            Rows::Items(items, _) => items.len(),
            Rows::Pieces(pieces, ..) => pieces.len(),
            Rows::Corpus(corpus) => corpus.rows.n_rows() as usize,
        }
    }

    /// The tokens of all items. Those of a corpus are not listed.
    pub fn token_ids(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match &self.rows {
            Rows::Items(items, _) => Box::new(items.iter().flat_map(|item| {
                let candidates = ranking::candidates(item).iter().flat_map(|candidate| &candidate.ids);
                item.ids.iter().chain(candidates).copied()
            })),
            Rows::Pieces(pieces, ..) => {
                Box::new(pieces.iter().flat_map(|piece| piece.ids.iter().chain(&piece.second).copied()))
            }
            Rows::Corpus(_) => Box::new(std::iter::empty()),
        }
    }

    /// A key that depends on every item, so that two sets can be told apart.
    pub fn fingerprint(&self, key: Key) -> Key {
        let tokens = |key: Key, ids: &[u32]| ids.iter().fold(key, |key, &id| key.child(u64::from(id)));
        match &self.rows {
            Rows::Items(items, _) => items
                .iter()
                .fold(key, |key, item| tokens(key, &item.ids).named(&format!("{:?}", item.labels))),
            Rows::Pieces(pieces, pretraining, _) => {
                let key = key.named(&format!("{:?}", pretraining.objective()));
                pieces
                    .iter()
                    .fold(key, |key, piece| tokens(tokens(key, &piece.ids).named("piece"), &piece.second))
            }
            Rows::Corpus(corpus) => {
                let objective = corpus.pretraining.as_ref().map(Pretraining::objective);
                let settings = format!("{objective:?} {:?} {}", self.codec.packing, corpus.seq);
                key.named(&corpus.rows.corpus().fingerprint()).named(&settings)
            }
        }
    }

    /// Batch `idx` of an epoch.
    ///
    /// # Errors
    /// If items of different kinds are mixed, or the files of a corpus are damaged.
    pub fn batch(&self, epoch: usize, idx: usize) -> Result<TaskBatch, PipelineError> {
        let items: Vec<Cow<'_, Item>> = match &self.rows {
            Rows::Items(items, order) => {
                let item = |number: usize| self.sampled(&items[number], epoch, number);
                order.batch(epoch, idx).into_iter().map(item).collect()
            }
            Rows::Pieces(pieces, pretraining, order) => {
                let item = |number: usize| {
                    pretraining.item(&self.codec, &pieces[number], self.example(epoch, number as u64))
                };
                let items = order.batch(epoch, idx).into_iter().map(|number| item(number).map(Cow::Owned));
                items.collect::<Result<_, PipelineError>>()?
            }
            Rows::Corpus(corpus) => {
                let numbers = corpus.batch(epoch, idx).into_iter();
                let items = numbers.map(|number| corpus.item(&self.codec, self.example(epoch, number)));
                items.map(|item| item.map(Cow::Owned)).collect::<Result<_, PipelineError>>()?
            }
        };
        let items: Vec<&Item> = items.iter().map(|item| &**item).collect();
        let mut batch = self.codec.batch(&items)?;
        self.drop_tokens(&mut batch, self.key.child(epoch as u64).child(idx as u64));
        Ok(batch)
    }

    fn sampled<'a>(&self, item: &'a Item, epoch: usize, number: usize) -> Cow<'a, Item> {
        let all = ranking::candidates(item);
        let Some(n) = self.n_candidates.filter(|&n| n < all.len()) else { return Cow::Borrowed(item) };
        let key = Key::new(self.seed).named("candidates").child(epoch as u64).child(number as u64);
        let candidates = sample(all, n, key).into_iter().map(|at| all[at].clone()).collect();
        Cow::Owned(Item {
            ids: item.ids.clone(),
            labels: ItemLabels::Candidates(candidates),
            ..Item::default()
        })
    }

    fn example(&self, epoch: usize, example: u64) -> ExampleKey {
        ExampleKey { seed: self.seed, epoch: epoch as u64, example }
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

/// The length by which items share a batch: that of the longest row; of a source and its target that of both rows.
fn length(item: &Item) -> usize {
    let own = item.ids.len();
    match &item.labels {
        // Both texts are rows of one batch.
        ItemLabels::Pair { ids, .. } => own.max(ids.len()),
        ItemLabels::Target { ids, labels } if labels.is_empty() => own.max(ids.len()),
        // The decoder's rows are a batch of their own.
        ItemLabels::Target { ids, .. } => own + ids.len(),
        ItemLabels::Candidates(list) => own + list.iter().map(|one| one.ids.len()).max().unwrap_or(0),
        _ => own,
    }
}

/// The places of all candidates that are worth something and of others drawn by the key, ascending.
fn sample(candidates: &[CandidateItem], n: usize, key: Key) -> Vec<usize> {
    let (mut kept, mut others): (Vec<usize>, Vec<usize>) =
        (0..candidates.len()).partition(|&at| candidates[at].gain > 0.0);
    others.sort_by_key(|&at| key.bits(at as u64));
    others.truncate(n.saturating_sub(kept.len()).max(1));
    kept.append(&mut others);
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use locus_data::PairLabel;

    use super::*;

    #[test]
    fn candidates_are_drawn_anew_and_right_ones_stay() {
        let gains = [0.0, 0.0, 2.0, 0.0, 0.0, 1.0, 0.0];
        let candidates = gains.map(|gain| CandidateItem { gain, ..CandidateItem::default() });
        let drawn: Vec<Vec<usize>> = (0..13).map(|n| sample(&candidates, 4, Key::new(n))).collect();
        for list in &drawn {
            assert!(
                list.len() == 4 && list.contains(&2) && list.contains(&5) && list.is_sorted(),
                "{list:?}"
            );
        }
        assert!(drawn.iter().any(|list| *list != drawn[0]));
        assert_eq!(drawn[3], sample(&candidates, 4, Key::new(3)));
        // There is always something to compare with.
        assert_eq!(sample(&candidates, 1, Key::new(1)).len(), 3);
    }

    #[test]
    fn a_length_is_that_of_both_texts() {
        let item = |labels| Item { ids: vec![1; 5], labels, ..Item::default() };
        let target = |n: usize| ItemLabels::Target { ids: vec![1; n], labels: vec![1; n] };
        let found = |n: usize| ItemLabels::Target { ids: vec![1; n], labels: Vec::new() };
        let pair = |n: usize| ItemLabels::Pair { ids: vec![1; n], label: PairLabel::Score(0.5) };
        let candidate = |n: usize| CandidateItem { ids: vec![1; n], ..CandidateItem::default() };
        let list = ItemLabels::Candidates(vec![candidate(2), candidate(7), candidate(3)]);
        let lengths = [ItemLabels::Row(1), target(7), target(2), found(7), pair(7), pair(2), list]
            .map(|l| length(&item(l)));
        assert_eq!(lengths, [5, 12, 7, 7, 7, 5, 12]);
    }

    #[test]
    fn a_part_lies_in_one_document() {
        let ids = [10, 11, 12, 13, 14, 15, 16];
        assert_eq!(longest_part(&ids, &[]), ids);
        assert_eq!(longest_part(&ids, &[7]), ids);
        assert_eq!(longest_part(&ids, &[2, 5]), [12, 13, 14]);
        assert_eq!(longest_part(&ids, &[3, 4]), [10, 11, 12], "of two that are as long the first");
        assert_eq!(longest_part(&ids[..2], &[1, 2]), [10, 11], "nothing to predict in one token");
    }
}
