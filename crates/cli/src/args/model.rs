//! Verbs that change, fetch and write models: model, hub.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    pub(crate) verb: ModelVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelVerb {
    /// The position scheme of a model.
    Positions(ModelPositionsArgs),
    /// Write the model with adapters as part of its weights.
    Merge(MergeArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct MergeArgs {
    /// A model folder of Locus or a checkpoint.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// An adapter: a folder as peft writes it, or `adapter` of a run. Can be given many times: what several add is
    /// added up, their factors are multiplied.
    #[arg(long = "adapter", value_name = "DIR", required = true)]
    pub(crate) adapters: Vec<PathBuf>,
    /// The new model folder, which must not exist.
    #[arg(long)]
    pub(crate) out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ModelPositionsArgs {
    #[command(subcommand)]
    pub(crate) verb: ModelPositionsVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelPositionsVerb {
    /// Write the model with another scheme, or with other keys of its own, in all layers.
    Convert(ConvertArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConvertArgs {
    /// The model folder.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The new scheme (`locus positions list`).
    #[arg(long)]
    pub(crate) to: String,
    /// Set a key of the new scheme, for instance --set base=500. Can be given many times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// The longest text that the new model takes; as before where not given.
    #[arg(long, value_name = "N")]
    pub(crate) max_seq_len: Option<usize>,
    /// The new model folder, which must not exist.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Decides parameters that begin anew.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HubArgs {
    #[command(subcommand)]
    pub(crate) verb: HubVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HubVerb {
    /// Say what a folder holds, without loading it: family, head, sizes, and the model as Locus configures it.
    Inspect {
        /// The folder, as transformers writes it.
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a model so that transformers loads it.
    Export(ExportArgs),
    /// Fetch a model of the Hugging Face Hub into its usual cache, and print the folder, which model.from and --model take.
    Pull(PullArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct PullArgs {
    /// The model, as org/name.
    pub(crate) name: String,
    /// A branch, tag or commit [default: main].
    #[arg(long)]
    pub(crate) revision: Option<String>,
    /// Fetch nothing: print the folder of an earlier fetch.
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// A model folder of Locus or a checkpoint.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The new folder, which must not exist.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// The family to write it as (its model_type); where not given, that of the checkpoint it comes from, or else the first that
    /// has such a model.
    #[arg(long = "as", value_name = "MODEL_TYPE")]
    pub(crate) family: Option<String>,
}
