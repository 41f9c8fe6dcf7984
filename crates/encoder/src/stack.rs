//! The stack: embeddings, position schemes, blocks, final norm.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::mask::{AttentionMask, MaskSpec};
use locus_backend::ops;
use locus_backend::rng::Key;
use locus_embedding::position::{Form, Limit, Pass, Position, PositionScheme, Prepared, Scheme};
use locus_embedding::{EmbeddingError, Embeddings, EmbeddingsConfig, TokenBatch, Tokens};

use crate::cache::indices;
use crate::{
    Block, BlockPass, EmbeddingProjection, KvCache, LayerCache, Linear, Norm, StackConfig, StackShape,
    TokenTables,
};

/// An encoder (every token sees every token) or a decoder (a token sees what came before it).
///
/// Generic over the scheme type, so that a scheme of another crate enters without a change here.
#[derive(Module, Debug)]
pub struct Stack<B: Backend, P = Position<B>> {
    /// Token and segment tables.
    pub embeddings: Embeddings<B>,
    /// The position schemes; layers refer to them by index, so shared parameters exist once.
    pub schemes: Vec<P>,
    /// Norm of the embedding.
    pub embedding_norm: Option<Norm<B>>,
    /// From the width of token vectors to that of the model, where they differ.
    pub embedding_proj: Option<Linear<B>>,
    /// The blocks: one per layer, or one per group of layers that share it.
    pub layers: Vec<Block<B>>,
    /// Norm after the last block.
    pub final_norm: Option<Norm<B>>,
    /// From the width of the model back to that of token vectors, where the output has it.
    pub output_proj: Option<Linear<B>>,
    layer_block: Vec<usize>,
    layer_scheme: Vec<usize>,
    projects_tokens: bool,
    causal: bool,
    dropout: f64,
}

/// The encoded source that a decoder attends to.
#[derive(Clone, Debug)]
pub struct Memory<B: Backend> {
    /// The encoder's output, `[batch, k, d_model]`.
    pub states: Tensor<B, 3>,
    /// Its real tokens, `[batch, k]`.
    pub keep: Vec<bool>,
    /// The encoder's token table, `[vocab_size, width]`, where the decoder reads it too.
    pub tokens: Option<Tensor<B, 2>>,
}

impl<B: Backend> Memory<B> {
    /// These rows of the batch, in this order; a row may come several times.
    ///
    /// # Panics
    /// If the memory does not have a row.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let [_, k_len, _] = self.states.dims();
        let keep = rows.iter().flat_map(|&row| &self.keep[row * k_len..(row + 1) * k_len]);
        let keep = keep.copied().collect();
        let states = self.states.clone().select(0, indices(rows, &self.states.device()));
        Self { states, keep, tokens: self.tokens.clone() }
    }

    /// The mask of `q_len` queries that see all real tokens of the memory.
    pub(crate) fn mask(&self, q_len: usize) -> AttentionMask<B> {
        let [batch, k_len, _] = self.states.dims();
        let spec = MaskSpec { batch, q_len, k_len, keep: Some(self.keep.clone()), ..MaskSpec::default() };
        AttentionMask::new(spec, &self.states.device())
    }
}

/// What is known of a pass before anything is computed.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The new tokens, numbered after those in the cache.
    tokens: Tokens,
    /// The number of real tokens of each row, the cached ones included.
    seen: Vec<usize>,
    /// For each scheme the new tokens and all tokens, with positions as the scheme counts them.
    sides: Vec<(Tokens, Tokens)>,
    key: Option<Key>,
}

impl Plan {
    /// The pass as each scheme sees it.
    fn passes(&self, form: Form) -> Vec<Pass<'_>> {
        let longest_seen = self.seen.iter().copied().max().unwrap_or(0);
        let passes = self.sides.iter().enumerate().map(|(idx, (queries, keys))| {
            let key = self.key.map(|key| key.named("scheme").child(idx as u64));
            Pass { queries, keys, form, longest_seen, key }
        });
        passes.collect()
    }
}

/// What all blocks read in one pass; by scheme where each scheme has its own.
pub(crate) struct Shared<'a, B: Backend> {
    passes: Vec<Pass<'a>>,
    masks: Vec<AttentionMask<B>>,
    memory: Option<(&'a Memory<B>, AttentionMask<B>)>,
    key: Option<Key>,
}

impl<B: Backend> Stack<B> {
    /// Makes a stack with the schemes of its configuration. Check the configuration first.
    pub fn new(config: &StackConfig, shape: StackShape, key: Key, device: &B::Device) -> Self {
        let (instances, layer_scheme) = config.schemes();
        let key_of = |idx: usize| key.named("position").child(idx as u64);
        let schemes = instances.iter().enumerate();
        let schemes = schemes
            .map(|(idx, scheme)| scheme.init(&config.shape_of(scheme, shape.form), key_of(idx), device))
            .collect();
        Self::with_schemes(config, shape, schemes, layer_scheme, key, device)
    }
}

impl<B: Backend, P: PositionScheme<B>> Stack<B, P> {
    /// Makes a stack with these schemes; layer `i` uses `schemes[layer_scheme[i]]`.
    ///
    /// # Panics
    /// If `layer_scheme` does not name a scheme for every layer.
    pub fn with_schemes(
        config: &StackConfig,
        shape: StackShape,
        schemes: Vec<P>,
        layer_scheme: Vec<usize>,
        key: Key,
        device: &B::Device,
    ) -> Self {
        assert_eq!(layer_scheme.len(), config.n_layers, "one scheme index per layer");
        assert!(layer_scheme.iter().all(|&idx| idx < schemes.len()), "scheme index out of range");
        let extra_width: usize = schemes.iter().map(|scheme| scheme.scheme().extra_width()).sum();
        let width = config.embedding_width();
        let embeddings = EmbeddingsConfig {
            vocab_size: shape.vocab_size,
            width: width - extra_width,
            n_segments: config.n_segments,
            scale: config.embedding_factor(),
            init_std: config.init_std,
        };
        let mut embeddings = embeddings.init(key.named("embeddings"), device);
        if shape.cross_attention && config.token_tables == TokenTables::Shared {
            embeddings.tokens = None;
        }
        let projection = config.embedding_projection;
        let linear =
            |dims, bias, name: &str| Linear::new(dims, bias, config.init_std, key.named(name), device);
        let is_factorised = matches!(projection, EmbeddingProjection::Factorised { .. });
        let in_and_out = matches!(projection, EmbeddingProjection::InAndOut { .. });
        let layer_block = config.layer_blocks();
        let block_key = |layer: usize| key.named("layers").child(layer as u64);
        let head_factor = |layer: usize| schemes[layer_scheme[layer]].scheme().head_factor();
        let block = |idx| {
            let layer = layer_block.iter().position(|&block| block == idx).unwrap_or(idx);
            Block::new(config, layer, head_factor(layer), shape.cross_attention, block_key(layer), device)
        };
        let layers = (0..config.n_blocks()).map(block).collect();
        let norm_width = if is_factorised { width } else { config.d_model };
        Self {
            embeddings,
            schemes,
            embedding_norm: config.embedding_norm.then(|| Norm::of(config, norm_width, device)),
            embedding_proj: projection
                .width()
                .map(|width| linear([width, config.d_model], is_factorised, "embedding_proj")),
            layers,
            final_norm: config.residual.has_final_norm().then(|| Norm::of(config, config.d_model, device)),
            output_proj: in_and_out.then(|| linear([config.d_model, width], false, "output_proj")),
            layer_block,
            layer_scheme,
            projects_tokens: in_and_out,
            causal: shape.form == Form::Causal,
            dropout: config.dropout,
        }
    }

    /// An empty cache for this stack.
    pub fn new_cache(&self) -> KvCache<B> {
        KvCache::new(self.n_layers(), self.schemes.len())
    }

    /// Where its parameters lie.
    pub fn device(&self) -> B::Device {
        self.layers.first().map(|block| block.attn.q_proj.weight.device()).unwrap_or_default()
    }

    /// Number of layers, which may share blocks.
    pub fn n_layers(&self) -> usize {
        self.layer_block.len()
    }

    /// Encodes the tokens of a batch, after those in the cache if there is one.
    ///
    /// Positions come with the batch; with a cache they go on from it. With a `key` dropout is active.
    ///
    /// # Shapes
    /// - batch: `[batch, q]`; output: `[batch, q, d_model]`
    ///
    /// # Errors
    /// If a position is past the limit of a scheme, a segment id past the table, or a prefix given to a scheme whose queries
    /// may see no later keys.
    ///
    /// # Panics
    /// If a stack with cross-attention gets no memory or one without gets some, or the cache is of another stack or batch, or
    /// a stack without a token table gets none in the memory.
    ///
    /// # Example
    /// ```
    /// use locus_embedding::{TokenBatch, Tokens, position::Form};
    /// use locus_encoder::{Stack, StackConfig, StackShape};
    /// # use locus_testkit::device::NdArray;
    /// # fn main() -> Result<(), locus_embedding::EmbeddingError> {
    /// let device = Default::default();
    /// let config = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let shape = StackShape { vocab_size: 11, form: Form::Causal, cross_attention: false };
    /// let stack = Stack::<NdArray>::new(&config, shape, locus_backend::rng::Key::new(1), &device);
    /// let tokens = Tokens::new([1, 3], vec![4, 7, 10], vec![true; 3], None)?;
    /// let batch = TokenBatch::from_host(tokens, 11, &device)?;
    /// let x = stack.forward(&batch, None, None, None)?;
    /// assert_eq!(x.dims(), [1, 3, 8]);
    /// # Ok(()) }
    /// ```
    pub fn forward(
        &self,
        batch: &TokenBatch<B>,
        memory: Option<&Memory<B>>,
        cache: Option<&mut KvCache<B>>,
        key: Option<Key>,
    ) -> Result<Tensor<B, 3>, EmbeddingError> {
        let table = memory.and_then(|memory| memory.tokens.clone());
        self.run(batch, table, memory, cache, key)
    }

    /// As [`Stack::forward`] without memory and cache, of a stack whose `embeddings.tokens` is absent: it reads the token table
    /// of another module.
    ///
    /// # Shapes
    /// - batch: `[batch, q]`; table: `[vocab_size, width]`; output: `[batch, q, d_model]`
    ///
    /// # Errors
    /// As [`Stack::forward`].
    ///
    /// # Panics
    /// If the stack has a token table of its own, or cross-attention.
    ///
    /// # Example
    /// ```
    /// use locus_embedding::{TokenBatch, Tokens, position::Form};
    /// use locus_encoder::{Stack, StackConfig, StackShape};
    /// # use locus_testkit::device::NdArray;
    /// # fn main() -> Result<(), locus_embedding::EmbeddingError> {
    /// let device = Default::default();
    /// let config = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let shape = StackShape { vocab_size: 11, form: Form::Bidirectional, cross_attention: false };
    /// let mut stack = Stack::<NdArray>::new(&config, shape, locus_backend::rng::Key::new(1), &device);
    /// let batch = TokenBatch::from_host(Tokens::new([1, 2], vec![4, 7], vec![true; 2], None)?, 11, &device)?;
    /// let own = stack.forward(&batch, None, None, None)?;
    /// let table = stack.embeddings.tokens.take().map(|table| table.val());
    /// if let Some(table) = table {
    ///     assert_eq!(stack.forward_with_table(&batch, table, None)?.into_data(), own.into_data());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn forward_with_table(
        &self,
        batch: &TokenBatch<B>,
        table: Tensor<B, 2>,
        key: Option<Key>,
    ) -> Result<Tensor<B, 3>, EmbeddingError> {
        self.run(batch, Some(table), None, None, key)
    }

    /// `table` is the token table of a stack that has none of its own.
    fn run(
        &self,
        batch: &TokenBatch<B>,
        table: Option<Tensor<B, 2>>,
        memory: Option<&Memory<B>>,
        mut cache: Option<&mut KvCache<B>>,
        key: Option<Key>,
    ) -> Result<Tensor<B, 3>, EmbeddingError> {
        self.check_memory(memory);
        let device = batch.ids.device();
        let plan = self.plan(&batch.tokens, cache.as_deref(), key)?;
        let mut x = self.embed(batch, table, &plan)?;
        // From here on nothing fails: a refused pass leaves the cache as it was.
        let shared = self.shared(&plan, memory, &device);
        let prepared = self.prepare_all(&shared, &device);
        for layer in 0..self.n_layers() {
            let cache = cache.as_deref_mut().map(|cache| &mut cache.layers[layer]);
            x = self.run_block(layer, x, &shared, &prepared[self.scheme_of(layer)], cache);
        }
        if let Some(cache) = cache {
            cache.next_positions = plan.tokens.next_positions();
            cache.tokens = plan.sides.into_iter().map(|(_, keys)| Some(keys)).collect();
            cache.seen = plan.seen;
            self.evict(cache, &device);
        }
        Ok(self.finish(x))
    }

    /// How many tokens a text may have for all schemes to know their positions; `None` where none of them ends.
    pub fn max_positions(&self) -> Option<usize> {
        self.schemes.iter().filter_map(|scheme| scheme.scheme().max_tokens()).min()
    }

    fn form(&self) -> Form {
        if self.causal { Form::Causal } else { Form::Bidirectional }
    }

    pub(crate) fn check_memory(&self, memory: Option<&Memory<B>>) {
        let crosses = self.layers.iter().any(|block| block.cross_attn.is_some());
        assert_eq!(crosses, memory.is_some(), "cross-attention and memory go together");
    }

    /// Refuses a prefix under a scheme whose queries may see no later keys.
    fn check_prefix(&self, tokens: &Tokens) -> Result<(), EmbeddingError> {
        if tokens.prefix.is_none() {
            return Ok(());
        }
        let mut schemes = self.schemes.iter().map(PositionScheme::scheme);
        match schemes.find_map(|scheme| Some((scheme.name(), scheme.only_earlier()?))) {
            Some((scheme, why)) => Err(EmbeddingError::PrefixUnseen { scheme, why }),
            None => Ok(()),
        }
    }

    /// Numbers the tokens, after those in the cache, and checks their positions.
    pub(crate) fn plan(
        &self,
        tokens: &Tokens,
        cache: Option<&KvCache<B>>,
        key: Option<Key>,
    ) -> Result<Plan, EmbeddingError> {
        self.check_prefix(tokens)?;
        let mut tokens = tokens.clone();
        let mut seen = vec![0; tokens.batch];
        if let Some(cache) = cache
            && !cache.next_positions.is_empty()
        {
            tokens.number_after(cache.tokens.iter().flatten().next(), &cache.next_positions);
            seen.clone_from(&cache.seen);
        }
        seen.iter_mut().zip(tokens.lengths()).for_each(|(seen, length)| *seen += length);
        let sides = self.schemes.iter().enumerate().map(|(idx, scheme)| {
            let scheme = scheme.scheme();
            let past = cache.and_then(|cache| cache.tokens[idx].as_ref());
            let mut queries = tokens.clone();
            scheme.number(&mut queries, past, key.map(|key| key.named("positions").child(idx as u64)));
            within_limit(scheme, &mut queries)?;
            let keys = past.map_or_else(|| queries.clone(), |past| past.followed_by(&queries));
            Ok((queries, keys))
        });
        let sides = sides.collect::<Result<_, _>>()?;
        Ok(Plan { tokens, seen, sides, key })
    }

    /// `table` is the token table of a stack that has none of its own.
    pub(crate) fn embed(
        &self,
        batch: &TokenBatch<B>,
        table: Option<Tensor<B, 2>>,
        plan: &Plan,
    ) -> Result<Tensor<B, 3>, EmbeddingError> {
        let mut x = self.embeddings.look_up(batch, table)?; // [batch, q, width − extra width]
        if let Some(proj) = self.embedding_proj.as_ref().filter(|_| self.projects_tokens) {
            x = proj.forward(x); // [batch, q, d_model]
        }
        // What is appended comes first, so that what is added finds the whole width.
        let by_width = |appends: bool| {
            let schemes = self.schemes.iter().map(PositionScheme::scheme).zip(&plan.sides);
            schemes.filter(move |(scheme, _)| (scheme.extra_width() > 0) == appends)
        };
        for (scheme, (queries, _)) in by_width(true).chain(by_width(false)) {
            x = scheme.embed(x, queries); // [batch, q, width] in the end
        }
        if let Some(norm) = &self.embedding_norm {
            x = norm.forward(x);
        }
        x = ops::dropout(x, self.dropout, plan.key.map(|key| key.named("embedding")));
        Ok(match self.embedding_proj.as_ref().filter(|_| !self.projects_tokens) {
            Some(proj) => proj.forward(x), // [batch, q, d_model]
            None => x,
        })
    }

    pub(crate) fn shared<'a>(
        &self,
        plan: &'a Plan,
        memory: Option<&'a Memory<B>>,
        device: &B::Device,
    ) -> Shared<'a, B> {
        let passes = plan.passes(self.form());
        let masks =
            self.schemes.iter().zip(&passes).map(|(scheme, pass)| mask(scheme.scheme(), pass, device));
        let masks = masks.collect();
        let memory = memory.map(|memory| (memory, memory.mask(plan.tokens.seq)));
        Shared { passes, masks, memory, key: plan.key }
    }

    /// What the scheme of this index prepares for all its layers.
    pub(crate) fn prepare(&self, idx: usize, shared: &Shared<'_, B>, device: &B::Device) -> Prepared {
        self.schemes[idx].scheme().prepare(&shared.passes[idx], device)
    }

    pub(crate) fn prepare_all(&self, shared: &Shared<'_, B>, device: &B::Device) -> Vec<Prepared> {
        (0..self.schemes.len()).map(|idx| self.prepare(idx, shared, device)).collect()
    }

    /// The index of a layer's scheme.
    pub(crate) fn scheme_of(&self, layer: usize) -> usize {
        self.layer_scheme[layer]
    }

    /// Runs one block, given what its scheme prepared.
    pub(crate) fn run_block(
        &self,
        layer: usize,
        x: Tensor<B, 3>,
        shared: &Shared<'_, B>,
        prepared: &Prepared,
        cache: Option<&mut LayerCache<B>>,
    ) -> Tensor<B, 3> {
        let idx = self.layer_scheme[layer];
        let at = BlockPass {
            scheme: self.schemes[idx].scheme(),
            pass: &shared.passes[idx],
            prepared,
            mask: &shared.masks[idx],
            memory: shared.memory.as_ref().map(|(memory, mask)| (*memory, mask)),
            layer,
            key: shared.key.map(|key| key.named("layers").child(layer as u64)),
        };
        self.layers[self.layer_block[layer]].forward(x, &at, cache)
    }

    /// What comes after the last block.
    pub(crate) fn finish(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let x = match &self.final_norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        match &self.output_proj {
            Some(proj) => proj.forward(x),
            None => x,
        }
    }

    /// Drops from the cache what the schemes do not retain.
    fn evict(&self, cache: &mut KvCache<B>, device: &B::Device) {
        for (idx, scheme) in self.schemes.iter().enumerate() {
            let Some(tokens) = &cache.tokens[idx] else { continue };
            let Some(columns) = scheme.scheme().retained(tokens) else { continue };
            cache.tokens[idx] = Some(tokens.columns(&columns));
            let layers = cache.layers.iter_mut().zip(&self.layer_scheme);
            layers
                .filter(|(_, scheme)| **scheme == idx)
                .for_each(|(layer, _)| layer.retain(&columns, device));
        }
    }
}

pub(crate) fn mask<B: Backend>(
    scheme: &dyn Scheme<B>,
    pass: &Pass<'_>,
    device: &B::Device,
) -> AttentionMask<B> {
    AttentionMask::new(MaskSpec { visible: scheme.visible(pass), ..pass.mask() }, device)
}

pub(crate) fn within_limit<B: Backend>(
    scheme: &dyn Scheme<B>,
    tokens: &mut Tokens,
) -> Result<(), EmbeddingError> {
    let (limit, clamp) = match scheme.limit() {
        Limit::None => return Ok(()),
        Limit::Clamp(n) => (n, true),
        Limit::Error(n) => (n, false),
    };
    let last = limit.saturating_sub(1);
    for (position, keep) in tokens.positions.iter_mut().zip(&tokens.keep) {
        // Padding of a row that has reached the limit waits past it and is nobody's error.
        if *position > last as f64 && *keep && !clamp {
            return Err(EmbeddingError::PastLimit {
                scheme: scheme.name(),
                position: *position,
                last,
                limit,
            });
        }
        *position = position.min(last as f64);
    }
    Ok(())
}
