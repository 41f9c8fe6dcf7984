//! The heavy operations, generic over burn's `Backend`: a kernel where one is written for the backend, otherwise the
//! body in [`reference`](mod@crate::reference). Values and gradients of both agree, which the tests in `locus-testkit` check.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, backend::Backend};

use crate::kernels::{primitive, tensor};
use crate::mask::AttentionMask;
use crate::rng::Key;
use crate::{kernels, reference};

mod activations;
mod adamw;
mod grow;
mod losses;
mod packed;
mod rotary;

pub use activations::{Activation, activation, add, gated};
pub use adamw::{AdamWStep, adamw_step};
pub use grow::Growing;
pub use losses::{BinaryTargets, binary_cross_entropy, squared_error};
pub use packed::packed_linear;
pub use rotary::rotary;

/// The label of a position that has no part in the loss, as in PyTorch.
pub const IGNORE: i32 = -100;

/// What is added to attention scores before the softmax.
#[derive(Clone, Debug, Default)]
pub enum ScoreBias<B: Backend> {
    /// Nothing.
    #[default]
    None,
    /// A value per head and relative distance, `[heads, q + k − 1]`: query `i` and key `j` read column `i − j + k − 1`.
    Toeplitz(Tensor<B, 2>),
    /// A value per head and key, the same for all queries, `[batch or 1, heads, k]`. This is what a cumulative bias
    /// `c_i − c_j` comes to: the softmax cancels `c_i`.
    Keys(Tensor<B, 3>),
    /// A value per head and cell, `[batch or 1, heads, q, k]`.
    Dense(Tensor<B, 4>),
}

/// How attention weighs its scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionOptions {
    /// The factor of the dot products, usually `1/√d_head`.
    pub scale: f64,
    /// The probability that a weight is dropped.
    pub dropout: f64,
    /// Where dropped weights are drawn from; without it none is dropped.
    pub key: Option<Key>,
}

/// Scaled dot-product attention with an additive position bias.
///
/// `softmax(scale · q·kᵀ + bias, masked) · v`. With fewer key than query heads each key head serves
/// `heads / kv_heads` neighbouring query heads (grouped-query attention, arXiv:2305.13245).
///
/// # Shapes
/// - q: `[batch, heads, q, d_head]`; k, v: `[batch, kv_heads, k, d_head]`
/// - output: `[batch, heads, q, d_head]`
///
/// # Panics
/// If `kv_heads` does not divide `heads`.
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::{device::NdArray, ops};
/// # let device = Default::default();
/// use locus_backend::mask::{AttentionMask, MaskSpec};
/// use locus_backend::ops::{AttentionOptions, ScoreBias};
/// let x = || Tensor::<NdArray, 4>::ones([1, 2, 5, 4], &device);
/// let mask = AttentionMask::new(MaskSpec { batch: 1, q_len: 5, k_len: 5, causal: true, ..Default::default() }, &device);
/// let options = AttentionOptions { scale: 0.5, dropout: 0.0, key: None };
/// let y = ops::attention(x(), x(), x(), &ScoreBias::None, &mask, options);
/// assert_eq!(y.dims(), [1, 2, 5, 4]);
/// ```
pub fn attention<B: Backend>(
    q: Tensor<B, 4>,
    k: Tensor<B, 4>,
    v: Tensor<B, 4>,
    bias: &ScoreBias<B>,
    mask: &AttentionMask<B>,
    options: AttentionOptions,
) -> Tensor<B, 4> {
    let ([_, _, q_len, _], [_, _, k_len, _]) = (q.dims(), k.dims());
    assert_eq!(
        (mask.spec.q_len, mask.spec.k_len),
        (q_len, k_len),
        "the mask must be of as many queries and keys"
    );
    let op = kernels::Attention {
        spec: mask.spec.clone(),
        scale: options.scale as f32,
        dropout: options
            .key
            .filter(|_| options.dropout > 0.0)
            .map(|key| kernels::Dropout::new(options.dropout, key)),
    };
    let [q, k, v] = [q, k, v].map(primitive);
    let added = match bias {
        ScoreBias::None => None,
        ScoreBias::Toeplitz(bias) => Some(primitive(bias.clone())),
        ScoreBias::Keys(bias) => Some(primitive(bias.clone())),
        ScoreBias::Dense(bias) => Some(primitive(bias.clone())),
    };
    let output = match added {
        None => kernels::run::<B, _, 3>(op, [q, k, v]).map_err(|(_, inputs)| inputs),
        Some(added) => kernels::run::<B, _, 4>(op, [q, k, v, added]).map_err(|(_, [q, k, v, _])| [q, k, v]),
    };
    match output {
        Ok(output) => tensor(output),
        Err(inputs) => {
            let [q, k, v] = inputs.map(tensor);
            reference::attention(q, k, v, bias, mask, options)
        }
    }
}

/// `x · weight + bias` over the last axis.
///
/// # Shapes
/// - x: `[.., d_in]`; weight: `[d_in, d_out]`; bias: `[d_out]`; output: `[.., d_out]`
///
/// # Panics
/// If x or the bias does not fit the weight.
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::{device::NdArray, ops};
/// # let device = Default::default();
/// let (x, weight) = (Tensor::<NdArray, 3>::ones([2, 5, 3], &device), Tensor::ones([3, 4], &device));
/// assert_eq!(ops::linear(x, weight, None).dims(), [2, 5, 4]);
/// ```
pub fn linear<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    linear_in(x, weight, bias, Products::F32)
}

/// In what the factors of a matrix product are held; sums are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Products {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bf16 (8 bits of significand), forward and backward: mixed precision as of arXiv:1905.12322, with
    /// weights, gradients and everything between the products in f32. Products of up to four rows, which reading the
    /// matrix bounds, stay f32.
    Bf16,
}

impl Products {
    /// Whether they are what they say on this backend and this processor; elsewhere factors stay f32.
    pub fn are_available<B: Backend>(self) -> bool {
        self == Self::F32 || kernels::exist::<B>() && kernels::bf16::available()
    }
}

/// [`linear`] with the factors of its three products, one forward and two backward, held as `products` says.
pub fn linear_in<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    products: Products,
) -> Tensor<B, D> {
    check_bias(&weight, bias.as_ref());
    let op = kernels::Linear { products };
    let (x, weight) = (primitive(x), primitive(weight));
    let (x, weight, bias) = match bias.map(primitive) {
        Some(bias) => match kernels::run::<B, _, 3>(op, [x, weight, bias]) {
            Ok(y) => return tensor(y),
            Err((_, [x, weight, bias])) => (x, weight, Some(tensor(bias))),
        },
        None => match kernels::run::<B, _, 2>(op, [x, weight]) {
            Ok(y) => return tensor(y),
            Err((_, [x, weight])) => (x, weight, None),
        },
    };
    reference::linear::<B, D>(tensor(x), tensor(weight), bias)
}

/// `f(x · weight + bias)` over the last axis, with products as in [`linear_in`].
///
/// # Shapes
/// - x: `[.., d_in]`; weight: `[d_in, d_out]`; bias: `[d_out]`; output: `[.., d_out]`
///
/// # Panics
/// If x or the bias does not fit the weight.
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::{device::NdArray, ops};
/// # let device = Default::default();
/// use locus_backend::ops::{Activation, Products};
/// let (x, weight) = (Tensor::<NdArray, 2>::ones([1, 3], &device), Tensor::ones([3, 2], &device));
/// let bias = Some(Tensor::from_floats([-4.0, 1.0], &device));
/// let y = ops::linear_activation(x, weight, bias, Activation::Relu, Products::F32);
/// assert_eq!(y.to_data().to_vec::<f32>()?, [0.0, 4.0]);
/// # Ok::<(), burn::tensor::DataError>(())
/// ```
pub fn linear_activation<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    f: Activation,
    products: Products,
) -> Tensor<B, D> {
    check_bias(&weight, bias.as_ref());
    let Some(bias) = bias else { return activation(linear_in(x, weight, None, products), f) };
    let inputs = [primitive(x), primitive(weight), primitive(bias)];
    let done = match f {
        Activation::Gelu => activated::<B, kernels::Gelu>(inputs, products),
        Activation::GeluTanh => activated::<B, kernels::GeluTanh>(inputs, products),
        Activation::Relu => activated::<B, kernels::Relu>(inputs, products),
        Activation::Silu => activated::<B, kernels::Silu>(inputs, products),
    };
    match done {
        Ok(y) => tensor(y),
        Err([x, weight, bias]) => {
            activation(linear_in::<B, D>(tensor(x), tensor(weight), Some(tensor(bias)), products), f)
        }
    }
}

fn check_bias<B: Backend>(weight: &Tensor<B, 2>, bias: Option<&Tensor<B, 1>>) {
    let [_, d_out] = weight.dims();
    assert!(
        bias.is_none_or(|bias| bias.dims() == [d_out]),
        "the bias must be as wide as the output, {d_out}"
    );
}

fn activated<B: Backend, F: kernels::Function>(
    inputs: [kernels::Primitive<B>; 3],
    products: Products,
) -> Result<kernels::Primitive<B>, [kernels::Primitive<B>; 3]> {
    kernels::run::<B, _, 3>(kernels::LinearActivation::<F>::new(products), inputs).map_err(|(_, back)| back)
}

/// `x − ln Σ exp(x)` over the last axis.
///
/// # Shapes
/// - x: any; output: the same
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::{device::NdArray, ops};
/// # let device = Default::default();
/// let log_weights = ops::log_softmax(Tensor::<NdArray, 2>::zeros([2, 4], &device));
/// assert!((log_weights.exp().sum().into_scalar() - 2.0_f32).abs() < 1e-6);
/// ```
pub fn log_softmax<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    reference::log_softmax(x)
}

/// The same elements under another shape.
///
/// As [`Tensor::reshape`], without the copy that burn-ndarray makes.
pub fn reshape<B: Backend, const D: usize, const E: usize>(
    x: Tensor<B, D>,
    shape: [usize; E],
) -> Tensor<B, E> {
    assert_eq!(x.shape().num_elements(), shape.iter().product::<usize>(), "{:?} to {shape:?}", x.dims());
    match kernels::run::<B, _, 1>(kernels::Reshape { shape: shape.to_vec() }, [primitive(x)]) {
        Ok(y) => tensor(y),
        Err((_, [x])) => tensor::<B, D>(x).reshape(shape),
    }
}

/// The rows of a table that the ids name.
///
/// # Shapes
/// - table: `[rows, width]`; ids: `[batch, seq]`; output: `[batch, seq, width]`
pub fn embedding<B: Backend>(table: Tensor<B, 2>, ids: Tensor<B, 2, Int>) -> Tensor<B, 3> {
    if !kernels::exist::<B>() {
        return burn::tensor::module::embedding(table, ids);
    }
    let dims = ids.dims();
    let host: Vec<usize> = ids.clone().into_data().iter::<i64>().map(|id| id as usize).collect();
    let op = kernels::Embedding { ids: Arc::new(host), dims };
    match kernels::run::<B, _, 1>(op, [primitive(table)]) {
        Ok(y) => tensor(y),
        Err((_, [table])) => burn::tensor::module::embedding(tensor(table), ids),
    }
}

/// Layer normalisation over the last axis (arXiv:1607.06450, eq. 4), with the biased variance.
///
/// # Shapes
/// - x: `[.., d_model]`; gamma, beta: `[d_model]`; output as x
///
/// # Panics
/// If gamma or beta are of another width than x.
pub fn layer_norm<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    gamma: Tensor<B, 1>,
    beta: Tensor<B, 1>,
    eps: f64,
) -> Tensor<B, D> {
    let d_model = x.dims()[D - 1];
    assert_eq!((gamma.dims(), beta.dims()), ([d_model], [d_model]), "gamma and beta must be as wide as x");
    let inputs = [primitive(x), primitive(gamma), primitive(beta)];
    match kernels::run::<B, _, 3>(kernels::LayerNorm { eps: eps as f32 }, inputs) {
        Ok(y) => tensor(y),
        Err((_, [x, gamma, beta])) => {
            reference::layer_norm::<B, D>(tensor(x), tensor(gamma), tensor(beta), eps)
        }
    }
}

/// Root mean square normalisation over the last axis (arXiv:1910.07467, eq. 4).
///
/// # Shapes
/// - x: `[.., d_model]`; gamma: `[d_model]`; output as x
///
/// # Panics
/// If gamma is of another width than x.
pub fn rms_norm<B: Backend, const D: usize>(x: Tensor<B, D>, gamma: Tensor<B, 1>, eps: f64) -> Tensor<B, D> {
    assert_eq!(gamma.dims(), [x.dims()[D - 1]], "gamma must be as wide as x");
    match kernels::run::<B, _, 2>(kernels::RmsNorm { eps: eps as f32 }, [primitive(x), primitive(gamma)]) {
        Ok(y) => tensor(y),
        Err((_, [x, gamma])) => reference::rms_norm::<B, D>(tensor(x), tensor(gamma), eps),
    }
}

/// The sum of the squares of all elements, `[1]`.
pub fn sum_of_squares<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, 1> {
    match kernels::run::<B, _, 1>(kernels::SumOfSquares, [primitive(x)]) {
        Ok(sum) => tensor(sum),
        Err((_, [x])) => tensor::<B, D>(x).square().sum(),
    }
}

/// Sets each element to zero with probability `p` and scales the others by `1/(1 − p)`; the identity without a key.
///
/// The choice is a pure function of the key and the element's index, on every backend.
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::{device::NdArray, ops};
/// # let device = Default::default();
/// use locus_backend::rng::Key;
/// let x = Tensor::<NdArray, 1>::ones([1000], &device);
/// let y = ops::dropout(x.clone(), 0.25, Some(Key::new(7)));
/// assert!((y.mean().into_scalar() - 1.0).abs() < 0.1);
/// assert_eq!(ops::dropout(x, 0.25, None).mean().into_scalar(), 1.0);
/// ```
pub fn dropout<B: Backend, const D: usize>(x: Tensor<B, D>, p: f64, key: Option<Key>) -> Tensor<B, D> {
    match key {
        Some(key) if p > 0.0 => {
            match kernels::run::<B, _, 1>(kernels::Dropout::new(p, key), [primitive(x)]) {
                Ok(y) => tensor(y),
                Err((_, [x])) => reference::dropout::<B, D>(tensor(x), p, key),
            }
        }
        _ => x,
    }
}

/// The classes that rows of logits should have had, on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// One class per row, or [`IGNORE`].
    pub classes: Vec<i32>,
    /// Label smoothing: this share of the target is spread evenly over all classes (arXiv:1512.00567, §7).
    pub smoothing: f32,
    /// A weight per class; 1 for every class where absent.
    pub class_weights: Option<Vec<f32>>,
    /// Focusing: a row counts `(1 − p_target)^γ` (arXiv:1708.02002, eq. 4; with class weights, eq. 5). Not together with
    /// smoothing.
    pub focal_gamma: f32,
}

impl Targets {
    /// Plain targets: no smoothing, no weights.
    pub fn new(classes: Vec<i32>) -> Self {
        Self { classes, ..Self::default() }
    }

    /// The total weight of the rows that count: what the summed loss is divided by for the mean loss.
    pub fn weight(&self) -> f64 {
        (0..self.classes.len()).filter_map(|row| self.row(row)).map(|(_, weight)| f64::from(weight)).sum()
    }

    /// Class and weight of a row; `None` where it is ignored.
    pub fn row(&self, row: usize) -> Option<(usize, f32)> {
        let class = self.classes[row];
        if class == IGNORE {
            return None;
        }
        let class = class as usize;
        Some((class, self.class_weights.as_ref().map_or(1.0, |weights| weights[class])))
    }

    fn check(&self, rows: usize, classes: usize) {
        assert_eq!(self.classes.len(), rows, "targets must be one per row of logits");
        let outside = self.classes.iter().find(|&&c| c != IGNORE && !(0..classes as i32).contains(&c));
        assert!(outside.is_none(), "target {outside:?} is outside the {classes} classes");
        let weights = self.class_weights.as_ref().map_or(classes, Vec::len);
        assert_eq!(weights, classes, "class weights must be one per class");
        let one = self.smoothing == 0.0 || self.focal_gamma == 0.0;
        assert!(one && self.focal_gamma >= 0.0, "focal_gamma is 0 or more, and 0 with smoothing");
    }
}

/// The summed cross-entropy of logits, in nats, `[1]`. Divide by [`Targets::weight`] for the mean.
///
/// Per row with log-probabilities `l`, class weights `w`, smoothing `s` and focusing `γ`, as in PyTorch:
/// `−(1 − s)·w_target·(1 − exp(l_target))^γ·l_target − s·mean(w·l)`.
///
/// # Shapes
/// - logits: `[rows, classes]`; output: `[1]`
///
/// # Panics
/// If the targets do not fit the logits: batches are checked on the host, where they are made.
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::{device::NdArray, ops};
/// # let device = Default::default();
/// use locus_backend::ops::{IGNORE, Targets};
/// let logits = Tensor::<NdArray, 2>::zeros([3, 4], &device);
/// let targets = Targets::new(vec![2, IGNORE, 0]);
/// assert_eq!(targets.weight(), 2.0);
/// let loss = ops::cross_entropy(logits, targets).into_scalar();
/// assert!((loss - 2.0 * 4.0_f32.ln()).abs() < 1e-6);
/// ```
pub fn cross_entropy<B: Backend>(logits: Tensor<B, 2>, targets: Targets) -> Tensor<B, 1> {
    let [rows, classes] = logits.dims();
    targets.check(rows, classes);
    match kernels::run::<B, _, 1>(kernels::CrossEntropy { targets: Arc::new(targets) }, [primitive(logits)]) {
        Ok(loss) => tensor(loss),
        Err((op, [logits])) => reference::cross_entropy(tensor(logits), &op.targets),
    }
}

/// The summed cross-entropy of the outputs of a linear layer: [`cross_entropy`] of [`linear_in`] of x, computed some rows
/// at a time, and for the rows that count only. A large vocabulary's scores of all rows are never held.
///
/// # Shapes
/// - x: `[rows, d_in]`; weight: `[d_in, classes]`; bias: `[classes]`; output: `[1]`
///
/// # Panics
/// As [`cross_entropy`], and if the bias does not fit the weight.
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::{device::NdArray, ops};
/// # let device = Default::default();
/// use locus_backend::ops::{IGNORE, Products, Targets};
/// let (x, weight) = (Tensor::<NdArray, 2>::ones([3, 2], &device), Tensor::ones([2, 4], &device));
/// let targets = Targets::new(vec![2, IGNORE, 0]);
/// let loss = ops::linear_cross_entropy(x, weight, None, targets, Products::F32).into_scalar();
/// assert!((loss - 2.0 * 4.0_f32.ln()).abs() < 1e-6);
/// ```
pub fn linear_cross_entropy<B: Backend>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    targets: Targets,
    products: Products,
) -> Tensor<B, 1> {
    // 32 MB of logits, or up to four times that where there are more weights: each part rearranges all of those for its
    // products.
    const LOGITS: usize = 1 << 23;
    let ([rows, d_in], [_, classes]) = (x.dims(), weight.dims());
    targets.check(rows, classes);
    check_bias(&weight, bias.as_ref());
    let op = kernels::LinearCrossEntropy {
        targets: Arc::new(targets),
        products,
        rows_at_a_time: (LOGITS / classes.max(1)).max(d_in.min(4 * LOGITS / classes.max(1))).max(1),
        with_gradients: B::ad_enabled(&x.device()),
    };
    let (x, weight) = (primitive(x), primitive(weight));
    let (op, x, weight, bias) = match bias.map(primitive) {
        Some(bias) => match kernels::run::<B, _, 3>(op, [x, weight, bias]) {
            Ok(loss) => return tensor(loss),
            Err((op, [x, weight, bias])) => (op, x, weight, Some(tensor(bias))),
        },
        None => match kernels::run::<B, _, 2>(op, [x, weight]) {
            Ok(loss) => return tensor(loss),
            Err((op, [x, weight])) => (op, x, weight, None),
        },
    };
    let logits = reference::linear::<B, 2>(tensor(x), tensor(weight), bias);
    reference::cross_entropy(logits, &op.targets)
}
