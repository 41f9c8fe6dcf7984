//! `[objective]`: what a model learns from text alone, and what that allows.

use locus_data::objective::corruption::SpanCorruption;
use locus_data::objective::denoising::Denoising;
use locus_data::objective::prefix::PrefixLm;
use locus_pipeline::{Masking, Objective, Replacing};

use super::{Problem, RunFile, Task};

impl Task {
    /// What the task learns from plain text, where that is not the next token, as it usually is.
    fn objective(self) -> Option<Objective> {
        Some(match self {
            Self::Mlm => Objective::Mlm(Masking::default()),
            Self::ReplacedTokens => Objective::ReplacedTokens(Replacing::default()),
            Self::PrefixLm => Objective::PrefixLm(PrefixLm::default()),
            Self::SpanCorruption => Objective::SpanCorruption(SpanCorruption::default()),
            Self::Denoising => Objective::Denoising(Denoising::default()),
            Self::SentenceOrder => Objective::SentenceOrder {},
            _ => return None,
        })
    }
}

impl RunFile {
    /// The run file with the objective of its task, where it has none of its own.
    pub(super) fn with_objective(mut self) -> Self {
        self.objective = self.objective.or_else(|| self.task.objective());
        self
    }

    /// Everything wrong with the objective, and with a corpus to learn it from.
    pub(super) fn check_objective(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, found: &str, allowed: &str| {
            problems.push(Problem::new(key, found, allowed));
        };
        let of_task = self.task.objective();
        let objective = self.objective.or(of_task);
        if let Some(own) = self.objective
            && of_task.is_none_or(|usual| usual.name() != own.name())
        {
            let allowed = match of_task {
                Some(usual) => format!("objective.{}, for this task", usual.name()),
                None => format!("none for this task, or task = \"{}\"", own.name()),
            };
            problem("objective", own.name(), &allowed);
        }
        for line in self.objective.iter().flat_map(Objective::check) {
            let key = format!("objective.{}", self.objective.map_or("", |own| own.name()));
            let (left, allowed) = line.split_once(": expected ").unwrap_or((line.as_str(), "another value"));
            match left.split_once(" = ") {
                Some((name, found)) => problem(&format!("{key}.{name}"), found, allowed),
                None => problem(&key, left, allowed),
            }
        }
        if let (Some(Objective::ReplacedTokens(_)), Some(adapter)) = (objective, &self.train.adapter) {
            let allowed = "none: the generator and the discriminator are trained whole";
            problem("train.adapter", adapter.name(), allowed);
        }
        if matches!(objective, Some(Objective::PrefixLm(_))) {
            for cannot in self.model.stack.check_prefix() {
                problem(&format!("model.{}", cannot.key), &cannot.found, &cannot.allowed);
            }
        }
        if objective.is_some() && self.data.token_dropout > 0.0 {
            let allowed = "0: the objective decides which tokens are seen";
            problem("data.token_dropout", &self.data.token_dropout.to_string(), allowed);
        }
        if let Some(corpus) = &self.data.corpus {
            let corpus = corpus.display().to_string();
            if objective.is_none() && self.task != Task::Lm {
                problem("data.corpus", &corpus, "none: only tasks that learn from text alone read it");
            }
            if let Some(why) = objective.and_then(|objective| objective.needs_text()) {
                problem("data.corpus", &corpus, &format!("data.train with this objective: {why}"));
            }
            if self.tokenizer.file.is_none() && self.model.from.is_none() {
                problem("tokenizer.file", "none", "the tokenizer that data.corpus was made with");
            }
            if self.model.init.word_vectors.is_some() {
                problem("model.init.word_vectors", "a file", "none beside data.corpus");
            }
            if self.data.token_dropout > 0.0 && objective.is_none() {
                problem("data.token_dropout", &self.data.token_dropout.to_string(), "0 beside data.corpus");
            }
        }
        if let Some(language) = &self.data.target_language {
            let is_code = |c: char| c.is_ascii_lowercase() || c == '-';
            if language.is_empty() || !language.chars().all(is_code) {
                problem("data.target_language", language, "a language code, such as en or zh");
            }
        }
        problems
    }
}
