//! The stack: embeddings, position schemes, blocks, final norm.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::mask::{AttentionMask, MaskSpec};
use locus_backend::ops;
use locus_backend::rng::Key;
use locus_embedding::position::{Form, Limit, Pass, Position, PositionScheme, Prepared, Scheme};
use locus_embedding::{EmbeddingError, Embeddings, EmbeddingsConfig, TokenBatch, Tokens};

use crate::cache::indices;
use crate::{Block, BlockPass, EmbeddingScale, KvCache, Norm, Residual, StackConfig, StackShape};

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
    /// The blocks.
    pub layers: Vec<Block<B>>,
    /// Norm after the last block.
    pub final_norm: Option<Norm<B>>,
    layer_scheme: Vec<usize>,
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
        Self { states: self.states.clone().select(0, indices(rows, &self.states.device())), keep }
    }

    /// The mask of `q_len` queries that see all real tokens of the memory.
    pub(crate) fn mask(&self, q_len: usize) -> AttentionMask<B> {
        let [batch, k_len, _] = self.states.dims();
        let spec = MaskSpec { batch, q_len, k_len, keep: Some(self.keep.clone()), ..MaskSpec::default() };
        AttentionMask::new(spec, &self.states.device())
    }
}

impl<B: Backend> Stack<B> {
    /// Makes a stack with the schemes of its configuration. Check the configuration first.
    pub fn new(config: &StackConfig, shape: StackShape, key: Key, device: &B::Device) -> Self {
        let (instances, layer_scheme) = config.schemes();
        let position_shape = config.position_shape(shape.form);
        let key_of = |idx: usize| key.named("position").child(idx as u64);
        let schemes = instances.iter().enumerate();
        let schemes =
            schemes.map(|(idx, scheme)| scheme.init(&position_shape, key_of(idx), device)).collect();
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
        let embeddings = EmbeddingsConfig {
            vocab_size: shape.vocab_size,
            width: config.d_model - extra_width,
            n_segments: config.n_segments,
            scale: match config.embedding_scale {
                EmbeddingScale::One => 1.0,
                EmbeddingScale::SqrtDModel => (config.d_model as f64).sqrt(),
            },
            init_std: config.init_std,
        };
        let norm = || Norm::new(config.norm, config.d_model, config.norm_eps, device);
        let block_key = |layer: usize| key.named("layers").child(layer as u64);
        let block = |layer| Block::new(config, shape.cross_attention, block_key(layer), device);
        Self {
            embeddings: embeddings.init(key.named("embeddings"), device),
            schemes,
            embedding_norm: config.embedding_norm.then(norm),
            layers: (0..config.n_layers).map(block).collect(),
            final_norm: (config.residual != Residual::Post).then(norm),
            layer_scheme,
            causal: shape.form == Form::Causal,
            dropout: config.dropout,
        }
    }

    /// An empty cache for this stack.
    pub fn new_cache(&self) -> KvCache<B> {
        KvCache::new(self.layers.len(), self.schemes.len())
    }

    /// Encodes the tokens of a batch, after those in the cache if there is one.
    ///
    /// Positions come with the batch; with a cache they go on from it. With a `key` dropout is active.
    ///
    /// # Shapes
    /// - batch: `[batch, q]`; output: `[batch, q, d_model]`
    ///
    /// # Errors
    /// If a position is past the limit of a scheme, or a segment id past the table.
    ///
    /// # Panics
    /// If a stack with cross-attention gets no memory or one without gets some, or the cache is of another stack or batch.
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
        mut cache: Option<&mut KvCache<B>>,
        key: Option<Key>,
    ) -> Result<Tensor<B, 3>, EmbeddingError> {
        let crosses = self.layers.iter().any(|block| block.cross_attn.is_some());
        assert_eq!(crosses, memory.is_some(), "cross-attention and memory go together");
        let device = batch.ids.device();
        let mut tokens = batch.tokens.clone();
        let mut seen = vec![0; tokens.batch];
        if let Some(cache) = cache.as_deref()
            && !cache.next_positions.is_empty()
        {
            tokens.number_from(&cache.next_positions);
            seen.clone_from(&cache.seen);
        }
        for (seen, keep) in seen.iter_mut().zip(tokens.keep.chunks(tokens.seq)) {
            *seen += keep.iter().filter(|keep| **keep).count();
        }
        let longest_seen = seen.iter().copied().max().unwrap_or(0);
        let sides = self.sides(&tokens, cache.as_deref(), key)?;
        let passes: Vec<Pass<'_>> = sides
            .iter()
            .enumerate()
            .map(|(idx, (queries, keys))| {
                let key = key.map(|key| key.named("scheme").child(idx as u64));
                Pass { queries, keys, form: self.form(), longest_seen, key }
            })
            .collect();
        let x = self.embed(batch, &sides, key)?;
        // From here on nothing fails: a refused pass leaves the cache as it was.
        if let Some(cache) = cache.as_deref_mut() {
            cache.next_positions = tokens.next_positions();
            cache.seen = seen;
            cache.tokens = sides.iter().map(|(_, keys)| Some(keys.clone())).collect();
        }
        let x = self.run_layers(x, &passes, memory, cache.as_deref_mut(), key, &device);
        if let Some(cache) = cache {
            self.evict(cache, &device);
        }
        Ok(match &self.final_norm {
            Some(norm) => norm.forward(x),
            None => x,
        })
    }

    /// How many positions the schemes know; `None` where none of them ends.
    pub fn max_positions(&self) -> Option<usize> {
        let limits = self.schemes.iter().map(|scheme| scheme.scheme().limit());
        limits.filter_map(|limit| if let Limit::Error(n) = limit { Some(n) } else { None }).min()
    }

    fn form(&self) -> Form {
        if self.causal { Form::Causal } else { Form::Bidirectional }
    }

    /// For each scheme the new tokens and all tokens, with positions as the scheme counts them.
    fn sides(
        &self,
        tokens: &Tokens,
        cache: Option<&KvCache<B>>,
        key: Option<Key>,
    ) -> Result<Vec<(Tokens, Tokens)>, EmbeddingError> {
        let sides = self.schemes.iter().enumerate().map(|(idx, scheme)| {
            let scheme = scheme.scheme();
            let mut queries = tokens.clone();
            queries.positions =
                scheme.positions(tokens, key.map(|key| key.named("positions").child(idx as u64)));
            within_limit(scheme, &mut queries)?;
            let past = cache.and_then(|cache| cache.tokens[idx].as_ref());
            let keys = past.map_or_else(|| queries.clone(), |past| past.followed_by(&queries));
            Ok((queries, keys))
        });
        sides.collect()
    }

    fn embed(
        &self,
        batch: &TokenBatch<B>,
        sides: &[(Tokens, Tokens)],
        key: Option<Key>,
    ) -> Result<Tensor<B, 3>, EmbeddingError> {
        let mut x = self.embeddings.forward(batch)?; // [batch, q, d_model − extra width]
        // What is appended comes first, so that what is added finds the whole width.
        let by_width = |appends: bool| {
            let schemes = self.schemes.iter().map(PositionScheme::scheme).zip(sides);
            schemes.filter(move |(scheme, _)| (scheme.extra_width() > 0) == appends)
        };
        for (scheme, (queries, _)) in by_width(true).chain(by_width(false)) {
            x = scheme.embed(x, queries); // [batch, q, d_model] in the end
        }
        if let Some(norm) = &self.embedding_norm {
            x = norm.forward(x);
        }
        Ok(ops::dropout(x, self.dropout, key.map(|key| key.named("embedding"))))
    }

    fn run_layers(
        &self,
        mut x: Tensor<B, 3>,
        passes: &[Pass<'_>],
        memory: Option<&Memory<B>>,
        mut cache: Option<&mut KvCache<B>>,
        key: Option<Key>,
        device: &B::Device,
    ) -> Tensor<B, 3> {
        let prepared: Vec<(Prepared, AttentionMask<B>)> = self
            .schemes
            .iter()
            .zip(passes)
            .map(|(scheme, pass)| {
                (scheme.scheme().prepare(pass, device), mask(scheme.scheme(), pass, device))
            })
            .collect();
        let memory = memory.map(|memory| (memory, memory.mask(passes[0].queries.seq)));
        for (layer, (block, &idx)) in self.layers.iter().zip(&self.layer_scheme).enumerate() {
            let at = BlockPass {
                scheme: self.schemes[idx].scheme(),
                pass: &passes[idx],
                prepared: &prepared[idx].0,
                mask: &prepared[idx].1,
                memory: memory.as_ref().map(|(memory, mask)| (*memory, mask)),
                layer,
                key: key.map(|key| key.named("layers").child(layer as u64)),
            };
            x = block.forward(x, &at, cache.as_deref_mut().map(|cache| &mut cache.layers[layer]));
        }
        x
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

fn mask<B: Backend>(scheme: &dyn Scheme<B>, pass: &Pass<'_>, device: &B::Device) -> AttentionMask<B> {
    let keep = &pass.keys.keep;
    let spec = MaskSpec {
        batch: pass.queries.batch,
        q_len: pass.queries.seq,
        k_len: pass.keys.seq,
        causal: pass.form == Form::Causal,
        keep: keep.iter().any(|keep| !keep).then(|| keep.clone()),
        visible: scheme.visible(pass),
    };
    AttentionMask::new(spec, device)
}

fn within_limit<B: Backend>(scheme: &dyn Scheme<B>, tokens: &mut Tokens) -> Result<(), EmbeddingError> {
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
