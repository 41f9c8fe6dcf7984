//! Tensors that grow along one axis.

use burn::tensor::{Tensor, backend::Backend};

use crate::kernels::{self, primitive, tensor};

/// A tensor that grows along one axis: the buffer has room to spare, so that most pieces are written without a copy of
/// what is there already.
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::device::NdArray;
/// use locus_backend::ops::Growing;
/// let device = Default::default();
/// let mut rows = Growing::<NdArray, 2>::new(0, Tensor::ones([1, 3], &device));
/// assert_eq!(rows.push(Tensor::zeros([2, 3], &device)).dims(), [3, 3]);
/// assert_eq!(rows.get().sum().into_scalar(), 3.0);
/// ```
#[derive(Clone, Debug)]
pub struct Growing<B: Backend, const D: usize> {
    buffer: Tensor<B, D>,
    axis: usize,
    len: usize,
}

impl<B: Backend, const D: usize> Growing<B, D> {
    /// Starts with a first piece.
    pub fn new(axis: usize, first: Tensor<B, D>) -> Self {
        let len = first.dims()[axis];
        Self { buffer: first, axis, len }
    }

    /// Appends, and gives all that is there then.
    ///
    /// # Panics
    /// If the piece differs from what is there in another axis.
    pub fn push(&mut self, piece: Tensor<B, D>) -> Tensor<B, D> {
        let (axis, at) = (self.axis, self.len);
        let (mut dims, added) = (self.buffer.dims(), piece.dims());
        let fits = (0..D).all(|other| other == axis || dims[other] == added[other]);
        assert!(fits, "a piece of {added:?} does not fit {dims:?} along axis {axis}");
        let len = at + added[axis];
        if len > dims[axis] {
            dims[axis] = len.next_power_of_two();
            let larger = Tensor::zeros(dims, &piece.device());
            self.buffer = write(larger, self.get(), axis, 0);
        }
        // Taken out, so that nobody else holds it while it is written.
        let buffer = std::mem::replace(&mut self.buffer, piece.clone());
        self.buffer = write(buffer, piece, axis, at);
        self.len = len;
        self.get()
    }

    /// All that is there.
    pub fn get(&self) -> Tensor<B, D> {
        let (buffer, axis, len) = (self.buffer.clone(), self.axis, self.len);
        match kernels::prefix::<B>(primitive(buffer), axis, len) {
            Ok(there) => tensor(there),
            Err(buffer) => tensor::<B, D>(buffer).narrow(axis, 0, len),
        }
    }

    /// Puts something else of another length in its place.
    pub fn map(self, f: impl FnOnce(Tensor<B, D>) -> Tensor<B, D>) -> Self {
        Self::new(self.axis, f(self.get()))
    }
}

fn write<B: Backend, const D: usize>(
    buffer: Tensor<B, D>,
    piece: Tensor<B, D>,
    axis: usize,
    at: usize,
) -> Tensor<B, D> {
    let dims = piece.dims();
    match kernels::write::<B>(primitive(buffer), primitive(piece), axis, at) {
        Ok(written) => tensor(written),
        Err([buffer, piece]) => {
            let mut ranges = dims.map(|len| 0..len);
            ranges[axis] = at..at + dims[axis];
            tensor::<B, D>(buffer).slice_assign(ranges, tensor(piece))
        }
    }
}
