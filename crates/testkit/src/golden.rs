//! Golden files: tensors that an oracle outside this project computed, as safetensors.

use std::collections::HashMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use safetensors::SafeTensors;

/// The tensors of one golden file, in f32.
#[derive(Debug)]
pub struct Golden {
    tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
    metadata: HashMap<String, String>,
}

impl Golden {
    /// Reads a file.
    ///
    /// # Panics
    /// If it cannot be read: the file belongs to the repository.
    #[track_caller]
    pub fn read(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let tensors = file.iter().map(|(name, view)| {
            assert_eq!(view.dtype(), safetensors::Dtype::F32, "{}: {name} must be f32", path.display());
            let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            (name.to_owned(), (view.shape().to_vec(), values.collect()))
        });
        let (_, header) =
            SafeTensors::read_metadata(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { tensors: tensors.collect(), metadata: header.metadata().clone().unwrap_or_default() }
    }

    /// What the file says of itself under a name: `script`, `versions`, ….
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// The names of the tensors, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The elements of a tensor, row-major.
    ///
    /// # Panics
    /// If there is none of this name.
    #[track_caller]
    pub fn values(&self, name: &str) -> &[f32] {
        &self.entry(name).1
    }

    /// The shape of a tensor.
    ///
    /// # Panics
    /// If there is none of this name.
    #[track_caller]
    pub fn shape(&self, name: &str) -> &[usize] {
        &self.entry(name).0
    }

    /// A tensor on the device.
    ///
    /// # Panics
    /// If there is none of this name, or it has another rank.
    #[track_caller]
    pub fn tensor<B: Backend, const D: usize>(&self, name: &str, device: &B::Device) -> Tensor<B, D> {
        let (shape, values) = self.entry(name);
        assert_eq!(shape.len(), D, "{name} has shape {shape:?}");
        Tensor::from_data(TensorData::new(values.clone(), shape.clone()), device)
    }

    /// A trainable parameter with a tensor's values.
    ///
    /// # Panics
    /// As [`Golden::tensor`].
    #[track_caller]
    pub fn param<B: Backend, const D: usize>(&self, name: &str, device: &B::Device) -> Param<Tensor<B, D>> {
        Param::initialized(ParamId::new(), self.tensor(name, device).require_grad())
    }

    /// The module with the parameters of the file, where each is named `param.` and its path.
    ///
    /// # Panics
    /// If one is missing or has another shape.
    #[track_caller]
    pub fn load<B: Backend, M: Module<B>>(&self, module: M, device: &B::Device) -> M {
        module.map(&mut Load { path: Vec::new(), golden: self, device })
    }

    #[track_caller]
    fn entry(&self, name: &str) -> &(Vec<usize>, Vec<f32>) {
        let Some(entry) = self.tensors.get(name) else {
            let mut names: Vec<_> = self.tensors.keys().collect();
            names.sort();
            panic!("no tensor '{name}' in the golden file; it has {names:?}");
        };
        entry
    }
}

struct Load<'a, B: Backend> {
    path: Vec<String>,
    golden: &'a Golden,
    device: &'a B::Device,
}

impl<B: Backend> ModuleMapper<B> for Load<'_, B> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let name = format!("param.{}", self.path.join("."));
        assert_eq!(self.golden.shape(&name), param.dims(), "{name}");
        self.golden.param(&name, self.device)
    }
}
