//! The examples of a run.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use locus_data::corpus::Corpus;
use locus_data::split::split;
use locus_data::{Examples, Format, Kind, LabelSet, Part, ReadOptions, Shares, Splits, read};
use locus_model::ModelConfig;
use locus_pipeline::in_units;

use super::Experiment;
use crate::run_file::{Decoding, PairLossName, Task};
use crate::{UsageError, samples};

impl Experiment {
    /// The parts, as they are trained on and scored.
    pub(super) fn splits(&self) -> anyhow::Result<Splits> {
        let splits = without_outside(self.read_data()?, self.run.data.out_of_scope.as_deref())?;
        if !splits.contains_key(&Part::Dev) {
            tell!("warning: there is no dev part, so the last model is kept, not the best");
        }
        Ok(splits)
    }

    pub(super) fn open_corpus(&self) -> anyhow::Result<Option<Arc<Corpus>>> {
        let Some(dir) = &self.run.data.corpus else { return Ok(None) };
        let corpus = Corpus::open(dir)?;
        corpus.changed_sources().iter().for_each(|change| tell!("warning: data.corpus: {change}"));
        Ok(Some(Arc::new(corpus)))
    }

    fn read_data(&self) -> anyhow::Result<Splits> {
        let data = &self.run.data;
        let mut splits = match &data.set {
            Some(name) => samples::read_set(name, self.data_dir())?,
            None => Splits::new(),
        };
        if self.kind() == Kind::Spans {
            splits = splits.into_iter().map(|(part, examples)| (part, examples.into_spans())).collect();
        }
        let options = ReadOptions { kind: Some(self.kind()), ..data.read.clone() };
        // All files are looked at before the first problem is reported.
        let mut problems = Vec::new();
        for (part, path) in [(Part::Train, &data.train), (Part::Dev, &data.dev), (Part::Test, &data.test)] {
            match path.as_ref().map(|path| read(&self.find(path), &options)) {
                Some(Ok(examples)) => {
                    splits.insert(part, examples);
                }
                Some(Err(error)) => {
                    let hint =
                        path.as_ref().and_then(|path| self.has_scores(&self.find(path))).unwrap_or_default();
                    problems.push(format!("data.{part}: {error}{hint}"));
                }
                None => {}
            }
        }
        if !problems.is_empty() {
            bail!("{}", problems.join("\n"));
        }
        if data.corpus.is_some() {
            // Its rows are no texts; nothing is cut from them.
            splits.insert(Part::Train, Examples::Text(Vec::new()));
            return Ok(splits);
        }
        let mut splits = cut_dev(splits)?;
        if let Some(most) = data.max_eval_examples {
            for examples in
                splits.iter_mut().filter(|(part, _)| **part != Part::Train).map(|(_, examples)| examples)
            {
                *examples = examples.select(&(0..most.min(examples.len())).collect::<Vec<_>>());
            }
        }
        if self.run.task == Task::Embed {
            return Ok(splits.into_iter().map(|(part, examples)| (part, examples.into_pairs())).collect());
        }
        Ok(splits)
    }

    /// What to say where a file was read as pairs without numbers, and has them.
    fn has_scores(&self, path: &Path) -> Option<&'static str> {
        let options = ReadOptions { kind: Some(Kind::Scored), ..self.run.data.read.clone() };
        let reads_pairs = self.run.task == Task::Embed && self.kind() == Kind::Pairs;
        reads_pairs.then(|| read(path, &options).ok())??;
        Some("; it has numbers: train.pair_loss = \"cosent\" or \"cosine\" learns from them")
    }

    /// What the examples of the task are.
    fn kind(&self) -> Kind {
        match self.run.task {
            Task::Ner if self.run.model.decoding == Decoding::Span => Kind::Spans,
            Task::Ner => Kind::Tagged,
            Task::Classify => Kind::Labelled,
            Task::Multilabel => Kind::MultiLabelled,
            Task::Regression => Kind::Scored,
            // Questions with their contexts become pairs.
            Task::Embed if self.run.data.read.format == Some(Format::Squad) => Kind::Qa,
            Task::Embed => match self.run.train.pair_loss {
                PairLossName::InBatchNegatives => Kind::Pairs,
                PairLossName::Cosine | PairLossName::Cosent => Kind::Scored,
                PairLossName::Softmax => Kind::Labelled,
            },
            Task::Seq2seq => Kind::Pairs,
            Task::Qa => Kind::Qa,
            Task::Rank | Task::MultipleChoice => Kind::Ranked,
            Task::Lm
            | Task::Mlm
            | Task::ReplacedTokens
            | Task::PrefixLm
            | Task::SpanCorruption
            | Task::Denoising
            | Task::SentenceOrder => Kind::Text,
        }
    }
}

/// A set without a dev part has one cut from train, by hash, so that it is the same in every run.
fn cut_dev(mut splits: Splits) -> anyhow::Result<Splits> {
    if splits.contains_key(&Part::Dev) {
        return Ok(splits);
    }
    let Some(train) = splits.remove(&Part::Train) else { return Ok(splits) };
    for (part, examples) in split(&train, Shares { test: 0.0, ..Shares::default() })? {
        if !examples.is_empty() {
            splits.entry(part).or_insert(examples);
        }
    }
    splits.entry(Part::Train).or_insert(train);
    Ok(splits)
}

/// The splits with nothing out of scope to train on. A label that no part has is a slip.
fn without_outside(mut splits: Splits, label: Option<&str>) -> anyhow::Result<Splits> {
    let Some(label) = label else { return Ok(splits) };
    let is_there = splits.values().any(|examples| match examples {
        Examples::Labelled(rows) => rows.iter().any(|row| row.label == label),
        _ => false,
    });
    if !is_there {
        return Err(UsageError(format!("data.out_of_scope = '{label}': no example has this label")).into());
    }
    if let Some(Examples::Labelled(rows)) = splits.get_mut(&Part::Train) {
        rows.retain(|row| row.label != label);
        if rows.is_empty() {
            bail!("all training examples have the label '{label}', which is not learned (data.out_of_scope)");
        }
    }
    Ok(splits)
}

/// Labels that only dev or test has: nothing could ever predict them.
pub(super) fn refuse_unknown_labels(config: &ModelConfig, splits: &Splits) -> anyhow::Result<()> {
    if config.labels.is_empty() {
        return Ok(());
    }
    let known = LabelSet::new(config.labels.iter().cloned())?;
    let mut problems = Vec::new();
    for (part, examples) in splits.iter().filter(|(part, _)| **part != Part::Train) {
        let unknown = known.unknown(&as_trained(examples));
        let unknown = unknown.iter().filter(|unknown| config.out_of_scope.as_ref() != Some(&unknown.label));
        problems.extend(unknown.map(|label| {
            format!(
                "\n  - {part}: label '{}' on line {} ({} times) is not in train",
                label.label, label.line, label.count
            )
        }));
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!(
        "labels that cannot be learned: add training examples for them or take them out{}",
        problems.concat()
    )
}

/// The examples as a model sees them: of tagged words, the units.
pub(super) fn as_trained(examples: &Examples) -> Cow<'_, Examples> {
    match examples {
        Examples::Tagged(sentences) => Cow::Owned(Examples::Tagged(in_units(sentences))),
        _ => Cow::Borrowed(examples),
    }
}
