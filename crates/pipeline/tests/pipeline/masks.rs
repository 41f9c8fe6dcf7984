//! Tokens for masks.

use burn::tensor::backend::AutodiffBackend;
use locus_data::{Examples, TokenizerKind};
use locus_embedding::Tokens;
use locus_heads::{HeadConfig, TaskModel};
use locus_pipeline::{FilledMask, Pipeline, PipelineError, Prediction};
use locus_testkit::on_backends;

use crate::{awkward, folder};

fn tokens_for_every_mask<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let examples = Examples::Text(vec!["Mira Tolland visited Lisbon , 王 小明 too .".repeat(3)]);
    let head = HeadConfig::MaskedLm { tied: true, bias: true, transform: Default::default() };
    folder::<B>(&dir, head, TokenizerKind::Word, &examples, device);
    let mut pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    let far = format!("[MASK] {} [MASK]", "Lisbon ".repeat(20));
    let mut texts = awkward();
    let n_plain = texts.len();
    texts.extend(["Mira visited [MASK] .", "[MASK] [MASK] Lisbon", far.as_str()].map(str::to_owned));
    let masks_of = |pipeline: &Pipeline<B::InnerBackend>, top_k| -> Vec<(Vec<Vec<FilledMask>>, bool)> {
        let answers = pipeline.fill_mask(&texts, top_k).unwrap().into_iter().zip(&texts);
        let masks = answers.map(|(answer, given)| match answer {
            Prediction::Masks { text, masks, cut } if text == *given => (masks, cut),
            other => panic!("{other:?}"),
        });
        masks.collect()
    };
    pipeline.batch_size = 2;
    let answers = masks_of(&pipeline, 3);
    let counts: Vec<usize> = answers.iter().map(|(masks, _)| masks.len()).collect();
    // Of the last text the second mask is cut off.
    assert_eq!(counts, [vec![0; n_plain], vec![1, 2, 1]].concat());
    assert!(answers[n_plain + 2].1 && !answers[n_plain].1);
    for mask in answers.iter().flat_map(|(masks, _)| masks) {
        assert_eq!(mask.len(), 3);
        assert!(mask.is_sorted_by(|a, b| a.score >= b.score));
        assert!(mask.iter().all(|token| !token.token.is_empty() && !token.text.contains("[MASK]")));
    }
    // All tokens share the probability, as the scores at that place say.
    let all = masks_of(&pipeline, usize::MAX);
    let whole = &all[n_plain].0[0];
    assert_eq!(whole.len(), pipeline.config.vocab_size);
    assert!((whole.iter().map(|token| token.score).sum::<f64>() - 1.0).abs() < 1e-6);
    let tokenizer = &pipeline.codec.tokenizer;
    let ids = tokenizer.encode_with_specials(&texts[n_plain]).unwrap().ids;
    let ids = tokenizer.assemble(&ids, None).ids;
    let mask = ids.iter().position(|&id| Some(id) == tokenizer.specials().mask).unwrap();
    let n = ids.len();
    let TaskModel::MaskedLm(model) = &pipeline.model else { panic!() };
    let logits = model.logits(&Tokens::new([1, n], ids, vec![true; n], None).unwrap(), None).unwrap();
    let logits: Vec<f64> = logits.into_data().iter::<f64>().collect();
    let row = &logits[mask * whole.len()..(mask + 1) * whole.len()];
    let total: f64 = row.iter().map(|x| x.exp()).sum();
    for token in whole {
        let want = row[token.id as usize].exp() / total;
        assert!((token.score - want).abs() < 1e-5, "{token:?} is not {want}");
    }
    assert_eq!(pipeline.predict(&texts).unwrap().len(), texts.len());
    assert!(matches!(pipeline.answer(&[("a", "b")]), Err(PipelineError::WrongTask { .. })));
}

on_backends!(tokens_for_every_mask);
