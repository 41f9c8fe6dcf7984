//! `locus config`.

use super::say;
use crate::args::{ConfigArgs, ConfigVerb};
use crate::run_file::{Source, load};

pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    match &args.verb {
        ConfigVerb::Check { recipe, sets } => {
            let source = Source::find(recipe)?;
            load(&source, sets)?;
            say(format_args!("{} is valid", source.origin))
        }
        ConfigVerb::Explain { recipe, sets } => {
            let run = load(&Source::find(recipe)?, sets)?;
            say(toml::to_string(&run)?.trim_end())
        }
    }
}
