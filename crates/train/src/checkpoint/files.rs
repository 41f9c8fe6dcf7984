//! The files of a checkpoint: written through to the disk, read strictly.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use burn::tensor::{DType, TensorData};
use safetensors::tensor::serialize_to_file;
use safetensors::{Dtype, SafeTensorError, SafeTensors, View};
use sha2::{Digest, Sha256};

/// Tensors by name, on the host.
pub(super) type Tensors = BTreeMap<String, TensorData>;

/// Element types that parameters may have, here and in the file. Stored as they are, so that nothing is rounded.
const TYPES: [(DType, Dtype); 4] = [
    (DType::F32, Dtype::F32),
    (DType::F64, Dtype::F64),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
];

/// Writes tensors as safetensors and syncs the file.
pub(super) fn write_tensors(file: &Path, tensors: &Tensors) -> io::Result<()> {
    let views: Vec<(&str, Stored<'_>)> = tensors
        .iter()
        .map(|(name, data)| Ok((name.as_str(), Stored::new(name, data)?)))
        .collect::<io::Result<_>>()?;
    serialize_to_file(views, None, file).map_err(|error| match error {
        SafeTensorError::IoError(error) => error,
        error => io::Error::other(error),
    })?;
    sync(file)
}

/// Reads the tensors of a safetensors file.
pub(super) fn read_tensors(file: &Path) -> io::Result<Tensors> {
    let bytes = std::fs::read(file)?;
    let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| invalid(error.to_string()))?;
    tensors
        .iter()
        .map(|(name, view)| {
            let dtype = TYPES.iter().find(|(_, stored)| *stored == view.dtype()).map(|(dtype, _)| *dtype);
            let dtype = dtype.ok_or_else(|| invalid(format!("'{name}' has type {:?}", view.dtype())))?;
            Ok((
                name.to_owned(),
                TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype),
            ))
        })
        .collect()
}

/// Writes bytes and syncs the file.
pub(super) fn write_bytes(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut out = File::create(file)?;
    out.write_all(bytes)?;
    out.sync_all()
}

/// Makes what was written to a file, or renamed in a folder, outlast a loss of power.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    // Windows has no way to sync a folder, and opens none as a file.
    if cfg!(windows) && path.is_dir() { Ok(()) } else { File::open(path)?.sync_all() }
}

/// The SHA-256 of a file, in hexadecimal.
pub(super) fn sha256(file: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(file)?, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}

struct Stored<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

impl<'a> Stored<'a> {
    fn new(name: &str, data: &'a TensorData) -> io::Result<Self> {
        let dtype = TYPES.iter().find(|(dtype, _)| *dtype == data.dtype).map(|(_, stored)| *stored);
        let dtype = dtype.ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, format!("'{name}' has type {:?}", data.dtype))
        })?;
        Ok(Self { dtype, shape: data.shape.to_vec(), bytes: data.as_bytes() })
    }
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_survive_to_the_bit() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("a.safetensors");
        let odd =
            TensorData::new(vec![f32::MIN_POSITIVE / 2.0, -0.0, 0.1, 1.0 + f32::EPSILON, 3.0, 7.0], [2, 3]);
        let double = TensorData::new(vec![0.1_f64], [1]);
        let tensors = BTreeMap::from([("odd".to_owned(), odd), ("double".to_owned(), double)]);
        write_tensors(&file, &tensors)?;
        assert_eq!(read_tensors(&file)?, tensors);
        Ok(())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error() {
        let full = Path::new("/dev/full");
        let tensors = BTreeMap::from([("a".to_owned(), TensorData::new(vec![1.0_f32], [1]))]);
        for written in [write_bytes(full, b"text"), write_tensors(full, &tensors)] {
            assert!(written.is_err_and(|error| error.kind() == io::ErrorKind::StorageFull));
        }
    }
}
