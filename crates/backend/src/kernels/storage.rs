//! How the CPU backends keep their elements.

#[cfg(feature = "ndarray")]
mod ndarray_storage {
    use burn_ndarray::{NdArrayTensor, SharedArray};
    use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};

    use super::super::Cpu;
    use crate::device::NdArray;

    impl Cpu for NdArray {
        fn view(tensor: &NdArrayTensor) -> Option<ArrayViewD<'_, f32>> {
            match tensor {
                NdArrayTensor::F32(storage) => Some(storage.view()),
                _ => unreachable!("kernels are given f32"),
            }
        }

        fn elements_mut(tensor: &mut NdArrayTensor) -> &mut [f32] {
            let NdArrayTensor::F32(storage) = tensor else { unreachable!("kernels are given f32") };
            let array = storage.ensure_owned();
            if !array.is_standard_layout() {
                *array = array.as_standard_layout().to_shared();
            }
            array.as_slice_mut().unwrap_or_else(|| unreachable!("the layout is standard"))
        }

        fn contiguous(tensor: NdArrayTensor) -> NdArrayTensor {
            let array = owned(tensor);
            if array.is_standard_layout() { array } else { array.as_standard_layout().to_shared() }.into()
        }

        fn with_shape(tensor: NdArrayTensor, shape: &[usize]) -> NdArrayTensor {
            match owned(tensor).into_shape_with_order(IxDyn(shape)) {
                Ok(array) => array.into(),
                Err(error) => unreachable!("contiguous, and as many elements: {error}"),
            }
        }

        fn prefix(tensor: NdArrayTensor, axis: usize, len: usize) -> NdArrayTensor {
            let mut array = owned(tensor);
            array.slice_axis_inplace(Axis(axis), (0..len).into());
            array.into()
        }

        fn tensor(elements: Vec<f32>, shape: &[usize]) -> NdArrayTensor {
            match ArrayD::from_shape_vec(IxDyn(shape), elements) {
                Ok(array) => array.into_shared().into(),
                Err(error) => unreachable!("a kernel fills its output: {error}"),
            }
        }
    }

    fn owned(tensor: NdArrayTensor) -> SharedArray<f32> {
        match tensor {
            NdArrayTensor::F32(storage) => storage.into_owned(),
            _ => unreachable!("kernels are given f32"),
        }
    }
}

#[cfg(feature = "flex")]
mod flex_storage {
    use burn::tensor::{Bytes, DType, Shape};
    use burn_flex::{FlexTensor, Layout};
    use ndarray::{ArrayViewD, IxDyn, ShapeBuilder};

    use super::super::Cpu;
    use crate::device::Flex;

    impl Cpu for Flex {
        fn view(tensor: &FlexTensor) -> Option<ArrayViewD<'_, f32>> {
            let layout = tensor.layout();
            let strides: Option<Vec<usize>> =
                layout.strides().iter().map(|&stride| usize::try_from(stride).ok()).collect();
            let elements = tensor.storage::<f32>().get(layout.start_offset()..)?;
            ArrayViewD::from_shape(IxDyn(layout.shape()).strides(IxDyn(&strides?)), elements).ok()
        }

        fn elements_mut(tensor: &mut FlexTensor) -> &mut [f32] {
            let whole = tensor.is_contiguous()
                && tensor.layout().start_offset() == 0
                && tensor.storage::<f32>().len() == tensor.layout().num_elements();
            if !whole {
                *tensor = tensor.to_contiguous();
            }
            let n_elements = tensor.layout().num_elements();
            &mut tensor.storage_mut::<f32>()[..n_elements]
        }

        fn contiguous(tensor: FlexTensor) -> FlexTensor {
            if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
        }

        fn with_shape(tensor: FlexTensor, shape: &[usize]) -> FlexTensor {
            tensor.reshape(Shape::from(shape))
        }

        fn prefix(tensor: FlexTensor, axis: usize, len: usize) -> FlexTensor {
            tensor.narrow(axis, 0, len)
        }

        fn tensor(elements: Vec<f32>, shape: &[usize]) -> FlexTensor {
            FlexTensor::new(Bytes::from_elems(elements), Layout::contiguous(Shape::from(shape)), DType::F32)
        }
    }
}
