//! Linear layers with bf16 or int8 weights.

use burn::tensor::{DType, Tensor, backend::Backend};

use crate::kernels::{self, primitive, tensor};
use crate::packed::Packed;

/// `x · weight + bias` over the last axis, with packed weights. There are no gradients.
///
/// A row's result depends neither on the rows beside it nor on the number of threads. With int8 weights a row that has a NaN
/// or an infinity gives NaN for every output.
///
/// # Shapes
/// - x: `[.., d_in]`; weight: `[d_in, d_out]`; bias: `[d_out]`; output: `[.., d_out]`
///
/// # Panics
/// If `B` is not ndarray or flex without autodiff, where [`Packed`] can be made, or the sizes do not fit.
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::{device::NdArray, ops};
/// # fn main() -> Result<(), locus_backend::packed::PackError> {
/// # let device = Default::default();
/// use locus_backend::packed::{Packed, Precision};
/// let weight = Packed::new(Tensor::<NdArray, 2>::ones([3, 5], &device), Precision::Int8)?;
/// let y = ops::packed_linear(Tensor::<NdArray, 3>::ones([2, 7, 3], &device), &weight, None);
/// assert_eq!((y.dims(), y.max().into_scalar()), ([2, 7, 5], 3.0));
/// # Ok(()) }
/// ```
pub fn packed_linear<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: &Packed,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    let ([d_in, d_out], device) = (weight.dims(), x.device());
    assert_eq!(x.dims()[D - 1], d_in, "the last axis of x must be as long as the weight has inputs");
    let bias_len = bias.as_ref().map_or(d_out, |bias| bias.dims()[0]);
    assert_eq!(bias_len, d_out, "the bias must be as long as the weight has outputs");
    let f32 = |x: kernels::Primitive<B>| B::float_cast(x, DType::F32.into());
    let bias = bias.map(|bias| f32(primitive(bias)));
    match kernels::packed_linear::<B>(f32(primitive(x)), weight.panels(), bias) {
        Some(y) => tensor(y),
        None => panic!("packed weights on backend '{}': they run on ndarray and flex only", B::name(&device)),
    }
}
