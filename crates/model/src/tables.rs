//! Tables of a new model that begin with values from elsewhere: word vectors, the positions of another checkpoint.

use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use burn_store::{ModuleStore, SafetensorsStore};
use locus_heads::TaskModel;

use crate::{ModelError, WEIGHTS_FILE};

/// Which tables of a model. A model that reads and writes has each twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Token vectors, `[vocab_size, width]`.
    Tokens,
    /// The vectors of `learned` positions, `[max_positions + offset, d_model]`.
    Learned,
    /// The vectors `v_i` of `random_projection`, `[max_positions, m]`.
    RandomVectors,
    /// Its matrix `P`, `[width, m]`.
    Projection,
}

impl Table {
    /// The end of its path in a module.
    fn path(self) -> [&'static str; 2] {
        match self {
            Self::Tokens => ["embeddings", "tokens"],
            Self::Learned => ["Learned", "table"],
            Self::RandomVectors => ["RandomProjection", "vectors"],
            Self::Projection => ["RandomProjection", "projection"],
        }
    }
}

/// A matrix on the host, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTable {
    /// `[rows, width]`.
    pub shape: [usize; 2],
    /// The rows, one after another.
    pub values: Vec<f32>,
}

impl HostTable {
    /// Row `idx`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row_mut(&mut self, idx: usize) -> &mut [f32] {
        let [_, width] = self.shape;
        &mut self.values[idx * width..(idx + 1) * width]
    }

    /// The rows from `first` on.
    #[must_use]
    pub fn from_row(&self, first: usize) -> Self {
        let [rows, width] = self.shape;
        let first = first.min(rows);
        Self { shape: [rows - first, width], values: self.values[first * width..].to_vec() }
    }

    /// As many rows as asked for, each on the straight line between its two neighbours; the first and the last stay.
    ///
    /// ```
    /// let table = locus_model::HostTable { shape: [2, 1], values: vec![1.0, 3.0] };
    /// assert_eq!(table.interpolated(5).values, [1.0, 1.5, 2.0, 2.5, 3.0]);
    /// ```
    #[must_use]
    pub fn interpolated(&self, rows: usize) -> Self {
        let [from, width] = self.shape;
        let step = if rows > 1 { (from - 1) as f64 / (rows - 1) as f64 } else { 0.0 };
        let values = (0..rows).flat_map(|row| {
            let at = row as f64 * step;
            let low = (at as usize).min(from - 1);
            let (high, share) = ((low + 1).min(from - 1), at - low as f64);
            (0..width).map(move |column| {
                let value = |row: usize| f64::from(self.values[row * width + column]);
                ((1.0 - share) * value(low) + share * value(high)) as f32
            })
        });
        Self { shape: [rows, width], values: values.collect() }
    }
}

/// The sizes of a model's tables of this kind; none where it has none.
pub fn table_shapes<B: Backend>(model: &TaskModel<B>, table: Table) -> Vec<[usize; 2]> {
    struct Shapes {
        path: Vec<String>,
        end: [&'static str; 2],
        found: Vec<[usize; 2]>,
    }
    impl<B: Backend> ModuleVisitor<B> for Shapes {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            if self.path.ends_with(&self.end.map(str::to_owned)) {
                let dims = param.val().dims();
                self.found.push([dims[0], dims[D - 1]]);
            }
        }
    }
    let mut shapes = Shapes { path: Vec::new(), end: table.path(), found: Vec::new() };
    model.visit(&mut shapes);
    shapes.found
}

/// The model with its tables of this kind changed. With `frozen` they are not trained from then on.
pub fn change_tables<B: Backend>(
    model: TaskModel<B>,
    table: Table,
    frozen: bool,
    change: impl FnMut(&mut HostTable),
) -> TaskModel<B> {
    struct Change<F> {
        path: Vec<String>,
        end: [&'static str; 2],
        frozen: bool,
        change: F,
    }
    impl<B: Backend, F: FnMut(&mut HostTable)> ModuleMapper<B> for Change<F> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            if !self.path.ends_with(&self.end.map(str::to_owned)) {
                return param;
            }
            let (id, old, mapper) = param.consume();
            let (device, dims, trained) = (old.device(), old.dims(), old.is_require_grad() && !self.frozen);
            let values = old.into_data().convert::<f32>().iter().collect();
            let mut host = HostTable { shape: [dims[0], dims[D - 1]], values };
            (self.change)(&mut host);
            let tensor = Tensor::from_data(TensorData::new(host.values, dims), &device);
            Param::from_mapped_value(id, tensor.set_require_grad(trained), mapper)
        }
    }
    model.map(&mut Change { path: Vec::new(), end: table.path(), frozen, change })
}

/// The names of tensors that hold learned positions: ours, BERT's and its kin's, GPT-2's, OPT's and BART's.
const POSITION_NAMES: [&str; 4] =
    [".table", "position_embeddings.weight", "wpe.weight", "embed_positions.weight"];

/// Reads the matrix `tensor` of a safetensors file. Without a name, or from a folder's `model.safetensors`: the one whose
/// name ends in one of `names`. Returns its name, too.
fn read_matrix(path: &Path, tensor: Option<&str>, names: &[&str]) -> Result<(String, HostTable), ModelError> {
    let path = if path.is_dir() { path.join(WEIGHTS_FILE) } else { path.to_owned() };
    let wrong = |reason: String| ModelError::Table { path: path.clone(), reason };
    let bytes = std::fs::read(&path).map_err(ModelError::io("read", &path))?;
    let mut store = SafetensorsStore::from_bytes(Some(bytes));
    let snapshots = store.get_all_snapshots().map_err(|error| wrong(error.to_string()))?;
    let is_wanted = |name: &str| match tensor {
        Some(tensor) => name == tensor,
        None => names.iter().any(|end| name.ends_with(end)),
    };
    let mut found = snapshots.iter().filter(|(name, snapshot)| is_wanted(name) && snapshot.shape.len() == 2);
    let (Some((name, snapshot)), None) = (found.next(), found.next()) else {
        let matrices: Vec<String> = snapshots
            .iter()
            .filter(|(_, snapshot)| snapshot.shape.len() == 2)
            .map(|(name, snapshot)| format!("{name} {:?}", snapshot.shape.to_vec()))
            .collect();
        let wanted = match tensor {
            Some(tensor) => format!("a matrix `{tensor}`"),
            None => format!("just one matrix whose name ends in {}", names.join(" or ")),
        };
        return Err(wrong(format!(
            "expected {wanted}; name one as FILE.safetensors:TENSOR; there are {}",
            matrices.join(", ")
        )));
    };
    if !matches!(snapshot.dtype, DType::F32 | DType::F16 | DType::BF16 | DType::F64) {
        return Err(wrong(format!("{name} has elements of type {:?}, expected floats", snapshot.dtype)));
    }
    let data = snapshot.to_data().map_err(|error| wrong(format!("{error:?}")))?;
    let shape = [snapshot.shape[0], snapshot.shape[1]];
    let values: Vec<f32> = data.convert::<f32>().iter().collect();
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(wrong(format!("{name} has {} in row {}", values[at], at / shape[1].max(1)))),
        None if values.is_empty() => Err(wrong(format!("{name} is empty"))),
        None => Ok((name.clone(), HostTable { shape, values })),
    }
}

/// Reads a table of learned positions, `[positions, d_model]`: of a model folder (of Locus or Hugging Face), or a tensor of
/// a safetensors file. Returns the tensor's name, too.
///
/// # Errors
/// If the file cannot be read, or has not just one such matrix of finite numbers; the message lists the matrices there are.
pub fn read_positions(path: &Path, tensor: Option<&str>) -> Result<(String, HostTable), ModelError> {
    read_matrix(path, tensor, &POSITION_NAMES)
}

/// Reads the vectors and the matrix of the `random_projection` of a model folder of Locus.
///
/// # Errors
/// As [`read_positions`].
pub fn read_random_projection(dir: &Path) -> Result<[HostTable; 2], ModelError> {
    let [vectors, projection] = [".vectors", ".projection"].map(|end| read_matrix(dir, None, &[end]));
    Ok([vectors?.1, projection?.1])
}

#[cfg(test)]
mod tests {
    use super::HostTable;

    /// Values of PyTorch 2.9.1, `interpolate(mode="linear", align_corners=True)`.
    #[test]
    fn rows_in_between_are_pytorchs() {
        let values = vec![0.5, -1.0, 2.0, 3.0, -4.0, 0.25, 7.0, 7.0, 1.0, -2.5];
        let table = HostTable { shape: [5, 2], values: values.clone() };
        let seven = [
            0.5, -1.0, 1.5, 1.666_667, 0.0, 2.083_333, -4.0, 0.25, 3.333_333, 4.75, 5.0, 3.833_333, 1.0, -2.5,
        ];
        for (rows, expected) in
            [(7, &seven[..]), (3, &[0.5, -1.0, -4.0, 0.25, 1.0, -2.5]), (1, &[0.5, -1.0]), (5, &values[..])]
        {
            let found = table.interpolated(rows);
            assert_eq!(found.shape, [rows, 2]);
            let near = found.values.iter().zip(expected).all(|(a, b): (&f32, &f32)| (a - b).abs() < 2e-6);
            assert!(near && found.values.len() == expected.len(), "{rows}: {:?}", found.values);
        }
    }
}
