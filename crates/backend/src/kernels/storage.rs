//! How the CPU backends keep their elements.

use std::borrow::Cow;

use burn::tensor::Shape;

use super::Cpu;

#[cfg(feature = "ndarray")]
impl Cpu for crate::device::NdArray {
    fn elements(tensor: &burn_ndarray::NdArrayTensor) -> Option<Cow<'_, [f32]>> {
        let burn_ndarray::NdArrayTensor::F32(storage) = tensor else { return None };
        let view = storage.view();
        Some(match view.to_slice() {
            Some(slice) => Cow::Borrowed(slice),
            None => Cow::Owned(view.iter().copied().collect()),
        })
    }

    fn from_elements(elements: Vec<f32>, shape: Shape) -> burn_ndarray::NdArrayTensor {
        match ndarray::ArrayD::from_shape_vec(ndarray::IxDyn(&shape), elements) {
            Ok(array) => array.into_shared().into(),
            Err(error) => unreachable!("a kernel fills its output: {error}"),
        }
    }
}

#[cfg(feature = "flex")]
impl Cpu for crate::device::Flex {
    fn elements(tensor: &burn_flex::FlexTensor) -> Option<Cow<'_, [f32]>> {
        if tensor.is_contiguous() && tensor.layout().start_offset() == 0 {
            let len = tensor.layout().shape().num_elements();
            return tensor.as_slice::<f32>().and_then(|slice| slice.get(..len)).map(Cow::Borrowed);
        }
        tensor.to_contiguous().as_slice::<f32>().map(|slice| Cow::Owned(slice.to_vec()))
    }

    fn from_elements(elements: Vec<f32>, shape: Shape) -> burn_flex::FlexTensor {
        burn_flex::FlexTensor::new(
            burn::tensor::Bytes::from_elems(elements),
            burn_flex::Layout::contiguous(shape),
            burn::tensor::DType::F32,
        )
    }
}
