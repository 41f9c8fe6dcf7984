//! The projection layer.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::{self, Activation, Products, Targets};
use locus_backend::packed::{PackError, Packed, Precision};
use locus_backend::rng::Key;
use locus_embedding::position::Projection;

use crate::adapter::{Adapter, AdapterError, Change, Own};

/// `y = x · weight + bias`, changed by the adapters that are active.
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
    /// Trained changes; none in a model that was not adapted, or whose adapters were merged.
    pub adapters: Vec<Adapter<B>>,
}

impl<B: Backend> Linear<B> {
    /// Makes a layer with normally distributed weights and, if asked for, a zero bias.
    pub fn new([d_in, d_out]: [usize; 2], bias: bool, std: f64, key: Key, device: &B::Device) -> Self {
        Self {
            weight: Init::Normal { std }.param([d_in, d_out], key.named("weight"), device),
            bias: bias.then(|| Init::Zeros.param([d_out], key, device)),
            bf16: false,
            packed: None,
            adapters: Vec::new(),
        }
    }

    /// Width of the input.
    pub fn d_in(&self) -> usize {
        let [d_in, _] = self.weight.dims();
        self.packed.as_ref().map_or(d_in, |packed| packed.dims()[0])
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

    /// Puts an adapter on, active if it says so.
    ///
    /// # Errors
    /// If it does not fit, its name is taken, the weight is packed, or it cannot act with those that are active.
    ///
    /// # Example
    /// ```
    /// # use burn::module::{Param, ParamId};
    /// # use burn::tensor::Tensor;
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_encoder::{Adapter, AdapterError, Change, Linear, Scale};
    /// # fn main() -> Result<(), AdapterError> {
    /// let device = Default::default();
    /// let mut layer = Linear::<NdArray>::new([3, 2], false, 0.02, Key::new(1), &device);
    /// let x = Tensor::<NdArray, 2>::ones([1, 3], &device);
    /// let before = layer.forward(x.clone());
    /// let vector = Param::initialized(ParamId::new(), Tensor::from_floats([2.0, 0.0], &device));
    /// let change = Change::Scale(Scale { vector, on_input: false });
    /// layer.add_adapter(Adapter { name: "doubles one".to_owned(), is_active: true, change })?;
    /// let after = layer.forward(x).into_data().to_vec::<f32>().unwrap_or_default();
    /// let before = before.into_data().to_vec::<f32>().unwrap_or_default();
    /// assert_eq!(after, [2.0 * before[0], 0.0]);
    /// # Ok(()) }
    /// ```
    pub fn add_adapter(&mut self, adapter: Adapter<B>) -> Result<(), AdapterError> {
        adapter.change.check([self.d_in(), self.d_out()])?;
        if self.packed.is_some() {
            return Err(AdapterError::Packed);
        }
        if self.adapters.iter().any(|other| other.name == adapter.name) {
            return Err(AdapterError::Taken(adapter.name));
        }
        let together = self.active().map(|(_, change)| change);
        if !Change::go_together(together.chain(adapter.is_active.then_some(&adapter.change))) {
            return Err(AdapterError::Mixed);
        }
        self.adapters.push(adapter);
        Ok(())
    }

    /// Makes the adapters of these names active, and no others. What several add is added up.
    ///
    /// # Errors
    /// If they cannot act together; then all stays as it is.
    pub fn set_active_adapters(&mut self, names: &[&str]) -> Result<(), AdapterError> {
        let chosen = |adapter: &Adapter<B>| names.contains(&adapter.name.as_str());
        let together = self.adapters.iter().filter(|adapter| chosen(adapter)).map(|adapter| &adapter.change);
        if !Change::go_together(together) {
            return Err(AdapterError::Mixed);
        }
        for adapter in &mut self.adapters {
            adapter.is_active = chosen(adapter);
        }
        Ok(())
    }

    /// Makes the active adapters part of weight and bias and drops all. A packed layer has none.
    pub fn merge_adapters(&mut self) {
        if !self.is_plain() {
            let bias = self.bias.as_ref().map(Param::val);
            let own = (self.weight.val(), bias);
            let (weight, bias) =
                self.active().fold(own, |(weight, bias), (_, change)| change.merged(weight, bias));
            replace(&mut self.weight, weight);
            if let (Some(param), Some(bias)) = (&mut self.bias, bias) {
                replace(param, bias);
            }
        }
        self.adapters.clear();
    }

    /// The active adapters with their numbers.
    fn active(&self) -> impl Iterator<Item = (u64, &Change<B>)> {
        let numbered = (0..).zip(&self.adapters);
        numbered.filter(|(_, adapter)| adapter.is_active).map(|(idx, adapter)| (idx, &adapter.change))
    }

    fn is_plain(&self) -> bool {
        self.adapters.iter().all(|adapter| !adapter.is_active)
    }

    /// Rounds the weight for inference and lets go of the f32 weight; active adapters become part of it first. A packed layer
    /// stays as it is.
    ///
    /// # Errors
    /// As [`Packed::new`]; then the weight stays f32.
    pub fn pack(&mut self, precision: Precision) -> Result<(), PackError> {
        if self.packed.is_none() {
            self.merge_adapters();
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
        self.forward_in_training(x, None)
    }

    /// As [`Linear::forward`], where with a key the dropout of adapters is active.
    ///
    /// # Shapes
    /// - x: `[.., d_in]`; output: `[.., d_out]`
    pub fn forward_in_training<const D: usize>(&self, x: Tensor<B, D>, key: Option<Key>) -> Tensor<B, D> {
        let bias = self.bias.as_ref().map(Param::val);
        if self.is_plain() {
            return self.own(x, bias);
        }
        let x = self.active().fold(x, |x, (_, change)| change.on_input(x));
        let y = self.own(x.clone(), bias.clone());
        let own = Own { x: &x, weight: &|| self.weight.val(), bias, project: &|x| self.own(x, None) };
        self.active().fold(y, |y, (idx, change)| {
            let key = key.map(|key| key.named("adapters").child(idx));
            change.on_output(y, &own, key)
        })
    }

    /// The projection without adapters.
    fn own<const D: usize>(&self, x: Tensor<B, D>, bias: Option<Tensor<B, 1>>) -> Tensor<B, D> {
        match &self.packed {
            Some(packed) => ops::packed_linear(x, packed, bias),
            None => ops::linear_in(x, self.weight.val(), bias, self.products()),
        }
    }

    /// The activation of [`Linear::forward_in_training`].
    pub fn forward_activated<const D: usize>(
        &self,
        x: Tensor<B, D>,
        f: Activation,
        key: Option<Key>,
    ) -> Tensor<B, D> {
        if self.packed.is_some() || !self.is_plain() {
            return ops::activation(self.forward_in_training(x, key), f);
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
        if self.packed.is_some() || !self.is_plain() {
            return ops::cross_entropy(self.forward(x), targets);
        }
        let bias = self.bias.as_ref().map(Param::val);
        ops::linear_cross_entropy(x, self.weight.val(), bias, targets, self.products())
    }
}

/// Another value of the same parameter, trained or not as before.
fn replace<B: Backend, const D: usize>(param: &mut Param<Tensor<B, D>>, value: Tensor<B, D>) {
    let trained = param.val().is_require_grad();
    *param = Param::initialized(param.id, value.detach().set_require_grad(trained));
}

impl<B: Backend> Projection<B> for Linear<B> {
    fn project(&self, rows: Tensor<B, 2>) -> Tensor<B, 2> {
        self.forward(rows)
    }
}
