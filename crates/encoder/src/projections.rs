//! All projections of a stack, for what is set on every one.

use burn::tensor::backend::Backend;
use locus_backend::ops::Products;

use crate::{Attention, Block, EncoderDecoder, FeedForward, Linear, Stack};

impl<B: Backend, P> Stack<B, P> {
    /// Says in what the factors of the projections' products are held; see [`Linear::set_products`].
    pub fn set_products(&mut self, products: Products) {
        self.layers.iter_mut().flat_map(projections).for_each(|linear| linear.set_products(products));
    }

    /// The projections of all blocks with their paths below the stack, `layers.0.attn.q_proj`, and those of token vectors of a
    /// width of their own, `embedding_proj` and `output_proj`.
    pub fn named_projections(&mut self) -> Vec<(String, &mut Linear<B>)> {
        let mut all = Vec::new();
        let of_tokens =
            [("embedding_proj", &mut self.embedding_proj), ("output_proj", &mut self.output_proj)];
        let of_tokens = of_tokens.into_iter().filter_map(|(name, linear)| Some((name, linear.as_mut()?)));
        all.extend(of_tokens.map(|(name, linear)| (name.to_owned(), linear)));
        for (layer, block) in self.layers.iter_mut().enumerate() {
            let of_block = names(block).into_iter().zip(projections(block));
            all.extend(of_block.map(|(name, linear)| (format!("layers.{layer}.{name}"), linear)));
        }
        all
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

impl<B: Backend, P> EncoderDecoder<B, P> {
    /// As [`Stack::named_projections`], of both stacks.
    pub fn named_projections(&mut self) -> Vec<(String, &mut Linear<B>)> {
        let of_encoder = self.encoder.named_projections().into_iter();
        let of_decoder = self.decoder.named_projections().into_iter();
        let of_encoder = of_encoder.map(|(name, linear)| (format!("encoder.{name}"), linear));
        of_encoder.chain(of_decoder.map(|(name, linear)| (format!("decoder.{name}"), linear))).collect()
    }
}

/// The paths of [`projections`] below the block.
fn names<B: Backend>(block: &Block<B>) -> Vec<String> {
    let of_attention = |name| ["q_proj", "k_proj", "v_proj", "o_proj"].map(|proj| format!("{name}.{proj}"));
    let of_cross = block.cross_attn.iter().flat_map(|_| of_attention("cross_attn"));
    let of_gate = block.ffn.gate_proj.iter().map(|_| "ffn.gate_proj".to_owned());
    let of_ffn = ["ffn.up_proj", "ffn.down_proj"].map(str::to_owned);
    of_attention("attn").into_iter().chain(of_cross).chain(of_gate).chain(of_ffn).collect()
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
