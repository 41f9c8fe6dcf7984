//! Running the program in a folder of its own.
#![allow(unreachable_pub, dead_code, reason = "each test program uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.path(name), bytes).unwrap();
        self
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_locus"));
        command.current_dir(self.dir.path()).args(args);
        command
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env_remove("LOCUS_DATA")
            .env_remove("LOCUS_THREADS")
            .env_remove("RUST_BACKTRACE");
        command
    }

    pub fn run(&self, args: &[&str]) -> Run {
        Run(self.command(args).output().unwrap())
    }

    /// Trains a tiny model with these settings; the first argument is the recipe.
    pub fn train(&self, args: &[&str]) -> Run {
        let tiny = [
            "model.d_model=16",
            "model.n_layers=1",
            "model.n_heads=2",
            "train.epochs=2",
            "train.batch_size=8",
        ];
        let sets = tiny.iter().flat_map(|set| ["--set", *set]);
        let all: Vec<&str> = ["train"]
            .into_iter()
            .chain(args[..1].iter().copied())
            .chain(sets)
            .chain(args[1..].iter().copied())
            .collect();
        self.run(&all)
    }
}

pub struct Run(pub Output);

impl Run {
    pub fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// The program ended with this code, without a panic, and said all of these.
    #[track_caller]
    pub fn says(&self, code: i32, parts: &[&str]) {
        let text = self.stderr();
        assert!(!text.contains("panicked"), "{text}");
        assert_eq!(self.code(), Some(code), "{text}");
        for part in parts {
            assert!(text.contains(part), "'{part}' is not in:\n{text}");
        }
    }

    #[track_caller]
    pub fn succeeds(&self) -> &Self {
        assert_eq!(self.code(), Some(0), "{}", self.stderr());
        self
    }
}

pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Whether two numbers differ by less than the tolerance.
pub fn is_near(a: &serde_json::Value, b: &serde_json::Value, tolerance: f64) -> bool {
    a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() < tolerance)
}
