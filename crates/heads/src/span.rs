//! Spans of words with labels, which may lie in one another: named entities.
//!
//! Efficient GlobalPointer (Su et al. 2022, arXiv:2208.03054). Every word has a vector `q` as the first of a span
//! and a vector `k` as the last. A span from word `i` to word `j` has for each label `a` the score
//! `s_a(i, j) = qᵢᵀ R(j − i) kⱼ / √d + u_aᵀ [qᵢ; kᵢ] + v_aᵀ [qⱼ; kⱼ]`, and is one where this is above 0. `R` is the rotation of
//! RoPE by the places of the words, or nothing; `u_a` and `v_a` are the two halves of the paper's `w_a`.
//! Differs: the factor `1/√d` and the biases are those of the authors' code (bert4keras), which halves the last two terms besides.
//!
//! The loss of a text and a label is the paper's: `ln(1 + Σ e^(−s))` over the spans that have the label, plus
//! `ln(1 + Σ e^s)` over those that do not.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use locus_backend::rng::Key;
use locus_backend::{ops, reference};
use locus_embedding::position::{Form, LayerPass, Pass, Position, PositionScheme};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{Linear, Stack};

use crate::backward::through_stack;
use crate::batch::{NEVER, check_count};
use crate::span_row::Cells;
use crate::tag::count_tokens;
use crate::transform::Transform;
use crate::{
    GradientCheckpointing, HeadError, Labels, LossSum, Overlap, ScoredSpan, SpanRow, TaskBatch, Trainable,
};

/// An encoder with scores of all spans of words for each label.
#[derive(Module, Debug)]
pub struct SpanClassifier<B: Backend, P = Position<B>> {
    /// The encoder.
    pub encoder: Stack<B, P>,
    /// What stands between the encoder and the projections.
    pub transform: Option<Transform<B>>,
    /// `[d_model, head_size]`: words as the first of a span.
    pub start_proj: Linear<B>,
    /// `[d_model, head_size]`: words as the last of a span.
    pub end_proj: Linear<B>,
    /// `[2 · head_size, 2 · n_labels]`: what both vectors of a word are worth as the first, then as the last word of a span of
    /// each label.
    pub label_proj: Linear<B>,
    /// Turns the vectors by the places of their words.
    pub position: Position<B>,
    pub(crate) max_words: usize,
    #[module(skip)]
    pub(crate) overlap: Overlap,
    pub(crate) vocab_size: usize,
    pub(crate) dropout: f64,
}

impl<B: Backend, P: PositionScheme<B>> SpanClassifier<B, P> {
    /// The scores of all spans for all labels. Those of spans that do not count ([`SpanRow::counted`]) mean nothing.
    ///
    /// # Shapes
    /// - tokens: `[batch, seq]`; rows: `[batch]`; output: `[batch, n_labels, words, longest]`, first word by number of words less
    ///   one; `words` as in the row that has most, `longest` as many or [`SpanConfig::max_words`](crate::SpanConfig::max_words) if
    ///   that is fewer
    ///
    /// # Errors
    /// If an id, a position or the column of a word is out of range, or there is no row for each of the batch.
    ///
    /// # Example
    /// ```
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_embedding::Tokens;
    /// use locus_encoder::StackConfig;
    /// use locus_heads::{HeadConfig, SpanRow, TaskModel};
    /// # fn main() -> Result<(), locus_heads::HeadError> {
    /// let stack = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let head = HeadConfig::SpanClassification { n_labels: 5, spans: Default::default(), layers: Default::default() };
    /// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let TaskModel::SpanClassifier(model) = model else { unreachable!() };
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], None)?;
    /// // The second word has two tokens or more; the first token is none's.
    /// let row = SpanRow { columns: vec![1, 2], owned: 0..2, spans: Vec::new() };
    /// assert_eq!(model.scores(&tokens, &[row], None)?.dims(), [1, 5, 2, 2]);
    /// # Ok(()) }
    /// ```
    pub fn scores(
        &self,
        tokens: &Tokens,
        rows: &[SpanRow],
        key: Option<Key>,
    ) -> Result<Tensor<B, 4>, HeadError> {
        let x = self.encoder.forward(&self.batch(tokens)?, None, None, key)?; // [batch, seq, d_model]
        self.scores_of(x, rows, key)
    }

    /// The summed loss of scores. Its weight counts pairs of a row and a label.
    ///
    /// # Shapes
    /// - scores: `[batch, n_labels, words, longest]`; rows: `[batch]`; output: `[1]`
    ///
    /// # Errors
    /// If there is no row for each of the batch, or a span lies outside its row.
    ///
    /// # Panics
    /// If a row has more words than the scores.
    pub fn loss_of_scores(&self, scores: Tensor<B, 4>, rows: &[SpanRow]) -> Result<LossSum<B>, HeadError> {
        let [batch, n_labels, n_words, longest] = scores.dims();
        check_count(batch, rows.len())?;
        let Cells { not_others, not_right } = Cells::new(rows, [n_labels, n_words, longest], self.max_words)?;
        let shape = [batch * n_labels, n_words * longest];
        let scores = ops::reshape(scores, shape);
        let device = scores.device();
        let mask = |cells: Vec<bool>| Tensor::<B, 2, Bool>::from_data(TensorData::new(cells, shape), &device);
        let others = ln_one_plus(scores.clone(), mask(not_others));
        let right = ln_one_plus(scores.neg(), mask(not_right));
        Ok(LossSum { sum: others + right, weight: (batch * n_labels) as f64 })
    }

    /// The spans of each row that count and whose score is above 0, before [`Overlap::choose`].
    ///
    /// # Shapes
    /// - scores: `[batch, n_labels, words, longest]`; rows: `[batch]`
    ///
    /// # Panics
    /// If a row has more words than the scores, or there are more rows.
    pub fn above_zero(&self, scores: Tensor<B, 4>, rows: &[SpanRow]) -> Vec<Vec<ScoredSpan>> {
        let [_, n_labels, n_words, longest] = scores.dims();
        let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
        let of_row = |(row, words): (usize, &SpanRow)| -> Vec<ScoredSpan> {
            let with_labels =
                words.counted(self.max_words).flat_map(|span| (0..n_labels).map(move |label| (span, label)));
            let scored = with_labels.map(|([first, last], label)| {
                let cell = ((row * n_labels + label) * n_words + first) * longest + last - first;
                ScoredSpan { first, last, label, score: f64::from(scores[cell]) }
            });
            scored.filter(|span| span.score > 0.0).collect()
        };
        rows.iter().enumerate().map(of_row).collect()
    }

    /// Which of the spans of a text may share words.
    pub fn overlap(&self) -> Overlap {
        self.overlap
    }

    pub(crate) fn batch(&self, tokens: &Tokens) -> Result<TokenBatch<B>, HeadError> {
        Ok(TokenBatch::from_host(tokens.clone(), self.vocab_size, &self.encoder.device())?)
    }

    /// The scores of the vectors that the encoder has for the tokens.
    ///
    /// # Shapes
    /// - x: `[batch, seq, d_model]`; rows: `[batch]`; output: `[batch, n_labels, words, longest]`, as [`Self::scores`]
    ///
    /// # Errors
    /// If the column of a word is out of range, or there is no row for each of the batch.
    pub fn scores_of(
        &self,
        x: Tensor<B, 3>,
        rows: &[SpanRow],
        key: Option<Key>,
    ) -> Result<Tensor<B, 4>, HeadError> {
        let mut x = at_words(x, rows)?; // [batch, words, d_model]
        if let Some(transform) = &self.transform {
            x = transform.forward(x);
        }
        let x = ops::dropout(x, self.dropout, key.map(|key| key.named("head")));
        let (q, k) = (self.start_proj.forward(x.clone()), self.end_proj.forward(x)); // [batch, words, head_size]
        let of_labels = self.label_proj.forward(Tensor::cat(vec![q.clone(), k.clone()], 2)); // [batch, words, 2 · n_labels]
        let [batch, n_words, n_sides] = of_labels.dims();
        let (n_labels, longest) = (n_sides / 2, self.max_words.min(n_words));
        let (lasts, device) = (last_words(n_words, longest), of_labels.device());
        let side = |start| of_labels.clone().narrow(2, start, n_labels).swap_dims(1, 2); // [batch, n_labels, words]
        let shape = [batch, n_labels, n_words, longest];
        let starts = side(0).unsqueeze_dim::<4>(3).expand(shape);
        let ends = side(n_labels).select(2, indices(lasts.iter().copied(), &device)); // [batch, n_labels, words · longest]
        let products = ops::reshape(self.products(q, k, rows, key)?, [batch, n_words * n_words]);
        let cells = lasts.iter().enumerate().map(|(idx, last)| idx / longest * n_words + last);
        let products = products.select(1, indices(cells, &device)); // [batch, words · longest]
        let products = ops::reshape(products, [batch, 1, n_words, longest]);
        Ok(products.expand(shape) + starts + ops::reshape(ends, shape))
    }

    /// `qᵢᵀ R(j − i) kⱼ / √d` of `[batch, words, head_size]`, which is `[batch, 1, words, words]`.
    fn products(
        &self,
        q: Tensor<B, 3>,
        k: Tensor<B, 3>,
        rows: &[SpanRow],
        key: Option<Key>,
    ) -> Result<Tensor<B, 4>, HeadError> {
        let [batch, n_words, head_size] = q.dims();
        let (scheme, key) = (self.position.scheme(), key.map(|key| key.named("span position")));
        let keep = rows.iter().flat_map(|row| (0..n_words).map(move |word| word < row.columns.len()));
        let mut words = Tokens::new([batch, n_words], vec![0; batch * n_words], keep.collect(), None)?;
        scheme.number(&mut words, None, key);
        let pass =
            Pass { queries: &words, keys: &words, form: Form::Bidirectional, longest_seen: n_words, key };
        let prepared = scheme.prepare(&pass, &q.device());
        let hidden = q.clone();
        let scale = (head_size as f64).powf(-0.5);
        let layer = LayerPass {
            pass: &pass,
            prepared: &prepared,
            layer: 0,
            hidden: &hidden,
            state: None,
            scale,
            projections: None,
        };
        let turned = scheme.rotate(q.unsqueeze_dim::<4>(1), k.unsqueeze_dim::<4>(1), &layer);
        let Some((q, k)) = turned.views.into_iter().next() else {
            unreachable!("a scheme gives at least one view")
        };
        Ok(reference::scores(q, k, scale))
    }

    /// The loss of the encoder's output, `[batch, seq, d_model]`.
    fn loss_of(&self, x: Tensor<B, 3>, labels: &Labels, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        let Labels::SpansOfWords(rows) = labels else {
            let (expected, found) = (Labels::SpansOfWords(Vec::new()).kind(), labels.kind());
            return Err(HeadError::WrongLabels { head: "span classification", expected, found });
        };
        self.loss_of_scores(self.scores_of(x, rows, key)?, rows)
    }
}

/// The vectors of the first tokens of words, `[batch, seq, d_model]` → `[batch, words, d_model]`, with those of some token where
/// a row has fewer words.
fn at_words<B: Backend>(x: Tensor<B, 3>, rows: &[SpanRow]) -> Result<Tensor<B, 3>, HeadError> {
    let [batch, seq, d_model] = x.dims();
    check_count(batch, rows.len())?;
    rows.iter().enumerate().try_for_each(|(row, words)| words.check(row, seq))?;
    let n_words = rows.iter().map(|row| row.columns.len()).max().unwrap_or(0).max(1);
    let places = rows.iter().enumerate().flat_map(|(row, words)| {
        let columns = words.columns.iter().copied().chain(std::iter::repeat(0)).take(n_words);
        columns.map(move |column| row * seq + column)
    });
    let places = indices(places, &x.device());
    let words = ops::reshape(x, [batch * seq, d_model]).select(0, places); // [batch · words, d_model]
    Ok(ops::reshape(words, [batch, n_words, d_model]))
}

/// The last words of the spans from each word on, the shortest first, `[words · longest]`; of those that end behind the row, its last
/// word.
fn last_words(n_words: usize, longest: usize) -> Vec<usize> {
    let from = |first: usize| (first..first + longest).map(move |last| last.min(n_words - 1));
    (0..n_words).flat_map(from).collect()
}

fn indices<B: Backend>(indices: impl Iterator<Item = usize>, device: &B::Device) -> Tensor<B, 1, Int> {
    let indices: Vec<i32> = indices.map(|idx| idx as i32).collect();
    Tensor::from_data(TensorData::from(&indices[..]), device)
}

/// The sum over rows of `ln(1 + Σ eˢ)`, `[rows, cells]` → `[1]`, without the cells of the mask.
fn ln_one_plus<B: Backend>(scores: Tensor<B, 2>, without: Tensor<B, 2, Bool>) -> Tensor<B, 1> {
    let [rows, _] = scores.dims();
    let zero = Tensor::zeros([rows, 1], &scores.device());
    // The 1 is e⁰, and −ln of its share in the sum is the logarithm of the sum.
    let all = Tensor::cat(vec![zero, scores.mask_fill(without, NEVER)], 1); // [rows, 1 + cells]
    reference::log_softmax(all).narrow(1, 0, 1).sum().neg()
}

impl<B: Backend, P: PositionScheme<B>> Trainable<B> for SpanClassifier<B, P> {
    type Batch = TaskBatch;

    fn loss(&self, batch: &TaskBatch, key: Option<Key>) -> Result<LossSum<B>, HeadError> {
        let x = self.encoder.forward(&self.batch(&batch.tokens)?, None, None, key)?;
        self.loss_of(x, &batch.labels, key)
    }

    fn backward(
        &self,
        batch: &TaskBatch,
        key: Option<Key>,
        checkpointing: GradientCheckpointing,
        sums: &mut GradientsParams,
    ) -> Result<LossSum<B::InnerBackend>, HeadError>
    where
        B: AutodiffBackend,
    {
        let tokens = self.batch(&batch.tokens)?;
        let loss_of = |x| self.loss_of(x, &batch.labels, key);
        through_stack(self, &self.encoder, &tokens, key, checkpointing, sums, loss_of)
    }

    fn n_tokens(batch: &TaskBatch) -> usize {
        count_tokens(batch)
    }
}
