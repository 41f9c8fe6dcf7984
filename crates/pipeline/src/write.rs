//! Texts that a model writes: one as it comes, or many at a time.

use std::ops::ControlFlow;

use burn::tensor::backend::Backend;
use locus_embedding::position::PositionScheme;
use locus_heads::generate::{
    Beams, Break, Constraints, GenerateOptions, Generated, Listener, Penalties, PromptReading, Sampling,
    TokenLogProb, continue_prompts, translate,
};
use locus_heads::{CausalLm, Seq2Seq};
use serde::{Serialize, Serializer};

use crate::stream::{StoppedText, StreamDecoder};
use crate::{Codec, Objective, PipelineError};

/// How to generate. The defaults take the best token each time.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteOptions {
    /// The most tokens to generate.
    pub max_new_tokens: usize,
    /// As long as there are fewer tokens, the text does not end.
    pub min_new_tokens: usize,
    /// How a token is chosen.
    pub sampling: Sampling,
    /// What repetition costs.
    pub penalties: Penalties,
    /// Search with several open texts instead of token by token.
    pub beams: Option<Beams>,
    /// How many texts to write for each input.
    pub n_sequences: usize,
    /// A text ends before the first of these strings.
    pub stop: Vec<String>,
    /// Special tokens in a prompt or source, such as `<|im_start|>`, are meant as such, not as text.
    pub parse_special: bool,
    /// `Some(n)` notes the log-probability of each token and those of the `n` best.
    pub log_probs: Option<usize>,
    /// Where random choices come from. A text is a function of the seed and its input, not of other inputs.
    pub seed: u64,
}

impl Default for WriteOptions {
    fn default() -> Self {
        let GenerateOptions { max_new_tokens, min_new_tokens, sampling, penalties, beams, .. } =
            GenerateOptions::default();
        let (n_sequences, stop, parse_special, log_probs, seed) = (1, Vec::new(), false, None, 0);
        Self {
            max_new_tokens,
            min_new_tokens,
            sampling,
            penalties,
            beams,
            n_sequences,
            stop,
            parse_special,
            log_probs,
            seed,
        }
    }
}

impl WriteOptions {
    /// Everything that is out of range.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.for_tokens(Vec::new(), 0, Constraints::NONE).problems();
        if self.stop.iter().any(String::is_empty) {
            problems.push("stop must be a text, found an empty one, which is everywhere".to_owned());
        }
        problems
    }

    fn for_tokens(&self, stop: Vec<u32>, pad_id: u32, constraints: Constraints) -> GenerateOptions {
        GenerateOptions {
            max_new_tokens: self.max_new_tokens,
            min_new_tokens: self.min_new_tokens,
            stop,
            pad_id,
            reading: PromptReading::LeftToRight,
            sampling: self.sampling,
            penalties: self.penalties,
            constraints,
            beams: self.beams,
            n_sequences: self.n_sequences,
            log_probs: self.log_probs,
            seed: self.seed,
        }
    }
}

/// A text that a model wrote.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Written {
    /// The text.
    pub text: String,
    /// Why it ended: `stop`, `length`, `position_limit`, `no_choice` or `interrupted`.
    pub finish: &'static str,
    /// In a beam search the sum of log-probabilities over `length^length_penalty`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Its tokens with their probabilities, where asked for. Those of a stop string are among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<WrittenToken>,
}

/// A token of a text that a model wrote, with its probability before penalties, temperature and truncation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenToken {
    /// The token, as it stands in the vocabulary.
    pub token: String,
    /// The natural logarithm of its probability; six decimals of it in JSON, which is what f32 has.
    #[serde(serialize_with = "six_decimals")]
    pub log_prob: f64,
    /// The most probable tokens at its place, best first.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "all_six_decimals")]
    pub top: Vec<(String, f64)>,
}

fn rounded(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}

fn six_decimals<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded(*x))
}

fn all_six_decimals<S: Serializer>(top: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(top.iter().map(|(token, x)| (token, rounded(*x))))
}

/// Texts in the making.
pub(crate) struct Writer<'a> {
    codec: &'a Codec,
    stops: &'a [String],
    texts: Vec<(StreamDecoder<'a>, StoppedText<'a>)>,
    on_text: &'a mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    /// The error that ended the generation.
    failed: Option<PipelineError>,
}

impl<'a> Writer<'a> {
    /// A writer of `n_sequences` texts after each of `before`.
    pub(crate) fn new(
        codec: &'a Codec,
        before: impl Iterator<Item = &'a [u32]>,
        options: &'a WriteOptions,
        on_text: &'a mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Self, PipelineError> {
        let mut texts = Vec::new();
        for ids in before {
            for _ in 0..options.n_sequences {
                texts.push((StreamDecoder::after(codec, ids)?, StoppedText::new(&options.stop)));
            }
        }
        Ok(Self { codec, stops: &options.stop, texts, on_text, failed: None })
    }

    /// The texts of what was generated.
    pub(crate) fn finish(self, generated: Vec<Generated>) -> Result<Vec<Written>, PipelineError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut written = Vec::with_capacity(generated.len());
        for (row, ((decoder, mut text), generated)) in self.texts.into_iter().zip(generated).enumerate() {
            let rest = decoder.finish()?;
            let rest = text.push(&rest).to_owned() + text.finish();
            if !rest.is_empty() {
                // What is answered no longer matters: this is the end.
                let _ = (self.on_text)(row, &rest);
            }
            let finish = if text.has_stopped() { "stop" } else { generated.finish.name() };
            let tokens = generated.ids.iter().zip(&generated.log_probs);
            let tokens = tokens.map(|(&id, log_prob)| self.codec.written_token(id, log_prob)).collect();
            written.push(Written { text: text.into_text(), finish, score: generated.score, tokens });
        }
        Ok(written)
    }

    fn push(&mut self, row: usize, id: u32) -> Result<ControlFlow<Break>, PipelineError> {
        let (decoder, text) = &mut self.texts[row];
        let piece = decoder.push(id)?;
        let certain = text.push(&piece);
        if !certain.is_empty() && (self.on_text)(row, certain).is_break() {
            return Ok(ControlFlow::Break(Break::All));
        }
        Ok(if text.has_stopped() { ControlFlow::Break(Break::Row) } else { ControlFlow::Continue(()) })
    }
}

impl Listener for Writer<'_> {
    fn on_token(&mut self, row: usize, id: u32) -> ControlFlow<Break> {
        self.push(row, id).unwrap_or_else(|error| {
            self.failed = Some(error);
            ControlFlow::Break(Break::All)
        })
    }

    fn is_whole(&mut self, ids: &[u32]) -> bool {
        if self.stops.is_empty() {
            return false;
        }
        // What cannot be decoded is an error of the text that is chosen.
        let text = self.codec.text(ids).unwrap_or_default();
        self.stops.iter().any(|stop| text.contains(stop.as_str()))
    }
}

impl Codec {
    fn written_token(&self, id: u32, log_prob: &TokenLogProb) -> WrittenToken {
        let name = |id| self.tokenizer.token(id).unwrap_or_default();
        let top = log_prob.top.iter().map(|&(id, log_prob)| (name(id), log_prob)).collect();
        WrittenToken { token: name(id), log_prob: log_prob.log_prob, top }
    }
}

/// Continues prompts and gives only what is new.
pub(crate) fn continue_texts<B: Backend, P: PositionScheme<B>>(
    model: &CausalLm<B, P>,
    codec: &Codec,
    prompts: &[Vec<u32>],
    options: &WriteOptions,
    listener: &mut dyn Listener,
) -> Result<Vec<Generated>, PipelineError> {
    let mut options = options.for_tokens(codec.stop_ids(), codec.pad_id(), codec.constraints.clone());
    if let Some(Objective::PrefixLm(_)) = codec.objective {
        options.reading = PromptReading::Whole;
    }
    Ok(continue_prompts(model, prompts, &options, listener)?)
}

/// Generates the target of each source.
pub(crate) fn translate_texts<B: Backend, P: PositionScheme<B>>(
    model: &Seq2Seq<B, P>,
    codec: &Codec,
    sources: &[Vec<u32>],
    options: &WriteOptions,
    listener: &mut dyn Listener,
) -> Result<Vec<Generated>, PipelineError> {
    let options = options.for_tokens(codec.end_ids()?, codec.pad_id(), codec.constraints.clone());
    Ok(translate(model, sources, codec.start_id()?, &options, listener)?)
}
