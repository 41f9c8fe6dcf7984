//! One block: attention, in a decoder with a memory cross-attention, feed-forward; each with its norm and residual.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::mask::AttentionMask;
use locus_backend::ops;
use locus_backend::rng::Key;
use locus_embedding::position::{Pass, Prepared, Scheme};

use crate::{Attention, FeedForward, LayerCache, Memory, Norm, Residual, StackConfig};

/// What a block borrows from the stack during one pass.
#[derive(Clone, Copy)]
pub struct BlockPass<'a, B: Backend> {
    /// The layer's position scheme.
    pub scheme: &'a dyn Scheme<B>,
    /// Tokens and positions, as the scheme counts them.
    pub pass: &'a Pass<'a>,
    /// What the scheme prepared for the pass.
    pub prepared: &'a Prepared,
    /// Which keys each query may attend to.
    pub mask: &'a AttentionMask<B>,
    /// The encoded source and the mask of its padding, where the stack has cross-attention.
    pub memory: Option<(&'a Memory<B>, &'a AttentionMask<B>)>,
    /// The layer, from 0.
    pub layer: usize,
    /// The random source of this layer in a training step.
    pub key: Option<Key>,
}

/// One block of a stack.
#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    /// Norm of the attention; absent in a first block that reads a normalised embedding.
    pub attn_norm: Option<Norm<B>>,
    /// Attention to the sequence itself.
    pub attn: Attention<B>,
    /// Norm of what attention gives, in a sandwich.
    pub attn_post_norm: Option<Norm<B>>,
    /// Norm of the cross-attention.
    pub cross_norm: Option<Norm<B>>,
    /// Attention to the memory.
    pub cross_attn: Option<Attention<B>>,
    /// Norm of the feed-forward layer; absent where it shares that of the attention.
    pub ffn_norm: Option<Norm<B>>,
    /// Feed-forward layer.
    pub ffn: FeedForward<B>,
    /// Norm of what the feed-forward layer gives, in a sandwich.
    pub ffn_post_norm: Option<Norm<B>>,
    residual: usize,
    dropout: f64,
}

impl<B: Backend> Block<B> {
    /// Makes the block of a layer; `head_factor` is that of its position scheme.
    pub fn new(
        config: &StackConfig,
        layer: usize,
        head_factor: usize,
        cross_attention: bool,
        key: Key,
        device: &B::Device,
    ) -> Self {
        let norm = |exists: bool| exists.then(|| Norm::of(config, config.d_model, device));
        // GPT-2's scaling: the residual stream sums 2 · n_layers outputs, whose variance should not grow with depth.
        let residual_scale = 1.0 / (2.0 * config.n_layers as f64).sqrt();
        let attention =
            |name, factor| Attention::new(config, factor, residual_scale, key.named(name), device);
        let residual = config.residual;
        Self {
            attn_norm: norm(residual != Residual::PreFromSecond || layer > 0),
            attn: attention("attn", head_factor).with_qk_norm(config, device),
            attn_post_norm: norm(residual == Residual::Sandwich),
            cross_norm: norm(cross_attention),
            cross_attn: cross_attention.then(|| attention("cross_attn", 1)),
            ffn_norm: norm(residual != Residual::ParallelShared),
            ffn: FeedForward::new(config, residual_scale, key.named("ffn"), device),
            ffn_post_norm: norm(residual == Residual::Sandwich),
            residual: residual as usize,
            dropout: config.dropout,
        }
    }

    /// Runs the block.
    ///
    /// # Shapes
    /// - x: `[batch, q, d_model]`; output as x
    pub fn forward(
        &self,
        x: Tensor<B, 3>,
        at: &BlockPass<'_, B>,
        mut cache: Option<&mut LayerCache<B>>,
    ) -> Tensor<B, 3> {
        let of_site = |site: &str| at.key.map(|key| key.named(site));
        let drop = |x, site: &'static str| ops::dropout(x, self.dropout, of_site(site));
        let is_parallel = [Residual::Parallel as usize, Residual::ParallelShared as usize];
        if is_parallel.contains(&self.residual) {
            let of_attn = normed(&self.attn_norm, x.clone());
            let of_ffn = match &self.ffn_norm {
                Some(norm) => norm.forward(x.clone()),
                None => of_attn.clone(),
            };
            let attn = self.attn.forward(of_attn, at, cache.as_deref_mut());
            let ffn = self.ffn.forward(of_ffn, of_site("ffn_adapters"));
            let x = ops::add(ops::add(x, drop(attn, "attn")), drop(ffn, "ffn"));
            return self.cross(x, at, cache, &drop);
        }
        let x = self.sublayer(x, &self.attn_norm, |x| {
            drop(normed(&self.attn_post_norm, self.attn.forward(x, at, cache.as_deref_mut())), "attn")
        });
        let x = self.cross(x, at, cache, &drop);
        self.sublayer(x, &self.ffn_norm, |x| {
            drop(normed(&self.ffn_post_norm, self.ffn.forward(x, of_site("ffn_adapters"))), "ffn")
        })
    }

    fn cross(
        &self,
        x: Tensor<B, 3>,
        at: &BlockPass<'_, B>,
        cache: Option<&mut LayerCache<B>>,
        drop: &impl Fn(Tensor<B, 3>, &'static str) -> Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        let (Some(attn), Some(memory)) = (&self.cross_attn, at.memory) else { return x };
        let key = at.key.map(|key| key.named("cross_weights"));
        self.sublayer(x, &self.cross_norm, |x| drop(attn.cross(x, memory.0, memory.1, key, cache), "cross"))
    }

    fn sublayer(
        &self,
        x: Tensor<B, 3>,
        norm: &Option<Norm<B>>,
        f: impl FnOnce(Tensor<B, 3>) -> Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        if self.residual == Residual::Post as usize {
            normed(norm, ops::add(x.clone(), f(x)))
        } else if self.residual == Residual::PreNormed as usize {
            let x = normed(norm, x);
            ops::add(x.clone(), f(x))
        } else {
            ops::add(x.clone(), f(normed(norm, x)))
        }
    }
}

fn normed<B: Backend>(norm: &Option<Norm<B>>, x: Tensor<B, 3>) -> Tensor<B, 3> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}
