//! More than one view of queries and keys, and which cell of the scores is read from which.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::rng::Key;
use locus_embedding::position::{LayerPass, Pass, Position, PositionScheme, Prepared, Scheme, Views};
use locus_testkit::on_backends;

use super::{CHUNKS, config, is_a_scheme, ours, texts};
use crate::run::{assert_different, assert_same, chunked, whole, with_scheme};
use crate::{BIDIRECTIONAL, CAUSAL};

/// Rotary twice over.
#[derive(Module, Debug)]
struct Twice<B: Backend> {
    rotary: Position<B>,
}

impl<B: Backend> Scheme<B> for Twice<B> {
    fn name(&self) -> &'static str {
        "twice"
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        self.rotary.scheme().prepare(pass, device)
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        let view = self.rotary.scheme().rotate(q, k, at).views.swap_remove(0);
        let cells = at.pass.queries.seq * at.pass.keys.seq;
        let key = Key::new(3).child(cells as u64);
        Views {
            views: vec![view.clone(), view],
            select: (0..cells as u64).map(|i| key.below(i, 2) as u8).collect(),
        }
    }
}

fn equal_views_are_one<B: AutodiffBackend>(device: &B::Device) {
    for form in [CAUSAL, BIDIRECTIONAL] {
        let twice = with_scheme(&config(), form, Twice { rotary: ours::<B>("rotary", device) }, device);
        let once = with_scheme(&config(), form, ours::<B>("rotary", device), device);
        let want = whole(&once, &texts());
        assert_same("two equal views", &want, &whole(&twice, &texts()));
        if form == CAUSAL {
            for chunks in CHUNKS {
                assert_same("cached", &want, &chunked(&twice, &texts(), chunks));
            }
        }
    }
}

/// Rotary up to a distance, no positions beyond it: the shape of ReRoPE and Self-Extend.
#[derive(Module, Debug)]
struct NearAndFar<B: Backend> {
    rotary: Position<B>,
    near: usize,
}

impl<B: Backend> Scheme<B> for NearAndFar<B> {
    fn name(&self) -> &'static str {
        "near_and_far"
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        self.rotary.scheme().prepare(pass, device)
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        let turned = self.rotary.scheme().rotate(q.clone(), k.clone(), at).views.swap_remove(0);
        let (q_len, k_len) = (at.pass.queries.seq, at.pass.keys.seq);
        let far = |i: usize, j: usize| u8::from((i + k_len - q_len).saturating_sub(j) >= self.near);
        let select = (0..q_len).flat_map(|i| (0..k_len).map(move |j| far(i, j))).collect();
        Views { views: vec![turned, (q, k)], select }
    }
}

fn cells_come_from_the_view_that_is_named<B: AutodiffBackend>(device: &B::Device) {
    let stack = |near| {
        with_scheme(&config(), CAUSAL, NearAndFar { rotary: ours::<B>("rotary", device), near }, device)
    };
    let plain = |name| whole(&with_scheme(&config(), CAUSAL, ours::<B>(name, device), device), &texts());
    assert_same("all near", &plain("rotary"), &whole(&stack(7), &texts()));
    assert_same("all far", &plain("none"), &whole(&stack(0), &texts()));
    let mixed = stack(3);
    let want = whole(&mixed, &texts());
    assert_different("near and far", &want, &plain("rotary"));
    assert_different("near and far", &want, &plain("none"));
    for chunks in CHUNKS {
        let mut cache = mixed.new_cache();
        assert_same("cached", &want, &crate::run::chunked_with(&mixed, &texts(), chunks, &mut cache));
        assert_eq!(cache.layers[0].keys.len(), 2, "keys of both views are cached");
    }
}

is_a_scheme!(Twice<B>, NearAndFar<B>);

on_backends!(equal_views_are_one, cells_come_from_the_view_that_is_named);
