//! Verbs about runs and their files: train, compare, recipes, config.

use std::path::PathBuf;

use clap::Subcommand;

use super::DeviceArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct TrainArgs {
    /// A recipe's name (`locus recipes ls`) or the path of a run file.
    #[arg(default_value = "first-news")]
    pub(crate) recipe: String,
    /// Where data sets lie; otherwise $LOCUS_DATA, the cache and the built-in samples are searched.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// The run folder; runs/NAME where not given. A folder with an earlier run needs --resume.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Decides initial weights, order and dropout; train.seed of the run file where not given.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Go on from a checkpoint: `auto` for the newest in the run folder, or its path.
    #[arg(long)]
    pub(crate) resume: Option<String>,
    /// Set a key of the run file, for instance --set model.position=alibi. Can be given many times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// The run folder of A.
    pub(crate) run_a: PathBuf,
    /// The run folder of B, whose score is taken from that of A.
    pub(crate) run_b: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RecipesArgs {
    #[command(subcommand)]
    pub(crate) verb: RecipesVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecipesVerb {
    /// All recipes with a line about each.
    Ls,
    /// Print a recipe.
    Show { name: String },
    /// Copy a recipe into a file of your own.
    Cp { name: String, to: PathBuf },
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Report every problem of a recipe or run file.
    Check(RunFileArgs),
    /// Print a recipe or run file with all defaults written out.
    Explain(RunFileArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunFileArgs {
    pub(crate) recipe: String,
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
}
