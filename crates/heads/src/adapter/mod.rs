//! Adapters of whole models: made anew, put on, chosen, read out, merged.
//!
//! [`HostAdapter`] is what files hold and what a run begins with; the parts on the projections are
//! [`Adapter`](locus_encoder::Adapter)s of one name.

mod config;
mod host;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::params::ParamPath;
use locus_embedding::position::PositionScheme;
use locus_encoder::{Adapter, AdapterError, Change, Linear, LowRank, Scale, Stack};

use crate::{HostArray, TaskModel, Transform};

pub use config::{AdapterConfig, Ia3Config, LoraConfig, RankScaling, Target};
pub use host::{HostAdapter, HostChange};

impl<B: Backend, P: PositionScheme<B>> TaskModel<B, P> {
    /// All linear layers that can have adapters with their paths: those of blocks (`encoder.layers.0.attn.q_proj`), of token
    /// vectors of a width of their own (`encoder.embedding_proj`), and of the head. The token table as output has none.
    pub fn named_projections(&mut self) -> Vec<(String, &mut Linear<B>)> {
        fn under<'a, B: Backend>(
            stack: &'static str,
            all: Vec<(String, &'a mut Linear<B>)>,
        ) -> Vec<(String, &'a mut Linear<B>)> {
            all.into_iter().map(|(name, linear)| (format!("{stack}.{name}"), linear)).collect()
        }
        fn dense<B: Backend>(transform: &mut Option<Transform<B>>) -> Option<&mut Linear<B>> {
            transform.as_mut().map(|layer| &mut layer.dense)
        }
        // The layer below the scores, and that of the scores.
        let (mut all, below, scores) = match self {
            Self::TokenClassifier(model) => {
                let of_blocks = under("encoder", model.encoder.named_projections());
                (of_blocks, dense(&mut model.transform), Some(("classifier", &mut model.classifier)))
            }
            // The projections of words are the head's own, and new.
            Self::SpanClassifier(model) => {
                (under("encoder", model.encoder.named_projections()), dense(&mut model.transform), None)
            }
            Self::SequenceClassifier(model) => {
                let mut of_blocks = under("encoder", model.encoder.named_projections());
                let of_decoder = model.decoder.iter_mut().flat_map(Stack::named_projections).collect();
                of_blocks.extend(under("decoder", of_decoder));
                (of_blocks, dense(&mut model.transform), Some(("classifier", &mut model.classifier)))
            }
            Self::QuestionAnswerer(model) => {
                let mut of_blocks = under("encoder", model.encoder.named_projections());
                let of_decoder = model.decoder.iter_mut().flat_map(Stack::named_projections).collect();
                of_blocks.extend(under("decoder", of_decoder));
                (of_blocks, dense(&mut model.transform), Some(("classifier", &mut model.classifier)))
            }
            Self::MaskedLm(model) => {
                let of_blocks = under("encoder", model.encoder.named_projections());
                let lm_head = model.lm_head.as_mut().map(|linear| ("lm_head", linear));
                (of_blocks, Some(&mut model.transform.dense), lm_head)
            }
            Self::ReplacedTokenDetector(model) => {
                let of_blocks = under("encoder", model.encoder.named_projections());
                let classifier = Some(("classifier", &mut model.classifier));
                (of_blocks, Some(&mut model.transform.dense), classifier)
            }
            Self::CausalLm(model) => {
                let lm_head = model.lm_head.as_mut().map(|linear| ("lm_head", linear));
                (under("decoder", model.decoder.named_projections()), None, lm_head)
            }
            Self::Seq2Seq(model) => {
                let lm_head = model.lm_head.as_mut().map(|linear| ("lm_head", linear));
                (under("body", model.body.named_projections()), None, lm_head)
            }
            Self::SentenceEmbedder(model) => {
                let mut all = under("encoder", model.encoder.named_projections());
                let layers = model.dense.iter_mut().enumerate();
                all.extend(layers.map(|(idx, linear)| (format!("dense.{idx}"), linear)));
                let scores = model.classifier.as_mut().map(|linear| ("classifier", linear));
                (all, dense(&mut model.transform), scores)
            }
            Self::Bare(model) => {
                (under("encoder", model.encoder.named_projections()), dense(&mut model.transform), None)
            }
        };
        let of_head = below.map(|linear| ("transform.dense", linear)).into_iter().chain(scores);
        all.extend(of_head.map(|(name, linear)| (name.to_owned(), linear)));
        all
    }

    /// Puts an adapter on under a name and makes it active beside those that are. Parameters that it brings besides replace
    /// the model's.
    ///
    /// # Errors
    /// Everything that does not fit; then the model is as it was.
    ///
    /// # Example
    /// ```
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_encoder::StackConfig;
    /// use locus_heads::{AdapterConfig, HeadConfig, HostAdapter, LoraConfig, TaskModel};
    /// # fn main() -> Result<(), Vec<String>> {
    /// let stack = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let head = HeadConfig::CausalLm { tied: true, output: Default::default() };
    /// let mut model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
    /// let config = AdapterConfig::Lora(LoraConfig { r: 2, ..LoraConfig::default() });
    /// let adapter = HostAdapter::new(&config, &model, Key::new(2))?;
    /// model.add_adapter("mine", &adapter)?;
    /// model.merge_adapters();
    /// # Ok(()) }
    /// ```
    pub fn add_adapter(&mut self, name: &str, adapter: &HostAdapter) -> Result<(), Vec<String>> {
        let mut adapted = self.clone();
        let mut problems = Vec::new();
        let mut projections = adapted.named_projections();
        for (path, change) in &adapter.changes {
            let Some((_, linear)) = projections.iter_mut().find(|(other, _)| other == path) else {
                problems.push(format!("{path} is not a projection of this model"));
                continue;
            };
            let device = linear.weight.device();
            let change = match change_on::<B>(change, adapter.dropout, &device) {
                Ok(change) => change,
                Err(problem) => {
                    problems.push(format!("{path}: {problem}"));
                    continue;
                }
            };
            let part = Adapter { name: name.to_owned(), is_active: true, change };
            if let Err(error) = linear.add_adapter(part) {
                problems.push(format!("{path}: {error}"));
            }
        }
        drop(projections);
        let mut fill = Fill { path: ParamPath::default(), adapter, found: Vec::new(), problems };
        adapted = adapted.map(&mut fill);
        let Fill { found, mut problems, .. } = fill;
        let unknown = adapter.saved.keys().filter(|path| !found.contains(path));
        problems.extend(unknown.map(|path| format!("{path} is not a parameter of this model")));
        if !problems.is_empty() {
            return Err(problems);
        }
        *self = adapted;
        Ok(())
    }

    /// Makes the adapters of these names active, and no others; what several add is added up.
    ///
    /// # Errors
    /// If there is none of a name, or they cannot act together; then all stays as it is.
    pub fn set_active_adapters(&mut self, names: &[&str]) -> Result<(), AdapterError> {
        let mut chosen = self.clone();
        let mut found = std::collections::BTreeSet::new();
        for (_, linear) in chosen.named_projections() {
            found.extend(linear.adapters.iter().map(|adapter| adapter.name.clone()));
            linear.set_active_adapters(names)?;
        }
        if let Some(unknown) = names.iter().find(|name| !found.contains(**name)) {
            return Err(AdapterError::Unknown((*unknown).to_owned()));
        }
        *self = chosen;
        Ok(())
    }

    /// Makes the active adapters part of the weights and drops all: a model as any other.
    pub fn merge_adapters(&mut self) {
        for (_, linear) in self.named_projections() {
            linear.merge_adapters();
        }
    }

    /// The adapter `name` with the numbers that it and the parameters beside it have in this model; `begun` is what it was put
    /// on as.
    pub fn adapter(&self, name: &str, begun: &HostAdapter) -> HostAdapter {
        let mut adapter = begun.clone();
        let mut model = self.clone();
        for (path, linear) in model.named_projections() {
            let part = linear.adapters.iter().find(|part| part.name == name);
            let (Some(part), Some(change)) = (part, adapter.changes.get_mut(&path)) else { continue };
            change.take(&part.change);
        }
        let mut read = Read { path: ParamPath::default(), adapter: &mut adapter };
        self.visit(&mut read);
        adapter
    }

    /// The same model with nothing trained but its adapters and the parameters whose paths are named.
    #[must_use]
    pub fn with_only_trained(self, trained: &dyn Fn(&str) -> bool) -> Self {
        self.map(&mut Freeze { path: ParamPath::default(), trained })
    }
}

fn change_on<B: Backend>(change: &HostChange, dropout: f64, device: &B::Device) -> Result<Change<B>, String> {
    let vector = |values: &Vec<f32>| {
        let data = TensorData::new(values.clone(), [values.len()]);
        Param::initialized(ParamId::new(), Tensor::<B, 1>::from_data(data, device).require_grad())
    };
    match change {
        HostChange::Scale { vector: values, on_input } => {
            Ok(Change::Scale(Scale { vector: vector(values), on_input: *on_input }))
        }
        HostChange::LowRank { a, b, magnitude, .. } => {
            let matrix = |array: &HostArray, name: &str| match *array.shape {
                [rows, columns] if rows * columns == array.values.len() => {
                    let data = TensorData::new(array.values.clone(), [rows, columns]);
                    let tensor = Tensor::<B, 2>::from_data(data, device).require_grad();
                    Ok(Param::initialized(ParamId::new(), tensor))
                }
                _ => Err(format!("{name} is {:?}, expected a matrix", array.shape)),
            };
            Ok(Change::LowRank(LowRank {
                a: matrix(a, "A")?,
                b: matrix(b, "B")?,
                magnitude: magnitude.as_ref().map(vector),
                scaling: change.scaling(),
                dropout,
            }))
        }
    }
}

struct Fill<'a> {
    path: ParamPath,
    adapter: &'a HostAdapter,
    found: Vec<String>,
    problems: Vec<String>,
}

impl<B: Backend> ModuleMapper<B> for Fill<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.leave(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let name = self.path.name();
        let Some(array) = self.adapter.saved.get(&name) else { return param };
        let (id, old, mapper) = param.consume();
        let (dims, trained) = (old.dims(), old.is_require_grad());
        self.found.push(name.clone());
        if array.shape != dims || array.values.len() != dims.iter().product::<usize>() {
            self.problems.push(format!("{name} is {:?}, expected {dims:?}", array.shape));
            return Param::from_mapped_value(id, old, mapper);
        }
        let data = TensorData::new(array.values.clone(), dims);
        let tensor = Tensor::from_data(data, &old.device()).set_require_grad(trained);
        Param::from_mapped_value(id, tensor, mapper)
    }
}

struct Read<'a> {
    path: ParamPath,
    adapter: &'a mut HostAdapter,
}

impl<B: Backend> ModuleVisitor<B> for Read<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.leave(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(array) = self.adapter.saved.get_mut(&self.path.name()) {
            *array = param.val().into();
        }
    }
}

struct Freeze<'a> {
    path: ParamPath,
    trained: &'a dyn Fn(&str) -> bool,
}

impl<B: Backend> ModuleMapper<B> for Freeze<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.leave(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let name = self.path.name();
        if name.contains(".adapters.") || (self.trained)(&name) {
            param
        } else {
            param.set_require_grad(false)
        }
    }
}
