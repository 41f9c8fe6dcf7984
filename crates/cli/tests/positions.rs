//! `locus positions` and `locus model positions`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "positions/pages.rs"]
mod pages;
#[path = "positions/source.rs"]
mod source;

use common::Place;
use serde_json::Value;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/positions.md");

fn list() -> Vec<Value> {
    let text = Place::new().run(&["positions", "list", "--json"]).succeeds().stdout();
    serde_json::from_str(&text).unwrap()
}

fn show(args: &[&str]) -> Value {
    let args = [&["positions", "show"], args, &["--json"]].concat();
    serde_json::from_str(&Place::new().run(&args).succeeds().stdout()).unwrap()
}

/// A number in lists in lists.
fn at(value: &Value, indices: &[usize]) -> f64 {
    let found = indices.iter().fold(value, |value, idx| &value[*idx]);
    found.as_f64().unwrap_or_else(|| panic!("no number at {indices:?}"))
}

#[track_caller]
fn near(found: f64, want: f64) {
    assert!((found - want).abs() <= 2e-6 * want.abs().max(1.0), "{found} is not {want}");
}

#[test]
fn the_list_has_every_scheme_by_family() {
    let place = Place::new();
    let (text, list) = (place.run(&["positions", "list"]).succeeds().stdout(), list());
    assert!(list.len() == locus_embedding::position::PositionConfig::NAMES.len());
    for scheme in &list {
        let name = scheme["name"].as_str().unwrap();
        assert!(text.contains(&format!("\n  {name} ")), "{name} in\n{text}");
        for key in ["family", "does", "parameters", "longer_texts", "paper"] {
            assert!(scheme[key].as_str().is_some_and(|text| !text.is_empty()), "{name}: {key}");
        }
        assert!(!scheme["forms"].as_array().unwrap().is_empty(), "{name} fits no form");
        assert!(scheme["n_trained"].is_u64() && scheme["limit"]["policy"].is_string());
    }
    let of = |name: &str| list.iter().find(|scheme| scheme["name"] == name).unwrap();
    assert_eq!(of("t5")["n_trained"], 128);
    assert_eq!(of("learned")["limit"]["from"], 128);
    assert_eq!(of("rerope")["cached"]["key"], "raw");
    assert_eq!(of("rerope")["forms"], serde_json::json!(["causal"]));
    let families: Vec<&str> = list.iter().map(|scheme| scheme["family"].as_str().unwrap()).collect();
    let mut distinct = families.clone();
    distinct.dedup();
    let unique: std::collections::BTreeSet<&str> = families.into_iter().collect();
    assert_eq!(distinct.len(), unique.len(), "schemes of a family stand together: {distinct:?}");
}

/// `cargo xtask positions` writes it.
#[test]
fn the_rows_of_the_book_are_the_programs() {
    let table = Place::new().run(&["positions", "list", "--markdown"]).succeeds().stdout();
    locus_testkit::assert_part(PAGE, "positions", &table);
}

#[test]
fn every_scheme_can_be_shown() {
    let place = Place::new();
    for scheme in list() {
        let name = scheme["name"].as_str().unwrap();
        for form in scheme["forms"].as_array().unwrap() {
            let form = format!("--{}", form.as_str().unwrap());
            let args = ["positions", "show", name, &form, "--q", "5", "--k", "7", "--svg", "x.svg"];
            let text = place.run(&args).succeeds().stdout();
            assert!(text.starts_with(&format!("{name}: ")) && text.contains("5 queries of 7 keys"), "{text}");
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            is_well_formed(&place.read("x.svg"));
            let shown = show(&[name, &form, "--q", "5", "--k", "7"]);
            let heads = if name == "rope_plus_plus" { 8 } else { 4 };
            for (key, dims) in
                [("scores", [heads, 5, 7]), ("weights", [heads, 5, 7]), ("context", [heads, 5, 8])]
            {
                let values = &shown["result"][key]["values"];
                let last = at(values, &[dims[0] - 1, dims[1] - 1, dims[2] - 1]);
                assert!(last.is_finite() && values[dims[0]].is_null(), "{name}: {key}");
            }
            let differs = shown["does_to"].as_object().unwrap();
            assert_eq!(differs.is_empty(), text.contains("Nothing differs"), "{name}: {text}");
        }
    }
}

/// The elements of a drawing are closed in order, attributes are quoted, and no bare `<` or `&` is left.
fn is_well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        let (text, tag) = rest.split_at(start);
        assert!(!open.is_empty() || text.trim().is_empty(), "text outside: {text}");
        text.match_indices('&').for_each(|(at, _)| assert!(text[at..].contains(';'), "{text}"));
        let end = tag.find('>').expect("a tag ends");
        let inside = &tag[1..end];
        let name = inside.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
        if inside.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            assert_eq!(inside.matches('"').count() % 2, 0, "{inside}");
            assert!(!inside.contains("NaN") && !inside.contains("inf"), "{inside}");
            if !inside.ends_with('/') {
                open.push(name);
            }
        }
        rest = &tag[end + 1..];
    }
    assert!(open.is_empty() && xml.starts_with("<svg xmlns="), "{open:?}");
    assert!(xml.contains("<text"), "labels");
}

#[test]
fn a_bias_is_the_papers() {
    let shown = show(&["alibi", "--q", "3", "--k", "5", "--heads", "3"]);
    let bias = &shown["does_to"]["bias"]["values"];
    // Slopes of three heads: those of two, then the first of four.
    for (head, slope) in [2.0_f64.powi(-4), 2.0_f64.powi(-8), 2.0_f64.powi(-2)].into_iter().enumerate() {
        for (i, j) in [(0, 0), (0, 2), (2, 0), (2, 4)] {
            near(at(bias, &[head, i, j]), -slope * ((i + 2) as f64 - j as f64).abs());
        }
    }
    assert_eq!(shown["seen"][0], serde_json::json!([true, true, true, false, false]));
    // Text shows it by distance, because nothing else decides.
    let text = Place::new().run(&["positions", "show", "alibi", "--q", "3", "--k", "5"]).succeeds().stdout();
    assert!(text.contains("distance   head 0") && text.contains("-0.2500"), "{text}");
}

#[test]
fn unit_vectors_show_the_angles_of_rotary() {
    let args = ["rotary", "--q", "2", "--k", "6", "--heads", "2", "--d-head", "4", "--set", "base=100"];
    let units = &show(&args)["does_to"]["unit_keys"]["values"];
    for p in 0..6_usize {
        for (pair, theta) in [(0, 1.0), (1, 0.1)] {
            let angle = p as f64 * theta;
            near(at(units, &[0, 0, p, pair, pair]), angle.cos());
            near(at(units, &[0, 0, p, pair, pair + 2]), angle.sin());
        }
    }
    let text = Place::new().run(&[&["positions", "show"], &args[..]].concat()).succeeds().stdout();
    assert!(text.contains("cos 0,2") && text.contains("0.5403"), "{text}");
}

/// Everything that goes into Shaw's score terms is in the answer.
#[test]
fn terms_of_content_can_be_computed_again() {
    let args = ["shaw", "--q", "3", "--k", "5", "--heads", "2", "--d-head", "4", "--set", "max_distance=2"];
    let shown = show(&[&args[..], &["--seed", "7"]].concat());
    let (q, table) = (&shown["input"]["q"]["values"], &shown["parameters"]["keys"]);
    let terms = &shown["does_to"]["score_terms"]["values"];
    for (head, i, j) in [(0, 0, 0), (0, 2, 4), (1, 1, 0), (1, 2, 1)] {
        let distance = (j as i64 - (i as i64 + 2)).clamp(-2, 2) + 2;
        let dot: f64 = (0..4).map(|c| at(q, &[head, i, c]) * at(table, &[distance as usize, c])).sum();
        near(at(terms, &[head, i, j]), dot / 2.0);
    }
    let other = show(&[&args[..], &["--seed", "8"]].concat());
    assert_ne!(shown["input"]["q"], other["input"]["q"]);
    // The whole of it: scores from queries, keys and terms; weights from scores.
    let (k, scores) = (&shown["input"]["k"]["values"], &shown["result"]["scores"]["values"]);
    let dot: f64 = (0..4).map(|c| at(q, &[1, 2, c]) * at(k, &[1, 3, c])).sum();
    near(at(scores, &[1, 2, 3]), dot / 2.0 + at(terms, &[1, 2, 3]));
    let weights = &shown["result"]["weights"]["values"];
    let sum: f64 = (0..4).map(|j| at(scores, &[1, 1, j]).exp()).sum();
    near(at(weights, &[1, 1, 2]), at(scores, &[1, 1, 2]).exp() / sum);
}

#[test]
fn what_the_mask_leaves_and_which_view_is_read() {
    let sets = ["--set", "window=3", "--set", "sinks=1"];
    let shown = show(&[&["lambda_mask", "--q", "2", "--k", "6"], &sets[..]].concat());
    let visible = &shown["does_to"]["visible"]["values"];
    assert_eq!(visible[1], serde_json::json!([1.0, 0.0, 0.0, 1.0, 1.0, 1.0]));
    let views = show(&["rerope", "--q", "2", "--k", "6", "--set", "window=3"]);
    let view = &views["does_to"]["view"]["values"];
    assert_eq!(view[1], serde_json::json!([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]));
}

#[test]
fn segments_and_further_axes_are_shown() {
    let args = ["xlnet", "--set", "segments=true", "--q", "2", "--k", "3", "--set", "init_std=0.5"];
    let [one, two] =
        ["0,0,0", "0,1,1"].map(|segments| show(&[&args[..], &["--segments", segments]].concat()));
    let terms = |shown: &Value, cell: &[usize]| at(&shown["does_to"]["score_terms"]["values"], cell);
    assert_ne!(terms(&one, &[0, 0, 0]), terms(&two, &[0, 0, 0]));
    near(terms(&one, &[0, 0, 1]), terms(&two, &[0, 0, 1]));
    let bipe = ["bipe", "--k", "4", "--q", "1", "--ids", "5,1,6,7", "--set", "separator_ids=[1]"];
    let places = &show(&bipe)["does_to"]["places"]["values"];
    assert_eq!(*places, serde_json::json!([[0.0, 1.0, 0.0, 1.0]]));
}

#[test]
fn a_table_of_places_goes_on_with_its_last_row() {
    let place = tagger("{ bipe = { separator_ids = [5] } }");
    let run = convert(&place, &["--to", "bipe", "--max-seq-len", "20", "--out", "long"]);
    let text = run.succeeds().stdout();
    let line = "extended     encoder.schemes.0.table [20, 16]: 12 places, the last of them again up to 20";
    assert!(text.contains(line), "{text}");
    // A number of rotary's is kept where segments turn.
    let place = tagger("{ rotary = { base = 500.0 } }");
    let run = convert(&place, &["--to", "bipe", "--set", "separator_ids=[5]", "--out", "b"]);
    assert!(run.succeeds().stdout().contains("of the old scheme, unless set: base = 500.0"));
}

#[test]
fn wrong_requests_are_answered_together() {
    let place = Place::new();
    let run = |args: &[&str]| place.run(&[&["positions", "show"], args].concat());
    run(&["rotory", "--q", "9", "--k", "3", "--heads", "0"])
        .says(2, &["did you mean 'rotary'", "--q = 9: expected at most --k = 3", "--heads = 0"]);
    run(&["rotary", "--set", "bse=1", "--set", "pairing=thirds", "--set", "x", "--d-head", "0"])
        .says(2, &["`base`", "`halves`", "x: expected key=value", "--d-head = 0"]);
    run(&["rotary", "--d-head", "7"]).says(2, &["d_head = 7"]);
    run(&["rerope", "--bidirectional"]).says(2, &["rerope = an encoder", "a decoder"]);
    run(&["alibi", "--k", "1000000", "--q", "1000000"]).says(2, &["sizes", "at most"]);
    run(&["alibi", "--ids", "1,2"]).says(2, &["--ids = 2 ids: expected 16"]);
    run(&["xlnet", "--segments", "1,2"]).says(2, &["--segments = 2 segments: expected 16"]);
    run(&["alibi", "--max-seq-len", "3"]).says(2, &["--max-seq-len = 3"]);
    run(&["alibi", "--svg", "no/such/folder/x.svg"])
        .says(2, &["--svg no/such/folder/x.svg", "can be written"]);
    run(&["alibi", "--causal", "--bidirectional"]).says(2, &["cannot be used with"]);
}

const TRAIN: &str = "Mira B-PER\nsaw O\nLisbon B-LOC\n\nBern B-LOC\nsleeps O\n\n";

/// A tiny tagger with this scheme in `out/model`.
fn tagger(position: &str) -> Place {
    let place = Place::new();
    place.write("train.conll", TRAIN);
    let position = format!("model.position={position}");
    let sets = [
        "data.train=train.conll",
        "data.dev=train.conll",
        "tokenizer.kind=word",
        "model.max_seq_len=12",
        &position,
    ];
    let sets = sets.iter().flat_map(|set| ["--set", *set]);
    place.train(&["ner", "--out", "out"].into_iter().chain(sets).collect::<Vec<_>>()).succeeds();
    place
}

fn convert(place: &Place, args: &[&str]) -> common::Run {
    place.run(&[&["model", "positions", "convert", "--model", "out/model"], args].concat())
}

#[test]
fn a_learned_table_is_stretched_and_the_model_answers() {
    let place = tagger("learned");
    let run = convert(&place, &["--to", "learned", "--max-seq-len", "30", "--out", "long"]);
    let text = run.succeeds().stdout();
    let line = "interpolated encoder.schemes.0.table [30, 16]: 12 positions, on straight lines to 30";
    assert!(text.contains(line) && text.contains("length       12 → 30"), "{text}");
    let eval = place.run(&["eval", "--model", "long", "--data", "train.conll", "--json"]);
    assert!(eval.succeeds().stdout().contains("entity_f1"));
    // The other way round the first rows are cut off.
    let run = place.run(
        &["model", "positions", "convert", "--model", "long", "--to", "learned"]
            .into_iter()
            .chain(["--max-seq-len", "20", "--out", "short"])
            .collect::<Vec<_>>(),
    );
    assert!(
        run.succeeds().stdout().contains("cut          encoder.schemes.0.table [20, 16]: the first 20 of 30")
    );
    // Nothing asked for, nothing changed.
    let run = convert(&place, &["--to", "learned", "--out", "same"]);
    assert!(run.succeeds().stdout().contains("kept         encoder.schemes.0.table [12, 16]\n"));
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let [a, b] = ["out/model", "same"].map(|dir| std::fs::read(place.path(dir).join(file)).unwrap());
        assert!(a == b, "{file} is another");
    }
}

#[test]
fn another_scheme_begins_anew_or_has_nothing_to_begin_with() {
    let place = tagger("learned");
    let text = convert(&place, &["--to", "t5", "--set", "n_buckets=8", "--seed", "5", "--out", "t5"])
        .succeeds()
        .stdout();
    for part in [
        "learned → t5",
        "new          encoder.schemes.0.table [8, 2]: begins anew, from seed 5",
        "to train on",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = convert(&place, &["--to", "alibi", "--out", "alibi"]).succeeds().stdout();
    assert!(text.contains("dropped      encoder.schemes.0.table [12, 16]\n"), "{text}");
    for model in ["t5", "alibi"] {
        place.run(&["predict", "--model", model, "--input", "train.conll"]).succeeds();
    }
}

#[test]
fn a_rotary_model_keeps_its_angles() {
    let place = tagger("{ rotary = { base = 500.0, pairing = 'interleaved' } }");
    let text = convert(&place, &["--to", "xpos", "--set", "pairing=halves", "--out", "x"]);
    // xPos is for decoders.
    text.says(2, &["position.xpos = an encoder: expected a decoder"]);
    let text = convert(&place, &["--to", "mrope", "--out", "m"]).succeeds().stdout();
    assert!(
        text.contains("of the old scheme, unless set: base = 500.0, pairing = \"interleaved\""),
        "{text}"
    );
    // On plain text M-RoPE is rotary.
    let [a, b] = ["out/model", "m"].map(|model| {
        place.run(&["predict", "--model", model, "--input", "train.conll", "--json"]).succeeds().stdout()
    });
    assert_eq!(a, b);
    let scaled =
        ["--to", "rotary", "--set", "scaling.type=linear", "--set", "scaling.factor=2.0", "--out", "s"];
    let text = convert(&place, &scaled).succeeds().stdout();
    assert!(text.contains("base = 500.0") && text.contains("factor = 2.0"), "{text}");
}

#[test]
fn what_cannot_be_converted_is_refused_with_the_reason() {
    let place = tagger("rotary");
    let append = ["--to", "random_projection", "--set", "combine.concat.width=4", "--out", "x"];
    convert(&place, &append).says(2, &["4 appended dimensions", "0 as in the model", "token table"]);
    convert(&place, &["--to", "rope_plus_plus", "--out", "x"])
        .says(2, &["o_proj.weight", "as in the model", "train"]);
    convert(&place, &["--to", "bipe", "--set", "separators=['no such token']", "--out", "x"])
        .says(2, &["separators", "in the vocabulary"]);
    convert(&place, &["--to", "rotory", "--set", "x", "--out", "x"])
        .says(2, &["did you mean 'rotary'", "key=value"]);
    convert(&place, &["--to", "learned", "--set", "max_positions=4", "--out", "x"])
        .says(2, &["max_positions", "12"]);
    convert(&place, &["--to", "alibi", "--out", "train.conll"])
        .says(2, &["--out train.conll", "does not exist yet"]);
    assert!(!place.path("x").exists());
    place
        .run(&["model", "positions", "convert", "--model", "none", "--to", "alibi", "--out", "x"])
        .says(1, &["none"]);
}

#[test]
fn a_converted_decoder_generates() {
    let place = Place::new();
    place.train(&["first-stories", "--out", "out", "--set", "model.max_seq_len=16"]).succeeds();
    let rerope = ["--to", "rerope", "--set", "window=8", "--max-seq-len", "64", "--out", "long"];
    convert(&place, &rerope).succeeds();
    let generate = ["generate", "--prompt", "the cat", "--max-new-tokens", "24", "--min-new-tokens", "20"];
    let run = place.run(&[&generate[..], &["--model", "long"]].concat());
    assert!(run.succeeds().stdout().len() > 10);
}
