//! A loaded model folder that answers.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::backend::Backend;
use locus_data::{Examples, Item, Tokenizer, split_words};
use locus_heads::generate::Generated;
use locus_heads::{HeadConfig, SequenceClassifier, TaskModel};
use locus_metrics::tags::{TagScheme, spans};
use locus_model::{ModelConfig, TOKENIZER_FILE, load};
use serde::Serialize;

use crate::classify::{outputs, sigmoid};
use crate::tagging::{best, tag};
use crate::thresholds::HALF;
use crate::write::{StreamDecoder, WriteOptions, continue_texts, translate_texts};
use crate::{Codec, Evaluation, PipelineError, Thresholds, evaluate};

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
    /// The label of a text.
    Label {
        /// The text.
        text: String,
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
        /// The labels whose probability reaches their threshold, the most probable first.
        labels: Vec<ScoredLabel>,
        /// The probability of every label.
        scores: BTreeMap<String, f64>,
    },
    /// The number of a text.
    Number {
        /// The text.
        text: String,
        /// The number.
        value: f64,
    },
    /// A text made from a text.
    Text {
        /// What was given.
        text: String,
        /// What was made of it.
        generated: String,
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
    /// The mean probability of its tags.
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

impl<B: Backend> Pipeline<B> {
    /// Loads a model folder.
    ///
    /// # Errors
    /// If the folder is not a model, or its parts do not fit one another.
    pub fn from_dir(dir: impl AsRef<Path>, device: &B::Device) -> Result<Self, PipelineError> {
        let dir = dir.as_ref();
        let (config, model) = load(dir, device)?;
        let codec = Codec::new(&config, Tokenizer::from_file(&dir.join(TOKENIZER_FILE))?)?;
        Ok(Self { config, codec, model, batch_size: 16 })
    }

    /// One answer per text, in their order: entities, a label, labels, a number, or generated text.
    ///
    /// # Errors
    /// If a text cannot be tokenised or the model cannot take it.
    pub fn predict<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Prediction>, PipelineError> {
        match &self.model {
            TaskModel::TokenClassifier(_) => self.entities(texts),
            TaskModel::SequenceClassifier(model) => self.rows(model, texts),
            TaskModel::CausalLm(_) | TaskModel::Seq2Seq(_) => {
                let texts = texts.iter().map(|text| text.as_ref().to_owned());
                texts
                    .map(|text| {
                        let generated = self
                            .generate(&text, WriteOptions::default(), &mut |_| ControlFlow::Continue(()))?;
                        Ok(Prediction::Text { text, generated })
                    })
                    .collect()
            }
        }
    }

    /// Generates from a prompt and gives the new text; `on_text` sees it in pieces, as they come, and may break off.
    ///
    /// # Errors
    /// If the model does not generate, the options are out of range, or the prompt is too long for the model.
    pub fn generate(
        &self,
        prompt: &str,
        options: WriteOptions,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<String, PipelineError> {
        let (ids, past) = match &self.model {
            TaskModel::CausalLm(_) => {
                let ids = self.codec.tokenizer.encode(prompt)?.ids;
                // An empty prompt starts as a new text does.
                let ids = if ids.is_empty() { vec![self.codec.start_id()?] } else { ids };
                (ids.clone(), ids)
            }
            TaskModel::Seq2Seq(_) => (self.codec.row(prompt, None)?.0.ids, Vec::new()),
            _ => return Err(PipelineError::WrongTask { task: self.codec.task(), asked: "generate text" }),
        };
        let mut decoder = StreamDecoder::after(&self.codec, past)?;
        let (mut text, mut failed) = (String::new(), None);
        let mut on_token = |_: usize, id: u32| match decoder.push(id) {
            Ok(piece) => {
                text.push_str(&piece);
                on_text(&piece)
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        };
        self.run(&[ids], options, &mut on_token)?;
        if let Some(error) = failed {
            return Err(error);
        }
        let rest = decoder.finish()?;
        if !rest.is_empty() {
            // What `on_text` answers no longer matters: this is the end.
            let _ = on_text(&rest);
            text.push_str(&rest);
        }
        Ok(text)
    }

    /// Scores the model on examples of its task.
    ///
    /// # Errors
    /// As [`evaluate()`].
    pub fn evaluate(&self, examples: &Examples) -> Result<Evaluation, PipelineError> {
        evaluate(&self.model, &self.codec, examples, self.batch_size)
    }

    fn run(
        &self,
        prompts: &[Vec<u32>],
        options: WriteOptions,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, PipelineError> {
        match &self.model {
            TaskModel::CausalLm(model) => continue_texts(model, &self.codec, prompts, options, on_token),
            TaskModel::Seq2Seq(model) => translate_texts(model, &self.codec, prompts, options, on_token),
            _ => Err(PipelineError::WrongTask { task: self.codec.task(), asked: "generate text" }),
        }
    }

    fn rows<S: AsRef<str>>(
        &self,
        model: &SequenceClassifier<B>,
        texts: &[S],
    ) -> Result<Vec<Prediction>, PipelineError> {
        let items: Vec<Item> = texts
            .iter()
            .map(|text| Ok(self.codec.row(text.as_ref(), None)?.0))
            .collect::<Result<_, PipelineError>>()?;
        let outputs = outputs(model, &self.codec, &items, self.batch_size)?;
        let answers = texts.iter().zip(outputs).map(|(text, outputs)| {
            let text = text.as_ref().to_owned();
            match self.config.head {
                HeadConfig::MultiLabelClassification { .. } => self.labels(text, &sigmoid(&outputs)),
                HeadConfig::Regression { .. } => {
                    Prediction::Number { text, value: self.codec.number(outputs[0]) }
                }
                _ => {
                    let best = best(&outputs);
                    let probabilities: Vec<f64> = best.log_probs.iter().map(|p| p.exp()).collect();
                    let label = self.codec.label_name(best.label).to_owned();
                    Prediction::Label {
                        text,
                        label,
                        score: best.probability,
                        scores: self.named(&probabilities),
                    }
                }
            }
        });
        Ok(answers.collect())
    }

    fn labels(&self, text: String, probabilities: &[f64]) -> Prediction {
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
            labels: given.into_iter().map(scored).collect(),
            scores: self.named(probabilities),
        }
    }

    /// Probabilities by the names of their labels.
    fn named(&self, probabilities: &[f64]) -> BTreeMap<String, f64> {
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
        let answers =
            texts.iter().zip(&split).zip(words).zip(tagged).map(|(((text, split), words), tagged)| {
                let text = text.as_ref();
                let name = |label| self.codec.label_name(label).to_owned();
                let tags: Vec<String> = tagged.iter().map(|word| name(word.label)).collect();
                let entities = spans(&tags, TagScheme::Iob2).into_iter().map(|span| {
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
