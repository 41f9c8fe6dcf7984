//! Which modules of `transformers` our projections and parameters are.

use std::collections::BTreeMap;

use burn::tensor::backend::Backend;
use locus_heads::{HeadConfig, TaskModel};

use super::config::ends_with;
use super::{AdapterBase, dims};
use crate::config::HeadKind;
use crate::keys::{How, Link};
use crate::load::{family_of, links, parameters};
use crate::permute::Parts;

/// A linear layer of `transformers` and our projections that it holds.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// Its name, without that of a parameter.
    pub(super) name: String,
    /// Our projections.
    pub(super) paths: Vec<String>,
    /// Their widths in and out.
    pub(super) dims: Vec<[usize; 2]>,
    /// Whether its weight is `[in, out]`.
    pub(super) is_conv1d: bool,
    how: How,
    n_heads: usize,
}

/// All names of a model.
pub(super) struct Names {
    /// The linear layers.
    pub(super) modules: Vec<Layer>,
    /// The tensors, with the parameters that they hold.
    pub(super) links: Vec<Link>,
    /// The shapes of our parameters.
    pub(super) shapes: BTreeMap<String, Vec<usize>>,
    /// What the model is for.
    pub(super) kind: Option<HeadKind>,
    pub(super) n_heads: usize,
}

impl Names {
    pub(super) fn new<B: Backend>(base: AdapterBase<'_>, model: &TaskModel<B>) -> Self {
        let mut shapes = parameters(model);
        shapes.retain(|path, _| !path.contains(".adapters."));
        let mut model = model.clone();
        let widths: BTreeMap<String, [usize; 2]> =
            model.named_projections().into_iter().map(|(path, linear)| (path, dims(linear))).collect();
        let (mut links, kind, n_heads) = match base {
            AdapterBase::Checkpoint(checkpoint) => {
                let kind = HeadKind::of(&checkpoint.config.head);
                let of_family = family_of(checkpoint)
                    .map(|family| links(family, checkpoint, family.prefix_of(kind), &shapes).links);
                // `peft` has no task of spans.
                let of_spans = matches!(checkpoint.config.head, HeadConfig::SpanClassification { .. });
                let task = (!of_spans).then_some(kind);
                (of_family.unwrap_or_default(), task, checkpoint.config.stack.n_heads)
            }
            AdapterBase::Locus => (Vec::new(), None, 1),
        };
        // The first of several names is the one that is written. What no family has goes by our own name.
        let mut named = std::collections::BTreeSet::new();
        links.retain(|link| {
            link.ours.iter().all(|name| !named.contains(name)) && {
                named.extend(link.ours.iter().cloned());
                true
            }
        });
        let own = shapes.keys().filter(|name| !named.contains(*name));
        let own: Vec<Link> =
            own.map(|name| Link { theirs: name.clone(), ours: vec![name.clone()], how: How::Same }).collect();
        let modules = links.iter().filter_map(|link| Layer::of(link, &widths, n_heads, true));
        let modules = modules.chain(own.iter().filter_map(|link| Layer::of(link, &widths, n_heads, false)));
        let modules = modules.collect();
        links.extend(own);
        Self { modules, links, shapes, kind, n_heads }
    }

    /// The parts of a tensor.
    pub(super) fn parts(&self, link: &Link) -> Parts<'_> {
        crate::load::parts(link, &self.shapes, self.n_heads)
    }
}

impl Layer {
    fn of(
        link: &Link,
        widths: &BTreeMap<String, [usize; 2]>,
        n_heads: usize,
        of_family: bool,
    ) -> Option<Self> {
        let name = link.theirs.strip_suffix(".weight")?.to_owned();
        let paths: Option<Vec<String>> =
            link.ours.iter().map(|path| path.strip_suffix(".weight").map(str::to_owned)).collect();
        let paths = paths?;
        let dims: Option<Vec<[usize; 2]>> = paths.iter().map(|path| widths.get(path).copied()).collect();
        let is_conv1d = of_family && matches!(link.how, How::Same | How::SideBySide);
        let how = if link.how == How::ByHead { How::ByHead } else { How::Stacked };
        Some(Self { name, paths, dims: dims?, is_conv1d, how, n_heads })
    }

    /// Width of the input.
    pub(super) fn d_in(&self) -> usize {
        self.dims.first().map_or(0, |[d_in, _]| *d_in)
    }

    /// Width of the output.
    pub(super) fn d_out(&self) -> usize {
        self.dims.iter().map(|[_, d_out]| d_out).sum()
    }

    /// Whether it stands in a stack, and not in a head.
    pub(super) fn is_of_stack(&self) -> bool {
        let of_tokens = ["embedding_proj", "output_proj"];
        let is_of_tokens = |path: &String| of_tokens.iter().any(|name| ends_with(path, name));
        self.paths.iter().all(|path| path.contains(".layers.") || is_of_tokens(path))
    }

    /// The part of what has a row of `width` numbers for each output: `[width, d_out]` of that projection.
    pub(super) fn take(&self, rows: &[f32], width: usize, part: usize) -> Vec<f32> {
        self.parts(&self.shapes(width)).take(rows.to_vec(), part)
    }

    /// Puts such a part into the whole.
    pub(super) fn put(&self, rows: &mut [f32], width: usize, part: usize, values: &[f32]) {
        self.parts(&self.shapes(width)).put(rows, part, values);
    }

    fn shapes(&self, width: usize) -> Vec<[usize; 2]> {
        self.dims.iter().map(|[_, d_out]| [width, *d_out]).collect()
    }

    fn parts<'a>(&self, shapes: &'a [[usize; 2]]) -> Parts<'a> {
        let shapes = shapes.iter().map(<[usize; 2]>::as_slice).collect();
        Parts { shapes, how: self.how, n_heads: self.n_heads }
    }
}

/// The `[columns, rows]` of a matrix `[rows, columns]`.
pub(super) fn transposed(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}

/// The name of a task in `peft`.
pub(super) fn task_type(kind: HeadKind) -> Option<&'static str> {
    match kind {
        HeadKind::Bare => Some("FEATURE_EXTRACTION"),
        HeadKind::CausalLm => Some("CAUSAL_LM"),
        HeadKind::SequenceClassification => Some("SEQ_CLS"),
        HeadKind::TokenClassification => Some("TOKEN_CLS"),
        HeadKind::QuestionAnswering => Some("QUESTION_ANS"),
        HeadKind::Seq2SeqLm => Some("SEQ_2_SEQ_LM"),
        HeadKind::MaskedLm
        | HeadKind::ReplacedTokens
        | HeadKind::MultipleChoice
        | HeadKind::NextSentence
        | HeadKind::EncoderDecoder => None,
    }
}
