//! What is wrong with the values of a run file, beyond their types.

use locus_heads::HeadConfig;

use super::{Problem, RunFile, Task};

impl RunFile {
    /// Everything wrong with the values.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let mut problems = self.data.check();
        problems.extend(self.check_losses());
        problems.extend(self.unread());
        problems.extend(self.check_adapter());
        problems.extend(self.train.check_sizes());
        problems.extend(self.check_objective());
        problems.extend(self.check_ranking());
        problems.extend(self.check_pairs());
        problems.extend(self.check_eval_score());
        let below = |section: &str, key: &str, found: String, allowed: &str| {
            Problem::new(&format!("{section}.{key}"), found, allowed)
        };
        let questions = self.model.questions.check().into_iter();
        problems.extend(questions.map(|p| below("model", &p.key, p.found, &p.allowed)));
        let tokenizer = self.tokenizer.config.check().into_iter();
        problems.extend(tokenizer.map(|p| below("tokenizer", p.key, p.found, &p.allowed)));
        // The number of labels is not known yet.
        let stack = self.head(1).check(&self.model.stack).into_iter();
        problems.extend(stack.map(|p| match &p.key[..] {
            "loss.scale" => below("train.in_batch_negatives", "scale", p.found, &p.allowed),
            key @ ("generator_width" | "discriminator_weight" | "temperature") => {
                below("objective.replaced_tokens", key, p.found, &p.allowed)
            }
            key => match (key.strip_prefix("pair_loss."), key.strip_prefix("generator.")) {
                (Some(key), _) => below("train", key, p.found, &p.allowed),
                (_, Some(key)) => self.small_generator(key, &p.found, &p.allowed),
                _ => below("model", key, p.found, &p.allowed),
            },
        }));
        // Which schemes there are can be told of a sound stack only.
        if problems.is_empty() {
            problems.extend(self.model.init.check(&self.model));
        }
        let fit = self.train.fit.check().into_iter();
        problems.extend(fit.map(|p| below("train", &p.key, p.found, &p.allowed)));
        problems
    }

    /// A generator whose sizes cannot be: they follow from those of the model and from its width.
    fn small_generator(&self, key: &str, found: &str, allowed: &str) -> Problem {
        let width = match self.head(1) {
            HeadConfig::ReplacedTokens(config) => config.generator_width,
            _ => unreachable!("only the head of this task has a generator"),
        };
        let allowed = format!("another share: the generator has {key} = {found} and needs {allowed}");
        Problem::new("objective.replaced_tokens.generator_width", width, &allowed)
    }

    /// Whether targets have the score that is to decide.
    fn check_eval_score(&self) -> Option<Problem> {
        let score = self.train.eval_score.filter(|_| self.task == Task::Seq2seq)?;
        let lacking = score.lacks(self.data.target_language.as_deref())?;
        Some(Problem::new("train.eval_score", score.name(), lacking))
    }

    /// Everything wrong with the adapter that is trained, if one is.
    fn check_adapter(&self) -> Vec<Problem> {
        let Some(adapter) = &self.train.adapter else { return Vec::new() };
        let allowed =
            "a model to adapt in model.from, or no such key: what has not been trained cannot be adapted";
        let nothing = Problem::unless(self.model.from.is_some(), "train.adapter", adapter.name(), allowed);
        let own = adapter.check().into_iter();
        let own = own.map(|p| Problem::new(&format!("train.adapter.{}", p.key), p.found, &p.allowed));
        nothing.into_iter().chain(own).collect()
    }
}
