//! Maps of keys: the names under which `transformers` and we know the same parameters.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::HeadKind;
use crate::families::Family;

/// How a tensor of a checkpoint is made of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It is the same.
    Same,
    /// A matrix `[out, in]`, where ours is `[in, out]`.
    Transposed,
    /// Its rows in reverse.
    Reversed,
    /// A row `[1, n]` of what is `[n]` here.
    Row,
    /// Several of ours below one another, `[Σ out, in]` or `[Σ out]`.
    Stacked,
    /// Several of ours side by side, `[in, Σ out]` or `[Σ out]`.
    SideBySide,
    /// Several of ours, head by head: the rows of a head of each, then those of the next head.
    ByHead,
}

/// A line of a map. In the names `{}` is the number of a layer. A name of `transformers` that begins with `*.` has the
/// family's prefix, unless the model has no head. Ours begins with `stack.`, which is where the head keeps its stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) theirs: &'static str,
    pub(crate) ours: &'static [&'static str],
    pub(crate) how: How,
    /// It holds for models that do not have this parameter.
    without: Option<&'static str>,
}

impl Key {
    /// The same for models that do not have another parameter.
    pub(crate) const fn without(self, ours: &'static str) -> Self {
        Self { without: Some(ours), ..self }
    }
}

/// The same tensor.
pub(crate) const fn same(theirs: &'static str, ours: &'static [&'static str; 1]) -> Key {
    fused(theirs, ours, How::Same)
}

/// The weight of a linear layer.
pub(crate) const fn linear(theirs: &'static str, ours: &'static [&'static str; 1]) -> Key {
    fused(theirs, ours, How::Transposed)
}

/// Several of ours in one.
pub(crate) const fn fused(theirs: &'static str, ours: &'static [&'static str], how: How) -> Key {
    Key { theirs, ours, how, without: None }
}

/// A tensor of a checkpoint and the parameters that it holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) theirs: String,
    pub(crate) ours: Vec<String>,
    pub(crate) how: How,
}

/// Where a head keeps its stack.
pub(crate) fn stack_of(kind: HeadKind) -> &'static str {
    match kind {
        HeadKind::CausalLm => "decoder",
        HeadKind::Seq2SeqLm => "body",
        _ => "encoder",
    }
}

/// Whether a name is that of one of two stacks.
fn is_one_of_two(name: &str) -> bool {
    ["encoder.", "decoder."].iter().any(|stack| name.starts_with(stack))
}

/// Whether a parameter is one of a head's stacks. A classifier may have a decoder beside its encoder.
pub(crate) fn is_of_stack(kind: HeadKind, name: &str) -> bool {
    [stack_of(kind), "decoder"].contains(&name.split('.').next().unwrap_or_default())
}

/// What a map says of one model.
pub(crate) struct Links {
    /// Those of parameters that the model has, the canonical one of each first.
    pub(crate) links: Vec<Link>,
    /// Names that the family knows, but that this model has no parameter for: those of other heads, duplicates, buffers.
    known: BTreeSet<String>,
    ends: &'static [&'static str],
}

impl Links {
    /// The links of a model with these parameters, the kind of whose head comes with the kind that its names are of. `prefix`
    /// is put before what is the family's body.
    pub(crate) fn new(
        family: &Family,
        [kind, named]: [HeadKind; 2],
        prefix: &str,
        ours: &BTreeMap<String, Vec<usize>>,
        n_layers: usize,
    ) -> Self {
        let mut links = Vec::new();
        let mut known = BTreeSet::new();
        let mut add = |key: &Key, of_this_head: bool| {
            let layered = key.theirs.contains("{}");
            for layer in 0..if layered { n_layers } else { 1 } {
                let layer = layer.to_string();
                let theirs = match key.theirs.strip_prefix("*.") {
                    Some(rest) => format!("{prefix}{rest}"),
                    None => key.theirs.to_owned(),
                };
                let theirs = theirs.replace("{}", &layer);
                let name = |name: &&str| {
                    let name = name.replace("{}", &layer);
                    match name.strip_prefix("stack.") {
                        // Without a body around them the encoder and the decoder are the head's own.
                        Some(rest) if kind != HeadKind::Seq2SeqLm && is_one_of_two(rest) => rest.to_owned(),
                        Some(rest) => format!("{}.{rest}", stack_of(kind)),
                        None => name,
                    }
                };
                let names: Vec<String> = key.ours.iter().map(name).collect();
                let holds = key.without.is_none_or(|other| !ours.contains_key(&name(&other)));
                if of_this_head && holds && names.iter().all(|name| ours.contains_key(name)) {
                    links.push(Link { theirs, ours: names, how: key.how });
                } else {
                    known.insert(theirs);
                }
            }
        };
        family.body.iter().for_each(|key| add(key, true));
        for (kinds, keys) in family.heads {
            keys.iter().for_each(|key| add(key, kinds.contains(&named)));
        }
        for link in &links {
            known.remove(&link.theirs);
        }
        Self { links, known, ends: family.dropped }
    }

    /// Whether a tensor that no parameter is made of may be left out.
    pub(crate) fn may_drop(&self, name: &str) -> bool {
        self.known.contains(name) || self.ends.iter().any(|end| name.ends_with(end))
    }
}
