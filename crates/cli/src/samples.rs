//! The data sets that are built into the program: manifests of all, files of the project's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use locus_data::synthetic::{Synthetic, Task as SyntheticTask, pairs};
use locus_data::{Examples, Lookup, Manifest, Part, Splits};

use crate::UsageError;

macro_rules! manifests {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../datasets/", $name, ".toml")))),+]
    };
}

const MANIFESTS: &[(&str, &str)] = manifests![
    "dialogue-bitext-responses",
    "dialogue-bitext-support",
    "dialogue-crosswoz",
    "emotion-goemotions",
    "emotion-xed-en",
    "emotion-xed-zh",
    "first-news",
    "first-questions",
    "first-reviews",
    "first-stories",
    "intent-banking77",
    "intent-clinc150",
    "intent-snips",
    "lm-chinese-poetry",
    "lm-classic-books",
    "lm-tinyshakespeare",
    "lm-wikitext2-valid-test",
    "mt-tatoeba-en-zh",
    "ner-btc",
    "ner-uner-en-ewt",
    "ner-uner-zh-gsdsimp",
    "ner-wikigold",
    "ner-wnut17",
    "nli-cad",
    "pair-pawsx-zh",
    "qa-cmrc2018",
    "qa-drcd",
    "qa-squad-v1.1",
    "qa-xquad-en",
    "qa-xquad-zh",
    "rec-ml-latest-small",
    "sentiment-polarity",
    "sentiment-product-reviews",
    "sentiment-pros-cons",
    "sentiment-subjectivity",
    "slots-snips",
    "tokenizers",
    "topic-sib200-en",
    "topic-sib200-zh",
    "weights-stories260K",
];

/// Sets whose examples are made up on the spot.
const SYNTHETIC: [(&str, SyntheticTask); 2] =
    [("copy", SyntheticTask::Copy), ("reverse", SyntheticTask::Reverse)];

macro_rules! samples {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../../datasets/", $path)))),+]
    };
}

const FILES: &[(&str, &str)] = samples![
    "first-news/train.conll",
    "first-news/dev.conll",
    "first-news/test.conll",
    "first-questions/train.json",
    "first-questions/dev.json",
    "first-questions/test.json",
    "first-reviews/train.tsv",
    "first-reviews/dev.tsv",
    "first-reviews/test.tsv",
    "first-stories/train.txt",
    "first-stories/dev.txt",
    "first-stories/test.txt",
];

/// All manifests.
pub(crate) fn manifests() -> anyhow::Result<Vec<Manifest>> {
    MANIFESTS.iter().map(|(name, text)| Ok(Manifest::parse(name, text)?)).collect()
}

/// The manifest of a set.
pub(crate) fn manifest(name: &str) -> anyhow::Result<Manifest> {
    let Some((_, text)) = MANIFESTS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> =
            MANIFESTS.iter().map(|(name, _)| *name).chain(SYNTHETIC.map(|(name, _)| name)).collect();
        let nearest = known.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
        let nearest = nearest.map(|nearest| format!(": did you mean '{nearest}'?")).unwrap_or_default();
        return Err(UsageError(format!(
            "unknown data set '{name}'{nearest} Known sets: {}",
            known.join(", ")
        ))
        .into());
    };
    Ok(Manifest::parse(name, text)?)
}

/// How a set comes with the program, where it does.
pub(crate) fn built_in(name: &str) -> Option<&'static str> {
    if is_synthetic(name) {
        return Some("made up on the spot");
    }
    FILES.iter().any(|(path, _)| path.split('/').next() == Some(name)).then_some("built in")
}

/// Whether a set is made up on the spot.
pub(crate) fn is_synthetic(name: &str) -> bool {
    SYNTHETIC.iter().any(|(known, _)| *known == name)
}

/// The examples of a set.
pub(crate) fn read_set(name: &str, data_dir: Option<&Path>) -> anyhow::Result<Splits> {
    if let Some((_, task)) = SYNTHETIC.iter().find(|(known, _)| *known == name) {
        return made_up(*task);
    }
    Ok(manifest(name)?.read_all(&lookup(data_dir, name)?)?)
}

/// One part of a set, without the files of the others where it has files of its own.
pub(crate) fn read_part(name: &str, part: Part, data_dir: Option<&Path>) -> anyhow::Result<Examples> {
    if !is_synthetic(name) {
        let manifest = manifest(name)?;
        let has = |part| manifest.splits.contains_key(&part);
        // Dev may have been cut from train.
        if has(part) && (part != Part::Train || has(Part::Dev)) {
            return Ok(manifest.read_part(part, &lookup(data_dir, name)?)?);
        }
    }
    let mut splits = read_set(name, data_dir)?;
    splits.remove(&part).ok_or_else(|| {
        let there: Vec<&str> = splits.keys().map(|part| part.name()).collect();
        UsageError(format!("data set '{name}' has no part {part}, only {}", there.join(", "))).into()
    })
}

/// Where fetched files are put: the folder given, `$LOCUS_DATA`, or the cache.
pub(crate) fn fetch_dir(data_dir: Option<&Path>) -> Option<PathBuf> {
    let env = || std::env::var_os("LOCUS_DATA").filter(|value| !value.is_empty()).map(PathBuf::from);
    data_dir.map(Path::to_owned).or_else(env).or_else(cache_dir)
}

/// That a folder which was asked for is there; `what` is how it was asked for.
pub(crate) fn check_dir(what: &str, dir: &Path) -> Result<(), UsageError> {
    if dir.is_dir() {
        return Ok(());
    }
    Err(UsageError(format!("{what}{}: no such folder; expected one in which data sets lie", dir.display())))
}

/// Where files are looked for. The project's own samples are written to the cache when they are needed.
pub(crate) fn lookup(data_dir: Option<&Path>, name: &str) -> anyhow::Result<Lookup> {
    if let Some(dir) = data_dir {
        check_dir("--data-dir ", dir)?;
    }
    // Where there is no cache, or none that can be written, the samples are written for this time only.
    let cache = cache_dir().filter(|cache| fs::create_dir_all(cache).is_ok());
    let samples_dir = cache.clone().unwrap_or_else(|| std::env::temp_dir().join("locus"));
    let own: Vec<_> = FILES.iter().filter(|(path, _)| path.split('/').next() == Some(name)).collect();
    let samples = samples_dir.join("samples");
    for (path, text) in &own {
        write_sample(&samples.join(path), text)?;
    }
    let samples = (!own.is_empty()).then_some(samples);
    let env = std::env::var_os("LOCUS_DATA").map(PathBuf::from);
    Ok(Lookup { data_dir: data_dir.map(Path::to_owned), env, cache, samples })
}

fn write_sample(path: &Path, text: &str) -> anyhow::Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let dir = path.parent().unwrap_or(path);
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(locus_model::write_file(path, text.as_bytes())?)
}

fn cache_dir() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("XDG_CACHE_HOME")
        .or_else(|| from("LOCALAPPDATA"))
        .or_else(|| from("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("locus"))
}

fn made_up(task: SyntheticTask) -> anyhow::Result<Splits> {
    let config = Synthetic { task, min_len: 3, max_len: 8, letters: 12, ..Synthetic::default() };
    let part = |first, count| anyhow::Ok(Examples::Pairs(pairs(&config, first, count)?));
    Ok(BTreeMap::from([
        (Part::Train, part(0, 4000)?),
        (Part::Dev, part(4000, 200)?),
        (Part::Test, part(4200, 200)?),
    ]))
}
