//! Adapters of a projection: few trained numbers beside a weight that stays as it is.
//!
//! LoRA (Hu et al. 2021, arXiv:2106.09685, eq. 3), with the scale of rsLoRA (Kalajdzievski 2023, arXiv:2312.03732) where
//! asked for; DoRA (Liu et al. 2024, arXiv:2402.09353, eq. 5, with the norm as a constant, §4.3); (IA)³ (Liu et al. 2022,
//! arXiv:2205.05638, §3.3). What they compute is what the library `peft` computes.

use std::fmt;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::ops;
use locus_backend::rng::Key;

/// A named change of one projection.
#[derive(Module, Debug)]
pub struct Adapter<B: Backend> {
    /// Its name; the parts of an adapter in all projections have the same.
    #[module(skip)]
    pub name: String,
    /// Whether it takes part.
    pub is_active: bool,
    /// What it does.
    pub change: Change<B>,
}

/// What an adapter does.
#[allow(clippy::large_enum_variant, reason = "a projection holds one or a few")]
#[derive(Module, Debug)]
pub enum Change<B: Backend> {
    /// It adds a product of two narrow matrices to the weight.
    LowRank(LowRank<B>),
    /// It multiplies inputs or outputs.
    Scale(Scale<B>),
}

/// LoRA: `y = x·W + bias + scaling · dropout(x)·A·B`. With a magnitude DoRA: the columns of `W + scaling · A·B` are brought
/// to the lengths that the magnitude says.
#[derive(Module, Debug)]
pub struct LowRank<B: Backend> {
    /// A, `[d_in, rank]`.
    pub a: Param<Tensor<B, 2>>,
    /// B, `[rank, d_out]`.
    pub b: Param<Tensor<B, 2>>,
    /// `[d_out]`; only in DoRA.
    pub magnitude: Option<Param<Tensor<B, 1>>>,
    /// What the product is multiplied by: `alpha / rank`, in rsLoRA `alpha / √rank`.
    pub scaling: f64,
    /// The probability that a number of the adapter's input is dropped in training.
    pub dropout: f64,
}

/// (IA)³: `y = (x·W + bias) ⊙ vector`, or `y = (x ⊙ vector)·W + bias`.
#[derive(Module, Debug)]
pub struct Scale<B: Backend> {
    /// `[d_out]`, or `[d_in]`.
    pub vector: Param<Tensor<B, 1>>,
    /// Whether the input is multiplied.
    pub on_input: bool,
}

/// Why an adapter cannot be put on a projection, or take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdapterError {
    /// Its tensors do not fit the projection.
    Shape {
        /// Which tensor.
        tensor: &'static str,
        /// The shape that fits.
        expected: Vec<usize>,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// There is one of this name.
    Taken(String),
    /// There is none of this name on any projection.
    Unknown(String),
    /// The weights were rounded for inference.
    Packed,
    /// The chosen adapters cannot act together.
    Mixed,
}

impl fmt::Display for AdapterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { tensor, expected, found } => {
                write!(f, "{tensor} is {found:?}, expected {expected:?}")
            }
            Self::Taken(name) => write!(f, "there is an adapter {name:?} already: choose another name"),
            Self::Unknown(name) => write!(f, "there is no adapter {name:?}"),
            Self::Packed => write!(f, "the weights are rounded: put adapters on before"),
            Self::Mixed => write!(
                f,
                "adapters that act together are all LoRA or all (IA)³; DoRA acts alone, since it sets the lengths of \
                 the columns"
            ),
        }
    }
}

impl std::error::Error for AdapterError {}

impl<B: Backend> LowRank<B> {
    /// What is added to the output, `[.., d_out]`, before scaling.
    fn product<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        ops::linear(ops::linear(x, self.a.val(), None), self.b.val(), None)
    }

    /// What is added to the weight, `[d_in, d_out]`.
    fn delta(&self) -> Tensor<B, 2> {
        self.a.val().matmul(self.b.val()) * self.scaling
    }

    /// The factor that brings each column to its magnitude, `[d_out]`. The lengths are a constant in training.
    fn column_scale(&self, weight: Tensor<B, 2>, magnitude: Tensor<B, 1>) -> Tensor<B, 1> {
        let sum = weight.detach() + self.delta().detach();
        let lengths = sum.square().sum_dim(0).sqrt(); // [1, d_out]
        magnitude / lengths.squeeze_dim::<1>(0)
    }
}

/// What an adapter needs to know of its projection.
pub(crate) struct Own<'a, B: Backend, const D: usize> {
    /// The input, `[.., d_in]`.
    pub(crate) x: &'a Tensor<B, D>,
    pub(crate) weight: &'a dyn Fn() -> Tensor<B, 2>,
    pub(crate) bias: Option<Tensor<B, 1>>,
    /// The projection without its bias.
    pub(crate) project: &'a dyn Fn(Tensor<B, D>) -> Tensor<B, D>,
}

impl<B: Backend> Change<B> {
    /// The input of the projection, `[.., d_in]`.
    pub(crate) fn on_input<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Scale(Scale { vector, on_input: true }) => x * along_last::<B, D>(vector.val()),
            _ => x,
        }
    }

    /// The output of the projection, `[.., d_out]`.
    pub(crate) fn on_output<const D: usize>(
        &self,
        y: Tensor<B, D>,
        own: &Own<'_, B, D>,
        key: Option<Key>,
    ) -> Tensor<B, D> {
        match self {
            Self::Scale(Scale { on_input: true, .. }) => y,
            Self::Scale(Scale { vector, .. }) => y * along_last::<B, D>(vector.val()),
            Self::LowRank(change) => {
                let drops = change.dropout > 0.0 && key.is_some();
                let x = ops::dropout(own.x.clone(), change.dropout, key);
                let Some(magnitude) = &change.magnitude else {
                    return y + change.product(x) * change.scaling;
                };
                let scale = along_last::<B, D>(change.column_scale((own.weight)(), magnitude.val()));
                let base = match (drops, &own.bias) {
                    (true, _) => (own.project)(x.clone()),
                    (false, Some(bias)) => y.clone() - along_last::<B, D>(bias.clone()),
                    (false, None) => y.clone(),
                };
                y + (scale.clone() - 1.0) * base + scale * change.product(x) * change.scaling
            }
        }
    }

    /// Weight `[d_in, d_out]` and bias `[d_out]` that give by themselves what the projection gives with this change.
    pub(crate) fn merged(
        &self,
        weight: Tensor<B, 2>,
        bias: Option<Tensor<B, 1>>,
    ) -> (Tensor<B, 2>, Option<Tensor<B, 1>>) {
        match self {
            Self::Scale(Scale { vector, on_input: true }) => {
                (weight * vector.val().unsqueeze_dim::<2>(1), bias)
            }
            Self::Scale(Scale { vector, .. }) => {
                (weight * along_last::<B, 2>(vector.val()), bias.map(|bias| bias * vector.val()))
            }
            Self::LowRank(change) => {
                let sum = weight.clone() + change.delta();
                let Some(magnitude) = &change.magnitude else { return (sum, bias) };
                (sum * along_last::<B, 2>(change.column_scale(weight, magnitude.val())), bias)
            }
        }
    }

    /// What does not fit a projection of these widths.
    pub(crate) fn check(&self, [d_in, d_out]: [usize; 2]) -> Result<(), AdapterError> {
        let fits = |tensor, expected: &[usize], found: &[usize]| {
            let (expected, found) = (expected.to_vec(), found.to_vec());
            if expected == found { Ok(()) } else { Err(AdapterError::Shape { tensor, expected, found }) }
        };
        match self {
            Self::LowRank(LowRank { a, b, magnitude, .. }) => {
                let [_, rank] = a.dims();
                fits("A", &[d_in, rank], &a.dims())?;
                fits("B", &[rank, d_out], &b.dims())?;
                magnitude.as_ref().map_or(Ok(()), |vector| fits("the magnitude", &[d_out], &vector.dims()))
            }
            Self::Scale(Scale { vector, on_input }) => {
                fits("the vector", &[if *on_input { d_in } else { d_out }], &vector.dims())
            }
        }
    }

    /// Whether it sets the lengths of columns.
    pub(crate) fn is_dora(&self) -> bool {
        matches!(self, Self::LowRank(LowRank { magnitude: Some(_), .. }))
    }

    /// Whether changes may act together.
    pub(crate) fn go_together<'a>(changes: impl Iterator<Item = &'a Self>) -> bool {
        let changes: Vec<&Self> = changes.collect();
        let scales = changes.iter().filter(|change| matches!(change, Self::Scale(_))).count();
        let has_dora = changes.iter().any(|change| change.is_dora());
        changes.len() < 2 || (!has_dora && (scales == 0 || scales == changes.len()))
    }
}

/// A vector along the last of `D` axes.
fn along_last<B: Backend, const D: usize>(vector: Tensor<B, 1>) -> Tensor<B, D> {
    let mut shape = [1; D];
    shape[D - 1] = vector.dims()[0];
    vector.reshape(shape)
}
