//! What is wrong with the values of a run file, beyond their types.

use super::{Problem, RunFile};

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
            key => below("model", key, p.found, &p.allowed),
        }));
        // Which schemes there are can be told of a sound stack only.
        if problems.is_empty() {
            problems.extend(self.model.init.check(&self.model));
        }
        let fit = self.train.fit.check().into_iter();
        problems.extend(fit.map(|p| below("train", &p.key, p.found, &p.allowed)));
        problems
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
