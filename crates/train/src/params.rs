//! A module's parameters by path, for checkpoints.
//!
//! burn's own records key the optimizer by random ids, and `burn-store` does not restore those. A path is the same in
//! every process, so parameters and moments are kept under it.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};

/// The names from the root of a module to where a visitor stands.
#[derive(Debug, Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    pub(crate) fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    pub(crate) fn exit(&mut self) {
        self.0.pop();
    }

    pub(crate) fn name(&self) -> String {
        self.0.join(".")
    }
}

/// Paths and shapes of a module's float parameters, in the module's order.
pub(crate) fn parameter_shapes<B: Backend, M: Module<B>>(module: &M) -> Vec<(String, Vec<usize>)> {
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    shapes.found
}

/// Values of a module's float parameters by path, on the host.
pub(crate) fn named_parameters<B: Backend, M: Module<B>>(module: &M) -> BTreeMap<String, TensorData> {
    let mut values = Values::default();
    module.visit(&mut values);
    values.found
}

/// Gives a module's float parameters the values of their paths. Whether a parameter is trained stays as it is.
///
/// # Errors
/// Every path that is missing, superfluous or of another shape; then the module would be useless and is gone.
pub(crate) fn load_parameters<B: Backend, M: Module<B>>(
    module: M,
    values: BTreeMap<String, TensorData>,
) -> Result<M, Vec<String>> {
    let problems = differences(&parameter_shapes::<B, M>(&module), &values);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(module.map(&mut Load { path: Path::default(), values }))
}

fn differences(shapes: &[(String, Vec<usize>)], values: &BTreeMap<String, TensorData>) -> Vec<String> {
    let wrong = shapes.iter().filter_map(|(path, shape)| match values.get(path) {
        None => Some(format!("parameter '{path}' {shape:?} is missing")),
        Some(data) if data.shape.to_vec() != *shape => {
            Some(format!("parameter '{path}' has shape {:?}, expected {shape:?}", data.shape.to_vec()))
        }
        Some(_) => None,
    });
    let known = |name: &String| shapes.iter().any(|(path, _)| path == name);
    let extra = values.keys().filter(|name| !known(name));
    wrong.chain(extra.map(|name| format!("parameter '{name}' is not in the model"))).collect()
}

#[derive(Default)]
struct Shapes {
    path: Path,
    found: Vec<(String, Vec<usize>)>,
}

impl<B: Backend> ModuleVisitor<B> for Shapes {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.found.push((self.path.name(), param.val().dims().to_vec()));
    }
}

#[derive(Default)]
struct Values {
    path: Path,
    found: BTreeMap<String, TensorData>,
}

impl<B: Backend> ModuleVisitor<B> for Values {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.found.insert(self.path.name(), param.val().into_data());
    }
}

struct Load {
    path: Path,
    values: BTreeMap<String, TensorData>,
}

impl<B: Backend> ModuleMapper<B> for Load {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, old, mapper) = param.consume();
        let tensor = match self.values.remove(&self.path.name()) {
            Some(data) => Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad()),
            None => old,
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_listed() {
        let data = |shape: [usize; 1]| TensorData::zeros::<f32, _>(shape);
        let shapes = [("a".to_owned(), vec![2]), ("b".to_owned(), vec![3]), ("c".to_owned(), vec![5])];
        let values = [("b".to_owned(), data([7])), ("c".to_owned(), data([5])), ("d".to_owned(), data([11]))];
        assert_eq!(
            differences(&shapes, &values.into_iter().collect()),
            [
                "parameter 'a' [2] is missing",
                "parameter 'b' has shape [7], expected [3]",
                "parameter 'd' is not in the model",
            ]
        );
    }
}
