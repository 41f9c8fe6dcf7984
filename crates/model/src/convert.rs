//! A trained model with another position scheme, by explicit rules.
//!
//! Everything outside the schemes stays. A parameter of the new scheme is taken from an instance of the same scheme in the
//! old model, that of the same layer first: as it is where the shapes agree; a table whose rows are positions on straight
//! lines to more rows, or cut to fewer. Every other parameter begins anew, because a number means something else in another
//! scheme.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::params::ParamPath;
use locus_backend::rng::Key;
use locus_encoder::{ConfigProblem, StackConfig};
use locus_heads::TaskModel;

use crate::{HostTable, ModelConfig};

/// What became of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It is that of the old model.
    Kept,
    /// A table of positions has more rows, on straight lines between the old ones; the first and the last stay.
    Interpolated {
        /// Number of positions that it had.
        from: usize,
        /// Number of positions that it has.
        to: usize,
    },
    /// A table of places in a part of a text has more rows: the old ones, then the last of them again.
    Extended {
        /// Number of rows that it had.
        from: usize,
        /// Number of rows that it has.
        to: usize,
    },
    /// A table of positions or places has fewer rows: the first ones.
    Cut {
        /// Number of positions that it had.
        from: usize,
        /// Number of positions that it has.
        to: usize,
    },
    /// It begins anew, drawn from the seed.
    Drawn,
    /// The new model has no such parameter.
    Dropped,
}

/// A parameter of a scheme, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The parameter's name in the new model; in the old one where it is dropped.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What became of it.
    pub rule: Rule,
}

/// A converted model.
#[derive(Debug)]
pub struct Conversion<B: Backend> {
    /// Its configuration.
    pub config: ModelConfig,
    /// The model.
    pub model: TaskModel<B>,
    /// What became of the schemes' parameters.
    pub steps: Vec<Step>,
    /// Number of parameters outside the schemes, which stay: tensors and numbers.
    pub n_kept: (usize, usize),
}

/// The model with this stack, which differs in its position schemes and in `max_seq_len` only. `key` decides what begins
/// anew.
///
/// # Errors
/// With everything that is wrong with the stack, and where the new schemes take another part of the model's width or give other
/// numbers of heads: then the token table, or output projections, would have to be others.
pub fn convert<B: Backend>(
    config: &ModelConfig,
    model: &TaskModel<B>,
    stack: StackConfig,
    key: Key,
    device: &B::Device,
) -> Result<Conversion<B>, Vec<ConfigProblem>> {
    let new = ModelConfig { stack, ..config.clone() };
    let mut problems = new.check();
    let extra = |config: &ModelConfig| -> usize {
        config.stack.schemes().0.iter().map(|scheme| scheme.extra_width()).sum()
    };
    if problems.is_empty() && extra(config) != extra(&new) {
        problems.push(ConfigProblem {
            key: "position".to_owned(),
            found: format!("{} appended dimensions", extra(&new)),
            allowed: format!(
                "{} as in the model: its token table is d_model less these wide, so another width needs another table; \
                 train a new model",
                extra(config)
            ),
        });
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut old = Collect::default();
    model.visit(&mut old);
    let fresh = TaskModel::<B>::new(&new.head, &new.stack, new.vocab_size, key, device);
    let mut fill = Fill {
        path: ParamPath::default(),
        old: &old.found,
        sources: Sources::new(&config.stack, &new.stack),
        used: BTreeSet::new(),
        steps: Vec::new(),
        n_kept: (0, 0),
        of_another_size: Vec::new(),
    };
    let model = fresh.map(&mut fill);
    let Fill { mut steps, used, n_kept, of_another_size, .. } = fill;
    if let Some((name, found, before)) = of_another_size.first() {
        return Err(vec![ConfigProblem {
            key: "position".to_owned(),
            found: format!("{name} {found:?}"),
            allowed: format!(
                "{before:?} as in the model: under this scheme trained weights have another size ({} of them); train a new model",
                of_another_size.len()
            ),
        }]);
    }
    let dropped = old.found.iter().filter(|(name, _)| !used.contains(*name));
    steps.extend(dropped.map(|(name, host)| Step {
        name: name.clone(),
        shape: host.shape.clone(),
        rule: Rule::Dropped,
    }));
    Ok(Conversion { config: new, model, steps, n_kept })
}

struct Host {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// All parameters by name.
#[derive(Default)]
struct Collect {
    path: ParamPath,
    found: BTreeMap<String, Host>,
}

impl<B: Backend> ModuleVisitor<B> for Collect {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.leave(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let (shape, data) = (param.dims().to_vec(), param.val().into_data());
        self.found.insert(self.path.name(), Host { shape, values: data.convert::<f32>().iter().collect() });
    }
}

/// For each scheme of the new stack the one of the old that it is taken from, and the tables of positions of both.
struct Sources(Vec<Source>);

struct Source {
    /// The instance in the old stack, if it has this scheme.
    old: Option<usize>,
    /// Names of tables whose rows are positions, and the rows before position 0: old and new.
    tables: [Option<(&'static str, usize)>; 2],
    /// The name of the table whose rows are places in a part of a text.
    places: Option<&'static str>,
}

impl Sources {
    fn new(old: &StackConfig, new: &StackConfig) -> Self {
        let (old_schemes, old_layers) = old.schemes();
        let (new_schemes, new_layers) = new.schemes();
        let mut sources = Vec::with_capacity(new_schemes.len());
        for (idx, scheme) in new_schemes.iter().enumerate() {
            let is_it = |old: &usize| old_schemes[*old].name() == scheme.name();
            let at_layer =
                new_layers.iter().position(|at| *at == idx).and_then(|layer| old_layers.get(layer));
            let old = at_layer.copied().filter(is_it).or_else(|| (0..old_schemes.len()).find(is_it));
            let of_old = old.and_then(|old| old_schemes[old].position_table());
            let tables = [of_old, scheme.position_table()];
            sources.push(Source { old, tables, places: scheme.place_table() });
        }
        Self(sources)
    }
}

/// Replaces the parameters of a new model by those of the old one.
struct Fill<'a> {
    path: ParamPath,
    old: &'a BTreeMap<String, Host>,
    sources: Sources,
    used: BTreeSet<String>,
    steps: Vec<Step>,
    n_kept: (usize, usize),
    /// Parameters outside of the schemes that the old model has in another shape: name, new shape, old shape.
    of_another_size: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl<B: Backend> ModuleMapper<B> for Fill<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.leave(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let shape = param.dims();
        let Some(values) = self.values(&shape, &param) else { return param };
        let (id, fresh, mapper) = param.consume();
        let tensor = Tensor::from_data(TensorData::new(values, shape), &fresh.device());
        Param::from_mapped_value(id, tensor.set_require_grad(fresh.is_require_grad()), mapper)
    }
}

impl Fill<'_> {
    /// The numbers of the parameter at the path; nothing where it begins anew.
    fn values<B: Backend, const D: usize>(
        &mut self,
        shape: &[usize; D],
        fresh: &Param<Tensor<B, D>>,
    ) -> Option<Vec<f32>> {
        let name = self.path.name();
        let Some((before, idx, rest)) = of_scheme(&name) else {
            let host = self.old.get(&name)?;
            if host.shape != shape {
                self.of_another_size.push((name, shape.to_vec(), host.shape.clone()));
                return None;
            }
            self.n_kept = (self.n_kept.0 + 1, self.n_kept.1 + host.values.len());
            self.used.insert(name);
            return Some(host.values.clone());
        };
        let source = &self.sources.0[idx];
        let old_name = source.old.map(|old| format!("{before}schemes.{old}.{rest}"));
        let host = old_name.as_ref().and_then(|name| self.old.get(name));
        let [old_table, new_table] = source.tables.map(|table| table.filter(|(name, _)| *name == rest));
        let (rule, values) = match (host, old_table, new_table) {
            (Some(host), Some((_, old_first)), Some((_, first))) if host.shape[1..] == shape[1..] => {
                let fresh = fresh.val().into_data().convert::<f32>().iter().collect();
                let fresh = HostTable { shape: [shape[0], shape[1..].iter().product()], values: fresh };
                let table = HostTable { shape: [host.shape[0], fresh.shape[1]], values: host.values.clone() };
                let (rule, values) = positions(&table, old_first, fresh, first);
                (rule, Some(values))
            }
            (Some(host), _, _)
                if source.places == Some(rest)
                    && !host.values.is_empty()
                    && host.shape[1..] == shape[1..] =>
            {
                let (rule, values) = places(&host.values, host.shape[0], shape[0]);
                (rule, Some(values))
            }
            (Some(host), _, _) if host.shape == shape => (Rule::Kept, Some(host.values.clone())),
            _ => (Rule::Drawn, None),
        };
        self.used.extend(old_name.filter(|_| values.is_some()));
        self.steps.push(Step { name, shape: shape.to_vec(), rule });
        values
    }
}

/// A table of positions with as many rows as `fresh`, whose first `first` rows are no positions.
fn positions(old: &HostTable, old_first: usize, mut fresh: HostTable, first: usize) -> (Rule, Vec<f32>) {
    let width = old.shape[1];
    let of_positions = old.from_row(old_first);
    let (from, to) = (of_positions.shape[0], fresh.shape[0] - first);
    let (rule, fitted) = match from {
        _ if from == to => (Rule::Kept, of_positions.values),
        0 => return (Rule::Drawn, fresh.values),
        _ if from < to => (Rule::Interpolated { from, to }, of_positions.interpolated(to).values),
        _ => (Rule::Cut { from, to }, of_positions.values[..to * width].to_vec()),
    };
    let ahead = old_first.min(first) * width;
    fresh.values[..ahead].copy_from_slice(&old.values[..ahead]);
    fresh.values[first * width..].copy_from_slice(&fitted);
    (rule, fresh.values)
}

/// A table of places, `from` rows, with `to` rows.
fn places(old: &[f32], from: usize, to: usize) -> (Rule, Vec<f32>) {
    let width = old.len() / from;
    let rule = match from {
        _ if from == to => Rule::Kept,
        _ if from < to => Rule::Extended { from, to },
        _ => Rule::Cut { from, to },
    };
    let row = |row: usize| &old[row.min(from - 1) * width..][..width];
    (rule, (0..to).flat_map(row).copied().collect())
}

/// What is before the schemes, the number of the scheme, and the name in it.
fn of_scheme(name: &str) -> Option<(&str, usize, &str)> {
    let at = name.find("schemes.").filter(|at| *at == 0 || name.as_bytes()[at - 1] == b'.')?;
    let (idx, rest) = name[at + "schemes.".len()..].split_once('.')?;
    Some((&name[..at], idx.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::{HostTable, Rule, of_scheme, places, positions};

    #[test]
    fn places_keep_their_rows() {
        let old = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(places(&old, 2, 2), (Rule::Kept, old.to_vec()));
        let longer = (Rule::Extended { from: 2, to: 3 }, vec![1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
        assert_eq!(places(&old, 2, 3), longer);
        assert_eq!(places(&old, 2, 1), (Rule::Cut { from: 2, to: 1 }, vec![1.0, 2.0]));
    }

    #[test]
    fn parameters_of_schemes_are_told_from_others() {
        assert_eq!(of_scheme("encoder.schemes.3.inner.table"), Some(("encoder.", 3, "inner.table")));
        assert_eq!(of_scheme("schemes.0.table"), Some(("", 0, "table")));
        assert_eq!(of_scheme("encoder.layers.0.norm.gamma"), None);
        assert_eq!(of_scheme("encoder.otherschemes.0.x"), None);
    }

    #[test]
    fn rows_before_the_positions_stay_and_the_others_are_fitted() {
        let old = HostTable { shape: [4, 1], values: vec![9.0, 1.0, 2.0, 3.0] };
        let fresh = |rows: usize| HostTable { shape: [rows, 1], values: vec![-1.0; rows] };
        let longer = (Rule::Interpolated { from: 3, to: 5 }, vec![9.0, 1.0, 1.5, 2.0, 2.5, 3.0]);
        assert_eq!(positions(&old, 1, fresh(6), 1), longer);
        let shorter = (Rule::Cut { from: 3, to: 2 }, vec![9.0, 1.0, 2.0]);
        assert_eq!(positions(&old, 1, fresh(3), 1), shorter);
        // Another numbering: the positions keep their vectors, a new row ahead begins anew.
        assert_eq!(positions(&old, 1, fresh(5), 2), (Rule::Kept, vec![9.0, -1.0, 1.0, 2.0, 3.0]));
    }
}
