//! Generation: cached decoding says what full passes say, batches what single prompts say, and every way to end ends.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::ops::ControlFlow;

use burn::module::AutodiffModule;
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::rng::Key;
use locus_embedding::position::{LearnedConfig, PositionConfig, ShawConfig};
use locus_embedding::{EmbeddingError, Tokens};
use locus_encoder::{AttentionScale, NormKind, Residual, StackConfig};
use locus_heads::generate::{
    Beams, Break, Finish, GenerateOptions, Generated, Listener, Penalties, PromptReading, Sampling,
    continue_prompts, translate,
};
use locus_heads::{CausalLm, HeadConfig, HeadError, Labels, Seq2Seq, TaskBatch, TaskModel, Trainable};
use locus_testkit::{on_backends, on_processor};

const VOCAB: usize = 29;
const PROMPTS: [&[u32]; 4] = [&[3, 14, 15, 9, 2, 6, 5], &[27], &[18, 28], &[1, 6, 1, 8]];

fn options(max_new_tokens: usize) -> GenerateOptions {
    GenerateOptions { max_new_tokens, ..GenerateOptions::default() }
}

fn sampled(seed: u64) -> GenerateOptions {
    GenerateOptions { sampling: Sampling { temperature: 1.0, ..Sampling::GREEDY }, seed, ..options(19) }
}

fn config(position: &str) -> StackConfig {
    StackConfig {
        d_model: 24,
        n_layers: 2,
        n_heads: 2,
        dropout: 0.0,
        attention_dropout: 0.0,
        // Large, so that untrained models do not repeat themselves.
        init_std: 0.4,
        position: PositionConfig::named(position).unwrap(),
        ..StackConfig::default()
    }
}

fn causal_lm<B: Backend>(config: &StackConfig, device: &B::Device) -> CausalLm<B> {
    let head = HeadConfig::CausalLm { tied: false, output: Default::default() };
    assert_eq!(head.check(config), []);
    match TaskModel::new(&head, config, VOCAB, Key::new(3), device) {
        TaskModel::CausalLm(model) => model,
        _ => unreachable!("the head is a causal language model"),
    }
}

fn seq2seq<B: Backend>(config: &StackConfig, vocab_size: usize, device: &B::Device) -> Seq2Seq<B> {
    let head = HeadConfig::Seq2Seq { tied: false, output: Default::default() };
    assert_eq!(head.check(config), []);
    match TaskModel::new(&head, config, vocab_size, Key::new(3), device) {
        TaskModel::Seq2Seq(model) => model,
        _ => unreachable!("the head is sequence to sequence"),
    }
}

fn prompts() -> Vec<Vec<u32>> {
    PROMPTS.map(<[u32]>::to_vec).to_vec()
}

fn generate<B: Backend>(
    model: &CausalLm<B>,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
) -> Vec<Generated> {
    continue_prompts(model, prompts, options, &mut ()).unwrap()
}

fn tokens(rows: &[Vec<u32>]) -> Tokens {
    let ids: Vec<u32> = rows.concat();
    Tokens::new([rows.len(), rows[0].len()], ids.clone(), vec![true; ids.len()], None).unwrap()
}

/// Every scheme that a decoder may have, on a GPU's backend one of each kind, and the forms of a stack that change what is
/// cached.
fn configs<B: Backend>(device: &B::Device) -> Vec<(String, StackConfig)> {
    let kinds = ["none", "learned", "random_projection", "rotary", "alibi", "t5", "shaw"];
    let all = on_processor::<B>(device);
    let names = PositionConfig::NAMES.into_iter().filter(|name| all || kinds.contains(name));
    let mut configs: Vec<_> = names.map(|name| (name.to_owned(), config(name))).collect();
    configs.push((
        "grouped".to_owned(),
        StackConfig { n_heads: 4, n_kv_heads: Some(2), norm: NormKind::RmsNorm, ..config("rotary") },
    ));
    configs.push(("parallel".to_owned(), StackConfig { residual: Residual::Parallel, ..config("rotary") }));
    let (residual, attention_scale) = (Residual::PreNormed, AttentionScale::ByLayer(0.3));
    configs.push(("by_layer".to_owned(), StackConfig { residual, attention_scale, ..config("learned") }));
    let both_sides = ShawConfig { max_distance: 3, values: false, both_sides: true, init_std: 0.4 };
    let grouped = StackConfig { n_heads: 4, n_kv_heads: Some(2), ..config("shaw") };
    let position = PositionConfig::Shaw(both_sides);
    configs.push(("both_sides".to_owned(), StackConfig { position, ..grouped }));
    let mixed = ["rotary", "t5"].map(|name| PositionConfig::named(name).unwrap()).to_vec();
    configs.push(("mixed".to_owned(), StackConfig { layer_positions: mixed, ..config("rotary") }));
    configs
}

/// Whether the scheme is for encoders too.
fn encodes(config: &StackConfig) -> bool {
    HeadConfig::Seq2Seq { tied: false, output: Default::default() }.check(config).is_empty()
}

// Against full passes.

/// The best token and by how much it leads, from a pass over the whole text without a cache.
fn best<B: Backend>(model: &CausalLm<B>, text: &[u32]) -> (u32, f32) {
    let logits = model.logits(&tokens(&[text.to_vec()]), None, None).unwrap();
    leader(&logits.into_data().iter::<f32>().collect::<Vec<_>>(), VOCAB)
}

fn leader(logits: &[f32], vocab_size: usize) -> (u32, f32) {
    let last = &logits[logits.len() - vocab_size..];
    let mut ranked: Vec<usize> = (0..vocab_size).collect();
    ranked.sort_by(|&a, &b| last[b].total_cmp(&last[a]));
    (ranked[0] as u32, last[ranked[0]] - last[ranked[1]])
}

fn greedy_is_the_argmax_of_a_full_pass<B: AutodiffBackend>(device: &B::Device) {
    for (name, config) in configs::<B>(device) {
        let model = causal_lm::<B::InnerBackend>(&config, device);
        for prompt in prompts() {
            let generated = generate(&model, std::slice::from_ref(&prompt), &options(11)).remove(0);
            assert_eq!((generated.ids.len(), generated.finish), (11, Finish::Length));
            let mut text = prompt;
            for id in generated.ids {
                let (want, lead) = best(&model, &text);
                assert!(id == want || lead < 1e-4, "{name}: {id} after {text:?}, a full pass says {want}");
                text.push(id);
            }
        }
    }
}

fn a_batch_says_what_single_prompts_say<B: AutodiffBackend>(device: &B::Device) {
    for (name, config) in configs::<B>(device) {
        let model = causal_lm::<B::InnerBackend>(&config, device);
        let alone: Vec<_> =
            prompts().iter().flat_map(|p| generate(&model, std::slice::from_ref(p), &options(11))).collect();
        assert_eq!(generate(&model, &prompts(), &options(11)), alone, "{name}");
        // With what a padding token is written makes no difference.
        assert_eq!(
            generate(&model, &prompts(), &GenerateOptions { pad_id: 17, ..options(11) }),
            alone,
            "{name}"
        );
    }
}

fn the_pass_with_a_cache_is_used<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&config("rotary"), device);
    let mut cache = model.decoder.new_cache();
    model.next_logits(&tokens(&[vec![3, 14, 15]]), Some(&mut cache)).unwrap();
    model.next_logits(&tokens(&[vec![9]]), Some(&mut cache)).unwrap();
    assert_eq!(cache.next_positions, [4.0]);
    assert_eq!(cache.layers[1].values.as_ref().unwrap().get().dims()[2], 4);
}

// Ways to end.

fn stop_tokens_end_a_row_and_are_not_part_of_it<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&config("rotary"), device);
    let free = generate(&model, &prompts(), &options(11));
    let stop = vec![free[0].ids[4], free[2].ids[1]];
    let stopped = generate(&model, &prompts(), &GenerateOptions { stop: stop.clone(), ..options(11) });
    for (free, stopped) in free.iter().zip(&stopped) {
        let end = free.ids.iter().position(|id| stop.contains(id));
        assert_eq!(stopped.ids, free.ids[..end.unwrap_or(11)]);
        assert_eq!(stopped.finish, if end.is_some() { Finish::Stop } else { Finish::Length });
    }
    assert_eq!(stopped[0].finish, Finish::Stop);

    let first: Vec<u32> = free.iter().map(|row| row.ids[0]).collect();
    let at_once = generate(&model, &prompts(), &GenerateOptions { stop: first, ..options(11) });
    assert!(at_once.iter().all(|row| row.ids.is_empty() && row.finish == Finish::Stop), "{at_once:?}");
    assert!(generate(&model, &prompts(), &options(0)).iter().all(|row| *row == Generated::default()));
}

/// A table of `n` positions.
fn limited(n: usize) -> StackConfig {
    let position = PositionConfig::Learned(LearnedConfig {
        max_positions: Some(n),
        init_std: 0.4,
        ..Default::default()
    });
    StackConfig { position, max_seq_len: n, ..config("none") }
}

fn the_position_limit_ends_a_row<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&limited(9), device);
    // Nine positions are read, and the last one still says what comes next.
    for (prompt, n) in [(vec![3; 9], 1), (vec![3; 8], 2), (vec![3], 9)] {
        let row = generate(&model, &[prompt], &options(50)).remove(0);
        assert_eq!((row.ids.len(), row.finish), (n, Finish::PositionLimit));
    }
    // One more would be past the limit, but is not asked for.
    assert_eq!(generate(&model, &[vec![3; 8]], &options(2))[0].finish, Finish::Length);
}

fn a_prompt_past_the_limit_is_an_error<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&limited(9), device);
    for prompts in [vec![vec![3; 10]], vec![vec![3; 2], vec![3; 10]]] {
        let error = continue_prompts(&model, &prompts, &options(5), &mut ()).unwrap_err();
        let HeadError::Embedding(EmbeddingError::PastLimit { limit, .. }) = error else { panic!("{error}") };
        assert_eq!(limit, 9);
    }
    let error = continue_prompts(&model, &[vec![VOCAB as u32]], &options(5), &mut ()).unwrap_err();
    assert!(matches!(error, HeadError::Embedding(EmbeddingError::TokenOutOfRange { .. })), "{error}");
}

/// Each row has its own limit: neither a longer row nor one that has stopped takes positions from the others.
fn rows_reach_the_limit_on_their_own<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&limited(11), device);
    let alone: Vec<_> =
        prompts().iter().flat_map(|p| generate(&model, std::slice::from_ref(p), &options(50))).collect();
    let lengths: Vec<_> = alone.iter().map(|row| row.ids.len()).collect();
    assert_eq!(lengths, [5, 11, 10, 8]);
    assert_eq!(generate(&model, &prompts(), &options(50)), alone);

    let stop = vec![alone[0].ids[0]];
    let with_stop = GenerateOptions { stop, ..options(50) };
    let alone: Vec<_> =
        prompts().iter().flat_map(|p| generate(&model, std::slice::from_ref(p), &with_stop)).collect();
    assert_eq!(alone[0].finish, Finish::Stop);
    assert_eq!(generate(&model, &prompts(), &with_stop), alone);
}

fn the_caller_sees_each_token_and_may_break_off<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&config("rotary"), device);
    let free = generate(&model, &prompts(), &options(11));
    let mut seen = vec![Vec::new(); 4];
    let all = continue_prompts(&model, &prompts(), &options(11), &mut |row: usize, id| {
        seen[row].push(id);
        ControlFlow::Continue(())
    });
    assert_eq!(all.unwrap(), free);
    assert_eq!(seen, free.iter().map(|row| row.ids.clone()).collect::<Vec<_>>());

    let mut n = 0;
    let broken = continue_prompts(&model, &prompts(), &options(11), &mut |_: usize, _: u32| {
        n += 1;
        if n == 10 { ControlFlow::Break(Break::All) } else { ControlFlow::Continue(()) }
    });
    let broken = broken.unwrap();
    let lengths: Vec<_> = broken.iter().map(|row| row.ids.len()).collect();
    assert_eq!((n, lengths), (10, vec![3, 3, 2, 2]));
    for (broken, free) in broken.iter().zip(&free) {
        assert_eq!(broken.finish, Finish::Interrupted);
        assert_eq!(broken.ids, free.ids[..broken.ids.len()]);
    }
}

// Sampling.

fn a_seed_fixes_the_text<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&config("rotary"), device);
    let of = |seed| generate(&model, &prompts(), &sampled(seed));
    assert_eq!(of(5), of(5));
    assert_ne!(of(5), of(6));
    assert_ne!(of(5), generate(&model, &prompts(), &options(19)));
    // With one token to choose from, sampling is greedy.
    let only_best = GenerateOptions {
        sampling: Sampling { temperature: 1.0, top_k: 1, ..Sampling::GREEDY },
        ..options(19)
    };
    assert_eq!(generate(&model, &prompts(), &only_best), generate(&model, &prompts(), &options(19)));
}

/// A sample is a function of the seed, the prompt and its number, not of what else is in the batch.
fn samples_are_the_same_alone_and_in_a_batch<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&config("rotary"), device);
    let several = GenerateOptions { n_sequences: 3, ..sampled(5) };
    let alone: Vec<_> =
        prompts().iter().flat_map(|p| generate(&model, std::slice::from_ref(p), &several)).collect();
    assert_eq!(alone.len(), 12);
    assert_eq!(generate(&model, &prompts(), &several), alone);
    let backwards: Vec<_> = prompts().into_iter().rev().collect();
    let turned = generate(&model, &backwards, &several);
    assert_eq!(turned.chunks(3).rev().flatten().cloned().collect::<Vec<_>>(), alone);
    // The texts of a prompt differ, and the first is the one that is alone.
    assert!(alone.chunks(3).all(|texts| texts[0] != texts[1] && texts[1] != texts[2]));
    let first: Vec<_> = alone.chunks(3).map(|texts| texts[0].clone()).collect();
    assert_eq!(generate(&model, &prompts(), &sampled(5)), first);

    let model = seq2seq::<B::InnerBackend>(&config("t5"), VOCAB, device);
    let of = |sources: &[Vec<u32>]| translate(&model, sources, 1, &several, &mut ()).unwrap();
    let alone: Vec<_> = prompts().iter().flat_map(|p| of(std::slice::from_ref(p))).collect();
    assert_eq!(of(&prompts()), alone);
}

fn log_probs_are_those_of_a_full_pass<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&config("rotary"), device);
    // Penalties and temperature change what is chosen, not what is told of it.
    let penalties = Penalties { repetition: 1.3, ..Penalties::NONE };
    let options = GenerateOptions { log_probs: Some(3), penalties, ..sampled(2) };
    for (prompt, row) in prompts().into_iter().zip(generate(&model, &prompts(), &options)) {
        assert_eq!(row.log_probs.len(), row.ids.len());
        let mut text = prompt;
        for (&id, told) in row.ids.iter().zip(&row.log_probs) {
            let logits = model.logits(&tokens(&[text.clone()]), None, None).unwrap();
            let [_, seq, _] = logits.dims();
            let probs = burn::tensor::activation::log_softmax(logits.narrow(1, seq - 1, 1), 2);
            let want: Vec<f64> = probs.into_data().iter::<f64>().collect();
            assert!((want[id as usize] - told.log_prob).abs() < 1e-4, "{} {told:?}", want[id as usize]);
            let mut best = want.clone();
            best.sort_by(|a, b| b.total_cmp(a));
            assert_eq!(told.top.len(), 3);
            for (n, (top, log_prob)) in told.top.iter().enumerate() {
                assert!((best[n] - log_prob).abs() < 1e-4 && (want[*top as usize] - log_prob).abs() < 1e-4);
            }
            text.push(id);
        }
    }
}

fn a_prompt_may_be_read_whole<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&config("rotary"), device);
    let whole = GenerateOptions { log_probs: Some(1), reading: PromptReading::Whole, ..options(5) };
    let told = |tokens: &Tokens, id: u32| {
        let logits = model.logits(tokens, None, None).unwrap();
        let [_, seq, _] = logits.dims();
        let probs = burn::tensor::activation::log_softmax(logits.narrow(1, seq - 1, 1), 2);
        probs.into_data().iter::<f64>().nth(id as usize).unwrap()
    };
    let mut furthest: f64 = 0.0;
    for (prompt, row) in prompts().into_iter().zip(generate(&model, &prompts(), &whole)) {
        let mut text = prompt.clone();
        for (&id, found) in row.ids.iter().zip(&row.log_probs) {
            let causal = tokens(&[text.clone()]);
            let prefix = (0..text.len()).map(|column| column < prompt.len()).collect();
            let want = told(&causal.clone().with_prefix(prefix).unwrap(), id);
            assert!((want - found.log_prob).abs() < 1e-4, "{want} is not {}", found.log_prob);
            furthest = furthest.max((told(&causal, id) - want).abs());
            text.push(id);
        }
    }
    assert!(furthest > 0.1, "it makes a difference, here of {furthest}");
}

fn a_text_ends_where_nothing_may_follow<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&config("none"), device);
    // Every token once, those of the prompt included.
    let once = Penalties { no_repeat_ngram: 1, ..Penalties::NONE };
    let rows = generate(&model, &prompts(), &GenerateOptions { penalties: once, ..options(99) });
    for (prompt, row) in prompts().into_iter().zip(rows) {
        let mut all = [prompt, row.ids].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.len(), row.finish), (VOCAB, Finish::NoChoice));
    }
}

/// A beam search knows no other way to read a text than a full pass: the score of each of its texts is what a full pass
/// says, whatever a scheme keeps in the cache. So the rows of the cache follow the texts.
fn scores_of_beams_are_those_of_full_passes<B: AutodiffBackend>(device: &B::Device) {
    let beams = Beams { width: 3, length_penalty: 0.5, ..Beams::default() };
    let options = GenerateOptions { beams: Some(beams), n_sequences: 3, stop: vec![4], ..options(9) };
    let sum = |logits: Vec<f32>, ids: &[u32]| {
        let rows = logits[logits.len() - ids.len() * VOCAB..].chunks(VOCAB).zip(ids);
        let log_probs = rows.map(|(row, &id)| {
            let total = row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
            f64::from(row[id as usize]) - total
        });
        log_probs.sum::<f64>()
    };
    for (name, config) in configs::<B>(device) {
        let model = causal_lm::<B::InnerBackend>(&config, device);
        for (idx, row) in generate(&model, &prompts(), &options).into_iter().enumerate() {
            let mut ids = row.ids.clone();
            ids.extend((row.finish == Finish::Stop).then_some(4));
            let text = [&prompts()[idx / 3][..], &ids[..ids.len() - 1]].concat();
            let logits = model.logits(&tokens(&[text]), None, None).unwrap();
            let want = sum(logits.into_data().iter::<f32>().collect(), &ids) / (ids.len() as f64).sqrt();
            assert!((row.score.unwrap() - want).abs() < 1e-3, "{name}: {want} {row:?}");
        }
        if !encodes(&config) {
            continue;
        }
        let model = seq2seq::<B::InnerBackend>(&config, VOCAB, device);
        for (idx, row) in translate(&model, &prompts(), 1, &options, &mut ()).unwrap().into_iter().enumerate()
        {
            let mut ids = row.ids.clone();
            ids.extend((row.finish == Finish::Stop).then_some(4));
            let memory = model.encode(&tokens(&prompts()[idx / 3..][..1]), None).unwrap();
            let text = [&[1], &ids[..ids.len() - 1]].concat();
            let logits = model.logits(&tokens(&[text]), &memory, None, None).unwrap();
            let want = sum(logits.into_data().iter::<f32>().collect(), &ids) / (ids.len() as f64).sqrt();
            assert!((row.score.unwrap() - want).abs() < 1e-3, "{name}: {want} {row:?}");
        }
    }
}

fn beams_end_at_the_position_limit<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&limited(9), device);
    let beams = Some(Beams { width: 3, ..Beams::default() });
    let options = GenerateOptions { beams, n_sequences: 2, ..options(50) };
    let prompts = [vec![3; 9], vec![5; 7], vec![6]];
    let rows = generate(&model, &prompts, &options);
    let lengths: Vec<_> = rows.iter().map(|row| row.ids.len()).collect();
    assert_eq!(lengths, [1, 1, 3, 3, 9, 9]);
    assert!(rows.iter().all(|row| row.finish == Finish::PositionLimit));
    // As where no more tokens are asked for than there are positions.
    let exact = GenerateOptions { max_new_tokens: 3, ..options };
    let short = generate(&model, &prompts[1..2], &exact);
    assert_eq!([&short[0].ids, &short[1].ids], [&rows[2].ids, &rows[3].ids]);
    assert!((short[0].score.unwrap() - rows[2].score.unwrap()).abs() < 1e-5);
}

/// Three tokens have no four texts of one token, and a width of one is greedy.
fn beams_of_odd_widths<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&config("rotary"), device);
    let of = |width, n_sequences, max| {
        let beams = Some(Beams { width, ..Beams::default() });
        generate(&model, &prompts(), &GenerateOptions { beams, n_sequences, ..options(max) })
    };
    let greedy: Vec<_> = generate(&model, &prompts(), &options(7)).into_iter().map(|row| row.ids).collect();
    assert_eq!(of(1, 1, 7).into_iter().map(|row| row.ids).collect::<Vec<_>>(), greedy);
    assert_eq!(of(50, 50, 1).len(), 200);
    let finishes = of(50, 50, 1).iter().filter(|row| row.finish == Finish::NoChoice).count();
    assert_eq!(finishes, 4 * (50 - VOCAB));
    assert!(of(3, 2, 0).iter().all(|row| row.ids.is_empty() && row.finish == Finish::Length));
}

/// The listener hears the texts of a search, and a search asks it which are whole.
fn listeners_of_beams<B: AutodiffBackend>(device: &B::Device) {
    struct Pair(Vec<Vec<u32>>);
    impl Listener for Pair {
        fn on_token(&mut self, row: usize, id: u32) -> ControlFlow<Break> {
            self.0[row].push(id);
            ControlFlow::Continue(())
        }
        fn is_whole(&mut self, ids: &[u32]) -> bool {
            ids.len() == 2
        }
    }
    let model = causal_lm::<B::InnerBackend>(&config("rotary"), device);
    let beams = Some(Beams { width: 3, ..Beams::default() });
    let mut heard = Pair(vec![Vec::new(); 4]);
    let options = GenerateOptions { beams, ..options(9) };
    let rows = continue_prompts(&model, &prompts(), &options, &mut heard).unwrap();
    assert!(rows.iter().all(|row| row.ids.len() == 2 && row.finish == Finish::Stop));
    assert_eq!(heard.0, rows.into_iter().map(|row| row.ids).collect::<Vec<_>>());
}

fn all_problems_come_together<B: AutodiffBackend>(device: &B::Device) {
    let model = causal_lm::<B::InnerBackend>(&config("none"), device);
    let bad = GenerateOptions {
        sampling: Sampling { temperature: -1.0, top_k: 0, top_p: f64::NAN, min_p: 2.0 },
        penalties: Penalties { repetition: 0.0, presence: 3.0, frequency: -3.0, no_repeat_ngram: 0 },
        n_sequences: 0,
        min_new_tokens: 7,
        ..options(5)
    };
    let HeadError::Options(problems) = continue_prompts(&model, &prompts(), &bad, &mut ()).unwrap_err()
    else {
        panic!()
    };
    let names = ["temperature", "top_p", "min_p", "repetition", "presence", "frequency", "n_seq", "min_new"];
    assert_eq!(problems.len(), names.len());
    assert!(problems.iter().zip(names).all(|(problem, name)| problem.starts_with(name)), "{problems:?}");
    let same = GenerateOptions { n_sequences: 2, ..options(5) };
    assert!(same.problems()[0].contains("the same text"));
    let beams = |width, length_penalty| Some(Beams { width, length_penalty, ..Beams::default() });
    let bad = GenerateOptions { beams: beams(0, f64::NAN), ..sampled(1) };
    assert_eq!(bad.problems().len(), 3);
    let narrow = GenerateOptions { beams: beams(2, 1.0), n_sequences: 3, ..options(5) };
    assert_eq!(narrow.problems(), ["n_sequences must be at most beams = 2, found 3"]);
}

// Sequence to sequence.

fn translation_is_the_argmax_of_a_full_pass<B: AutodiffBackend>(device: &B::Device) {
    for (name, config) in configs::<B>(device).into_iter().filter(|(_, config)| encodes(config)) {
        let model = seq2seq::<B::InnerBackend>(&config, VOCAB, device);
        let alone: Vec<_> = prompts()
            .iter()
            .flat_map(|source| {
                translate(&model, std::slice::from_ref(source), 1, &options(7), &mut ()).unwrap()
            })
            .collect();
        assert_eq!(translate(&model, &prompts(), 1, &options(7), &mut ()).unwrap(), alone, "{name}, batched");
        for (source, row) in prompts().into_iter().zip(alone) {
            let memory = model.encode(&tokens(&[source]), None).unwrap();
            let mut text = vec![1];
            for id in row.ids {
                let logits = model.logits(&tokens(&[text.clone()]), &memory, None, None).unwrap();
                let (want, lead) = leader(&logits.into_data().iter::<f32>().collect::<Vec<_>>(), VOCAB);
                assert!(id == want || lead < 1e-4, "{name}: {id} after {text:?}, a full pass says {want}");
                text.push(id);
            }
        }
    }
}

fn the_source_matters<B: AutodiffBackend>(device: &B::Device) {
    let model = seq2seq::<B::InnerBackend>(&config("rotary"), VOCAB, device);
    let of = |source: &[u32]| {
        let memory = model.encode(&tokens(&[source.to_vec()]), None).unwrap();
        let logits = model.logits(&tokens(&[vec![1, 2, 3]]), &memory, None, None).unwrap();
        logits.into_data().iter::<f32>().collect::<Vec<_>>()
    };
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let first = of(&[5, 6, 7]);
    assert_eq!(first, of(&[5, 6, 7]));
    for other in [[5, 6, 8], [7, 6, 5], [4, 6, 7]] {
        let other = of(&other);
        // At every target token, the first included.
        assert!((0..3).all(|i| far(&first[i * VOCAB..][..VOCAB], &other[i * VOCAB..][..VOCAB]) > 0.01));
    }
}

/// Three to five letters and the same reversed: `start` 1, `end` 2, letters from 3.
fn reversal(n: usize, seed: &str) -> Vec<(Vec<u32>, Vec<u32>)> {
    const LETTERS: u64 = 5;
    let key = Key::new(8).named(seed);
    (0..n as u64)
        .map(|row| {
            let key = key.child(row);
            let source: Vec<u32> =
                (0..3 + key.below(99, 3)).map(|i| 3 + key.below(i, LETTERS) as u32).collect();
            let target = source.iter().rev().copied().collect();
            (source, target)
        })
        .collect()
}

/// Sources padded on the left, as generation pads them; targets on the right.
fn training_batch(pairs: &[(Vec<u32>, Vec<u32>)]) -> TaskBatch {
    let (mut source, mut source_keep, mut ids, mut keep, mut labels) =
        (vec![], vec![], vec![], vec![], vec![]);
    for (from, to) in pairs {
        let pad = 5 - from.len();
        source.extend([vec![0; pad], from.clone()].concat());
        source_keep.extend([vec![false; pad], vec![true; from.len()]].concat());
        ids.extend([vec![1], to.clone(), vec![0; pad]].concat());
        keep.extend([vec![true; to.len() + 1], vec![false; pad]].concat());
        labels.extend(to.iter().map(|&id| id as i32).chain([2]).chain(vec![-100; pad]));
    }
    let rows = pairs.len();
    TaskBatch {
        tokens: Tokens::new([rows, 5], source, source_keep, None).unwrap(),
        labels: Labels::Target { tokens: Tokens::new([rows, 6], ids, keep, None).unwrap(), labels },
    }
}

/// A tiny model learns to reverse words, unseen ones included.
fn reversal_is_learnt<B: AutodiffBackend>(device: &B::Device) {
    let config = StackConfig { n_layers: 1, d_model: 32, init_std: 0.1, ..config("sinusoidal") };
    let mut model = seq2seq::<B>(&config, 8, device);
    let mut optimizer = AdamWConfig::new().init();
    for step in 0..250 {
        let batch = training_batch(&reversal(48, &format!("step {step}")));
        let loss = model.loss(&batch, None).unwrap();
        let grads = GradientsParams::from_grads((loss.sum / loss.weight).backward(), &model);
        model = optimizer.step(if step < 200 { 5e-3 } else { 1e-3 }, model, grads);
    }
    let (sources, targets): (Vec<_>, Vec<_>) = reversal(40, "unseen").into_iter().unzip();
    let with_stop = GenerateOptions { stop: vec![2], ..options(9) };
    let rows = translate(&model.valid(), &sources, 1, &with_stop, &mut ()).unwrap();
    assert!(rows.iter().all(|row| row.finish == Finish::Stop));
    let right = rows.iter().zip(&targets).filter(|(row, target)| row.ids == **target).count();
    assert_eq!(right, 40, "{:?}", rows.iter().map(|row| &row.ids).zip(&sources).take(5).collect::<Vec<_>>());
}

on_backends!(
    greedy_is_the_argmax_of_a_full_pass,
    a_batch_says_what_single_prompts_say,
    the_pass_with_a_cache_is_used,
    stop_tokens_end_a_row_and_are_not_part_of_it,
    the_position_limit_ends_a_row,
    a_prompt_past_the_limit_is_an_error,
    rows_reach_the_limit_on_their_own,
    the_caller_sees_each_token_and_may_break_off,
    a_seed_fixes_the_text,
    samples_are_the_same_alone_and_in_a_batch,
    log_probs_are_those_of_a_full_pass,
    a_prompt_may_be_read_whole,
    a_text_ends_where_nothing_may_follow,
    scores_of_beams_are_those_of_full_passes,
    beams_end_at_the_position_limit,
    beams_of_odd_widths,
    listeners_of_beams,
    all_problems_come_together,
    translation_is_the_argmax_of_a_full_pass,
    the_source_matters,
    reversal_is_learnt,
);
