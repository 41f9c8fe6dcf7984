//! AdamW (arXiv:1711.05101, algorithm 2), in place.
//!
//! burn's optimizer keys its state by random ids, clips each tensor by itself and has no parameter groups; burn-train's
//! learner moreover runs it on a clone of the model, which doubles the parameters in memory. Here the module is
//! consumed and given back, every buffer is updated where it is unless someone else holds it, and the state is kept by
//! path.

use std::collections::BTreeMap;

use burn::module::{AutodiffModule, Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use locus_backend::ops::{self, AdamWStep};

use crate::FitConfig;
use crate::params::{Path, parameter_shapes};

/// What AdamW does with a gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamWOptions {
    /// Decay rates of the two moments.
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled decay: a parameter loses `lr · weight_decay` of itself per step.
    pub weight_decay: f64,
    /// No decay for parameters with one of these names in their path, nor for those with one axis.
    pub no_decay: Vec<String>,
}

/// The optimizer and its state.
///
/// [`adamw_step`](ops::adamw_step) for each parameter. Parameters without a gradient are left alone, and count their own
/// updates, as in PyTorch.
#[derive(Clone, Debug)]
pub struct AdamW<IB: Backend> {
    options: AdamWOptions,
    moments: BTreeMap<String, Moments<IB>>,
}

#[derive(Clone, Debug)]
struct Moments<IB: Backend> {
    m: Tensor<IB, 1>,
    v: Tensor<IB, 1>,
    updates: u64,
}

impl From<&FitConfig> for AdamWOptions {
    fn from(config: &FitConfig) -> Self {
        let FitConfig { betas, eps, weight_decay, .. } = *config;
        Self { betas, eps, weight_decay, no_decay: config.no_decay.clone() }
    }
}

impl AdamWOptions {
    fn decay(&self, path: &str, n_axes: usize) -> f64 {
        let named = path.split('.').any(|part| self.no_decay.iter().any(|name| name == part));
        if n_axes <= 1 || named { 0.0 } else { self.weight_decay }
    }

    /// Names in `no_decay` that no parameter has.
    pub(crate) fn unmatched<'a>(&'a self, paths: &[(String, Vec<usize>)]) -> Vec<&'a str> {
        let has = |name: &str| paths.iter().any(|(path, _)| path.split('.').any(|part| part == name));
        self.no_decay.iter().map(String::as_str).filter(|name| !has(name)).collect()
    }
}

impl<IB: Backend> AdamW<IB> {
    /// An optimizer that has seen nothing.
    pub fn new(options: AdamWOptions) -> Self {
        Self { options, moments: BTreeMap::new() }
    }

    /// One step with the gradients times `scale`: the reciprocal weight of the losses, and clipping.
    pub fn step<B, M>(&mut self, module: M, grads: GradientsParams, scale: f64, lr: f64) -> M
    where
        B: AutodiffBackend<InnerBackend = IB>,
        M: AutodiffModule<B>,
    {
        module.map(&mut Step { optimizer: self, path: Path::default(), grads, scale, lr })
    }

    fn update(&mut self, path: String, p: Tensor<IB, 1>, g: Tensor<IB, 1>, rates: Rates) -> Tensor<IB, 1> {
        let old = self.moments.remove(&path).unwrap_or_else(|| Moments {
            m: g.zeros_like(),
            v: g.zeros_like(),
            updates: 0,
        });
        let updates = old.updates + 1;
        let AdamWOptions { betas: [beta1, beta2], eps, .. } = self.options;
        let Rates { lr, weight_decay, grad_scale } = rates;
        let step = AdamWStep { lr, beta1, beta2, eps, weight_decay, grad_scale, updates };
        let [p, m, v] = ops::adamw_step(&step, [p, old.m, old.v], g);
        self.moments.insert(path, Moments { m, v, updates });
        p
    }

    /// The moments by path, on the host: `<path>.m` and `<path>.v`, and the number of updates by path.
    pub(crate) fn named_moments(&self) -> (BTreeMap<String, TensorData>, BTreeMap<String, u64>) {
        let tensors = self.moments.iter().flat_map(|(path, moments)| {
            let [m, v] = [&moments.m, &moments.v].map(|tensor| tensor.to_data());
            [(format!("{path}.m"), m), (format!("{path}.v"), v)]
        });
        let updates = self.moments.iter().map(|(path, moments)| (path.clone(), moments.updates));
        (tensors.collect(), updates.collect())
    }

    /// The optimizer with saved moments of a module.
    ///
    /// # Errors
    /// Every path that is missing, superfluous or of another size.
    pub(crate) fn with_moments<B: Backend, M: Module<B>>(
        mut self,
        module: &M,
        mut tensors: BTreeMap<String, TensorData>,
        updates: &BTreeMap<String, u64>,
        device: &IB::Device,
    ) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        for (path, shape) in parameter_shapes::<B, M>(module) {
            let n_elements: usize = shape.iter().product();
            // A parameter that never had a gradient has no moments.
            let Some(&updates) = updates.get(&path) else { continue };
            let mut take = |moment: &str| {
                let name = format!("{path}.{moment}");
                match tensors.remove(&name) {
                    Some(data) if data.num_elements() == n_elements => Some(Tensor::from_data(data, device)),
                    found => {
                        let found = found.map_or("nothing".to_owned(), |data| format!("{:?}", data.shape));
                        problems
                            .push(format!("moment '{name}': expected {n_elements} elements, found {found}"));
                        None
                    }
                }
            };
            if let (Some(m), Some(v)) = (take("m"), take("v")) {
                self.moments.insert(path, Moments { m, v, updates });
            }
        }
        problems.extend(tensors.keys().map(|name| format!("moment '{name}' belongs to no parameter")));
        if problems.is_empty() { Ok(self) } else { Err(problems) }
    }
}

/// What differs from step to step and from parameter to parameter.
struct Rates {
    lr: f64,
    weight_decay: f64,
    grad_scale: f64,
}

struct Step<'a, IB: Backend> {
    optimizer: &'a mut AdamW<IB>,
    path: Path,
    grads: GradientsParams,
    scale: f64,
    lr: f64,
}

impl<B: AutodiffBackend> ModuleMapper<B> for Step<'_, B::InnerBackend> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(grad) = self.grads.remove::<B::InnerBackend, D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let path = self.path.name();
        let decay = self.optimizer.options.decay(&path, D);
        let (trained, dims) = (tensor.is_require_grad(), tensor.dims());
        // Flat, so that the update exists once per backend and not once per rank.
        let n_elements = dims.iter().product::<usize>();
        let (p, g) = (ops::reshape(tensor.inner(), [n_elements]), ops::reshape(grad, [n_elements]));
        let rates = Rates { lr: self.lr, weight_decay: decay, grad_scale: self.scale };
        let p = self.optimizer.update(path, p, g, rates);
        let tensor = Tensor::from_inner(ops::reshape(p, dims)).set_require_grad(trained);
        Param::from_mapped_value(id, tensor, mapper)
    }
}

#[cfg(test)]
mod tests {
    use super::AdamWOptions;

    #[test]
    fn decay_is_decided_by_axes_and_whole_names() {
        let no_decay = vec!["embedding".to_owned(), "emb".to_owned()];
        let options = AdamWOptions { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.5, no_decay };
        assert_eq!(options.decay("layers.0.q_proj.weight", 2), 0.5);
        assert_eq!(options.decay("layers.0.q_proj.bias", 1), 0.0);
        assert_eq!(options.decay("embedding.token", 2), 0.0);
        let paths = [("embedding.token".to_owned(), vec![2, 3])];
        assert_eq!(options.unmatched(&paths), ["emb"]);
    }
}
