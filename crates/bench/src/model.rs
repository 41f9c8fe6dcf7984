//! The models that are timed: BERT- and GPT-like, with weights and tokens that any other implementation can make too.
//!
//! A number is a hash of its index: `mix` of SplitMix64 with tensor `id` in the upper bits, as `oracle/bench_torch.py`
//! makes them for PyTorch. So the first losses of both can be compared.

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{ElementConversion, Int, Tensor, TensorData};
use locus_backend::ops::{self, Activation, Products, Targets};
use locus_backend::packed::{PackError, Precision};
use locus_backend::rng::Key;
use locus_embedding::position::{Form, LearnedConfig, PositionConfig};
use locus_embedding::{TokenBatch, Tokens};
use locus_encoder::{KvCache, Linear, Norm, NormKind, Stack, StackConfig, StackShape, add_gradients};

/// Longest sequence of a model.
const MAX_SEQ_LEN: usize = 256;
const EPS: f64 = 1e-5;

/// Encoder with a masked-language-modelling head, or decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arch {
    Bert,
    Gpt,
}

/// The sizes of a model and of its batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    pub(crate) d_model: usize,
    pub(crate) n_layers: usize,
    pub(crate) n_heads: usize,
    pub(crate) d_ff: usize,
    pub(crate) seq: usize,
    pub(crate) batch: usize,
    pub(crate) vocab_size: usize,
}

/// Small and medium, and a tiny one that shows that everything runs.
pub(crate) const SIZES: [Size; 3] = [
    Size { name: "T", d_model: 64, n_layers: 2, n_heads: 2, d_ff: 128, seq: 32, batch: 4, vocab_size: 512 },
    Size {
        name: "S",
        d_model: 256,
        n_layers: 4,
        n_heads: 4,
        d_ff: 1024,
        seq: 128,
        batch: 16,
        vocab_size: 8192,
    },
    Size {
        name: "M",
        d_model: 768,
        n_layers: 4,
        n_heads: 12,
        d_ff: 3072,
        seq: 128,
        batch: 8,
        vocab_size: 30522,
    },
];

/// What users have switched on beyond the plain model.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(crate) position: PositionConfig,
    pub(crate) dropout: f64,
    /// Whether rows end before the batch does.
    pub(crate) padding: bool,
    /// In what the factors of products are held.
    pub(crate) products: Products,
    /// Whether training holds the inputs of blocks only and runs the blocks again.
    pub(crate) checkpointing: bool,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            position: PositionConfig::Learned(LearnedConfig::default()),
            dropout: 0.0,
            padding: false,
            products: Products::F32,
            checkpointing: false,
        }
    }
}

/// The model.
#[derive(Module, Debug)]
pub(crate) struct Model<B: Backend> {
    stack: Stack<B>,
    transform: Option<Linear<B>>,
    transform_norm: Option<Norm<B>>,
    head: Linear<B>,
}

impl<B: Backend> Model<B> {
    pub(crate) fn new(arch: Arch, size: &Size, variant: &Variant, device: &B::Device) -> Self {
        let Size { d_model, n_layers, n_heads, d_ff, vocab_size, .. } = *size;
        let config = StackConfig {
            d_model,
            n_layers,
            n_heads,
            d_ff: Some(d_ff),
            max_seq_len: MAX_SEQ_LEN,
            dropout: variant.dropout,
            attention_dropout: variant.dropout,
            position: variant.position.clone(),
            ..StackConfig::default()
        };
        let form = if arch == Arch::Gpt { Form::Causal } else { Form::Bidirectional };
        let shape = StackShape { vocab_size, form, cross_attention: false };
        let linear = |dims| Linear::new(dims, true, 0.02, Key::new(0), device);
        let bert = arch == Arch::Bert;
        let mut model = Self {
            stack: Stack::new(&config, shape, Key::new(0), device),
            transform: bert.then(|| linear([d_model, d_model])),
            transform_norm: bert.then(|| Norm::new(NormKind::LayerNorm, d_model, EPS, device)),
            head: linear([d_model, vocab_size]),
        };
        model.stack.set_products(variant.products);
        model.head.set_products(variant.products);
        model.map(&mut Fill { path: Vec::new(), names: names(arch, n_layers) })
    }

    /// Rounds the weights of all linear layers.
    pub(crate) fn pack(&mut self, precision: Precision) -> Result<(), PackError> {
        self.stack.pack(precision)?;
        self.transform.iter_mut().chain([&mut self.head]).try_for_each(|linear| linear.pack(precision))
    }

    /// Hidden states as the head takes them.
    fn transformed(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        match (&self.transform, &self.transform_norm) {
            (Some(transform), Some(norm)) => {
                norm.forward(transform.forward_activated(hidden, Activation::Gelu, None))
            }
            _ => hidden,
        }
    }

    fn scores(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        self.head.forward(self.transformed(hidden))
    }

    /// The scores of all tokens at every place, `[batch, seq, vocab_size]`.
    pub(crate) fn logits(&self, batch: &TokenBatch<B>, key: Option<Key>) -> anyhow::Result<Tensor<B, 3>> {
        Ok(self.scores(self.stack.forward(batch, None, None, key)?))
    }

    /// The scores after the last token, `[vocab_size]`.
    pub(crate) fn next_logits(
        &self,
        batch: &TokenBatch<B>,
        cache: &mut KvCache<B>,
    ) -> anyhow::Result<Tensor<B, 1>> {
        let hidden = self.stack.forward(batch, None, Some(cache), None)?;
        let [_, seq, _] = hidden.dims();
        Ok(self.scores(hidden.narrow(1, seq - 1, 1)).flatten(0, 2))
    }

    pub(crate) fn new_cache(&self) -> KvCache<B> {
        self.stack.new_cache()
    }

    /// The mean cross-entropy of hidden states `[batch, seq, d_model]`.
    fn loss(&self, hidden: Tensor<B, 3>, targets: &[i32]) -> Tensor<B, 1> {
        let hidden = self.transformed(hidden);
        let [rows, seq, d_model] = hidden.dims();
        let hidden = ops::reshape(hidden, [rows * seq, d_model]);
        let targets = Targets::new(targets.to_vec());
        let weight = targets.weight();
        self.head.cross_entropy(hidden, targets) / weight
    }
}

impl<B: AutodiffBackend> Model<B> {
    /// The mean cross-entropy, and the gradients of all parameters.
    pub(crate) fn loss_and_gradients(
        &self,
        batch: &TokenBatch<B>,
        targets: &[i32],
        key: Option<Key>,
        checkpointing: bool,
    ) -> anyhow::Result<(f64, GradientsParams)> {
        let mut gradients = GradientsParams::new();
        if checkpointing {
            let segments = self.stack.forward_segments(batch, None, key)?;
            let loss = self.loss(segments.output(), targets);
            let value = loss.clone().into_scalar().elem();
            segments.backward(loss, self, &mut gradients)?;
            return Ok((value, gradients));
        }
        let loss = self.loss(self.stack.forward(batch, None, None, key)?, targets);
        let value = loss.clone().into_scalar().elem();
        add_gradients(&mut gradients, self, &mut loss.backward());
        Ok((value, gradients))
    }
}

/// Token ids `[batch, seq]`.
pub(crate) fn batch<B: Backend>(
    rows: Vec<u32>,
    shape: [usize; 2],
    keep: Vec<bool>,
    vocab_size: usize,
    device: &B::Device,
) -> anyhow::Result<TokenBatch<B>> {
    Ok(TokenBatch::from_host(Tokens::new(shape, rows, keep, None)?, vocab_size, device)?)
}

/// Which tokens count where every fourth row is whole and the others end one, two and three eighths before it.
pub(crate) fn padded([batch, seq]: [usize; 2]) -> Vec<bool> {
    let row = |row: usize| (0..seq).map(move |place| place < seq - row % 4 * seq / 8);
    (0..batch).flat_map(row).collect()
}

/// Tokens of stream `id`.
pub(crate) fn tokens(id: u64, n: usize, vocab_size: usize) -> Vec<u32> {
    (0..n as u64).map(|i| (mix((id << 40) + i) % vocab_size as u64) as u32).collect()
}

/// Floating-point operations of one pass forward and backward; a third of them are forward.
pub(crate) fn flops(arch: Arch, size: &Size, batch: usize) -> f64 {
    let Size { d_model: d, n_layers: l, d_ff, seq, vocab_size, .. } = *size;
    let head = if arch == Arch::Bert { d * d } else { 0 };
    let weights = l * (4 * d * d + 2 * d * d_ff) + head + vocab_size * d;
    (6 * weights * batch * seq + 12 * l * batch * seq * seq * d) as f64
}

fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Gives every weight and bias but the scales of norms its numbers, by its place among `names`.
struct Fill {
    path: Vec<String>,
    names: Vec<String>,
}

/// Words in the paths of the filled tensors, in the order in which they are numbered, from 1.
fn names(arch: Arch, n_layers: usize) -> Vec<String> {
    let projection = |of: String| [format!("{of} weight"), format!("{of} bias")];
    let block = |layer: usize| {
        let part = move |part: &str| format!("layers {layer} {part}");
        let attention =
            ["q_proj", "k_proj", "v_proj", "o_proj"].into_iter().flat_map(move |p| projection(part(p)));
        let ffn = ["up_proj", "down_proj"].into_iter().flat_map(move |p| projection(part(p)));
        [part("attn_norm beta")].into_iter().chain(attention).chain([part("ffn_norm beta")]).chain(ffn)
    };
    let transform = projection("transform".into()).into_iter().chain(["transform_norm beta".into()]);
    ["embeddings".to_owned(), "schemes".to_owned()]
        .into_iter()
        .chain((0..n_layers).flat_map(block))
        .chain(["final_norm beta".to_owned()])
        .chain(transform.filter(|_| arch == Arch::Bert))
        .chain(projection("head".into()))
        .collect()
}

impl Fill {
    fn id(&self) -> Option<u64> {
        let has = |word: &str| self.path.iter().any(|part| part == word);
        let place = self.names.iter().position(|name| name.split(' ').all(has))?;
        (!has("gamma")).then_some(place as u64 + 1)
    }
}

impl<B: Backend> ModuleMapper<B> for Fill {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(id) = self.id() else { return param };
        let (param_id, tensor, mapper) = param.consume();
        let shape = tensor.shape();
        let spread = 0.02_f32 * 3.0_f32.sqrt();
        let number = |i: u64| ((mix((id << 40) + i) >> 40) as f32 / 16_777_216.0 * 2.0 - 1.0) * spread;
        let values: Vec<f32> = (0..shape.num_elements() as u64).map(number).collect();
        let filled = Tensor::from_data(TensorData::new(values, shape), &tensor.device());
        Param::from_mapped_value(param_id, filled.set_require_grad(tensor.is_require_grad()), mapper)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<B, D, Int>>) -> Param<Tensor<B, D, Int>> {
        param
    }
}
