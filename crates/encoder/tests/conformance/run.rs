//! Stacks and texts for the property tests.

use burn::tensor::{Tensor, backend::Backend};
use locus_backend::rng::Key;
use locus_embedding::position::{Form, PositionScheme};
use locus_embedding::{EmbeddingError, TokenBatch, Tokens};
use locus_encoder::{KvCache, Stack, StackConfig, StackShape};

pub(crate) const VOCAB_SIZE: usize = 17;

/// Two layers without dropout, with weights large enough for attention to be far from uniform.
pub(crate) fn two_layers(config: StackConfig) -> StackConfig {
    StackConfig { n_layers: 2, d_ff: Some(13), dropout: 0.0, attention_dropout: 0.0, init_std: 0.4, ..config }
}

pub(crate) fn shape(form: Form) -> StackShape {
    StackShape { vocab_size: VOCAB_SIZE, form, cross_attention: false }
}

/// A stack of two layers that share a scheme. The same weights for every scheme.
pub(crate) fn with_scheme<B: Backend, P: PositionScheme<B>>(
    config: &StackConfig,
    form: Form,
    scheme: P,
    device: &B::Device,
) -> Stack<B, P> {
    Stack::with_schemes(config, shape(form), vec![scheme], vec![0; config.n_layers], Key::new(11), device)
}

/// Random tokens; `keep` has a string per row, `#` for tokens and `.` for padding.
pub(crate) fn text(keep: &[&str]) -> Tokens {
    let (batch, seq) = (keep.len(), keep[0].len());
    let key = Key::new(5).named("text");
    let keep: Vec<bool> = keep.concat().chars().map(|c| c == '#').collect();
    let mut seen = vec![0; batch];
    // The n-th real token of a row is the same however the row is padded.
    let id = |(cell, &keep): (usize, &bool)| {
        let row = cell / seq;
        seen[row] += u64::from(keep);
        if keep { key.child(row as u64).below(seen[row], VOCAB_SIZE as u64) as u32 } else { 0 }
    };
    let ids = keep.iter().enumerate().map(id).collect();
    Tokens::new([batch, seq], ids, keep, None).unwrap()
}

pub(crate) fn starting_at(mut tokens: Tokens, start: f64) -> Tokens {
    tokens.number_from(&vec![start; tokens.batch]);
    tokens
}

/// The output vector of every real token, row by row.
pub(crate) type Vectors = Vec<Vec<Vec<f32>>>;

/// In one pass.
pub(crate) fn whole<B: Backend, P: PositionScheme<B>>(stack: &Stack<B, P>, tokens: &Tokens) -> Vectors {
    try_pass(stack, tokens, None).unwrap()
}

/// Through a cache, in chunks of these lengths.
pub(crate) fn chunked<B: Backend, P: PositionScheme<B>>(
    stack: &Stack<B, P>,
    tokens: &Tokens,
    chunks: &[usize],
) -> Vectors {
    chunked_with(stack, tokens, chunks, &mut stack.new_cache())
}

/// Through this cache.
pub(crate) fn chunked_with<B: Backend, P: PositionScheme<B>>(
    stack: &Stack<B, P>,
    tokens: &Tokens,
    chunks: &[usize],
    cache: &mut KvCache<B>,
) -> Vectors {
    assert_eq!(chunks.iter().sum::<usize>(), tokens.seq, "chunks that cover the text");
    let (mut rows, mut start) = (vec![Vec::new(); tokens.batch], 0);
    for &len in chunks {
        let columns: Vec<usize> = (start..start + len).collect();
        let vectors = try_pass(stack, &tokens.columns(&columns), Some(cache)).unwrap();
        rows.iter_mut().zip(vectors).for_each(|(row, more)| row.extend(more));
        start += len;
    }
    rows
}

/// One pass, through a cache if there is one.
pub(crate) fn try_pass<B: Backend, P: PositionScheme<B>>(
    stack: &Stack<B, P>,
    tokens: &Tokens,
    cache: Option<&mut KvCache<B>>,
) -> Result<Vectors, EmbeddingError> {
    let device = stack.embeddings.tokens.as_ref().unwrap().val().device();
    let batch = TokenBatch::from_host(tokens.clone(), VOCAB_SIZE, &device)?;
    Ok(vectors(&stack.forward(&batch, None, cache, None)?, tokens))
}

/// The vectors of real tokens in `[batch, seq, d_model]`.
pub(crate) fn vectors<B: Backend>(out: &Tensor<B, 3>, tokens: &Tokens) -> Vectors {
    let [_, seq, d_model] = out.dims();
    let values: Vec<f32> = out.to_data().iter::<f32>().collect();
    let vectors: Vec<Vec<f32>> = values.chunks(d_model).map(<[f32]>::to_vec).collect();
    let rows = vectors.chunks(seq).zip(tokens.keep.chunks(seq));
    rows.map(|(row, keep)| row.iter().zip(keep).filter(|(_, k)| **k).map(|(v, _)| v.clone()).collect())
        .collect()
}

/// The largest difference, relative to numbers above 1; infinite where the numbers of tokens differ or a number is not finite.
pub(crate) fn distance(a: &Vectors, b: &Vectors) -> f64 {
    let lengths = |v: &Vectors| v.iter().map(Vec::len).collect::<Vec<_>>();
    if lengths(a) != lengths(b) || a.is_empty() {
        return f64::INFINITY;
    }
    let pairs = a.iter().flatten().flatten().zip(b.iter().flatten().flatten());
    pairs
        .map(|(a, b)| f64::from(a - b).abs() / f64::from(a.abs()).max(1.0))
        .map(|d| if d.is_nan() { f64::INFINITY } else { d })
        .fold(0.0, f64::max)
}

#[track_caller]
pub(crate) fn assert_same(what: &str, a: &Vectors, b: &Vectors) {
    let off = distance(a, b);
    assert!(off < 1e-5, "{what}: {off:e} apart");
}

#[track_caller]
pub(crate) fn assert_different(what: &str, a: &Vectors, b: &Vectors) {
    let off = distance(a, b);
    assert!(off > 1e-3 && off.is_finite(), "{what}: only {off:e} apart");
}
