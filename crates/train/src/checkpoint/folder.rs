//! The folder of checkpoints: written aside and renamed, found again, pruned.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Checkpoint, files, read_state};
use crate::TrainError;

/// A checkpoint in the making. Dropped without [`Writing::commit`], it leaves nothing.
pub(super) struct Writing {
    root: PathBuf,
    step: usize,
    committed: bool,
}

impl Writing {
    /// Begins the checkpoint of a step below `run`.
    pub(super) fn begin(run: &Path, step: usize) -> Result<Self, TrainError> {
        let writing = Self { root: root(run), step, committed: false };
        let aside = writing.aside("tmp");
        let begin = || {
            fs::create_dir_all(&writing.root)?;
            remove(&aside)?;
            fs::create_dir(&aside)
        };
        begin().map_err(|error| TrainError::write(&aside, error))?;
        Ok(writing)
    }

    /// Where one of its files goes.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.aside("tmp").join(name)
    }

    /// Puts it in its place.
    pub(super) fn commit(mut self) -> Result<PathBuf, TrainError> {
        let place = self.root.join(name(self.step));
        let commit = || {
            let (new, old) = (self.aside("tmp"), self.aside("old"));
            files::sync(&new)?;
            // A folder cannot be renamed onto a full one. Between the two renames `old` holds the complete checkpoint,
            // and `newest` looks there.
            remove(&old)?;
            if place.is_dir() {
                fs::rename(&place, &old)?;
            }
            fs::rename(&new, &place)?;
            files::sync(&self.root)?;
            remove(&old)
        };
        commit().map_err(|error| TrainError::write(&place, error))?;
        self.committed = true;
        Ok(place)
    }

    fn aside(&self, what: &str) -> PathBuf {
        self.root.join(format!(".{}.{what}", name(self.step)))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.committed {
            remove(&self.aside("tmp")).ok();
        }
    }
}

/// The newest checkpoint of a run that is complete, and why newer ones are not.
pub(crate) fn newest(run: &Path) -> Result<(Option<Checkpoint>, Vec<TrainError>), TrainError> {
    let mut unusable = Vec::new();
    for (_, path) in all(run)?.into_iter().rev() {
        match Checkpoint::open(path) {
            Ok(checkpoint) => return Ok((Some(checkpoint), unusable)),
            Err(error) => unusable.push(error),
        }
    }
    Ok((None, unusable))
}

/// Removes all checkpoints but the last `keep` up to `step` and those with the best model of one that is kept, so that
/// every checkpoint there is can be resumed.
pub(crate) fn prune(run: &Path, keep: usize, step: usize) -> Result<(), TrainError> {
    let mut checkpoints = all(run)?;
    let n_old = checkpoints.iter().filter(|(at, _)| *at <= step).count().saturating_sub(keep);
    let kept: Vec<_> = checkpoints.drain(n_old..).filter(|(at, _)| *at <= step).collect();
    let best: Vec<_> =
        kept.iter().filter_map(|(_, path)| read_state(path).ok()?.best).map(|best| best.step).collect();
    let newer = all(run)?.into_iter().filter(|(at, _)| *at > step);
    for (at, path) in checkpoints.into_iter().chain(newer) {
        if !best.contains(&at) {
            remove(&path).map_err(|error| TrainError::write(path, error))?;
        }
    }
    Ok(())
}

/// Where the checkpoint of a step is, beside another one.
pub(crate) fn place(beside: &Path, step: usize) -> PathBuf {
    beside.with_file_name(name(step))
}

pub(super) fn root(run: &Path) -> PathBuf {
    run.join("checkpoints")
}

fn name(step: usize) -> String {
    format!("step-{step}")
}

/// The checkpoints of a run by step. One that was moved aside when the process died is moved back.
fn all(run: &Path) -> Result<Vec<(usize, PathBuf)>, TrainError> {
    let root = root(run);
    let read = || -> io::Result<Vec<(usize, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&root)? {
            let entry = entry?.file_name();
            let entry = entry.to_string_lossy();
            let step = |text: &str| text.strip_prefix("step-").and_then(|n| n.parse::<usize>().ok());
            if let Some(step) = entry.strip_prefix('.').and_then(|n| n.strip_suffix(".old")).and_then(step) {
                let place = root.join(name(step));
                if !place.exists() {
                    fs::rename(root.join(&*entry), &place)?;
                    found.push((step, place));
                }
            } else if let Some(step) = step(&entry) {
                found.push((step, root.join(&*entry)));
            }
        }
        found.sort();
        Ok(found)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| TrainError::read(root, error)),
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Best, FitConfig, RunState};

    fn steps(run: &Path) -> Vec<usize> {
        all(run).map(|all| all.into_iter().map(|(step, _)| step).collect()).unwrap_or_default()
    }

    fn write(run: &Path, step: usize, best: usize) -> Result<(), TrainError> {
        let writing = Writing::begin(run, step)?;
        let best = Some(Best { step: best, score: 0.0 });
        let state = RunState { step, best, ..RunState::new(&FitConfig::default(), 5, "") };
        let json = serde_json::to_string(&state).unwrap_or_default();
        files::write_bytes(&writing.file("state.json"), json.as_bytes())
            .map_err(|e| TrainError::write(run, e))?;
        writing.commit().map(drop)
    }

    #[test]
    fn the_last_and_their_best_are_kept() -> Result<(), TrainError> {
        let dir = tempfile::tempdir().map_err(|error| TrainError::write("temporary folder", error))?;
        let run = dir.path();
        for (step, best) in [(2, 2), (5, 2), (7, 2), (11, 2), (30, 30)] {
            write(run, step, best)?;
        }
        prune(run, 2, 30)?;
        assert_eq!(steps(run), [2, 11, 30]);
        // The run went back to step 11 and on to 13: 30 belongs to what it left.
        write(run, 13, 13)?;
        prune(run, 1, 13)?;
        assert_eq!(steps(run), [13]);
        Ok(())
    }

    #[test]
    fn what_was_not_committed_leaves_nothing_and_what_was_moved_aside_comes_back() -> Result<(), TrainError> {
        let dir = tempfile::tempdir().map_err(|error| TrainError::write("temporary folder", error))?;
        let run = dir.path();
        let place = Writing::begin(run, 3)?.commit()?;
        drop(Writing::begin(run, 5)?);
        assert!(fs::read_dir(root(run)).is_ok_and(|entries| entries.count() == 1));
        fs::rename(&place, root(run).join(".step-3.old"))
            .map_err(|error| TrainError::write(&place, error))?;
        assert_eq!(steps(run), [3]);
        Writing::begin(run, 3)?.commit()?;
        assert_eq!(steps(run), [3]);
        Ok(())
    }
}
