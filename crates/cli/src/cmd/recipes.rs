//! `locus recipes`.

use super::say;
use crate::UsageError;
use crate::args::{RecipesArgs, RecipesVerb};
use crate::recipes::{RECIPES, Recipe, find, unknown};

pub(crate) fn run(args: &RecipesArgs) -> anyhow::Result<()> {
    match &args.verb {
        RecipesVerb::Ls => {
            let width = RECIPES.iter().map(|recipe| recipe.name.len()).max().unwrap_or(0);
            for recipe in RECIPES {
                let table: toml::Table = recipe.text.parse()?;
                let description = table.get("description").and_then(|d| d.as_str()).unwrap_or_default();
                say(format_args!("{:<width$}  {description}", recipe.name))?;
            }
            say("\nRun one with `locus train NAME`, read it with `locus recipes show NAME`.")
        }
        RecipesVerb::Show { name } => say(named(name)?.text.trim_end()),
        RecipesVerb::Cp { name, to } => {
            let recipe = named(name)?;
            if to.exists() {
                return Err(
                    UsageError(format!("{} exists already; choose another name", to.display())).into()
                );
            }
            locus_model::write_file(to, recipe.text.as_bytes())?;
            say(format_args!("wrote {0}; run it with `locus train {0}`", to.display()))
        }
    }
}

fn named(name: &str) -> anyhow::Result<&'static Recipe> {
    find(name).ok_or_else(|| UsageError(unknown(name)).into())
}
