//! The position-wise feed-forward layer, plain or gated (Shazeer 2020, arXiv:2002.05202).

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::ops;
use locus_backend::rng::Key;

use crate::{Activation, Linear, StackConfig};

/// `down(f(up(x)))`, or `down(f(gate(x)) · up(x))` where gated.
#[derive(Module, Debug)]
pub struct FeedForward<B: Backend> {
    /// `[d_model, d_ff]`; only where gated.
    pub gate_proj: Option<Linear<B>>,
    /// `[d_model, d_ff]`.
    pub up_proj: Linear<B>,
    /// `[d_ff, d_model]`.
    pub down_proj: Linear<B>,
    activation: usize,
}

impl<B: Backend> FeedForward<B> {
    /// Makes the layer; `down_proj` starts smaller by `residual_scale`.
    pub fn new(config: &StackConfig, residual_scale: f64, key: Key, device: &B::Device) -> Self {
        let (d_model, d_ff, std) = (config.d_model, config.d_ff(), config.init_std);
        let gated = matches!(
            config.activation,
            Activation::Swiglu | Activation::Geglu | Activation::GegluTanh | Activation::Reglu
        );
        let linear = |dims, std, name: &str| Linear::new(dims, config.bias.ffn, std, key.named(name), device);
        Self {
            gate_proj: gated.then(|| linear([d_model, d_ff], std, "gate_proj")),
            up_proj: linear([d_model, d_ff], std, "up_proj"),
            down_proj: linear([d_ff, d_model], std * residual_scale, "down_proj"),
            activation: config.activation as usize,
        }
    }

    /// Applies the layer to every position; with a key the dropout of adapters is active.
    ///
    /// # Shapes
    /// - x: `[batch, seq, d_model]`; output as x
    ///
    /// # Example
    /// ```
    /// # use burn::tensor::Tensor;
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_encoder::{Activation, FeedForward, StackConfig};
    /// let device = Default::default();
    /// let config = StackConfig { d_model: 6, activation: Activation::Swiglu, ..StackConfig::default() };
    /// let ffn = FeedForward::<NdArray>::new(&config, 1.0, Key::new(1), &device);
    /// assert_eq!(ffn.forward(Tensor::ones([2, 3, 6], &device), None).dims(), [2, 3, 6]);
    /// ```
    pub fn forward(&self, x: Tensor<B, 3>, key: Option<Key>) -> Tensor<B, 3> {
        let key = |name: &str| key.map(|key| key.named(name));
        // [batch, seq, d_ff]
        let hidden = match &self.gate_proj {
            Some(gate_proj) => {
                let up = self.up_proj.forward_in_training(x.clone(), key("up_proj"));
                let gate = gate_proj.forward_in_training(x, key("gate_proj"));
                ops::gated(gate, up, self.activation())
            }
            None => self.up_proj.forward_activated(x, self.activation(), key("up_proj")),
        };
        self.down_proj.forward_in_training(hidden, key("down_proj"))
    }

    fn activation(&self) -> ops::Activation {
        const ACTIVATIONS: [Activation; 8] = [
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::Swiglu,
            Activation::Geglu,
            Activation::Silu,
            Activation::GegluTanh,
            Activation::Reglu,
        ];
        match ACTIVATIONS[self.activation] {
            Activation::Gelu | Activation::Geglu => ops::Activation::Gelu,
            Activation::GeluTanh | Activation::GegluTanh => ops::Activation::GeluTanh,
            Activation::Relu | Activation::Reglu => ops::Activation::Relu,
            Activation::Swiglu | Activation::Silu => ops::Activation::Silu,
        }
    }
}
