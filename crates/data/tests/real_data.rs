//! Manifests of the project and the real sets they name. Sets that are not on this machine are skipped with a line.

use std::path::{Path, PathBuf};

use locus_data::split::Part;
use locus_data::{
    DataError, Examples, LabelSet, Lookup, Manifest, Ranking, ReadOptions, Task, Tokenizer, check, read,
    stats,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn datasets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets")
}

/// `$LOCUS_DATA/<name>`, or a line that says what is skipped.
fn real(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("LOCUS_DATA").map(|folder| Path::new(&folder).join(name));
    let found = path.filter(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: {name} is not below $LOCUS_DATA");
    }
    found
}

fn manifest(path: &Path) -> Result<Manifest, Box<dyn std::error::Error>> {
    Ok(Manifest::parse(&path.display().to_string(), &std::fs::read_to_string(path)?)?)
}

fn manifests() -> Result<Vec<PathBuf>, std::io::Error> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(datasets())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    Ok(paths)
}

#[test]
fn every_manifest_is_valid_and_named_as_its_file() -> Outcome {
    let paths = manifests()?;
    assert!(!paths.is_empty());
    for path in paths {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        assert_eq!(Some(manifest(&path)?.name), stem);
    }
    Ok(())
}

#[test]
fn every_sample_reads_and_is_clean() -> Outcome {
    for path in manifests()? {
        let manifest = manifest(&path)?;
        if !datasets().join(&manifest.name).is_dir() {
            continue;
        }
        let splits = manifest.read_all(&Lookup { samples: Some(datasets()), ..Lookup::default() })?;
        let report = check(&splits, None)?;
        assert!(report.is_clean(), "{}:\n{report}", manifest.name);
    }
    Ok(())
}

/// Every set is read whole: the manifests compare sums, counts and labels of each file. Here stand the sizes of the parts,
/// which must never change, and the number of labels, of entities for tags.
#[test]
fn every_set_reads_whole_and_its_parts_do_not_change() -> Outcome {
    let sizes = SIZES.map(|(name, parts, labels)| (name, (parts, labels)));
    let sizes: std::collections::BTreeMap<&str, ([usize; 3], usize)> = sizes.into();
    let mut wrong = Vec::new();
    for path in manifests()? {
        let manifest = manifest(&path)?;
        if manifest.task.kind().is_none() || datasets().join(&manifest.name).is_dir() {
            continue;
        }
        let lookup = Lookup { env: std::env::var_os("LOCUS_DATA").map(PathBuf::from), ..Lookup::default() };
        match manifest.read_all(&lookup) {
            Ok(splits) => {
                let parts = Part::ALL.map(|part| splits.get(&part).map_or(0, Examples::len));
                let labels = match manifest.task {
                    Task::Ner => {
                        stats(&splits, None)?.parts.values().flat_map(|part| part.labels.values()).sum()
                    }
                    _ => splits
                        .values()
                        .map(|part| LabelSet::from_training(part).map_or(0, |set| set.len()))
                        .max()
                        .unwrap_or(0),
                };
                let found = (parts, labels);
                if sizes.get(manifest.name.as_str()) != Some(&found) {
                    wrong.push(format!("{}: {found:?}", manifest.name));
                }
            }
            Err(DataError::NotFound { .. }) => {
                eprintln!("skipped: {} is not below $LOCUS_DATA", manifest.name);
            }
            Err(error) => wrong.push(error.to_string()),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Train, dev, test; and labels or entities. Where the source has a part, its size is the published one.
const SIZES: [(&str, [usize; 3], usize); 33] = [
    ("dialogue-bitext-responses", [3653, 410, 451], 0),
    ("dialogue-bitext-support", [3653, 410, 451], 27),
    ("dialogue-crosswoz", [3264, 351, 3642], 5),
    ("emotion-goemotions", [43_410, 5426, 5427], 28),
    ("emotion-xed-en", [13_971, 1840, 1717], 8),
    ("emotion-xed-zh", [1104, 137, 154], 8),
    ("intent-banking77", [8994, 1009, 3080], 77),
    ("intent-clinc150", [15_100, 3100, 5500], 151),
    ("intent-snips", [13_084, 700, 700], 7),
    ("lm-chinese-poetry", [16_839, 2125, 2086], 0),
    ("lm-classic-books", [18, 1, 1], 0),
    ("lm-tinyshakespeare", [1, 1, 1], 0),
    ("lm-wikitext2-valid-test", [0, 1, 1], 0),
    ("mt-tatoeba-en-zh", [23_311, 2896, 2948], 0),
    ("ner-btc", [6563, 775, 2001], 14_885),
    ("ner-uner-en-ewt", [0, 2001, 2077], 2054),
    ("ner-uner-zh-gsdsimp", [3997, 500, 500], 7634),
    ("ner-wikigold", [1359, 159, 178], 3558),
    ("ner-wnut17", [3394, 1009, 1287], 3890),
    ("nli-cad", [8330, 1000, 2000], 3),
    ("pair-pawsx-zh", [1780, 204, 1975], 2),
    ("qa-cmrc2018", [2966, 250, 995], 0),
    ("qa-drcd", [0, 3524, 3493], 0),
    ("qa-squad-v1.1", [78_946, 8653, 10_570], 0),
    ("qa-xquad-en", [0, 0, 1190], 0),
    ("qa-xquad-zh", [0, 0, 1190], 0),
    ("rec-ml-latest-small", [8810, 1101, 1102], 0),
    ("sentiment-polarity", [8621, 1040, 1001], 2),
    ("sentiment-pros-cons", [36_421, 4457, 4989], 2),
    ("sentiment-subjectivity", [8005, 995, 1000], 2),
    ("slots-snips", [13_084, 700, 700], 37_542),
    ("topic-sib200-en", [701, 99, 204], 7),
    ("topic-sib200-zh", [701, 99, 204], 7),
];

#[test]
fn entities_have_their_published_number() -> Outcome {
    for (name, expected) in [("ner-wnut17", [1975, 836, 1079]), ("ner-uner-zh-gsdsimp", [6118, 753, 763])] {
        if real(name).is_none() {
            continue;
        }
        let lookup = Lookup { env: std::env::var_os("LOCUS_DATA").map(PathBuf::from), ..Lookup::default() };
        let splits = manifest(&datasets().join(format!("{name}.toml")))?.read_all(&lookup)?;
        let counted = stats(&splits, None)?;
        assert_eq!(
            Part::ALL.map(|part| counted.parts[&part].labels.values().sum::<usize>()),
            expected,
            "{name}"
        );
    }
    Ok(())
}

/// Several labels, written as numbers: by an independent count of the file, `joy` (17) and `neutral` (27) in train.
#[test]
fn numbers_become_emotions() -> Outcome {
    let Some(folder) = real("emotion-goemotions") else { return Ok(()) };
    let lookup = Lookup { env: folder.parent().map(Path::to_owned), ..Lookup::default() };
    let train = manifest(&datasets().join("emotion-goemotions.toml"))?.read_part(Part::Train, &lookup)?;
    let counted = stats(&[(Part::Train, train)].into(), None)?;
    let labels = &counted.parts[&Part::Train].labels;
    assert_eq!((labels["joy"], labels["neutral"], labels.values().sum::<usize>()), (1_452, 14_219, 51_103));
    Ok(())
}

/// Films in the order of the likes of a year, as `oracle/baselines.py` ranks them by a reader of its own: the right one is first in 238
/// of 1,101 and 264 of 1,102.
#[test]
fn liked_films_stand_where_an_independent_reader_has_them() -> Outcome {
    let Some(folder) = real("rec-ml-latest-small") else { return Ok(()) };
    let lookup = Lookup { env: folder.parent().map(Path::to_owned), ..Lookup::default() };
    let splits = manifest(&datasets().join("rec-ml-latest-small.toml"))?.read_all(&lookup)?;
    let is_first = |ranking: &Ranking| {
        let best = ranking.candidates.iter().map(|candidate| candidate.features[2]).fold(f64::MIN, f64::max);
        let first = ranking.candidates.iter().find(|candidate| candidate.features[2] >= best);
        first.is_some_and(|candidate| candidate.gain > 0.0)
    };
    for (part, expected) in [(Part::Dev, 238), (Part::Test, 264)] {
        let Examples::Ranked(list) = &splits[&part] else { return Err("no rankings".into()) };
        assert_eq!(list.iter().filter(|ranking| is_first(ranking)).count(), expected, "{part}");
    }
    Ok(())
}

/// Ids as the models' own tokenizers give them.
#[test]
fn published_vocabularies_give_the_published_ids() -> Outcome {
    let Some(folder) = real("tokenizers") else { return Ok(()) };
    let load = |name: &str| Tokenizer::from_file(&folder.join(name));
    let uncased = load("bert-base-uncased")?;
    assert_eq!(uncased.encode("Hello, world!")?.ids, [7592, 1010, 2088, 999]);
    assert_eq!(uncased.assemble(&[7592], None).ids, [101, 7592, 102]);
    assert_eq!(uncased.vocab_size(), 30_522);
    let cased = load("bert-base-cased")?;
    assert_eq!(cased.encode("Hello world")?.ids, [8667, 1362]);
    let chinese = load("bert-base-chinese")?;
    assert_eq!(chinese.encode("你好")?.ids, [872, 1962]);
    let gpt2 = load("gpt2")?;
    assert_eq!(gpt2.encode("Hello world")?.ids, [15496, 995]);
    assert_eq!(gpt2.encode_words(&["Hello", "world"])?.ids, [15496, 995]);
    assert_eq!((gpt2.specials().eos, gpt2.specials().fill()), (Some(50_256), 50_256));
    assert_eq!(gpt2.decode(&[15496, 995])?, "Hello world");
    Ok(())
}

#[test]
fn a_byte_level_tokenizer_gives_real_text_back_exactly() -> Outcome {
    let Some(path) = real("lm-tinyshakespeare/input.txt") else { return Ok(()) };
    let Examples::Text(texts) = read(&path, &ReadOptions::default())? else { return Err("not text".into()) };
    let text = &texts[0];
    for kind in [locus_data::TokenizerKind::Bpe, locus_data::TokenizerKind::Char] {
        let tokenizer = Tokenizer::train(kind, 512, false, [text])?;
        let ids = tokenizer.encode(text)?.ids;
        assert_eq!(&tokenizer.decode(&ids)?, text);
    }
    Ok(())
}

/// A published file with four words lost in an old encoding.
#[test]
fn words_that_are_missing_in_a_real_file_are_listed() {
    let Some(path) = real("ner-btc/h.conll") else { return };
    let error = read(&path, &ReadOptions::default()).expect_err("four words are missing").to_string();
    assert!(error.contains("4 problems") && error.contains("h.conll:22918: expected a word"), "{error}");
}
