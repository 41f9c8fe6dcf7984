//! What a run makes: the configuration of its model, and its tokenizer.

use locus_data::{Examples, LabelSet, Tokenizer, TokenizerConfig};
use locus_encoder::StackConfig;
use locus_heads::HeadConfig;
use locus_model::{ModelConfig, QuestionConfig};
use locus_pipeline::Objective;

use super::Experiment;
use super::data::as_trained;
use super::scales::{feature_scales, mean_and_std};
use crate::run_file::{ConfigErrors, Problem, Task};

impl Experiment {
    /// The model's configuration and tokenizer: new ones, or those of the folder it starts from.
    pub(super) fn plan(&self, train: &Examples) -> anyhow::Result<(ModelConfig, Tokenizer)> {
        let labels = self.labels(train)?;
        let mut head = self.run.head(labels.len());
        if let (HeadConfig::Regression { mean, std, .. }, Examples::Scored(rows)) = (&mut head, train) {
            (*mean, *std) = mean_and_std(rows)?;
        }
        if let (HeadConfig::Ranking { features, .. }, Examples::Ranked(rankings)) = (&mut head, train) {
            *features = feature_scales(rankings);
        }
        let (config, tokenizer) = match &self.run.model.from {
            Some(from) => self.plan_from(from, head, labels)?,
            None => self.plan_anew(head, labels, train)?,
        };
        let data = &self.run.data;
        let config = ModelConfig {
            out_of_scope: data.out_of_scope.clone(),
            target_language: data.target_language.clone(),
            objective: self.run.objective.map(serde_json::to_value).transpose()?,
            packing: data.packing,
            questions: self.question_config(train),
            ..config
        };
        Ok((config, tokenizer))
    }

    /// The labels that are learned.
    fn labels(&self, train: &Examples) -> anyhow::Result<Vec<String>> {
        if let Task::Ner | Task::Classify | Task::Multilabel = self.run.task {
            return Ok(LabelSet::from_training(&as_trained(train))?.names().to_vec());
        }
        let labels = self.run.objective.as_ref().map(Objective::labels).unwrap_or_default();
        Ok(labels.iter().map(|&label| label.to_owned()).collect())
    }

    /// A new model, with a tokenizer from a file or from the training texts.
    fn plan_anew(
        &self,
        head: HeadConfig,
        labels: Vec<String>,
        train: &Examples,
    ) -> anyhow::Result<(ModelConfig, Tokenizer)> {
        let section = &self.run.tokenizer;
        let tokenizer = match &section.file {
            Some(file) => {
                if section.config != TokenizerConfig::default() {
                    tell!("note: tokenizer.file is taken as it is; the other keys of [tokenizer] give way");
                }
                Tokenizer::from_file(file)?
            }
            None => {
                let tokens = self.run.objective.as_ref().map(Objective::special_tokens).unwrap_or_default();
                let tokenizer = Tokenizer::train_with(&section.config, train.texts())?;
                if tokens.is_empty() { tokenizer } else { tokenizer.with_special_tokens(&tokens)? }
            }
        };
        let mut stack = self.run.model.stack.clone();
        self.find_tokens(&mut stack, &tokenizer)?;
        Ok((ModelConfig::new(head, labels, tokenizer.vocab_size(), stack), tokenizer))
    }

    /// How contexts are read. Where train has questions without an answer, there may be none; from which threshold on is
    /// decided on dev in the end, unless the run file says it.
    fn question_config(&self, train: &Examples) -> QuestionConfig {
        let mut config = self.run.model.questions.clone();
        if let Examples::Qa(questions) = train
            && config.no_answer_threshold.is_none()
            && questions.iter().any(|question| question.answers.is_empty())
        {
            tell!("note: train has questions without an answer, so an answer may be none");
            config.no_answer_threshold = Some(0.0);
        }
        config
    }

    /// Looks up the tokens that position schemes count by, where their ids are not known.
    pub(super) fn find_tokens(&self, stack: &mut StackConfig, tokenizer: &Tokenizer) -> anyhow::Result<()> {
        let missing = stack.find_tokens(&|token| tokenizer.id(token));
        if missing.is_empty() {
            return Ok(());
        }
        let of_model =
            missing.iter().map(|p| Problem::new(&format!("model.{}", p.key), &p.found, &p.allowed));
        let origin = format!("{} with this tokenizer", self.recipe);
        Err(ConfigErrors { origin, problems: of_model.collect() }.into())
    }
}
