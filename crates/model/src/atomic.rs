//! Files and folders that appear whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::ModelError;

/// Writes a file under another name, flushes it to the disk and renames it.
///
/// # Errors
/// If the disk is full or the folder cannot be written; what was there before is left as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let temporary = beside(path, "new");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        fs::remove_file(&temporary).ok(); // The error that matters is the one above.
        return Err(ModelError::io("write", path)(error));
    }
    fs::rename(&temporary, path).map_err(ModelError::io("write", path))
}

/// Fills a folder beside `dir` and puts it in the place of `dir`.
///
/// # Errors
/// If filling fails or the disk does; then `dir` is as it was.
pub fn replace_dir(dir: &Path, fill: impl FnOnce(&Path) -> Result<(), ModelError>) -> Result<(), ModelError> {
    let (new, old) = (beside(dir, "new"), beside(dir, "old"));
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(ModelError::io("create", parent))?;
    }
    recover_dir(dir)?;
    for stale in [&new, &old] {
        if stale.exists() {
            fs::remove_dir_all(stale).map_err(ModelError::io("clear", stale))?;
        }
    }
    let filled = fs::create_dir(&new).map_err(ModelError::io("create", &new)).and_then(|()| fill(&new));
    if let Err(error) = filled {
        fs::remove_dir_all(&new).ok(); // The error that matters is the one above.
        return Err(error);
    }
    if dir.exists() {
        fs::rename(dir, &old).map_err(ModelError::io("replace", dir))?;
    }
    if let Err(error) = fs::rename(&new, dir) {
        fs::rename(&old, dir).ok(); // As it was; the error that matters is the one above.
        return Err(ModelError::io("write", dir)(error));
    }
    if old.exists() {
        fs::remove_dir_all(&old).map_err(ModelError::io("clear", &old))?;
    }
    Ok(())
}

/// Puts the earlier folder back where replacing it was cut off in the middle.
///
/// # Errors
/// If it is there and cannot be moved.
pub(crate) fn recover_dir(dir: &Path) -> Result<(), ModelError> {
    let old = beside(dir, "old");
    if dir.exists() || !old.exists() {
        return Ok(());
    }
    fs::rename(&old, dir).map_err(ModelError::io("recover", dir))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::{replace_dir, write_file};
    use crate::ModelError;

    #[test]
    fn a_failed_write_leaves_the_old_folder() {
        let root = tempfile::tempdir().expect("a folder");
        let dir = root.path().join("model");
        replace_dir(&dir, |dir| write_file(&dir.join("a"), b"1")).expect("written");
        let failed = replace_dir(&dir, |dir| {
            write_file(&dir.join("a"), b"2")?;
            Err(ModelError::Config { path: dir.to_owned(), reason: "no".to_owned() })
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(dir.join("a")).expect("still there"), b"1");
        assert_eq!(std::fs::read_dir(root.path()).expect("a folder").count(), 1, "nothing is left over");
    }

    #[test]
    fn a_replacement_that_was_cut_off_is_undone() {
        let root = tempfile::tempdir().expect("a folder");
        let dir = root.path().join("model");
        replace_dir(&dir, |dir| write_file(&dir.join("a"), b"1")).expect("written");
        // What a crash between the two renames leaves.
        std::fs::rename(&dir, root.path().join(".model.old")).expect("moved");
        super::recover_dir(&dir).expect("recovered");
        assert_eq!(std::fs::read(dir.join("a")).expect("back"), b"1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let root = tempfile::tempdir().expect("a folder");
        // Writing to /dev/full fails as on a full disk; the temporary name is a link to it.
        std::os::unix::fs::symlink("/dev/full", root.path().join(".weights.new")).expect("a link");
        let error = write_file(&root.path().join("weights"), b"12").expect_err("full").to_string();
        assert!(error.contains("weights"), "{error}");
    }
}
