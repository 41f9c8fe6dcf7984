//! All projections of a stack, for what is set on every one.

use burn::tensor::backend::Backend;
use locus_backend::ops::Products;

use crate::{Attention, Block, EncoderDecoder, FeedForward, Linear, Stack};

impl<B: Backend, P> Stack<B, P> {
    /// Says in what the factors of the projections' products are held; see [`Linear::set_products`].
    pub fn set_products(&mut self, products: Products) {
        self.layers.iter_mut().flat_map(projections).for_each(|linear| linear.set_products(products));
    }

    /// In what the factors of the projections' products are held.
    pub fn products(&self) -> Products {
        self.layers.first().map_or(Products::F32, |block| block.attn.q_proj.products())
    }
}

impl<B: Backend, P> EncoderDecoder<B, P> {
    /// As [`Stack::set_products`], for both stacks.
    pub fn set_products(&mut self, products: Products) {
        self.encoder.set_products(products);
        self.decoder.set_products(products);
    }
}

/// The projections of a block.
pub(crate) fn projections<B: Backend>(block: &mut Block<B>) -> impl Iterator<Item = &mut Linear<B>> {
    let FeedForward { gate_proj, up_proj, down_proj, .. } = &mut block.ffn;
    of_attention(&mut block.attn)
        .into_iter()
        .chain(block.cross_attn.as_mut().into_iter().flat_map(of_attention))
        .chain(gate_proj.as_mut())
        .chain([up_proj, down_proj])
}

fn of_attention<B: Backend>(attention: &mut Attention<B>) -> [&mut Linear<B>; 4] {
    let Attention { q_proj, k_proj, v_proj, o_proj, .. } = attention;
    [q_proj, k_proj, v_proj, o_proj]
}
