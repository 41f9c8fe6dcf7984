//! From the tensors of a folder to an adapter.

use std::collections::BTreeSet;

use locus_heads::{HostAdapter, HostArray, HostChange};

use super::config::{AdapterFile, Kind, ends_with, number_of};
use super::names::{Layer, Names, transposed};
use crate::Weights;

/// What every name begins with.
pub(super) const PREFIX: &str = "base_model.model.";

/// Everything that is wrong, or the adapter.
pub(super) fn read(file: &AdapterFile, weights: &Weights, names: &Names) -> Result<HostAdapter, Vec<String>> {
    let mut reading = Reading { file, weights, used: BTreeSet::new(), problems: Vec::new() };
    let mut adapter = HostAdapter::default();
    if let Kind::Lora { dropout, .. } = file.kind {
        adapter.dropout = dropout;
    }
    for layer in names.modules.iter().filter(|layer| file.changes(layer)) {
        adapter.changes.extend(reading.changes(layer));
    }
    if adapter.changes.is_empty() && reading.problems.is_empty() {
        reading.problems.push("target_modules names no layer of this model".to_owned());
    }
    reading.saved(names, &mut adapter);
    let unused = weights.names().filter(|name| !reading.used.contains(*name));
    let unused: Vec<String> =
        unused.map(|name| format!("{name} is not a tensor of this adapter on this model")).collect();
    let mut problems = reading.problems;
    problems.extend(unused);
    if problems.is_empty() { Ok(adapter) } else { Err(problems) }
}

struct Reading<'a> {
    file: &'a AdapterFile,
    weights: &'a Weights,
    used: BTreeSet<String>,
    problems: Vec<String>,
}

impl Reading<'_> {
    /// The numbers of a tensor of this shape; it is read only if it has it.
    fn tensor(&mut self, name: String, shape: &[usize]) -> Option<Vec<f32>> {
        let Some(found) = self.weights.shape(&name) else {
            self.problems.push(format!("{name} {shape:?} is missing"));
            return None;
        };
        let fits = found == shape;
        let read = if fits {
            self.weights.read(&name)
        } else {
            Err(format!("{name} is {found:?}, expected {shape:?}"))
        };
        self.used.insert(name);
        read.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// The changes of the projections that a layer holds.
    fn changes(&mut self, layer: &Layer) -> Vec<(String, HostChange)> {
        let name = format!("{PREFIX}{}", layer.name);
        let (d_in, d_out) = (layer.d_in(), layer.d_out());
        let paths = layer.paths.iter().cloned().enumerate();
        match &self.file.kind {
            Kind::Ia3(on_input) => {
                let on_input = on_input.matches(layer);
                let shape = if on_input { [1, d_in] } else { [d_out, 1] };
                let Some(values) = self.tensor(format!("{name}.ia3_l"), &shape) else { return Vec::new() };
                let vector = |part| if on_input { values.clone() } else { layer.take(&values, 1, part) };
                paths
                    .map(|(part, path)| (path, HostChange::Scale { vector: vector(part), on_input }))
                    .collect()
            }
            Kind::Lora { rank, alpha, rank_pattern, alpha_pattern, divisor, is_dora, .. } => {
                let rank = number_of(rank_pattern, &layer.name, *rank as f64);
                if rank < 1.0 || rank.fract() != 0.0 {
                    self.problems.push(format!("rank_pattern: {rank} for {}: expected a rank", layer.name));
                    return Vec::new();
                }
                let (rank, divisor) = (rank as usize, *divisor);
                let alpha = number_of(alpha_pattern, &layer.name, *alpha);
                let a = self.tensor(format!("{name}.lora_A.weight"), &[rank, d_in]);
                let b = self.tensor(format!("{name}.lora_B.weight"), &[d_out, rank]);
                let magnitude =
                    is_dora.then(|| self.tensor(format!("{name}.lora_magnitude_vector"), &[d_out]));
                let (Some(a), Some(b), true) = (a, b, magnitude.as_ref().is_none_or(Option::is_some)) else {
                    return Vec::new();
                };
                let magnitude = magnitude.flatten();
                let a = HostArray { shape: vec![d_in, rank], values: transposed(&a, [rank, d_in]) };
                let change = |part: usize| {
                    let [_, d_out] = layer.dims[part];
                    let b = HostArray { shape: vec![rank, d_out], values: layer.take(&b, rank, part) };
                    let magnitude = magnitude.as_ref().map(|values| layer.take(values, 1, part));
                    HostChange::LowRank { a: a.clone(), b, magnitude, alpha, divisor }
                };
                paths.map(|(part, path)| (path, change(part))).collect()
            }
        }
    }

    /// The parameters that were trained whole.
    fn saved(&mut self, names: &Names, adapter: &mut HostAdapter) {
        for link in &names.links {
            // A parameter that stands in no module goes by its own name.
            let theirs = link.theirs.as_str();
            let (module, last) = theirs.rsplit_once('.').unwrap_or((theirs, theirs));
            let plain = format!("{PREFIX}{}", link.theirs);
            let wrapped = format!("{PREFIX}{module}.base_layer.{last}");
            let is_saved = self.file.saved.iter().any(|name| is_of(module, name, ends_with));
            // peft looks at letters only, not at dots: DistilBERT's `pre_classifier` is saved as a `classifier`, too.
            let may_be =
                self.file.saved.iter().any(|name| is_of(module, name, |module, end| module.ends_with(end)));
            let is_bias = self.file.has_biases && last == "bias";
            // Of an output that is changed peft writes what is below the changes too.
            let is_changed =
                names.modules.iter().any(|layer| layer.name == module && self.file.changes(layer));
            let is_below = |name: &String| is_changed && *name == wrapped;
            let name =
                [plain.clone(), wrapped.clone()].into_iter().find(|name| self.weights.shape(name).is_some());
            let name = match name {
                Some(name) if is_saved || may_be || is_bias || is_below(&name) => name,
                None if is_saved => plain,
                _ => continue,
            };
            let parts = names.parts(link);
            let Some(shape) = parts.whole() else { continue };
            let Some(values) = self.tensor(name, &shape) else { continue };
            for (part, path) in link.ours.iter().enumerate() {
                let values = parts.take(values.clone(), part);
                adapter.saved.insert(path.clone(), HostArray { shape: names.shapes[path].clone(), values });
            }
        }
        if self.file.has_biases {
            // peft writes these beside the copy of the module that was trained, whose name has neither part.
            let twice = self.weights.names().filter(|name| {
                name.ends_with(".bias")
                    && (name.contains(".original_module.") || name.contains(".modules_to_save."))
            });
            let twice: Vec<String> = twice.map(str::to_owned).collect();
            self.used.extend(twice);
        }
    }
}

/// Whether a module, or one that it lies in, has a name that ends so: RoBERTa's `classifier.dense` lies in `classifier`.
fn is_of(module: &str, name: &str, ends_with: impl Fn(&str, &str) -> bool) -> bool {
    let mut all = module.match_indices('.').map(|(at, _)| &module[..at]).chain([module]);
    all.any(|module| ends_with(module, name))
}
