//! The command line.

mod answer;
mod data;
mod generate;
mod model;
mod positions;
mod run;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use answer::{EmbedArgs, EvalArgs, ForwardArgs, PredictArgs};
pub(crate) use data::{DataArgs, DataFiles, DataVerb, FetchArgs, PackArgs, PackDocuments};
pub(crate) use generate::{EarlyStopping, GenerateArgs, WriteArgs};
pub(crate) use model::{
    ConvertArgs, ExportArgs, HubArgs, HubVerb, MergeArgs, ModelArgs, ModelPositionsVerb, ModelVerb, PullArgs,
};
pub(crate) use positions::{PositionsArgs, PositionsVerb, ShowArgs};
pub(crate) use run::{CompareArgs, ConfigArgs, ConfigVerb, RecipesArgs, RecipesVerb, RunFileArgs, TrainArgs};

/// Build, pre-train, fine-tune, evaluate and deploy transformers whose position embedding you choose.
#[derive(Debug, Parser)]
#[command(name = "locus", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Threads that compute on a CPU: as many as there are cores unless given.
    #[arg(long, global = true, value_name = "N", env = "LOCUS_THREADS")]
    pub(crate) threads: Option<NonZeroUsize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model from a recipe or a run file.
    Train(TrainArgs),
    /// Score a model on a file or a known set.
    Eval(EvalArgs),
    /// Compare the scores of two runs on the same examples.
    Compare(CompareArgs),
    /// Answer for each line of a text: entities, a label, tokens for a mask, generated text; or a question about a context.
    Predict(PredictArgs),
    /// A vector for each text, for search and comparison.
    Embed(EmbedArgs),
    /// Continue a prompt, or write the target of a source.
    Generate(GenerateArgs),
    /// Recipes: run files that are built in.
    Recipes(RecipesArgs),
    /// Check or explain a run file.
    Config(ConfigArgs),
    /// Data sets: list, fetch, check, count.
    Data(DataArgs),
    /// Position schemes: list, show what one does.
    Positions(PositionsArgs),
    /// Give a trained model another position scheme.
    Model(ModelArgs),
    /// Hugging Face checkpoints: fetch one, say what one is, write one.
    Hub(HubArgs),
    /// Run a model on token ids and write its outputs.
    Forward(ForwardArgs),
    /// Say what this build and this machine can do.
    Doctor,
}

/// Where to compute.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DeviceArgs {
    /// ndarray, flex, wgpu or cuda, out of those built in.
    #[arg(long)]
    pub(crate) backend: Option<String>,
    /// The backend's device: cpu; for wgpu default, cpu, discrete:N, integrated:N, virtual:N; for cuda a number.
    #[arg(long)]
    pub(crate) device: Option<String>,
}

/// How a model is loaded to answer.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InferenceArgs {
    /// Hold the weights of linear layers as f32, as bf16 (half the memory) or as int8 (a quarter; activations are rounded
    /// too): faster on a CPU, with answers that may differ a little. bf16 and int8 need backend ndarray or flex.
    #[arg(long, value_enum, default_value_t = Weights::F32)]
    pub(crate) weights: Weights,
    /// Put an adapter on the model: a folder as peft writes it, or `adapter` of a run. Can be given many times: what several
    /// add is added up, their factors are multiplied.
    #[arg(long = "adapter", value_name = "DIR")]
    pub(crate) adapters: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum Weights {
    F32,
    Bf16,
    Int8,
}

/// How files are read, where that is not recognised.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReadArgs {
    /// The layout: conll, csv, tsv, json, jsonl, parquet (in a build with that feature), squad, text, lines, snips; short
    /// for --read format=….
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// A key of a run file's `[data]` section, for instance --read columns.text=1 or --read encoding=gbk. Can be given many
    /// times.
    #[arg(long = "read", value_name = "KEY=VALUE")]
    pub(crate) reads: Vec<String>,
}
