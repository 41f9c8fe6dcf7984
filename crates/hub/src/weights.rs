//! The tensors of a folder: `model.safetensors`, or shards with `model.safetensors.index.json`.
//!
//! Files are mapped into memory and read piece by piece; what has been read is given back to the system at once, so that a file
//! does not stay in memory beside the values that were read of it. What takes a part of a tensor, or turns it, copies that
//! tensor's values; no more than one tensor is in hand at a time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::HubError;

const FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// How much of a file is read before it is given back, in bytes: a multiple of every element's size.
const PIECE: usize = 4 << 20;

/// What is known of a tensor without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFacts {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its element type, as safetensors writes it.
    pub dtype: String,
    /// Its size in the file.
    pub bytes: usize,
}

#[derive(Debug)]
struct Place {
    file: usize,
    /// In the file's mapping.
    start: usize,
    end: usize,
    dtype: Dtype,
    shape: Vec<usize>,
}

/// The tensors of a folder by name.
#[derive(Debug)]
pub struct Weights {
    dir: PathBuf,
    files: Vec<(PathBuf, Mmap)>,
    tensors: BTreeMap<String, Place>,
}

/// The index of a folder with several files; what else it says does not matter.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens the files of a folder and checks their headers.
    ///
    /// # Errors
    /// If there is no safetensors file, a header is damaged, or index and files contradict each other; all problems of all
    /// files at once.
    pub fn open(dir: &Path) -> Result<Self, HubError> {
        let mut weights = Self { dir: dir.to_owned(), files: Vec::new(), tensors: BTreeMap::new() };
        if dir.join(FILE).is_file() {
            let problems = weights.add(&dir.join(FILE))?;
            return weights.checked(problems);
        }
        if dir.join(INDEX).is_file() {
            return weights.open_shards(&dir.join(INDEX));
        }
        let pickles = ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "tf_model.h5"];
        let pickle = pickles.into_iter().find(|name| dir.join(name).exists());
        let reason = match pickle {
            Some(name) => format!(
                "its weights are in {name}, which can run code when it is read; expected {FILE}: convert it with \
                 `save_pretrained(…, safe_serialization=True)`"
            ),
            None => format!("expected {FILE} or {INDEX}"),
        };
        Err(HubError::NotACheckpoint { path: dir.to_owned(), reason })
    }

    /// Opens one file.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub(crate) fn open_file(path: &Path) -> Result<Self, HubError> {
        let dir = path.parent().unwrap_or(path).to_owned();
        if !path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            return Err(HubError::NotACheckpoint { path: dir, reason: format!("expected {name}") });
        }
        let mut weights = Self { dir, files: Vec::new(), tensors: BTreeMap::new() };
        let problems = weights.add(path)?;
        weights.checked(problems)
    }

    fn open_shards(mut self, index: &Path) -> Result<Self, HubError> {
        let text = fs::read_to_string(index).map_err(HubError::io("read", index))?;
        let wrong = |reason: String| HubError::NotACheckpoint { path: index.to_owned(), reason };
        let Index { weight_map } =
            serde_json::from_str(&text).map_err(|error| wrong(format!("expected a weight_map: {error}")))?;
        let mut names: Vec<String> = weight_map.values().cloned().collect();
        names.sort();
        names.dedup();
        let is_plain = |name: &str| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        };
        if let Some(outside) = names.iter().find(|name| !is_plain(name)) {
            return Err(wrong(format!("{outside:?} is not the name of a file in the folder")));
        }
        let mut problems = Vec::new();
        for name in names {
            let path = self.dir.join(&name);
            if path.is_file() {
                problems.extend(self.add(&path)?);
            } else {
                problems.push(format!("{name} is missing, which the index names"));
            }
        }
        let weight_map: BTreeMap<String, String> =
            weight_map.into_iter().map(|(tensor, file)| (current_name(&tensor), file)).collect();
        for (tensor, file) in &weight_map {
            let found = self.tensors.get(tensor).map(|place| &self.files[place.file].0);
            if problems.is_empty() && found != Some(&self.dir.join(file)) {
                problems.push(format!("{tensor} is not in {file}, where the index has it"));
            }
        }
        let unlisted = self.tensors.keys().filter(|name| !weight_map.contains_key(*name));
        problems.extend(unlisted.map(|name| format!("{name} is in a file but not in the index")));
        self.checked(problems)
    }

    fn checked(self, problems: Vec<String>) -> Result<Self, HubError> {
        if problems.is_empty() { Ok(self) } else { Err(HubError::Weights { path: self.dir, problems }) }
    }

    /// Maps a file; gives what is wrong with its header.
    fn add(&mut self, path: &Path) -> Result<Vec<String>, HubError> {
        let file = File::open(path).map_err(HubError::io("open", path))?;
        // SAFETY: the file is only read. Whoever cuts it while it is read ends the program by a signal, as with any mapping.
        let map = unsafe { Mmap::map(&file) }.map_err(HubError::io("map", path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (header, metadata) = match SafeTensors::read_metadata(&map) {
            Ok(read) => read,
            Err(error) => {
                return Ok(vec![format!(
                    "{name}, {} bytes, is no whole safetensors file ({error}): download it again",
                    map.len()
                )]);
            }
        };
        let mut problems = Vec::new();
        for (tensor, info) in metadata.tensors() {
            let data = 8 + header;
            let place = Place {
                file: self.files.len(),
                start: data + info.data_offsets.0,
                end: data + info.data_offsets.1,
                dtype: info.dtype,
                shape: info.shape.clone(),
            };
            if self.tensors.insert(current_name(&tensor), place).is_some() {
                problems.push(format!("{tensor} is in {name} and in another file"));
            }
        }
        self.files.push((path.to_owned(), map));
        Ok(problems)
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What is known of a tensor.
    pub fn facts(&self, name: &str) -> Option<TensorFacts> {
        let place = self.tensors.get(name)?;
        Some(TensorFacts {
            shape: place.shape.clone(),
            dtype: format!("{:?}", place.dtype),
            bytes: place.end - place.start,
        })
    }

    /// How many numbers all tensors have.
    pub(crate) fn n_numbers(&self) -> usize {
        self.tensors.values().map(|place| place.shape.iter().product::<usize>()).sum()
    }

    /// The shape of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|place| place.shape.as_slice())
    }

    /// Whether a tensor's elements can be read as f32: what to say where they cannot.
    pub(crate) fn wrong_type(&self, name: &str) -> Option<String> {
        let dtype = self.tensors.get(name)?.dtype;
        let fits = matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16);
        (!fits).then(|| format!("{name} has elements of type {dtype:?}, expected F32, F16 or BF16"))
    }

    /// The values of a tensor; then its pages are given back.
    ///
    /// # Errors
    /// If there is no such tensor, it is of another type, or holds numbers that are not finite.
    pub fn read(&self, name: &str) -> Result<Vec<f32>, String> {
        let place = self.tensors.get(name).ok_or_else(|| format!("{name} is missing"))?;
        if let Some(problem) = self.wrong_type(name) {
            return Err(problem);
        }
        let (_, map) = &self.files[place.file];
        let mut values = Vec::with_capacity(place.shape.iter().product());
        for start in (place.start..place.end).step_by(PIECE) {
            let end = place.end.min(start + PIECE);
            let bytes = &map[start..end];
            match place.dtype {
                Dtype::F16 => values.extend(pairs(bytes).map(|pair| f16::from_le_bytes(pair).to_f32())),
                Dtype::BF16 => values.extend(pairs(bytes).map(|pair| bf16::from_le_bytes(pair).to_f32())),
                _ => values.extend(bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four))),
            }
            forget(map, start, end);
        }
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(idx) => {
                Err(format!("{name} has {} at element {idx}: the checkpoint is damaged", values[idx]))
            }
        }
    }
}

/// The current name of a tensor: early checkpoints called the parameters of norms gamma and beta.
fn current_name(name: &str) -> String {
    let renamed = |old, new| name.strip_suffix(old).map(|start| format!("{start}{new}"));
    let gamma = renamed("LayerNorm.gamma", "LayerNorm.weight");
    gamma.or_else(|| renamed("LayerNorm.beta", "LayerNorm.bias")).unwrap_or_else(|| name.to_owned())
}

fn pairs(bytes: &[u8]) -> impl Iterator<Item = [u8; 2]> {
    bytes.as_chunks().0.iter().copied()
}

/// Gives the pages of a piece back to the system; they are read again from the file if need be.
#[cfg(unix)]
fn forget(map: &Mmap, start: usize, end: usize) {
    // SAFETY: the mapping is of a file and read only, so pages that are dropped come back as they were.
    let dropped =
        unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
    // Without it the same numbers are read; only more memory is used.
    dropped.unwrap_or_default();
}

#[cfg(not(unix))]
fn forget(_: &Mmap, _: usize, _: usize) {}
