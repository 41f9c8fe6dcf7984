//! A loaded model folder that answers.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::backend::Backend;
use locus_backend::packed::Precision;
use locus_data::{Examples, Item, LabelSet, Tokenizer, split_words};
use locus_heads::{HeadConfig, SequenceClassifier, TaskModel};
use locus_model::{ModelConfig, ModelError, TOKENIZER_FILE, load};
use serde::Serialize;

use crate::classify::{outputs, sigmoid};
use crate::tagging::{best, entity_spans, tag};
use crate::thresholds::HALF;
use crate::write::{WriteOptions, Writer, Written, continue_texts, translate_texts};
use crate::{Answer, Codec, Evaluation, FilledMask, PipelineError, Thresholds, evaluate, masks, qa};

/// A model with everything it needs to answer in text.
#[derive(Debug)]
pub struct Pipeline<B: Backend> {
    /// The configuration of the folder.
    pub config: ModelConfig,
    /// Text to numbers and back.
    pub codec: Codec,
    /// The model.
    pub model: TaskModel<B>,
    /// How many texts are computed together.
    pub batch_size: usize,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Prediction {
    /// The entities of a text.
    Entities {
        /// The text.
        text: String,
        /// Its words.
        words: Vec<String>,
        /// Their tags.
        tags: Vec<String>,
        /// The entities that the tags make.
        entities: Vec<Entity>,
    },
    /// The entities of a text, of which one may lie in another.
    Spans {
        /// The text.
        text: String,
        /// Its words.
        words: Vec<String>,
        /// The entities, by their places.
        entities: Vec<Entity>,
    },
    /// The label of a text.
    Label {
        /// The text.
        text: String,
        /// The second text, of a pair.
        #[serde(skip_serializing_if = "Option::is_none")]
        pair: Option<String>,
        /// The best label.
        label: String,
        /// Its probability.
        score: f64,
        /// The probability of every label.
        scores: BTreeMap<String, f64>,
    },
    /// The labels of a text, of which it may have several or none.
    Labels {
        /// The text.
        text: String,
        /// The second text, of a pair.
        #[serde(skip_serializing_if = "Option::is_none")]
        pair: Option<String>,
        /// The labels whose probability reaches their threshold, the most probable first.
        labels: Vec<ScoredLabel>,
        /// The probability of every label.
        scores: BTreeMap<String, f64>,
    },
    /// The number of a text.
    Number {
        /// The text.
        text: String,
        /// The second text, of a pair.
        #[serde(skip_serializing_if = "Option::is_none")]
        pair: Option<String>,
        /// The number.
        value: f64,
    },
    /// How alike the texts of a pair are, by their vectors.
    Similarity {
        /// The text.
        text: String,
        /// The second text.
        pair: String,
        /// The cosine of their vectors.
        cosine: f64,
        /// The best label, where the model has learned labels of pairs.
        #[serde(skip_serializing_if = "Option::is_none")]
        label: Option<String>,
        /// Its probability.
        #[serde(skip_serializing_if = "Option::is_none")]
        score: Option<f64>,
        /// The probability of every label.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        scores: BTreeMap<String, f64>,
    },
    /// The answer to a question.
    Answer {
        /// The question.
        question: String,
        /// The answer as it stands in the context; empty where the context has none.
        answer: String,
        /// Where it starts, in characters of the context.
        start: usize,
        /// Where it ends, in characters, exclusive.
        end: usize,
        /// Its share of the probability of the best candidates.
        score: f64,
        /// Whether the question was longer than the model reads, so that its end was cut.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        cut: bool,
    },
    /// The tokens behind the masks of a text.
    Masks {
        /// The text.
        text: String,
        /// Whether it was longer than the model can read, so that its end was cut.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        cut: bool,
        /// For each mask, in their order, the best tokens, the most probable first.
        masks: Vec<Vec<FilledMask>>,
    },
    /// Texts made from a text.
    Text {
        /// What was given.
        text: String,
        /// Whether it was longer than the model can read: of a prompt the start was cut, of a source the end.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        cut: bool,
        /// What was made of it, the best first.
        generated: Vec<Written>,
    },
}

/// An entity in a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entity {
    /// Its type.
    pub label: String,
    /// The text it covers.
    pub text: String,
    /// Where it starts, in bytes.
    pub start: usize,
    /// Where it ends, in bytes, exclusive.
    pub end: usize,
    /// The mean probability of its tags; of a span the sigmoid of its score.
    pub score: f64,
}

/// A label with its probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoredLabel {
    /// The label.
    pub label: String,
    /// Its probability.
    pub score: f64,
}

impl Prediction {
    /// The answer as one line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| unreachable!("strings and numbers only: {error}"))
    }
}

/// How many tokens are given for a mask, as in `transformers`.
const TOP_K: usize = 5;

impl<B: Backend> Pipeline<B> {
    /// Loads a model folder.
    ///
    /// # Errors
    /// If the folder is not a model, or its parts do not fit one another.
    pub fn from_dir(dir: impl AsRef<Path>, device: &B::Device) -> Result<Self, PipelineError> {
        let dir = dir.as_ref();
        let (config, model) = load(dir, device)?;
        let tokenizer = dir.join(TOKENIZER_FILE);
        if !tokenizer.is_file() {
            return Err(ModelError::NotAModel { path: dir.to_owned(), missing: TOKENIZER_FILE }.into());
        }
        Self::new(config, model, Tokenizer::from_file(&tokenizer)?)
    }

    /// A model from elsewhere, with its tokenizer.
    ///
    /// # Errors
    /// If they do not fit one another.
    pub fn new(
        config: ModelConfig,
        model: TaskModel<B>,
        tokenizer: Tokenizer,
    ) -> Result<Self, PipelineError> {
        let codec = Codec::new(&config, tokenizer)?;
        Ok(Self { config, codec, model, batch_size: 16 })
    }

    /// Rounds the weights to bf16 or int8: less memory, and faster answers on a CPU, that may differ a little.
    ///
    /// The f32 weights are read first and let go layer by layer.
    ///
    /// # Errors
    /// If the backend is not ndarray or flex.
    pub fn pack(&mut self, precision: Precision) -> Result<(), PipelineError> {
        Ok(self.model.pack(precision)?)
    }

    /// One answer per text, in their order: entities, a label, labels, a number, the five best tokens for each mask, or
    /// generated text.
    ///
    /// # Errors
    /// If a text cannot be tokenised or the model cannot take it.
    pub fn predict<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Prediction>, PipelineError> {
        match &self.model {
            TaskModel::TokenClassifier(_) => self.entities(texts),
            TaskModel::SpanClassifier(model) => self.spans(model, texts),
            TaskModel::SequenceClassifier(_) if matches!(self.config.head, HeadConfig::Ranking { .. }) => {
                Err(PipelineError::WrongTask { task: self.codec.task(), asked: "read a text alone" })
            }
            TaskModel::SequenceClassifier(model) => {
                let texts: Vec<_> = texts.iter().map(|text| (text.as_ref(), None)).collect();
                self.rows(model, &texts)
            }
            TaskModel::CausalLm(_) | TaskModel::Seq2Seq(_) => {
                self.write(texts, &WriteOptions::default().of_model(&self.config)?.options)
            }
            TaskModel::MaskedLm(_) => self.fill_mask(texts, TOP_K),
            TaskModel::QuestionAnswerer(_) => {
                Err(PipelineError::WrongTask { task: self.codec.task(), asked: "read a text alone" })
            }
            TaskModel::ReplacedTokenDetector(_) | TaskModel::SentenceEmbedder(_) | TaskModel::Bare(_) => {
                Err(PipelineError::WrongTask { task: self.codec.task(), asked: "answer in text" })
            }
        }
    }

    /// The answers to questions about contexts, `(question, context)`, in their order. Contexts may be of any length: they
    /// are read in overlapping windows.
    ///
    /// # Errors
    /// If the model does not answer questions, or a text cannot be tokenised.
    pub fn answer<S: AsRef<str>>(&self, asked: &[(S, S)]) -> Result<Vec<Answer>, PipelineError> {
        let TaskModel::QuestionAnswerer(model) = &self.model else {
            return Err(PipelineError::WrongTask { task: self.codec.task(), asked: "answer questions" });
        };
        let asked: Vec<(&str, &str)> = asked.iter().map(|(q, c)| (q.as_ref(), c.as_ref())).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for group in asked.chunks(qa::GROUP) {
            let readings = qa::read(model, &self.codec, group, self.batch_size)?;
            let read = readings.iter().zip(group);
            answers
                .extend(read.map(|(reading, (_, context))| reading.answer(context, &self.codec.questions)));
        }
        Ok(answers)
    }

    /// The `top_k` most probable tokens for each mask of each text: one [`Prediction::Masks`] per text, in their order, with
    /// no list where a text has no mask.
    ///
    /// The mask is written as the tokenizer has it, for instance `[MASK]`; other special tokens in a text are meant as such
    /// too.
    ///
    /// # Errors
    /// If the model is no masked language model, its tokenizer has no mask, or a text cannot be tokenised.
    pub fn fill_mask<S: AsRef<str>>(
        &self,
        texts: &[S],
        top_k: usize,
    ) -> Result<Vec<Prediction>, PipelineError> {
        let TaskModel::MaskedLm(model) = &self.model else {
            return Err(PipelineError::WrongTask { task: self.codec.task(), asked: "fill masks" });
        };
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let filled = masks::fill(model, &self.codec, &texts, top_k, self.batch_size)?;
        let answers = texts.iter().zip(filled).map(|(text, filled)| Prediction::Masks {
            text: (*text).to_owned(),
            cut: filled.is_cut,
            masks: filled.masks,
        });
        Ok(answers.collect())
    }

    /// One answer per pair of texts, in their order: a label, labels, a number, or, of a query and a candidate, its score, with
    /// features as they are on average; [`Pipeline::rank`] takes features. Of a sentence embedder the cosine of the vectors that
    /// [`Pipeline::embed`] gives, and the label where it has learned labels of pairs.
    ///
    /// # Errors
    /// If the model neither classifies nor embeds, or a text cannot be tokenised.
    pub fn predict_pairs<S: AsRef<str>>(&self, pairs: &[(S, S)]) -> Result<Vec<Prediction>, PipelineError> {
        let model = match &self.model {
            TaskModel::SequenceClassifier(model) => model,
            TaskModel::SentenceEmbedder(model) => return self.similarities(model, pairs),
            _ => {
                return Err(PipelineError::WrongTask {
                    task: self.codec.task(),
                    asked: "read pairs of texts",
                });
            }
        };
        let pairs: Vec<_> = pairs.iter().map(|(text, pair)| (text.as_ref(), Some(pair.as_ref()))).collect();
        self.rows(model, &pairs)
    }

    /// Generates for each text, many at a time: one [`Prediction::Text`] per text, in their order.
    ///
    /// Where the position scheme ends and a prompt is longer, the prompt's start is cut (behind the token for the start of a text),
    /// so that there is room for new tokens; the answer says so.
    ///
    /// # Errors
    /// If the model does not generate or the options are out of range.
    pub fn write<S: AsRef<str>>(
        &self,
        texts: &[S],
        options: &WriteOptions,
    ) -> Result<Vec<Prediction>, PipelineError> {
        let mut given = Vec::with_capacity(texts.len());
        for text in texts {
            given.push(self.given_ids(text.as_ref(), options)?);
        }
        if let TaskModel::CausalLm(model) = &self.model
            && let Some(limit) = model.decoder.max_positions()
        {
            for (ids, cut) in given.iter_mut().filter(|(ids, _)| ids.len() > limit) {
                let len = limit - options.max_new_tokens.min(limit / 2);
                let n_start = self.codec.text_start().len().min(len);
                ids.drain(n_start..n_start + ids.len() - len);
                *cut = true;
            }
        }
        // Texts of about one length share a batch.
        let mut order: Vec<usize> = (0..given.len()).collect();
        order.sort_by_key(|&idx| given[idx].0.len());
        let mut written: Vec<Vec<Written>> = vec![Vec::new(); given.len()];
        for chunk in order.chunks(self.batch_size.max(1)) {
            let ids: Vec<Vec<u32>> = chunk.iter().map(|&idx| given[idx].0.clone()).collect();
            let rows = self.run(&ids, options, &mut |_, _| ControlFlow::Continue(()))?;
            let mut rows = rows.into_iter();
            for &idx in chunk {
                written[idx] = rows.by_ref().take(options.n_sequences).collect();
            }
        }
        let answers = texts.iter().zip(given).zip(written).map(|((text, (_, cut)), generated)| {
            Prediction::Text { text: text.as_ref().to_owned(), cut, generated }
        });
        Ok(answers.collect())
    }

    /// Generates one text from a prompt; `on_text` sees it in pieces, as they come, and may break off.
    ///
    /// # Errors
    /// If the model does not generate, the options are out of range, or the prompt is too long for the model.
    pub fn generate(
        &self,
        prompt: &str,
        options: &WriteOptions,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Written, PipelineError> {
        let options = WriteOptions { n_sequences: 1, ..options.clone() };
        let (ids, _) = self.given_ids(prompt, &options)?;
        let written = self.run(&[ids], &options, &mut |_, piece| on_text(piece))?;
        Ok(written.into_iter().next().unwrap_or_default())
    }

    /// Scores the model on examples of its task.
    ///
    /// # Errors
    /// As [`evaluate()`].
    pub fn evaluate(&self, examples: &Examples) -> Result<Evaluation, PipelineError> {
        evaluate(&self.model, &self.codec, examples, self.batch_size)
    }

    /// What the model reads of a text, and whether the text was cut.
    fn given_ids(&self, text: &str, options: &WriteOptions) -> Result<(Vec<u32>, bool), PipelineError> {
        match &self.model {
            TaskModel::CausalLm(_) => {
                let ids = self.codec.prompt(text, options.parse_special)?;
                // An empty prompt starts as a new text does.
                Ok((if ids.is_empty() { vec![self.codec.start_id()?] } else { ids }, false))
            }
            TaskModel::Seq2Seq(_) if options.parse_special => {
                self.codec.parsed(text).map(|(item, cut)| (item.ids, cut))
            }
            TaskModel::Seq2Seq(_) => self.codec.row(text, None).map(|(item, cut)| (item.ids, cut)),
            _ => Err(PipelineError::WrongTask { task: self.codec.task(), asked: "generate text" }),
        }
    }

    fn run(
        &self,
        given: &[Vec<u32>],
        options: &WriteOptions,
        on_text: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Vec<Written>, PipelineError> {
        let problems = options.problems();
        if !problems.is_empty() {
            return Err(PipelineError::Options(problems));
        }
        // A language model goes on in its prompt; a target starts anew.
        let goes_on = matches!(self.model, TaskModel::CausalLm(_));
        let before = given.iter().map(|ids| if goes_on { ids.as_slice() } else { &[] });
        let mut writer = Writer::new(&self.codec, before, options, on_text)?;
        let generated = match &self.model {
            TaskModel::CausalLm(model) => continue_texts(model, &self.codec, given, options, &mut writer),
            TaskModel::Seq2Seq(model) => translate_texts(model, &self.codec, given, options, &mut writer),
            _ => Err(PipelineError::WrongTask { task: self.codec.task(), asked: "generate text" }),
        };
        writer.finish(generated?)
    }

    fn rows(
        &self,
        model: &SequenceClassifier<B>,
        texts: &[(&str, Option<&str>)],
    ) -> Result<Vec<Prediction>, PipelineError> {
        let items: Vec<Item> = texts
            .iter()
            .map(|(text, pair)| Ok(self.codec.row(text, *pair)?.0))
            .collect::<Result<_, PipelineError>>()?;
        let outputs = outputs(model, &self.codec, &items, self.batch_size)?;
        let answers = texts.iter().zip(outputs).map(|((text, pair), outputs)| {
            let (text, pair) = ((*text).to_owned(), pair.map(str::to_owned));
            match self.config.head {
                HeadConfig::MultiLabelClassification { .. } => self.labels(text, pair, &sigmoid(&outputs)),
                HeadConfig::Regression { .. } | HeadConfig::Ranking { .. } => {
                    Prediction::Number { text, pair, value: self.codec.number(outputs[0]) }
                }
                _ => {
                    let best = best(&outputs);
                    let probabilities: Vec<f64> = best.log_probs.iter().map(|p| p.exp()).collect();
                    let label = self.codec.label_name(best.label).to_owned();
                    Prediction::Label {
                        text,
                        pair,
                        label,
                        score: best.probability,
                        scores: self.named(&probabilities),
                    }
                }
            }
        });
        Ok(answers.collect())
    }

    fn labels(&self, text: String, pair: Option<String>, probabilities: &[f64]) -> Prediction {
        let thresholds = match &self.codec.thresholds {
            Thresholds::Given(thresholds) => &thresholds[..],
            Thresholds::Tuned(_) => &[],
        };
        let reaches = |&idx: &usize| probabilities[idx] >= thresholds.get(idx).copied().unwrap_or(HALF);
        let mut given: Vec<usize> = (0..probabilities.len()).filter(reaches).collect();
        given.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        let scored =
            |idx| ScoredLabel { label: self.codec.label_name(idx).to_owned(), score: probabilities[idx] };
        Prediction::Labels {
            text,
            pair,
            labels: given.into_iter().map(scored).collect(),
            scores: self.named(probabilities),
        }
    }

    /// Probabilities by the names of their labels.
    pub(crate) fn named(&self, probabilities: &[f64]) -> BTreeMap<String, f64> {
        let names = probabilities.iter().enumerate();
        names.map(|(idx, &p)| (self.codec.label_name(idx).to_owned(), p)).collect()
    }

    fn entities<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Prediction>, PipelineError> {
        let TaskModel::TokenClassifier(model) = &self.model else {
            return Err(PipelineError::WrongTask { task: self.codec.task(), asked: "find entities" });
        };
        let split: Vec<_> = texts.iter().map(|text| split_words(text.as_ref())).collect();
        let words: Vec<Vec<String>> =
            split.iter().map(|words| words.iter().map(|(word, _)| word.clone()).collect()).collect();
        let tagged = tag(model, &self.codec, &words, self.batch_size)?;
        let labels = self.codec.labels.as_ref().map(LabelSet::names).unwrap_or_default();
        let answers =
            texts.iter().zip(&split).zip(words).zip(tagged).map(|(((text, split), words), tagged)| {
                let text = text.as_ref();
                let name = |label| self.codec.label_name(label).to_owned();
                let tags: Vec<String> = tagged.iter().map(|word| name(word.label)).collect();
                let entities = entity_spans(&tags, labels).into_iter().map(|span| {
                    let (start, end) = (split[span.start].1.start, split[span.end - 1].1.end);
                    let inside = &tagged[span.start..span.end];
                    let score = inside.iter().map(|word| word.probability).sum::<f64>() / inside.len() as f64;
                    Entity { label: span.label, text: text[start..end].to_owned(), start, end, score }
                });
                Prediction::Entities { text: text.to_owned(), entities: entities.collect(), words, tags }
            });
        Ok(answers.collect())
    }
}
