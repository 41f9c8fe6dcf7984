//! Manifests of the project and the real sets they name. Sets that are not on this machine are skipped with a line.

use std::path::{Path, PathBuf};

use locus_data::split::Part;
use locus_data::{
    Column, Columns, Examples, Format, Kind, LabelSet, Lookup, Manifest, ReadOptions, Tokenizer, check, read,
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

#[test]
fn snips_has_its_published_size() -> Outcome {
    let Some(folder) = real("slots-snips") else { return Ok(()) };
    let manifest = manifest(&datasets().join("slots-snips.toml"))?;
    let lookup = Lookup { data_dir: folder.parent().map(Path::to_owned), ..Lookup::default() };
    let splits = manifest.read_all(&lookup)?;
    assert_eq!(Part::ALL.map(|part| splits[&part].len()), [13_084, 700, 700]);
    let labels = LabelSet::from_training(&splits[&Part::Train])?;
    assert_eq!(labels.len(), 72);
    let intents =
        read(&folder.join("train"), &ReadOptions { kind: Some(Kind::Labelled), ..Default::default() })?;
    assert_eq!((intents.len(), LabelSet::from_training(&intents)?.len()), (13_084, 7));
    let counted = stats(&splits, None)?;
    assert_eq!(counted.parts[&Part::Test].examples, 700);
    Ok(())
}

#[test]
fn chinese_universal_ner_has_its_published_size() -> Outcome {
    let Some(folder) = real("ner-uner-zh-gsdsimp") else { return Ok(()) };
    for (part, sentences, entities) in [("train", 3997, 6118), ("dev", 500, 753), ("test", 500, 763)] {
        let path = folder.join(format!("zh_gsdsimp-ud-{part}.iob2"));
        let examples = read(&path, &ReadOptions::default())?;
        assert_eq!(examples.len(), sentences, "{part}");
        let report = check(&[(Part::Train, examples)].into(), None)?;
        assert_eq!(report.parts[&Part::Train].labels.values().sum::<usize>(), entities, "{part}");
    }
    Ok(())
}

/// Counts as the sets' own descriptions give them; wikigold's 1841 includes its 145 document marks.
#[test]
fn other_layouts_read_whole() -> Outcome {
    let no_header = |columns| ReadOptions { header: Some(false), columns, ..Default::default() };
    let conll = || ReadOptions { format: Some(Format::Conll), ..Default::default() };
    let at = |at: isize| Some(Column::Index(at));
    let cases: Vec<(&str, ReadOptions, usize)> = vec![
        ("ner-wnut17/wnut17train.conll", conll(), 3394),
        ("ner-wnut17/emerging.dev.conll", conll(), 1009),
        ("ner-wnut17/emerging.test.annotated", ReadOptions::default(), 1287),
        ("ner-wikigold/wikigold.conll.txt", ReadOptions::default(), 1696),
        ("ner-uner-en-ewt/en_ewt-ud-dev.iob2", ReadOptions::default(), 2001),
        ("ner-btc/a.conll", ReadOptions::default(), 1000),
        ("ner-btc/g.conll", ReadOptions::default(), 2138),
        ("intent-banking77/train.csv", ReadOptions::default(), 10_003),
        ("topic-sib200/zho_Hans/train.tsv", ReadOptions::default(), 701),
        ("nli-cad/all_combined/train.tsv", ReadOptions::default(), 8330),
        (
            "pair-pawsx-zh/dev_2k.tsv",
            ReadOptions { skip_examples: vec!["NS".into()], ..Default::default() },
            1984,
        ),
        (
            "dialogue-crosswoz/derived_domain_val.tsv",
            no_header(Columns { label: at(0), text: at(1), ..Default::default() }),
            3615,
        ),
        (
            "emotion-goemotions/dev.tsv",
            no_header(Columns { text: at(0), label: at(1), ..Default::default() }),
            5426,
        ),
        (
            "mt-tatoeba-en-zh/cmn.txt",
            ReadOptions {
                format: Some(Format::Tsv),
                ..no_header(Columns { source: at(0), target: at(1), ..Default::default() })
            },
            29_155,
        ),
        ("lm-tinyshakespeare/input.txt", ReadOptions::default(), 1),
    ];
    let mut wrong = Vec::new();
    for (name, options, expected) in cases {
        let Some(path) = real(name) else { continue };
        match read(&path, &options) {
            Ok(examples) if examples.len() == expected => {}
            Ok(examples) => wrong.push(format!("{name}: expected {expected}, found {}", examples.len())),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
