//! Verbs that a trained model answers, but for generate: eval, predict, embed, forward.

use std::path::PathBuf;

use locus_data::Part;

use super::{DeviceArgs, InferenceArgs, ReadArgs, WriteArgs};

#[derive(Debug, clap::Args)]
#[group(id = "scored", required = true, multiple = false, args = ["data", "data_set"])]
pub(crate) struct EvalArgs {
    /// The model folder.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The file or folder to score on.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// The known set to score on, out of those that `locus data list` names.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["format", "reads"])]
    pub(crate) data_set: Option<String>,
    /// Which part of the set: train, dev or test.
    #[arg(long, value_name = "PART", value_parser = part, default_value_t = Part::Test, conflicts_with = "data")]
    pub(crate) part: Part,
    /// Where its files lie, instead of $LOCUS_DATA and the cache.
    #[arg(long, conflicts_with = "data")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Write report.json, report.txt and samples.json into this folder, for `locus compare`. It may hold no run.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Open texts of the search by which targets are written, for a model that writes a text from a text; 1 takes the best
    /// token each time.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) beams: usize,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) inference: InferenceArgs,
}

fn part(name: &str) -> Result<Part, &'static str> {
    Part::ALL.into_iter().find(|part| part.name() == name).ok_or("expected train, dev or test")
}

#[derive(Debug, clap::Args)]
pub(crate) struct PredictArgs {
    /// The model folder.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// A file with one text a line; - for the standard input. For a model that answers questions each line is a JSON object
    /// with question and context.
    #[arg(long, default_value = "-")]
    pub(crate) input: String,
    /// One question instead of an input, for a model that answers questions.
    #[arg(long, value_name = "TEXT", requires = "context", conflicts_with = "input")]
    pub(crate) question: Option<String>,
    /// The text in which its answer stands.
    #[arg(long, value_name = "TEXT", requires = "question")]
    pub(crate) context: Option<String>,
    /// Each line has two texts with a tab between, for a model that was trained on pairs, or one of vectors, which says their
    /// cosine.
    #[arg(long)]
    pub(crate) pairs: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    #[command(flatten)]
    pub(crate) inference: InferenceArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct EmbedArgs {
    /// A model folder of Locus, a folder of sentence-transformers, or a checkpoint, whose vectors of tokens are averaged.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// A text. Can be given many times.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["input", "jsonl"])]
    pub(crate) text: Vec<String>,
    /// A file with one text a line; - for the standard input.
    #[arg(long, default_value = "-")]
    pub(crate) input: String,
    /// Each line is a JSON object with the text under "text".
    #[arg(long)]
    pub(crate) jsonl: bool,
    /// Put this prompt of the model before each text; its default prompt where not given, if it has one.
    #[arg(long, value_name = "NAME")]
    pub(crate) prompt: Option<String>,
    /// Write the vectors into this file: .safetensors (one matrix, embeddings), .npy, or .jsonl; where not given, they are printed
    /// as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) inference: InferenceArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ForwardArgs {
    /// A model folder of Locus or a checkpoint.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// A JSON file: a list of rows of ids, or an object with input_ids and, if need be, attention_mask (0 at padding),
    /// token_type_ids and decoder_input_ids. Rows are of one length.
    #[arg(long)]
    pub(crate) ids: PathBuf,
    /// Put an adapter on the model: a folder as peft writes it, or `adapter` of a run. Can be given many times: what several
    /// add is added up, their factors are multiplied.
    #[arg(long = "adapter", value_name = "DIR")]
    pub(crate) adapters: Vec<PathBuf>,
    /// Write the vectors of tokens after the last layer too, as last_hidden_state.
    #[arg(long)]
    pub(crate) hidden: bool,
    /// The safetensors file to write.
    #[arg(long)]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}
