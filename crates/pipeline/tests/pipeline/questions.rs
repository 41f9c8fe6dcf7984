//! Answers to questions about contexts.

use burn::tensor::backend::AutodiffBackend;
use locus_data::{Answer as Gold, Examples, Item, ItemLabels, Question, Tokenizer, TokenizerKind};
use locus_heads::{HeadConfig, Trainable};
use locus_model::{ModelConfig, load};
use locus_pipeline::{Pipeline, PipelineError};
use locus_testkit::on_backends;

use crate::{awkward, folder, tagged_examples};

fn question(question: &str, context: &str, answer: Option<&str>) -> Question {
    let start = |answer: &str| context[..context.find(answer).unwrap()].chars().count();
    let answers = answer.into_iter().map(|a| Gold { text: a.to_owned(), start: Some(start(a)) }).collect();
    let (question, context) = (question.to_owned(), context.into());
    Question { id: String::new(), context, question, answers, line: 1 }
}

fn an_answer_for_every_question<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let context = "王小明 met Mira Tolland in Lisbon, and both were late.";
    let long = format!("{}Mira sleeps.", "Lisbon is far. ".repeat(30));
    let questions = vec![
        question("Who was met?", context, Some("Mira Tolland")),
        question("谁?", context, Some("王小明")),
        question("Why?", context, None),
        question("Who sleeps?", &long, Some("Mira")),
    ];
    let examples = Examples::Qa(questions);
    let head = HeadConfig::QuestionAnswering { layers: Default::default() };
    folder::<B>(&dir, head, TokenizerKind::WordPiece, &examples, device);
    let mut pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();

    // A window of twelve tokens overlaps by four, and has two for the question.
    let items = pipeline.codec.encode(&examples).unwrap().items;
    assert!(items.len() > 20 && items.iter().all(|item| item.ids.len() <= 12), "{}", items.len());
    let with_answer = items.iter().filter(|item| !matches!(item.labels, ItemLabels::Span([0, 0]))).count();
    assert!(
        (3..=9).contains(&with_answer),
        "{with_answer}: each in one window or in those that overlap there"
    );

    let texts = awkward();
    let asked: Vec<(&str, &str)> =
        texts.iter().flat_map(|q| texts.iter().map(move |c| (q.as_str(), c.as_str()))).collect();
    pipeline.batch_size = 7;
    let answers = pipeline.answer(&asked).unwrap();
    assert_eq!(answers.len(), asked.len());
    for (answer, (_, context)) in answers.iter().zip(&asked) {
        let there: String = context.chars().take(answer.end).skip(answer.start).collect();
        assert_eq!(there, answer.text);
        assert!((0.0..=1.0).contains(&answer.score), "{answer:?}");
        assert!(!answer.text.is_empty() || !context.contains(char::is_alphabetic), "{answer:?}");
    }
    pipeline.batch_size = 1;
    let alone = pipeline.answer(&asked).unwrap();
    // Windows over a text that repeats itself are alike, and any of them may win.
    let distinct = alone.iter().zip(&answers).zip(&asked).filter(|(_, (_, context))| context.len() < 100);
    for ((alone, answer), _) in distinct {
        assert_eq!((&alone.text, alone.start), (&answer.text, answer.start));
        assert!((alone.score - answer.score).abs() < 1e-4);
    }

    let n_tokens = |text: &str| pipeline.codec.tokenizer.encode(text.trim_start()).unwrap().ids.len();
    assert!(answers.iter().zip(&asked).all(|(answer, (question, _))| answer.cut == (n_tokens(question) > 2)));
    assert!(answers.iter().any(|answer| answer.cut) && !answers.iter().all(|answer| answer.cut));

    // The loss is that of training, whatever windows share a batch.
    let loss = |item: &Item| {
        let loss = pipeline.model.loss(&pipeline.codec.batch(&[item]).unwrap(), None).unwrap();
        assert_eq!(loss.weight, 1.0);
        loss.sum.into_data().iter::<f64>().sum::<f64>()
    };
    let mean = items.iter().map(loss).sum::<f64>() / items.len() as f64;
    let short = Examples::Qa(vec![question("Who?", "Mira", Some("Mira"))]);
    let mut together = pipeline.codec.encode(&short).unwrap().items;
    together.extend(items.iter().cloned());
    assert!(together[0].ids.len() < items[0].ids.len(), "its window is padded");
    let alone: f64 = together.iter().map(loss).sum();
    let batch = pipeline.codec.batch(&together.iter().collect::<Vec<_>>()).unwrap();
    let batched = pipeline.model.loss(&batch, None).unwrap();
    assert_eq!(batched.weight, together.len() as f64);
    let batched = batched.sum.into_data().iter::<f64>().sum::<f64>();
    let n = together.len() as f64;
    assert!(((alone - batched) / n).abs() < 1e-5, "{alone} alone, {batched} together");
    let evaluation = pipeline.evaluate(&examples).unwrap();
    assert!((mean - evaluation.metrics["loss"]).abs() < 1e-5, "{mean} and {evaluation}");
    assert_eq!((evaluation.n_examples, evaluation.score_name), (4, "f1"));
    assert!(evaluation.metrics["em"] <= evaluation.metrics["f1"] && evaluation.metrics["f1"] <= 1.0);

    // Where no answer always wins, one question of four is right.
    let with = |change: &dyn Fn(&mut ModelConfig)| {
        let (mut config, model) = load::<B::InnerBackend>(&dir, device).unwrap();
        change(&mut config);
        Pipeline::new(config, model, Tokenizer::from_file(&dir.join("tokenizer.json")).unwrap())
    };
    let none = with(&|config| config.questions.no_answer_threshold = Some(-1e9)).unwrap();
    assert!(none.answer(&asked).unwrap().iter().all(|answer| answer.text.is_empty() && answer.end == 0));
    let evaluation = none.evaluate(&examples).unwrap();
    assert_eq!([evaluation.metrics["f1"], evaluation.metrics["no_answer_f1"]], [0.25, 1.0]);

    // The best threshold is at least as good as any other, and does what it says.
    let best = evaluation.no_answer_threshold.unwrap();
    let tuned = with(&|config| config.questions.no_answer_threshold = Some(best)).unwrap();
    let tuned = tuned.evaluate(&examples).unwrap();
    assert!((tuned.metrics["f1"] - evaluation.metrics["best_f1"]).abs() < 1e-9, "{tuned}");
    assert!(tuned.metrics["f1"] >= 0.25);

    let error = with(&|config| config.questions.window_tokens = Some(13)).unwrap_err();
    assert!(matches!(error, PipelineError::Windows(_)), "{error}");
    assert!(error.to_string().contains("questions.window_tokens = 13: expected at most max_seq_len = 12"));
    let wrong = pipeline.evaluate(&tagged_examples()).unwrap_err().to_string();
    assert!(wrong.contains("questions with contexts"), "{wrong}");
    assert!(matches!(pipeline.predict(&["Who?"]), Err(PipelineError::WrongTask { .. })));
}

on_backends!(an_answer_for_every_question);
