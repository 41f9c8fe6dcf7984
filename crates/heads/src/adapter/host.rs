//! An adapter on the host: what files hold.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::init::Init;
use locus_backend::params::ParamPath;
use locus_backend::rng::Key;
use locus_embedding::position::PositionScheme;
use locus_encoder::{Change, Linear};

use super::config::{AdapterConfig, LoraConfig, RankScaling, Target};
use crate::{HostArray, TaskModel};

/// An adapter of a whole model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostAdapter {
    /// The changes by the path of the projection, `encoder.layers.0.attn.q_proj`.
    pub changes: BTreeMap<String, HostChange>,
    /// Parameters that were trained besides, whole, by path: those of a new head.
    pub saved: BTreeMap<String, HostArray>,
    /// The probability that a number of the input of a low-rank change is dropped in training.
    pub dropout: f64,
}

/// The change of one projection.
#[derive(Clone, Debug, PartialEq)]
pub enum HostChange {
    /// LoRA, and with a magnitude DoRA.
    LowRank {
        /// A, `[d_in, rank]`.
        a: HostArray,
        /// B, `[rank, d_out]`.
        b: HostArray,
        /// `[d_out]`; only in DoRA.
        magnitude: Option<Vec<f32>>,
        /// What the product is multiplied by, before the rank divides it.
        alpha: f64,
        /// How the rank divides it.
        divisor: RankScaling,
    },
    /// (IA)³.
    Scale {
        /// `[d_out]`, or `[d_in]` on the input.
        vector: Vec<f32>,
        /// Whether the input is multiplied.
        on_input: bool,
    },
}

impl HostChange {
    /// The rank of a low-rank change; 0 of another.
    pub fn rank(&self) -> usize {
        match self {
            Self::LowRank { a, .. } => a.shape.get(1).copied().unwrap_or(0),
            Self::Scale { .. } => 0,
        }
    }

    /// What the product of a low-rank change is multiplied by.
    pub fn scaling(&self) -> f64 {
        match self {
            Self::LowRank { alpha, divisor, .. } => divisor.scaling(*alpha, self.rank()),
            Self::Scale { .. } => 1.0,
        }
    }

    /// Takes the numbers of a change of the same kind.
    pub(super) fn take<B: Backend>(&mut self, change: &Change<B>) {
        let numbers = |vector: &Param<Tensor<B, 1>>| HostArray::from(vector.val()).values;
        match (self, change) {
            (Self::LowRank { a, b, magnitude, .. }, Change::LowRank(change)) => {
                (*a, *b) = (change.a.val().into(), change.b.val().into());
                *magnitude = change.magnitude.as_ref().map(numbers);
            }
            (Self::Scale { vector, .. }, Change::Scale(change)) => *vector = numbers(&change.vector),
            _ => {}
        }
    }
}

impl HostAdapter {
    /// A new adapter that changes nothing yet: B is zero, vectors are one, magnitudes are the lengths of the columns. A is
    /// drawn as `peft` draws it, uniformly within `1/√d_in` (Kaiming's rule with a = √5).
    ///
    /// The parameters of a head of labels, numbers or answers are trained besides: classifier, CRF, the projections of spans, and
    /// the layer below them. Name others that are new by [`AdapterConfig::also_training`].
    ///
    /// # Errors
    /// Every name and number of a layer that the model does not have.
    pub fn new<B: Backend, P: PositionScheme<B>>(
        config: &AdapterConfig,
        model: &TaskModel<B, P>,
        key: Key,
    ) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let (mut adapter, mut seen) = (Self { dropout: config.dropout(), ..Self::default() }, Vec::new());
        for (path, linear) in model.clone().named_projections() {
            let Some(target) = Target::of(&path) else { continue };
            let layer = layer_of(&path);
            seen.push((target, layer));
            let here =
                config.layers().is_none_or(|layers| layer.is_some_and(|layer| layers.contains(&layer)));
            if here && config.targets().contains(&target) {
                let change = new_change(config, target, linear, key.named(&path));
                adapter.changes.insert(path, change);
            }
        }
        for target in config.targets().iter().filter(|target| !seen.iter().any(|(own, _)| own == *target)) {
            problems.push(format!("targets: the model has no {}", target.name()));
        }
        for layer in config.layers().into_iter().flatten() {
            if !seen.iter().any(|(_, own)| own == &Some(*layer)) {
                problems.push(format!("layers: the model has no layer {layer}"));
            }
        }
        let names = config.also_train();
        let mut found = vec![false; names.len()];
        let is_head = has_new_head(model);
        let mut wanted = |path: &str| {
            let mut is_named = false;
            for (name, found) in names.iter().zip(&mut found) {
                if is_part(path, name) {
                    (is_named, *found) = (true, true);
                }
            }
            is_named || (is_head && is_of_head(path))
        };
        let mut read = Saved { path: ParamPath::default(), saved: BTreeMap::new(), wanted: &mut wanted };
        model.visit(&mut read);
        adapter.saved = read.saved;
        for (name, _) in names.iter().zip(&found).filter(|(_, found)| !**found) {
            problems.push(format!("also_train: {name:?} is no part of a parameter's path"));
        }
        for path in adapter.saved.keys() {
            let linear = path.rsplit_once('.').map_or("", |(linear, _)| linear);
            if adapter.changes.contains_key(linear) {
                problems.push(format!("also_train: {path} is of a projection that the adapter changes"));
            }
        }
        if problems.is_empty() { Ok(adapter) } else { Err(problems) }
    }
}

impl HostAdapter {
    /// How many numbers the changes have, and how many the parameters that were trained whole.
    pub fn n_numbers(&self) -> (usize, usize) {
        let of_change = |change: &HostChange| match change {
            HostChange::LowRank { a, b, magnitude, .. } => {
                a.values.len() + b.values.len() + magnitude.as_ref().map_or(0, Vec::len)
            }
            HostChange::Scale { vector, .. } => vector.len(),
        };
        let whole = self.saved.values().map(|array| array.values.len()).sum();
        (self.changes.values().map(of_change).sum(), whole)
    }
}

/// Whether some parts of the path, one after another, are the name.
fn is_part(path: &str, name: &str) -> bool {
    !name.is_empty() && format!(".{path}.").contains(&format!(".{name}."))
}

/// Whether the scores of a model are of labels, which nobody has trained before.
fn has_new_head<B: Backend, P: PositionScheme<B>>(model: &TaskModel<B, P>) -> bool {
    use TaskModel::{QuestionAnswerer, SequenceClassifier, SpanClassifier, TokenClassifier};
    matches!(model, TokenClassifier(_) | SpanClassifier(_) | SequenceClassifier(_) | QuestionAnswerer(_))
}

fn is_of_head(path: &str) -> bool {
    let of_spans = ["start_proj.", "end_proj.", "label_proj.", "position."];
    let others = ["classifier.", "features.", "crf.", "dense.", "transform."];
    others.iter().chain(&of_spans).any(|start| path.starts_with(start))
}

/// The number of a layer in a path.
fn layer_of(path: &str) -> Option<usize> {
    let (_, rest) = path.split_once("layers.")?;
    rest.split('.').next()?.parse().ok()
}

fn new_change<B: Backend>(
    config: &AdapterConfig,
    target: Target,
    linear: &Linear<B>,
    key: Key,
) -> HostChange {
    let (d_in, d_out) = (linear.d_in(), linear.d_out());
    let low_rank = |config: &LoraConfig, magnitude| {
        let device = linear.weight.device();
        let a = Init::of_fan_in(d_in).tensor::<B, 2>([d_in, config.r], key.named("a"), &device);
        let b = HostArray { shape: vec![config.r, d_out], values: vec![0.0; config.r * d_out] };
        HostChange::LowRank { a: a.into(), b, magnitude, alpha: config.alpha, divisor: config.scaling }
    };
    match config {
        AdapterConfig::Lora(config) => low_rank(config, None),
        AdapterConfig::Dora(config) => low_rank(config, Some(lengths(linear))),
        AdapterConfig::Ia3(_) => {
            let on_input = target == Target::DownProj;
            HostChange::Scale { vector: vec![1.0; if on_input { d_in } else { d_out }], on_input }
        }
    }
}

/// The lengths of the columns of a weight.
fn lengths<B: Backend>(linear: &Linear<B>) -> Vec<f32> {
    HostArray::from(linear.weight.val().square().sum_dim(0).sqrt()).values
}

struct Saved<'a> {
    path: ParamPath,
    saved: BTreeMap<String, HostArray>,
    wanted: &'a mut dyn FnMut(&str) -> bool,
}

impl<B: Backend> ModuleVisitor<B> for Saved<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.leave(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let path = self.path.name();
        if (self.wanted)(&path) {
            self.saved.insert(path, param.val().into());
        }
    }
}
