//! The projection layer.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::{self, Activation, Products, Targets};
use locus_backend::packed::{PackError, Packed, Precision};
use locus_backend::rng::Key;
use locus_embedding::position::Projection;

/// `y = x · weight + bias`.
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// `[d_in, d_out]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `[d_out]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// Whether factors of products are rounded to bf16; see [`Linear::set_products`].
    pub bf16: bool,
    /// What stands in for `weight`, which is empty then, after [`Linear::pack`]. It is not saved.
    #[module(skip)]
    pub packed: Option<Packed>,
}

impl<B: Backend> Linear<B> {
    /// Makes a layer with normally distributed weights and, if asked for, a zero bias.
    pub fn new([d_in, d_out]: [usize; 2], bias: bool, std: f64, key: Key, device: &B::Device) -> Self {
        Self {
            weight: Init::Normal { std }.param([d_in, d_out], key.named("weight"), device),
            bias: bias.then(|| Init::Zeros.param([d_out], key, device)),
            bf16: false,
            packed: None,
        }
    }

    /// Width of the output.
    pub fn d_out(&self) -> usize {
        let [_, d_out] = self.weight.dims();
        self.packed.as_ref().map_or(d_out, |packed| packed.dims()[1])
    }

    /// Says in what the factors of this layer's products are held, forward and backward: f32 unless said. It is not part
    /// of what is saved.
    pub fn set_products(&mut self, products: Products) {
        self.bf16 = products == Products::Bf16;
    }

    /// In what the factors of this layer's products are held.
    pub fn products(&self) -> Products {
        if self.bf16 { Products::Bf16 } else { Products::F32 }
    }

    /// Rounds the weight for inference and lets go of the f32 weight. A packed layer stays as it is.
    ///
    /// # Errors
    /// As [`Packed::new`]; then the layer is as it was.
    pub fn pack(&mut self, precision: Precision) -> Result<(), PackError> {
        if self.packed.is_none() {
            let weight = self.weight.val();
            let device = weight.device();
            self.packed = Some(Packed::new(weight, precision)?);
            self.weight = Param::initialized(self.weight.id, Tensor::zeros([0, 0], &device));
        }
        Ok(())
    }

    /// Projects the last axis.
    ///
    /// # Shapes
    /// - x: `[.., d_in]`; output: `[.., d_out]`
    ///
    /// # Example
    /// ```
    /// # use burn::tensor::Tensor;
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_encoder::Linear;
    /// let device = Default::default();
    /// let layer = Linear::<NdArray>::new([3, 5], true, 0.02, Key::new(1), &device);
    /// assert_eq!(layer.forward(Tensor::ones([2, 7, 3], &device)).dims(), [2, 7, 5]);
    /// ```
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        let bias = self.bias.as_ref().map(Param::val);
        match &self.packed {
            Some(packed) => ops::packed_linear(x, packed, bias),
            None => ops::linear_in(x, self.weight.val(), bias, self.products()),
        }
    }

    /// The activation of [`Linear::forward`].
    pub fn forward_activated<const D: usize>(&self, x: Tensor<B, D>, f: Activation) -> Tensor<B, D> {
        if self.packed.is_some() {
            return ops::activation(self.forward(x), f);
        }
        let bias = self.bias.as_ref().map(Param::val);
        ops::linear_activation(x, self.weight.val(), bias, f, self.products())
    }

    /// The summed cross-entropy of [`Linear::forward`], whose outputs are not held all at once.
    ///
    /// # Shapes
    /// - x: `[rows, d_in]`; output: `[1]`
    ///
    /// # Panics
    /// If the targets do not fit.
    pub fn cross_entropy(&self, x: Tensor<B, 2>, targets: Targets) -> Tensor<B, 1> {
        if self.packed.is_some() {
            return ops::cross_entropy(self.forward(x), targets);
        }
        let bias = self.bias.as_ref().map(Param::val);
        ops::linear_cross_entropy(x, self.weight.val(), bias, targets, self.products())
    }
}

impl<B: Backend> Projection<B> for Linear<B> {
    fn project(&self, rows: Tensor<B, 2>) -> Tensor<B, 2> {
        self.forward(rows)
    }
}
