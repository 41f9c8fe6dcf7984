//! Text to numbers and back, for one model.

use locus_data::objective::packed::Packer;
use locus_data::{
    Examples, HostBatch, HostLabels, IGNORE, Item, ItemLabels, Kind, LabelSet, PadSide, Row, Tokenizer,
};
use locus_data::{collate, lm_blocks, windows};
use locus_embedding::Tokens;
use locus_heads::generate::Constraints;
use locus_heads::{Candidates, HeadConfig, Labels, TaskBatch};
use locus_model::{ModelConfig, QuestionConfig, QuestionSizes, TokenIds};

use crate::model_options::{constraints, ends};
use crate::pretraining::Pretraining;
use crate::{Masking, Objective, Packing, PipelineError, Thresholds, in_units, ranking};

/// A tokenizer, the labels and the sizes of one model.
#[derive(Clone, Debug)]
pub struct Codec {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The labels; none for language models.
    pub labels: Option<LabelSet>,
    /// From which probability on a label is given, where a text may have several.
    pub thresholds: Thresholds,
    /// How long contexts are read and answers chosen, where the model answers questions.
    pub(crate) questions: QuestionConfig,
    pub(crate) question_sizes: QuestionSizes,
    /// The label of texts that fit none of the labels.
    pub(crate) out_of_scope: Option<String>,
    /// What is learned from plain text, where that is not the next token.
    pub objective: Option<Objective>,
    /// How documents become rows of a language model.
    pub packing: Packing,
    /// How many open texts the search has by which targets are written for scores; 1 takes the best token each time.
    pub eval_beams: usize,
    /// The language that targets are in, by which translations are scored.
    pub(crate) target_language: Option<String>,
    head: HeadConfig,
    token_ids: TokenIds,
    /// The tokens that end a text, where a checkpoint names them.
    ends: Vec<u32>,
    /// Tokens that must come in generated text, and tokens that may not.
    pub(crate) constraints: Constraints,
    pub(crate) max_seq_len: usize,
}

/// Examples as items of a batch.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// The items.
    pub items: Vec<Item>,
    /// How many texts were cut to the model's length.
    pub n_truncated: usize,
}

/// A window of a word sequence.
#[derive(Clone, Debug)]
pub(crate) struct WordWindow {
    /// Its tokens.
    pub(crate) item: Item,
    /// The words that it owns, and where in its ids the first token of each stands.
    pub(crate) columns: Vec<(usize, usize)>,
}

impl Codec {
    /// The codec of a model.
    ///
    /// # Errors
    /// If the tokenizer does not fit the model, the model is too short for a token of text, or labels are doubled.
    pub fn new(config: &ModelConfig, tokenizer: Tokenizer) -> Result<Self, PipelineError> {
        if config.vocab_size.checked_sub(config.n_spare_tokens) != Some(tokenizer.vocab_size()) {
            let (tokenizer, model) = (tokenizer.vocab_size(), config.vocab_size);
            return Err(PipelineError::WrongTokenizer { tokenizer, model });
        }
        let frame = tokenizer.frame().n_tokens(false);
        let max_seq_len = match &config.head {
            HeadConfig::SentenceEmbedding(head) => {
                head.max_seq_len.map_or(config.stack.max_seq_len, |len| len.min(config.stack.max_seq_len))
            }
            _ => config.stack.max_seq_len,
        };
        if max_seq_len <= frame {
            return Err(PipelineError::TooShort { max_seq_len, frame });
        }
        let question_sizes = match config.head {
            HeadConfig::QuestionAnswering { .. } => {
                config.questions.sizes(max_seq_len, tokenizer.frame().n_tokens(true)).map_err(|p| {
                    PipelineError::Windows(format!("{} = {}: expected {}", p.key, p.found, p.allowed))
                })?
            }
            _ => QuestionSizes::default(),
        };
        Ok(Self {
            tokenizer,
            labels: (!config.labels.is_empty())
                .then(|| LabelSet::new(config.labels.iter().cloned()))
                .transpose()?,
            thresholds: Thresholds::Given(match &config.thresholds[..] {
                [] => vec![0.5; config.labels.len()],
                thresholds => thresholds.to_vec(),
            }),
            questions: config.questions.clone(),
            question_sizes,
            out_of_scope: config.out_of_scope.clone(),
            objective: objective_of(config)?,
            packing: config.packing,
            eval_beams: 1,
            target_language: config.target_language.clone(),
            head: config.head.clone(),
            token_ids: config.token_ids.clone(),
            ends: ends(config)?,
            constraints: constraints(config)?,
            max_seq_len,
        })
    }

    /// The same codec with another threshold from which on a question has no answer.
    #[must_use]
    pub fn with_no_answer_threshold(mut self, threshold: Option<f64>) -> Self {
        self.questions.no_answer_threshold = threshold;
        self
    }

    /// The head of the model.
    pub(crate) fn head(&self) -> &HeadConfig {
        &self.head
    }

    /// What the model does, in words.
    pub fn task(&self) -> &'static str {
        match self.head {
            HeadConfig::TokenClassification { .. } => "token classification",
            HeadConfig::SequenceClassification { .. } => "sequence classification",
            HeadConfig::MultiLabelClassification { .. } => "multi-label classification",
            HeadConfig::Regression { .. } => "regression",
            HeadConfig::Ranking { .. } => "ranking",
            HeadConfig::QuestionAnswering { .. } => "question answering",
            HeadConfig::SentenceEmbedding(_) => "sentence embedding",
            HeadConfig::MaskedLm { .. } => "masked language modelling",
            HeadConfig::CausalLm { .. } => "language modelling",
            HeadConfig::Seq2Seq { .. } => "sequence to sequence",
            HeadConfig::Bare { .. } => "vectors of tokens",
        }
    }

    /// The examples that the model takes.
    pub fn kind(&self) -> Kind {
        match self.head {
            _ if self.objective.is_some() => Kind::Text,
            HeadConfig::TokenClassification { .. } => Kind::Tagged,
            HeadConfig::SequenceClassification { .. } => Kind::Labelled,
            HeadConfig::MultiLabelClassification { .. } => Kind::MultiLabelled,
            HeadConfig::Regression { .. } => Kind::Scored,
            HeadConfig::Ranking { .. } => Kind::Ranked,
            HeadConfig::QuestionAnswering { .. } => Kind::Qa,
            // Those without a text interface are refused before any example is read.
            HeadConfig::MaskedLm { .. } | HeadConfig::Bare { .. } | HeadConfig::CausalLm { .. } => Kind::Text,
            HeadConfig::Seq2Seq { .. } | HeadConfig::SentenceEmbedding(_) => Kind::Pairs,
        }
    }

    /// Examples as items with labels. Long word sequences and contexts of questions become several items; of other texts
    /// the end is cut.
    ///
    /// # Errors
    /// If the examples are of another kind than the model needs, or hold labels it does not have.
    pub fn encode(&self, examples: &Examples) -> Result<Encoded, PipelineError> {
        let mut encoded = Encoded::default();
        if let (Some(pretraining), Examples::Text(documents)) = (self.pretraining()?, examples) {
            encoded.items = pretraining.evaluation_items(self, documents)?;
            return Ok(encoded);
        }
        match (&self.head, examples) {
            (HeadConfig::TokenClassification { .. }, Examples::Tagged(sentences)) => {
                for sentence in in_units(sentences) {
                    let labels =
                        sentence.tags.iter().map(|tag| self.label(tag)).collect::<Result<Vec<_>, _>>()?;
                    let windows = self.windows(&sentence.words, Some(&labels))?;
                    encoded.items.extend(windows.into_iter().map(|window| window.item));
                }
            }
            (HeadConfig::SequenceClassification { .. }, Examples::Labelled(rows)) => {
                encoded = self.rows(rows, |label| {
                    // What fits no label counts in no loss.
                    let is_outside = self.out_of_scope.as_ref() == Some(label);
                    Ok(ItemLabels::Row(if is_outside { IGNORE } else { self.label(label)? }))
                })?;
            }
            (HeadConfig::MultiLabelClassification { n_labels, .. }, Examples::MultiLabelled(rows)) => {
                encoded = self.rows(rows, |labels| {
                    let mut cells = vec![0.0; *n_labels];
                    for label in labels {
                        cells[self.label_idx(label)?] = 1.0;
                    }
                    Ok(ItemLabels::MultiHot(cells))
                })?;
            }
            (HeadConfig::Regression { mean, std, .. }, Examples::Scored(rows)) => {
                encoded = self.rows(rows, |number| Ok(ItemLabels::Value(((number - mean) / std) as f32)))?;
            }
            (HeadConfig::Ranking { features, .. }, Examples::Ranked(rankings)) => {
                encoded = ranking::encode(self, rankings, features)?;
            }
            (HeadConfig::QuestionAnswering { .. }, Examples::Qa(questions)) => {
                encoded = self.questions(questions)?;
            }
            (HeadConfig::CausalLm { .. }, Examples::Text(documents)) => {
                encoded.items = match self.packing {
                    Packing::Stream => lm_blocks(&self.stream(documents)?, self.max_seq_len),
                    Packing::Documents => self.packed(documents)?,
                };
            }
            (HeadConfig::SentenceEmbedding(_), Examples::Pairs(pairs)) => {
                for pair in pairs {
                    let (mut item, cut) = self.embedded(&pair.source)?;
                    let (target, target_cut) = self.embedded(&pair.target)?;
                    item.labels = ItemLabels::Target { ids: target.ids, labels: Vec::new() };
                    encoded.n_truncated += usize::from(cut || target_cut);
                    encoded.items.push(item);
                }
            }
            (HeadConfig::Seq2Seq { .. }, Examples::Pairs(pairs)) => {
                for pair in pairs {
                    let (mut item, truncated) = self.row(&pair.source, None)?;
                    let (ids, labels, cut) = self.target(&pair.target)?;
                    item.labels = ItemLabels::Target { ids, labels };
                    encoded.n_truncated += usize::from(truncated || cut);
                    encoded.items.push(item);
                }
            }
            _ => {
                return Err(PipelineError::WrongExamples {
                    task: self.task(),
                    expected: match self.head {
                        HeadConfig::TokenClassification { .. } => "words with tags",
                        HeadConfig::SequenceClassification { .. } => "texts with labels",
                        HeadConfig::MultiLabelClassification { .. } => "texts with any number of labels",
                        HeadConfig::Regression { .. } => "texts with numbers",
                        HeadConfig::Ranking { .. } => "queries with candidates",
                        HeadConfig::CausalLm { .. } => "plain text",
                        HeadConfig::QuestionAnswering { .. } => "questions with contexts",
                        HeadConfig::MaskedLm { .. } | HeadConfig::Bare { .. } => {
                            "token ids (`locus forward`)"
                        }
                        HeadConfig::Seq2Seq { .. } | HeadConfig::SentenceEmbedding(_) => {
                            "pairs of source and target"
                        }
                    },
                    found: examples.kind().to_string(),
                });
            }
        }
        Ok(encoded)
    }

    /// Rows with what `label` makes of their labels.
    fn rows<L>(
        &self,
        rows: &[Row<L>],
        label: impl Fn(&L) -> Result<ItemLabels, PipelineError>,
    ) -> Result<Encoded, PipelineError> {
        let mut encoded = Encoded::default();
        for row in rows {
            let (mut item, truncated) = self.row(&row.text, row.pair.as_deref())?;
            item.labels = label(&row.label)?;
            encoded.n_truncated += usize::from(truncated);
            encoded.items.push(item);
        }
        Ok(encoded)
    }

    /// The windows of a word sequence. A word's label stands on its first token, in the window that owns the word.
    pub(crate) fn windows(
        &self,
        words: &[String],
        labels: Option<&[i32]>,
    ) -> Result<Vec<WordWindow>, PipelineError> {
        let encoding = self.tokenizer.encode_words(words)?;
        let mut first_token = vec![0; words.len()];
        for (token, &word) in encoding.word_of.iter().enumerate().rev() {
            first_token[word] = token;
        }
        let room = self.room(false);
        let cut = windows(&encoding.word_of, room, room / 4)?;
        let items = cut.into_iter().map(|window| {
            let framed = self.tokenizer.assemble(&encoding.ids[window.tokens.clone()], None);
            let column = |word: usize| framed.first.start + first_token[word] - window.tokens.start;
            let columns: Vec<(usize, usize)> =
                window.words.iter().map(|&word| (word, column(word))).collect();
            let mut item = Item { ids: framed.ids, ..Item::default() };
            if let Some(labels) = labels {
                let mut per_token = vec![IGNORE; item.ids.len()];
                columns.iter().for_each(|&(word, column)| per_token[column] = labels[word]);
                item.labels = ItemLabels::PerToken(per_token);
            }
            WordWindow { item, columns }
        });
        Ok(items.collect())
    }

    /// A text, or a pair of texts, cut to the model's length; and whether it was cut.
    pub(crate) fn row(&self, text: &str, pair: Option<&str>) -> Result<(Item, bool), PipelineError> {
        let pair = pair.map(|pair| self.tokenizer.encode(pair)).transpose()?;
        Ok(self.cut(self.tokenizer.encode(text)?.ids, pair.map(|encoding| encoding.ids)))
    }

    /// A text in which the mask is meant as such, likewise.
    pub(crate) fn masked(&self, text: &str) -> Result<(Item, bool), PipelineError> {
        Ok(self.cut(self.tokenizer.encode_with_specials(text)?.ids, None))
    }

    /// The tokens of a text or of a pair, likewise.
    pub(crate) fn cut(&self, mut first: Vec<u32>, mut second: Option<Vec<u32>>) -> (Item, bool) {
        let room = self.room(second.is_some());
        let total = first.len() + second.as_ref().map_or(0, Vec::len);
        // The longer text gives way, token by token, as in BERT.
        for _ in room..total {
            match &mut second {
                Some(second) if second.len() > first.len() => second.pop(),
                _ => first.pop(),
            };
        }
        let framed = self.tokenizer.assemble(&first, second.as_deref());
        let mut ids = framed.ids;
        if ids.is_empty() {
            ids.push(self.tokenizer.specials().unk.unwrap_or(self.pad_id()));
        }
        let segments = second.is_some().then_some(framed.segments);
        (Item { ids, segments, ..Item::default() }, total > room)
    }

    /// A text as a sentence embedder reads it, and whether it was cut.
    pub(crate) fn embedded(&self, text: &str) -> Result<(Item, bool), PipelineError> {
        let text = text.trim();
        match &self.head {
            HeadConfig::SentenceEmbedding(head) if head.lowercase => self.row(&text.to_lowercase(), None),
            _ => self.row(text, None),
        }
    }

    /// How many tokens of a text that begins with this prompt are the prompt's: those in front of it included, those behind it
    /// not.
    pub(crate) fn n_prompt_tokens(&self, prompt: &str) -> Result<usize, PipelineError> {
        let n = self.embedded(prompt)?.0.ids.len();
        Ok(n - usize::from(!self.tokenizer.frame().after.is_empty()))
    }

    /// Documents as one stream of tokens, with the end-of-text token between them where the tokenizer has one.
    pub(crate) fn stream(&self, documents: &[String]) -> Result<Vec<u32>, PipelineError> {
        let mut ids = Vec::new();
        for (idx, document) in documents.iter().enumerate() {
            if idx > 0 {
                ids.extend(self.tokenizer.specials().eos);
            }
            ids.extend(self.tokenizer.encode(document)?.ids);
        }
        Ok(ids)
    }

    /// Documents one after another in rows, each between the tokens for start and end of text where the tokenizer has them.
    fn packed(&self, documents: &[String]) -> Result<Vec<Item>, PipelineError> {
        let mut packer = Packer::new(self.max_seq_len, self.tokenizer.specials().eos)?;
        let mut items = Vec::new();
        for document in documents {
            let mut ids: Vec<u32> = self.document_start().into_iter().collect();
            ids.extend(self.tokenizer.encode_ids(document)?);
            items.extend(packer.push(&ids));
        }
        items.extend(packer.finish());
        Ok(items)
    }

    /// The token ahead of each document, and of each prompt, of a language model whose documents are kept apart.
    pub(crate) fn document_start(&self) -> Option<u32> {
        let is_apart = self.packing == Packing::Documents && self.objective.is_none();
        self.tokenizer.specials().bos.filter(|_| is_apart)
    }

    /// The objective with the tokens that it needs, where there is one.
    pub(crate) fn pretraining(&self) -> Result<Option<Pretraining>, PipelineError> {
        self.objective.map(|objective| Pretraining::new(objective, self)).transpose()
    }

    /// The tokens of a whole target, however long.
    pub(crate) fn whole_target(&self, text: &str) -> Result<Vec<u32>, PipelineError> {
        Ok(self.tokenizer.encode_target(text)?.ids)
    }

    /// What the decoder reads, what it should say next, and whether the text was cut.
    fn target(&self, text: &str) -> Result<(Vec<u32>, Vec<i32>, bool), PipelineError> {
        let mut ids = vec![self.start_id()?];
        ids.extend(self.tokenizer.encode_target(text)?.ids);
        let cut = ids.len() > self.max_seq_len;
        ids.truncate(self.max_seq_len);
        let next = ids[1..].iter().copied().chain([self.end_id()?]);
        let labels = next.map(|id| id as i32).collect();
        Ok((ids, labels, cut))
    }

    /// Items as a batch, padded on the right.
    ///
    /// # Errors
    /// If items of different kinds are mixed.
    pub fn batch(&self, items: &[&Item]) -> Result<TaskBatch, PipelineError> {
        if let HeadConfig::SentenceEmbedding(_) = self.head {
            return self.batch_of_pairs(items);
        }
        if items.iter().any(|item| matches!(item.labels, ItemLabels::Candidates(_))) {
            return self.batch_of_candidates(items);
        }
        let host = collate(items, self.pad_id(), PadSide::Right, self.tokenizer.vocab_size())?;
        task_batch(host)
    }

    /// Each candidate as a row behind its query.
    fn batch_of_candidates(&self, items: &[&Item]) -> Result<TaskBatch, PipelineError> {
        let (mut rows, mut candidates) = (Vec::new(), Candidates::default());
        for query in items {
            let of_query = ranking::candidates(query);
            candidates.sizes.push(of_query.len());
            for candidate in of_query {
                rows.push(self.cut(query.ids.clone(), Some(candidate.ids.clone())).0);
                candidates.gains.push(candidate.gain);
                candidates.features.extend_from_slice(&candidate.features);
            }
        }
        let rows: Vec<&Item> = rows.iter().collect();
        let host = collate(&rows, self.pad_id(), PadSide::Right, self.tokenizer.vocab_size())?;
        Ok(TaskBatch { labels: Labels::Ranking(candidates), ..task_batch(host)? })
    }

    /// Pairs as one batch: all sources, then all targets. Items without a target are sources alone.
    fn batch_of_pairs(&self, items: &[&Item]) -> Result<TaskBatch, PipelineError> {
        let side = |ids: &[u32]| Item { ids: ids.to_vec(), ..Item::default() };
        let sources = items.iter().map(|item| side(&item.ids));
        let targets = items.iter().filter_map(|item| match &item.labels {
            ItemLabels::Target { ids, .. } => Some(side(ids)),
            _ => None,
        });
        let rows: Vec<Item> = sources.chain(targets).collect();
        let rows: Vec<&Item> = rows.iter().collect();
        let host = collate(&rows, self.pad_id(), PadSide::Right, self.tokenizer.vocab_size())?;
        let labels = if rows.len() == 2 * items.len() { Labels::InBatchPairs } else { Labels::None };
        Ok(TaskBatch { labels, ..task_batch(host)? })
    }

    /// The id that fills short rows up.
    pub fn pad_id(&self) -> u32 {
        self.tokenizer.specials().fill()
    }

    /// The token that stands for what is to be filled in.
    pub(crate) fn mask_id(&self) -> Result<u32, PipelineError> {
        let mask = self.tokenizer.specials().mask;
        mask.ok_or(PipelineError::NoToken { token: "mask", task: self.task() })
    }

    /// The token that starts a target.
    pub(crate) fn start_id(&self) -> Result<u32, PipelineError> {
        let specials = self.tokenizer.specials();
        let named = match self.head {
            HeadConfig::Seq2Seq { .. } => self.token_ids.decoder_start,
            _ => self.token_ids.bos,
        };
        named
            .or(specials.bos)
            .or(specials.cls)
            .ok_or(PipelineError::NoToken { token: "begin-of-text", task: self.task() })
    }

    /// The tokens that end a generated text; none where no such token is known.
    pub(crate) fn stop_ids(&self) -> Vec<u32> {
        let mut ids = self.ends.clone();
        ids.extend(self.tokenizer.specials().eos.filter(|id| !self.ends.contains(id)));
        ids
    }

    /// The tokens that end a generated target.
    pub(crate) fn end_ids(&self) -> Result<Vec<u32>, PipelineError> {
        if self.ends.is_empty() { Ok(vec![self.end_id()?]) } else { Ok(self.ends.clone()) }
    }

    /// The token that ends a target.
    pub(crate) fn end_id(&self) -> Result<u32, PipelineError> {
        let specials = self.tokenizer.specials();
        let named = self.token_ids.eos;
        named
            .or(specials.eos)
            .or(specials.sep)
            .ok_or(PipelineError::NoToken { token: "end-of-text", task: self.task() })
    }

    fn label(&self, name: &str) -> Result<i32, PipelineError> {
        Ok(self.label_idx(name)? as i32)
    }

    /// The number of a label.
    pub(crate) fn label_idx(&self, name: &str) -> Result<usize, PipelineError> {
        match &self.labels {
            Some(labels) => Ok(labels.require(name)?),
            None => Err(PipelineError::WrongTask { task: self.task(), asked: "give labels" }),
        }
    }

    /// The name of a label that the head predicted.
    pub(crate) fn label_name(&self, idx: usize) -> &str {
        self.labels.as_ref().and_then(|labels| labels.name(idx)).unwrap_or_default()
    }

    /// The number that an output of a regression head stands for.
    pub(crate) fn number(&self, output: f32) -> f64 {
        let (mean, std) = self.scale();
        mean + std * f64::from(output)
    }

    /// Mean and standard deviation of the training numbers.
    pub(crate) fn scale(&self) -> (f64, f64) {
        if let HeadConfig::Regression { mean, std, .. } = self.head { (mean, std) } else { (0.0, 1.0) }
    }

    /// How many tokens of text fit beside the frame.
    pub(crate) fn room(&self, pair: bool) -> usize {
        self.max_seq_len.saturating_sub(self.tokenizer.frame().n_tokens(pair)).max(1)
    }
}

/// What the model learned from plain text; of masked language models from elsewhere, what is usual.
fn objective_of(config: &ModelConfig) -> Result<Option<Objective>, PipelineError> {
    if let Some(value) = &config.objective {
        let objective = serde_json::from_value(value.clone());
        return objective.map(Some).map_err(|error| PipelineError::Objective(error.to_string()));
    }
    let is_masked = matches!(config.head, HeadConfig::MaskedLm { .. });
    Ok(is_masked.then(|| Objective::Mlm(Masking::default())))
}

fn task_batch(host: HostBatch) -> Result<TaskBatch, PipelineError> {
    let [batch, seq] = [host.batch, host.seq];
    let mut tokens = Tokens::new([batch, seq], host.ids, host.keep, host.segments).map_err(from_embedding)?;
    if let Some(documents) = host.documents {
        tokens = tokens.with_documents(documents).map_err(from_embedding)?;
    }
    if let Some(prefixes) = host.prefixes {
        // Rows are padded on the right, so a prefix starts in the first column.
        let prefix = prefixes.iter().flat_map(|&len| (0..seq).map(move |column| column < len)).collect();
        tokens = tokens.with_prefix(prefix).map_err(from_embedding)?;
    }
    let labels = match host.labels {
        HostLabels::None => Labels::None,
        HostLabels::PerToken(labels) => Labels::PerToken(labels),
        HostLabels::PerRow(labels) => Labels::PerRow(labels),
        HostLabels::MultiHot(cells) => Labels::MultiHot(cells.into_iter().map(|cell| cell as i32).collect()),
        HostLabels::Values(values) => Labels::Values(values),
        HostLabels::Spans(spans) => Labels::Spans(spans),
        HostLabels::Target { ids, keep, labels, seq } => Labels::Target {
            tokens: Tokens::new([batch, seq], ids, keep, None).map_err(from_embedding)?,
            labels,
        },
    };
    Ok(TaskBatch { tokens, labels })
}

fn from_embedding(error: locus_embedding::EmbeddingError) -> PipelineError {
    PipelineError::Head(error.into())
}
