//! Texts as items of a batch.

use locus_data::objective::packed::Packer;
use locus_data::{Examples, IGNORE, Item, ItemLabels, PairLabel, Row, lm_blocks, windows};
use locus_heads::{HeadConfig, PairLoss};

use super::Codec;
use crate::entities::LostSpans;
use crate::{Packing, PipelineError, entities, in_units, pairs, ranking};

/// Examples as items of a batch.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// The items.
    pub items: Vec<Item>,
    /// How many texts were cut to the model's length.
    pub n_truncated: usize,
    /// Entities that a model of spans cannot learn.
    pub lost_spans: LostSpans,
}

/// A window of a word sequence.
#[derive(Clone, Debug)]
pub(crate) struct WordWindow {
    /// Its tokens.
    pub(crate) item: Item,
    /// The words that it owns, and where in its ids the first token of each stands.
    pub(crate) columns: Vec<(usize, usize)>,
    /// All words whose first token it has, likewise.
    pub(crate) words: Vec<(usize, usize)>,
}

impl Codec {
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
            (HeadConfig::SpanClassification { spans, .. }, Examples::Spans(sentences)) => {
                encoded = entities::encode(self, sentences, spans.max_words)?;
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
            // Any embedder can be scored by numbers of pairs.
            (HeadConfig::SentenceEmbedding(head), Examples::Scored(rows)) => {
                check_bounds(head.pair_loss, rows)?;
                encoded = pairs::encode(self, rows, |row| {
                    let cosine = match head.pair_loss {
                        PairLoss::Cosine(bounds) => bounds.cosine(row.label),
                        _ => None,
                    };
                    Ok(PairLabel::Score(cosine.unwrap_or(row.label) as f32))
                })?;
            }
            (HeadConfig::SentenceEmbedding(head), Examples::Labelled(rows))
                if head.pair_loss.n_labels().is_some() =>
            {
                encoded = pairs::encode(self, rows, |row| Ok(PairLabel::Class(self.label(&row.label)?)))?;
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
                    expected: match &self.head {
                        HeadConfig::TokenClassification { .. } => "words with tags",
                        HeadConfig::SpanClassification { .. } => "words with entities",
                        HeadConfig::SequenceClassification { .. } => "texts with labels",
                        HeadConfig::MultiLabelClassification { .. } => "texts with any number of labels",
                        HeadConfig::Regression { .. } => "texts with numbers",
                        HeadConfig::Ranking { .. } => "queries with candidates",
                        HeadConfig::CausalLm { .. } | HeadConfig::ReplacedTokens(_) => "plain text",
                        HeadConfig::QuestionAnswering { .. } => "questions with contexts",
                        HeadConfig::MaskedLm { .. } | HeadConfig::Bare { .. } => {
                            "token ids (`locus forward`)"
                        }
                        HeadConfig::SentenceEmbedding(head) => match head.pair_loss {
                            PairLoss::InBatchNegatives => {
                                "pairs of source and target, or pairs of texts with a number"
                            }
                            PairLoss::Cosine(_) | PairLoss::Cosent(_) => "pairs of texts with a number",
                            PairLoss::Softmax { .. } => "pairs of texts with a label",
                        },
                        HeadConfig::Seq2Seq { .. } => "pairs of source and target",
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
            // Of a word that begins in an earlier window the rest is passed over.
            let word_of = &encoding.word_of[window.tokens.clone()];
            let inside =
                word_of.first().map_or(0, |&first| first)..word_of.last().map_or(0, |&last| last + 1);
            let begins_here = |word: &usize| first_token[*word] >= window.tokens.start;
            let all = inside.filter(begins_here).map(|word| (word, column(word))).collect();
            let mut item = Item { ids: framed.ids, ..Item::default() };
            if let Some(labels) = labels {
                let mut per_token = vec![IGNORE; item.ids.len()];
                columns.iter().for_each(|&(word, column)| per_token[column] = labels[word]);
                item.labels = ItemLabels::PerToken(per_token);
            }
            WordWindow { item, columns, words: all }
        });
        Ok(items.collect())
    }

    /// A text, or a pair of texts, cut to the model's length; and whether it was cut.
    pub(crate) fn row(&self, text: &str, pair: Option<&str>) -> Result<(Item, bool), PipelineError> {
        let pair = pair.map(|pair| self.tokenizer.encode(pair)).transpose()?;
        Ok(self.cut(self.tokenizer.encode(text)?.ids, pair.map(|encoding| encoding.ids)))
    }

    /// A text in which special tokens such as the mask are meant as such, likewise.
    pub(crate) fn parsed(&self, text: &str) -> Result<(Item, bool), PipelineError> {
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

    /// Documents as one stream of tokens, each behind its [start](Self::text_start), with the end-of-text token between them
    /// where the tokenizer has one.
    pub(crate) fn stream(&self, documents: &[String]) -> Result<Vec<u32>, PipelineError> {
        let mut ids = Vec::new();
        for (idx, document) in documents.iter().enumerate() {
            if idx > 0 {
                ids.extend(self.tokenizer.specials().eos);
            }
            ids.extend(self.text_start());
            ids.extend(self.tokenizer.encode(document)?.ids);
        }
        Ok(ids)
    }

    /// Documents one after another in rows, each between its start and the token for the end of text where the tokenizer has
    /// one.
    fn packed(&self, documents: &[String]) -> Result<Vec<Item>, PipelineError> {
        let mut packer = Packer::new(self.max_seq_len, self.tokenizer.specials().eos)?;
        let mut items = Vec::new();
        for document in documents {
            let mut ids = self.text_start();
            ids.extend(self.tokenizer.encode_ids(document)?);
            items.extend(packer.push(&ids));
        }
        items.extend(packer.finish());
        Ok(items)
    }

    /// The tokens ahead of each document, and of each prompt, of a language model: what the tokenizer of a checkpoint puts ahead of
    /// a text, as in `transformers`; else the token for the start of a text where documents are kept apart. None where an
    /// [objective](crate::Objective) makes the rows.
    pub fn text_start(&self) -> Vec<u32> {
        if self.objective.is_some() || !matches!(self.head, HeadConfig::CausalLm { .. }) {
            return Vec::new();
        }
        match &self.tokenizer.frame().before[..] {
            before @ [_, ..] if self.add_bos_token => before.to_vec(),
            _ if self.packing == Packing::Documents => self.tokenizer.specials().bos.into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The tokens of a prompt behind its [start](Self::text_start). Where special tokens in it are meant as such, it may begin
    /// with the start itself, which is not put there twice.
    pub(crate) fn prompt(&self, text: &str, parse_special: bool) -> Result<Vec<u32>, PipelineError> {
        let mut ids = self.text_start();
        if !parse_special {
            ids.extend(self.tokenizer.encode_ids(text)?);
            return Ok(ids);
        }
        let own = self.tokenizer.encode_with_specials(text)?.ids;
        if own.starts_with(&ids) {
            return Ok(own);
        }
        ids.extend(own);
        Ok(ids)
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

    /// How many tokens of text fit beside the frame.
    pub(crate) fn room(&self, pair: bool) -> usize {
        self.max_seq_len.saturating_sub(self.tokenizer.frame().n_tokens(pair)).max(1)
    }
}

/// That numbers lie where the model learns what they stand for.
fn check_bounds(loss: PairLoss, rows: &[Row<f64>]) -> Result<(), PipelineError> {
    let PairLoss::Cosine(bounds) = loss else { return Ok(()) };
    let outside: Vec<&Row<f64>> = rows.iter().filter(|row| bounds.cosine(row.label).is_none()).collect();
    let Some(first) = outside.first() else { return Ok(()) };
    Err(PipelineError::OutsideBounds {
        bounds: bounds.scores,
        n: outside.len(),
        score: first.label,
        line: first.line,
    })
}
