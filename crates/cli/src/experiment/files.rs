//! Where the files of a run lie, and its run file.

use std::path::{Path, PathBuf};

use anyhow::Context;
use locus_data::Place;

use super::Experiment;
use crate::{UsageError, samples};

impl Experiment {
    /// A folder that is not there would leave the search to the other places.
    pub(super) fn check_data_dir(&self) -> Result<(), UsageError> {
        match (&self.data_dir, &self.run.data.dir) {
            (Some(dir), _) => samples::check_dir("--data-dir ", dir),
            (None, Some(dir)) => samples::check_dir("data.dir = ", dir),
            (None, None) => Ok(()),
        }
    }

    /// All paths of the run file, absolute.
    pub(super) fn find_files(&mut self) {
        let mut run = self.run.clone();
        let data = &mut run.data;
        let paths = [
            &mut data.train,
            &mut data.dev,
            &mut data.test,
            &mut data.corpus,
            &mut run.tokenizer.file,
            &mut run.model.from,
            &mut run.model.init.word_vectors,
        ];
        for path in paths.into_iter().flatten() {
            *path = self.find_absolute(path);
        }
        if let Some((path, _)) = self.run.model.init.position_source() {
            run.model.init.set_position_path(&self.find_absolute(path));
        }
        self.run = run;
    }

    fn find_absolute(&self, path: &Path) -> PathBuf {
        let found = self.find(path);
        std::path::absolute(&found).unwrap_or(found)
    }

    /// A path of the run file: as it is, or below the data folder.
    pub(super) fn find(&self, path: &Path) -> PathBuf {
        let below = self.data_dir().map(|dir| dir.join(path));
        let there = |path: &Path| Place::of(path).file.exists();
        below.filter(|below| !there(path) && there(below)).unwrap_or_else(|| path.to_owned())
    }

    pub(super) fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref().or(self.run.data.dir.as_deref())
    }

    /// The run as it is, with all defaults and absolute paths.
    pub(super) fn write_run_file(&self) -> anyhow::Result<()> {
        let mut run = self.run.clone();
        let data = &mut run.data;
        if data.set.is_some() {
            data.dir = self.data_dir().map(|dir| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()));
        }
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot create {}", self.out.display()))?;
        let text = toml::to_string(&run).context("the run file cannot be written as TOML")?;
        Ok(locus_model::write_file(&self.out.join("run.toml"), text.as_bytes())?)
    }
}
