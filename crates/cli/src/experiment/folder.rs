//! What a model that starts from a folder takes over of its configuration, and what is of this run.

use std::mem::discriminant;
use std::path::Path;

use locus_data::Tokenizer;
use locus_encoder::StackConfig;
use locus_heads::{HeadConfig, ReplacedTokensConfig, SentenceEmbeddingConfig, SpanConfig};
use locus_hub::{is_checkpoint, is_sentence_folder, read_config, read_sentence};
use locus_model::{ModelConfig, load_config};

use super::Experiment;
use crate::UsageError;
use crate::run_file::Task;
use crate::take_over::on_stack_of;

impl Experiment {
    /// The configuration and tokenizer of the folder, with this head and these labels where they are of this run.
    pub(super) fn plan_from(
        &self,
        from: &Path,
        head: HeadConfig,
        labels: Vec<String>,
    ) -> anyhow::Result<(ModelConfig, Tokenizer)> {
        if let Some(from) = self.sentence_source() {
            return self.plan_of_sentences(from, head, labels);
        }
        if is_checkpoint(from) {
            return self.plan_of_checkpoint(from, &head, labels);
        }
        let config = load_config(from)?;
        let head = self.head_on(from, &config, head, &labels)?;
        let tokenizer = Tokenizer::from_file(from)?;
        let mut stack = config.stack;
        self.find_tokens(&mut stack, &tokenizer)?;
        let config = ModelConfig {
            n_spare_tokens: config.n_spare_tokens,
            family: config.family,
            token_ids: config.token_ids,
            add_bos_token: config.add_bos_token,
            generation: config.generation,
            ..ModelConfig::new(head, labels, config.vocab_size, stack)
        };
        Ok((self.with_own_dropout(config), tokenizer))
    }

    /// The checkpoint that the model starts from.
    pub(super) fn checkpoint(&self) -> Option<&Path> {
        self.run.model.from.as_deref().filter(|from| is_checkpoint(from))
    }

    fn plan_of_checkpoint(
        &self,
        from: &Path,
        head: &HeadConfig,
        labels: Vec<String>,
    ) -> anyhow::Result<(ModelConfig, Tokenizer)> {
        if self.run.task == Task::ReplacedTokens {
            return Err(UsageError(format!(
                "model.from = {}: expected a model folder of Locus for replaced_tokens, found a checkpoint of transformers, which \
                 has no generator; start anew, or from what mlm makes of the checkpoint",
                from.display()
            ))
            .into());
        }
        let checkpoint = read_config(from, Some(&self.request(labels, head)))?;
        let tokenizer = Tokenizer::from_file(from)?;
        let mut config = checkpoint.config;
        if checkpoint.other_head {
            config.head = self.with_own_pooling(config.head);
        }
        Ok((self.with_own_dropout(with_spare_tokens(config, &tokenizer)), tokenizer))
    }

    /// The head of a model that starts from a folder of Locus.
    fn head_on(
        &self,
        from: &Path,
        config: &ModelConfig,
        head: HeadConfig,
        labels: &[String],
    ) -> Result<HeadConfig, UsageError> {
        Ok(match (config.head.clone(), head) {
            (kept, head) if !are_alike(&kept, &head) => self.with_own_pooling(new_head(from, head, &kept)?),
            // Everything but the loss is the folder's, and texts may be cut shorter.
            (HeadConfig::SentenceEmbedding(kept), HeadConfig::SentenceEmbedding(own)) => {
                let own_len = self.run.model.stack.max_seq_len;
                let len = kept.max_seq_len.unwrap_or(config.stack.max_seq_len);
                let max_seq_len = if own_len < len { Some(own_len) } else { kept.max_seq_len };
                let SentenceEmbeddingConfig { loss, pair_loss, .. } = own;
                HeadConfig::SentenceEmbedding(SentenceEmbeddingConfig {
                    loss,
                    pair_loss,
                    max_seq_len,
                    ..kept
                })
            }
            // How scores are trained and judged is a matter of this run.
            (
                HeadConfig::Ranking { pooling, features, layers, .. },
                HeadConfig::Ranking { loss, score, .. },
            ) => HeadConfig::Ranking { pooling, loss, score, features, layers },
            // How both networks are trained is a matter of this run; their sizes are the folder's.
            (HeadConfig::ReplacedTokens(kept), HeadConfig::ReplacedTokens(own)) => {
                if own.generator_width != kept.generator_width {
                    tell!(
                        "note: the generator is that of model.from; objective.replaced_tokens.generator_width gives way"
                    );
                }
                let (generator_width, transform) = (kept.generator_width, kept.transform);
                HeadConfig::ReplacedTokens(ReplacedTokensConfig { generator_width, transform, ..own })
            }
            // Which spans are given is a matter of this run.
            (
                HeadConfig::SpanClassification { spans: kept, layers, .. },
                HeadConfig::SpanClassification { n_labels, spans: own, .. },
            ) => {
                let spans = SpanConfig { max_words: own.max_words, overlap: own.overlap, ..kept };
                HeadConfig::SpanClassification { n_labels, spans, layers }
            }
            // How tags are decoded is a matter of this run.
            (kept @ HeadConfig::TokenClassification { .. }, head) => head.with_layers_of(&kept),
            // Numbers keep the scale they were learned in.
            (kept, _) if labels == config.labels => kept,
            // A classifier of other labels keeps its encoder.
            (kept, head) => self.with_own_pooling(head.with_layers_of(&kept)),
        })
    }

    /// The folder of `sentence-transformers` or the checkpoint that a sentence embedder starts from.
    pub(super) fn sentence_source(&self) -> Option<&Path> {
        let from = self.run.model.from.as_deref().filter(|_| self.run.task == Task::Embed)?;
        (is_sentence_folder(from) || is_checkpoint(from)).then_some(from)
    }

    /// Pooling and further layers are those of a list of modules; where there is none, those of this run. `model.max_seq_len` may
    /// shorten what is read of a text.
    fn plan_of_sentences(
        &self,
        from: &Path,
        head: HeadConfig,
        labels: Vec<String>,
    ) -> anyhow::Result<(ModelConfig, Tokenizer)> {
        if is_sentence_folder(from) && self.run.train.adapter.is_some() {
            let problem = format!(
                "train.adapter: {} is a folder of sentence-transformers, on which no adapter of vectors is trained; take out train.adapter, \
                 or start from a checkpoint or a model folder of Locus",
                from.display()
            );
            return Err(UsageError(problem).into());
        }
        let mut sentence = read_sentence(from)?;
        let tokenizer = Tokenizer::from_file(&sentence.transformer)?;
        let own_len = self.run.model.stack.max_seq_len;
        if let HeadConfig::SentenceEmbedding(own) = head {
            if !is_sentence_folder(from) {
                (sentence.head.pooling, sentence.head.layers) = (own.pooling, own.layers);
            }
            (sentence.head.loss, sentence.head.pair_loss) = (own.loss, own.pair_loss);
        }
        sentence.head.max_seq_len = Some(sentence.head.max_seq_len.map_or(own_len, |len| len.min(own_len)));
        let config = ModelConfig { labels, ..sentence.config() };
        Ok((self.with_own_dropout(with_spare_tokens(config, &tokenizer)), tokenizer))
    }

    /// Sizes and scheme are the folder's; dropout is a matter of this training.
    fn with_own_dropout(&self, config: ModelConfig) -> ModelConfig {
        let StackConfig { dropout, attention_dropout, .. } = self.run.model.stack;
        let stack = StackConfig { dropout, attention_dropout, ..config.stack };
        if stack != self.run.model.stack {
            let mut keys = set_otherwise(&self.run.model.stack, &stack);
            // How far a text is read is of this run there.
            if matches!(config.head, HeadConfig::SentenceEmbedding(_)) {
                keys.retain(|key| key != "model.max_seq_len");
            }
            let keys = if keys.is_empty() { "the keys".to_owned() } else { keys.join(", ") };
            tell!(
                "note: sizes, position scheme and tokenizer are those of model.from; {keys} of this run give way"
            );
        }
        for key in self.run.model.unheeded(&config.head) {
            tell!("note: model.{key} is that of model.from; the key of this run gives way");
        }
        ModelConfig { stack, ..config }
    }

    /// A new head with the pooling that the run file asks for, if it does.
    fn with_own_pooling(&self, head: HeadConfig) -> HeadConfig {
        match self.run.model.pooling {
            Some(pooling) => head.with_pooling(pooling),
            None => head,
        }
    }
}

/// The keys of a run that are neither what they are where nothing is said nor those of the folder.
fn set_otherwise(own: &StackConfig, kept: &StackConfig) -> Vec<String> {
    let written = |stack: &StackConfig| serde_json::to_value(stack).unwrap_or_default();
    let (own, usual, kept) = (written(own), written(&StackConfig::default()), written(kept));
    let keys = own.as_object().into_iter().flat_map(|table| table.keys());
    keys.filter(|key| own[*key] != usual[*key] && own[*key] != kept[*key])
        .map(|key| format!("model.{key}"))
        .collect()
}

/// Whether two heads are of one kind.
pub(super) fn are_alike(head: &HeadConfig, other: &HeadConfig) -> bool {
    discriminant(head) == discriminant(other)
}

/// Rows of the token table beyond the vocabulary are spare.
fn with_spare_tokens(mut config: ModelConfig, tokenizer: &Tokenizer) -> ModelConfig {
    config.n_spare_tokens = config.vocab_size.saturating_sub(tokenizer.vocab_size());
    config
}

/// The head of this run on the stack of a folder with another head.
fn new_head(from: &Path, head: HeadConfig, other: &HeadConfig) -> Result<HeadConfig, UsageError> {
    let from = from.display();
    let Some(new) = on_stack_of(head.clone(), other) else {
        return Err(UsageError(format!(
            "model.from = {from} has the head {other:?}, on whose stack {head:?} cannot stand: one reads in both directions, \
             the other from left to right, or it has two stacks"
        )));
    };
    if new.pooling().is_some() && other.pooling().is_some() {
        tell!("note: of model.from = {from} all is taken but the scores");
        return Ok(new.with_layers_of(other));
    }
    tell!("note: of model.from = {from} the stack is taken, with its embeddings; the head is new");
    Ok(new)
}
