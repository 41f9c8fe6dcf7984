//! Errors that people make in position schemes, one each, planted into a [`Subject`].

use locus_embedding::position::{
    AxisOrder, DapeOver, DebertaConfig, DebertaDistances, DebertaTerms, Form, FractionOf, Kernel, Layout,
    Pairing, PositionConfig, RotaryConfig, Scaling, T5Scale,
};

use crate::subject::{Host, Subject};

/// A planted error. It must make the values differ from the golden file, in both sets of positions.
#[derive(Clone, Copy)]
pub(crate) struct Plant {
    pub(crate) what: &'static str,
    pub(crate) plant: fn(&mut Subject),
}

macro_rules! plants {
    ($($name:ident, $what:literal, $plant:expr;)+) => {
        $(pub(crate) const $name: Plant = Plant { what: $what, plant: $plant };)+
    };
}

plants! {
    ALIBI_INSTEAD, "positions where there are none", |s| s.config.position = PositionConfig::Alibi(Default::default());
    SINUSOIDAL_INSTEAD, "an embedding where there is none",
        |s| s.config.position = PositionConfig::Sinusoidal(Default::default());
    OTHER_FORM, "causal taken for bidirectional or the reverse", |s| s.form = match s.form {
        Form::Causal => Form::Bidirectional,
        Form::Bidirectional => Form::Causal,
    };
    PADDING_SEEN, "padding seen", |s| s.tokens.keep[0] = true;

    OFF_BY_ONE, "positions from 1", |s| s.tokens.positions.iter_mut().for_each(|p| *p += 1.0);
    NEGATED, "the wrong sign", |s| s.tokens.positions.iter_mut().for_each(|p| *p = -*p);
    DOUBLED, "distances twice as long", |s| s.tokens.positions.iter_mut().for_each(|p| *p *= 2.0);
    STEP_OFF_BY_ONE, "a cached step that starts one too late", |s| {
        let seq = s.tokens.seq;
        s.tokens.positions.chunks_mut(seq).for_each(|row| row[seq - 2..].iter_mut().for_each(|p| *p += 1.0));
    };

    BASE, "another base", |s| match &mut s.config.position {
        PositionConfig::Sinusoidal(config) => config.base *= 0.9,
        PositionConfig::Cape(config) => config.base *= 0.9,
        PositionConfig::Shape(config) => config.base *= 0.9,
        PositionConfig::Rotary(config) => config.base *= 0.9,
        PositionConfig::XPos(config) => config.base *= 0.9,
        PositionConfig::Axial(config) => config.base *= 0.9,
        PositionConfig::MRope(config) => config.base *= 0.9,
        PositionConfig::FoPe(config) => config.base *= 0.99,
        PositionConfig::PoPe(config) => config.base *= 0.9,
        PositionConfig::ReRope(config) => config.base *= 0.9,
        PositionConfig::SelfExtend(config) => config.base *= 0.9,
        PositionConfig::DualChunk(config) => config.base *= 0.9,
        PositionConfig::AttentionSinks(config) => config.base *= 0.9,
        PositionConfig::LambdaMask(config) => config.base *= 0.9,
        PositionConfig::Sandwich(config) => config.base *= 0.9,
        PositionConfig::TransformerXl(config) => config.base *= 0.9,
        PositionConfig::XlNet(config) => config.base *= 0.9,
        PositionConfig::BiPe(config) => config.base *= 0.9,
        PositionConfig::RoPePlusPlus(config) => config.base *= 0.9,
        other => panic!("{} has no base", other.name()),
    };
    OTHER_LAYOUT, "another layout", |s| {
        let layout = match &mut s.config.position {
            PositionConfig::Sinusoidal(config) => &mut config.layout,
            PositionConfig::Cape(config) => &mut config.layout,
            PositionConfig::Shape(config) => &mut config.layout,
            other => panic!("{} has no layout", other.name()),
        };
        *layout = match layout {
            Layout::Interleaved => Layout::Concatenated,
            Layout::Concatenated => Layout::Timescales,
            Layout::Timescales => Layout::Concatenated,
        };
    };
    OTHER_SPACING, "positions spread otherwise", |s| s.config.max_seq_len = match s.config.max_seq_len {
        23 => 50,
        other => other / 2,
    };
    OTHER_PAIRING, "halves taken for neighbours or the reverse", |s| {
        let pairing = pairing(&mut s.config.position).expect("a scheme that turns pairs");
        *pairing = other(*pairing);
    };
    ALL_TURNED, "all dimensions turned", |s| rotary(s).fraction = 1.0;

    SCALING_FORGOTTEN, "the scaling forgotten", |s| rotary(s).scaling = None;
    SCALING_FACTOR, "another factor of extension", |s| match scaling(s) {
        Scaling::Linear(config) | Scaling::Ntk(config) => config.factor *= 1.5,
        Scaling::DynamicNtk(config) => config.factor *= 1.5,
        Scaling::NtkByParts(config) => config.factor *= 1.5,
        Scaling::Yarn(config) => config.factor *= 1.5,
        Scaling::Llama3(config) => config.factor *= 1.5,
        Scaling::Longrope(config) => config.factor = Some(1.5),
    };
    RAMP_REVERSED, "slow pairs kept and fast ones interpolated", |s| match scaling(s) {
        Scaling::NtkByParts(config) => std::mem::swap(&mut config.slow_turns, &mut config.fast_turns),
        Scaling::Yarn(config) => std::mem::swap(&mut config.beta_slow, &mut config.beta_fast),
        Scaling::Llama3(config) => std::mem::swap(&mut config.low_freq_factor, &mut config.high_freq_factor),
        other => panic!("{other:?} has no ramp"),
    };
    RAMP_ROUNDED, "the ramp's ends rounded or not", |s| match scaling(s) {
        Scaling::Yarn(config) => config.truncate = !config.truncate,
        other => panic!("{other:?} has no ramp over pairs"),
    };
    ORIGINAL_LENGTH, "another original length", |s| match scaling(s) {
        Scaling::DynamicNtk(config) => config.original_max_positions += 1,
        Scaling::NtkByParts(config) => config.original_max_positions *= 2,
        Scaling::Yarn(config) => config.original_max_positions *= 2,
        Scaling::Llama3(config) => config.original_max_positions *= 2,
        other => panic!("{other:?}"),
    };
    MAGNITUDE, "cosines and sines left as they are", |s| match scaling(s) {
        Scaling::Yarn(config) => config.attention_factor = Some(1.0),
        Scaling::Longrope(config) => config.attention_factor = Some(1.0),
        other => panic!("{other:?} has no factor of attention"),
    };
    FACTORS_MULTIPLIED, "frequencies multiplied by the factors", |s| {
        let Scaling::Longrope(config) = scaling(s) else { panic!("not longrope") };
        config.short_factor.iter_mut().chain(&mut config.long_factor).for_each(|factor| *factor = 1.0 / *factor);
    };
    SHORT_FOR_LONG, "factors of short texts for long ones", |s| {
        let Scaling::Longrope(config) = scaling(s) else { panic!("not longrope") };
        std::mem::swap(&mut config.short_factor, &mut config.long_factor);
    };
    FRACTION_OF, "another width in the exponent", |s| rotary(s).fraction_of = FractionOf::Dimensions;
    FACTORS_NEGATED, "frequencies divided by what was learned", |s| {
        let host = s.tensors.get_mut("position.log_factors").expect("trained frequencies");
        host.values.iter_mut().for_each(|w| *w = -*w);
    };
    XPOS_SCALE, "another decay", |s| {
        let PositionConfig::XPos(config) = &mut s.config.position else { panic!("not xpos") };
        config.scale_base *= 1.1;
    };
    GRID_WIDTH, "a grid of another width", |s| {
        let PositionConfig::Axial(config) = &mut s.config.position else { panic!("not axial") };
        config.width += 1;
    };
    AXES_SWAPPED, "two axes swapped", |s| std::mem::swap(&mut s.tokens.positions, &mut s.tokens.axes[0]);
    AXES_FORGOTTEN, "an image taken for text", |s| s.tokens.axes.clear();
    AXIS_ORDER, "the axes of pairs in another order", |s| {
        let PositionConfig::MRope(config) = &mut s.config.position else { panic!("not mrope") };
        config.order = match config.order {
            AxisOrder::Sections => AxisOrder::Interleaved,
            AxisOrder::Interleaved => AxisOrder::Sections,
        };
    };
    MIXTURES_SWAPPED, "sines mixed as cosines are", |s| {
        let (cos, sin) = (s.tensors["position.cos"].clone(), s.tensors["position.sin"].clone());
        s.tensors.extend([("position.cos".to_owned(), sin), ("position.sin".to_owned(), cos)]);
    };
    MIXTURES_TRANSPOSED, "rows of a mixture taken for columns", |s| {
        let host = s.tensors.get_mut("position.cos").expect("mixtures");
        let (n, old) = (host.shape[0], host.values.clone());
        host.values.iter_mut().enumerate().for_each(|(cell, x)| *x = old[cell % n * n + cell / n]);
    };
    PHASES_FORGOTTEN, "the phases of the heads forgotten",
        |s| s.tensors.get_mut("position.phases").expect("phases").values.fill(0.0);

    WINDOW, "a window one longer", |s| match &mut s.config.position {
        PositionConfig::ReRope(config) => config.window += 1,
        PositionConfig::SelfExtend(config) => config.window += 1,
        PositionConfig::AttentionSinks(config) => config.window += 1,
        PositionConfig::LambdaMask(config) => config.window += 1,
        other => panic!("{} has no window", other.name()),
    };
    LEAK, "a distance that grows beyond the window", |s| {
        let PositionConfig::ReRope(config) = &mut s.config.position else { panic!("not rerope") };
        config.leak += 0.1;
    };
    LOG_LENGTH, "queries that do not grow", |s| {
        let PositionConfig::ReRope(config) = &mut s.config.position else { panic!("not rerope") };
        config.log_length = None;
    };
    GROUP, "groups of another size", |s| {
        let PositionConfig::SelfExtend(config) = &mut s.config.position else { panic!("not self_extend") };
        config.group -= 1;
    };
    CHUNK, "chunks of another length", |s| {
        let PositionConfig::DualChunk(config) = &mut s.config.position else { panic!("not dual_chunk") };
        config.chunk += 1;
    };
    LOCAL, "places that stop elsewhere", |s| {
        let PositionConfig::DualChunk(config) = &mut s.config.position else { panic!("not dual_chunk") };
        (config.chunk, config.local) = (config.chunk - 1, config.local - 1);
    };
    TEMPERATURE, "another growth", |s| {
        let PositionConfig::Temperature(config) = &mut s.config.position else { panic!("not temperature") };
        config.scale *= 0.9;
    };
    NO_SINKS, "the first tokens forgotten", |s| match &mut s.config.position {
        PositionConfig::AttentionSinks(config) => config.sinks = 0,
        PositionConfig::LambdaMask(config) => config.sinks = 0,
        other => panic!("{} has no sinks", other.name()),
    };

    KERNEL, "the other kernel", |s| {
        let PositionConfig::Kerple(config) = &mut s.config.position else { panic!("not kerple") };
        config.kernel = match config.kernel {
            Kernel::Log => Kernel::Power,
            Kernel::Power => Kernel::Log,
        };
    };
    PARAMS_SWAPPED, "the two numbers of a head swapped", |s| {
        let (p, a) = (s.tensors["position.p"].clone(), s.tensors["position.a"].clone());
        s.tensors.extend([("position.p".to_owned(), a), ("position.a".to_owned(), p)]);
    };
    DIMS, "embeddings of another width", |s| {
        let PositionConfig::Sandwich(config) = &mut s.config.position else { panic!("not sandwich") };
        config.dims = Some(8);
    };
    THRESHOLD, "another threshold", |s| {
        let PositionConfig::Fire(config) = &mut s.config.position else { panic!("not fire") };
        config.threshold *= 1.5;
    };

    BIASES_SWAPPED, "the bias of content taken for that of distance", |s| {
        let [content, position] = ["content_bias", "position_bias"].map(|name| {
            let mut names = s.tensors.keys().filter(|key| key.ends_with(name));
            names.next().expect("a bias").clone()
        });
        swapped(s, &content, &position);
    };
    SINES_FOR_COSINES, "cosines before sines", |s| {
        let host = s.tensors.get_mut("position.weight").expect("a projection");
        let half = host.values.len() / 2;
        host.values.rotate_right(half);
    };
    CLAMP, "distances that stop one later", |s| match &mut s.config.position {
        PositionConfig::TransformerXl(config) => config.clamp = config.clamp.map(|clamp| clamp + 1),
        PositionConfig::XlNet(config) => config.clamp = config.clamp.map(|clamp| clamp + 1),
        other => panic!("{} has no clamp", other.name()),
    };
    SEGMENTS_SWAPPED, "the same segment taken for another one", |s| {
        let host = s.tensors.get_mut("position.segments.vectors").expect("vectors of segments");
        let half = host.values.len() / 2;
        host.values.rotate_right(half);
    };
    SEGMENTS_FORGOTTEN, "a text taken for one segment", |s| s.tokens.segments = None;
    SEGMENT_BIAS_FORGOTTEN, "the bias of segments forgotten",
        |s| s.tensors.get_mut("position.segments.bias").expect("a bias").values.fill(0.0);
    DISTANCES, "clipped distances taken for buckets", |s| {
        let config = deberta(s);
        (config.distances, config.span) = (DebertaDistances::Log { max_distance: 6 }, 3);
    };
    POSITION_TO_CONTENT_FORGOTTEN, "a term forgotten", |s| {
        for name in ["position.query_weight", "position.query_bias"] {
            s.tensors.get_mut(name).expect("position to content").values.fill(0.0);
        }
    };
    PROJECTIONS_SWAPPED, "the projection of queries taken for that of keys",
        |s| swapped(s, "position.query_weight", "position.key_weight");
    NORM_FORGOTTEN, "the norm of the table forgotten", |s| deberta(s).norm = false;
    TERMS, "one term taken for the other", |s| {
        let weights = ["position.query_weight", "position.key_weight"];
        let weight = weights.into_iter().find_map(|name| s.tensors.remove(name)).expect("one term");
        let config = deberta(s);
        config.terms = match config.terms {
            DebertaTerms::PositionToContent => DebertaTerms::ContentToPosition,
            _ => DebertaTerms::PositionToContent,
        };
        let bias = Host { shape: vec![weight.shape[1]], values: vec![0.0; weight.shape[1]] };
        s.tensors.insert("position.query_bias".to_owned(), bias);
        s.tensors.extend(weights.map(|name| (name.to_owned(), weight.clone())));
    };
    FIRST_TOKEN_TIED, "the first token scored by its position", |s| {
        let PositionConfig::Tupe(config) = &mut s.config.position else { panic!("not tupe") };
        config.first_token = false;
    };
    FIRST_TOKEN_SWAPPED, "what the first token sees taken for what sees it",
        |s| rows_shifted(s, "position.first_token");
    BUCKETS_SHIFTED, "the bucket off by one", |s| rows_shifted(s, "position.buckets");
    SCHEME_FORGOTTEN, "no positions at all", |s| s.config.position = PositionConfig::None;
    GATES_NEGATED, "gates the other way round", |s| {
        for name in ["position.weight", "position.bias"] {
            s.tensors.get_mut(name).expect("gates").values.iter_mut().for_each(|x| *x = -*x);
        }
    };
    GATE_BIAS_FORGOTTEN, "gates without their bias",
        |s| s.tensors.get_mut("position.bias").expect("gates").values.fill(0.0);
    TABLE_SHORTER, "counts that saturate one earlier", |s| {
        let host = s.tensors.get_mut("position.table").expect("a table");
        host.shape[0] -= 1;
        host.values.truncate(host.shape[0] * host.shape[1]);
    };
    NETWORK_FORGOTTEN, "a network that says nothing",
        |s| s.tensors.get_mut("position.output_weight").expect("a network").values.fill(0.0);
    HALVES_SWAPPED, "scores taken for biases", |s| {
        let host = s.tensors.get_mut("position.hidden_weight").expect("a network");
        let half = host.values.len() / 2;
        host.values.rotate_right(half);
    };
    OVER_ANOTHER, "another bias", |s| {
        let PositionConfig::Dape(config) = &mut s.config.position else { panic!("not dape") };
        config.over = DapeOver::Alibi(Default::default());
    };
    CURRENT, "the query's own share", |s| {
        let PositionConfig::StickBreaking(config) = &mut s.config.position else { panic!("not sticks") };
        config.attend_current = !config.attend_current;
    };
    REMAINDER, "what is left of the stick", |s| {
        let PositionConfig::StickBreaking(config) = &mut s.config.position else { panic!("not sticks") };
        config.remainder = !config.remainder;
    };
    REFLECTIONS_SWAPPED, "reflections of other directions", |s| rows_reversed(s, "position.up");
    REFLECTIONS_WEAK, "reflections of half the strength", |s| {
        let host = s.tensors.get_mut("position.beta_bias").expect("reflections");
        host.values.iter_mut().for_each(|x| *x -= 1.0);
    };
    DIGITS, "a digit taken for a letter", |s| {
        let PositionConfig::Abacus(config) = &mut s.config.position else { panic!("not abacus") };
        config.digit_ids.pop();
    };
    SEPARATORS, "a separator taken for a word", |s| {
        let PositionConfig::BiPe(config) = &mut s.config.position else { panic!("not bipe") };
        config.separator_ids.pop();
    };
    IDS_SHIFTED, "the ids of the tokens before", |s| s.tokens.ids.rotate_right(1);
    SLOPES, "the slopes of plain ALiBi", |s| {
        let PositionConfig::BiPe(config) = &mut s.config.position else { panic!("not bipe") };
        config.slope_factor = 1.0;
    };
    PLACES_CUT, "places that stop elsewhere", |s| {
        // All rows but one fewer.
        let PositionConfig::BiPe(config) = &mut s.config.position else { panic!("not bipe") };
        let rows = config.max_positions.as_mut().expect("a number of places");
        *rows -= 1;
        let host = s.tensors.get_mut("position.table").expect("a table");
        host.shape[0] = *rows;
        host.values.truncate(*rows * host.shape[1]);
    };
    IMAGINARY_FIRST, "imaginary heads before real ones",
        |s| heads_reordered(s, |head, _| head ^ 1);
    IMAGINARY_APART, "imaginary heads after all real ones",
        |s| heads_reordered(s, |head, heads| head / 2 + head % 2 * (heads / 2));

    NO_OFFSET, "the offset forgotten", |s| {
        let PositionConfig::Learned(config) = &mut s.config.position else { panic!("not learned") };
        config.offset = 0;
    };
    NO_PAD_ROW, "padding reads the row of its position", |s| {
        let PositionConfig::Learned(config) = &mut s.config.position else { panic!("not learned") };
        config.pad_row = None;
    };
    PROJECTION_REVERSED, "the projection's rows in another order",
        |s| rows_reversed(s, "position.projection");
    PROJECTION_SCALE, "the scale forgotten", |s| {
        let PositionConfig::RandomProjection(config) = &mut s.config.position else { panic!("not a projection") };
        config.scale *= 0.5;
    };

    TABLE_SHIFTED, "the index off by one", |s| {
        let name = ["position.table", "position.vectors", "position.keys", "position.phases"];
        let name = name.into_iter().find(|name| s.tensors.contains_key(*name)).expect("a table");
        rows_shifted(s, name);
    };
    VALUES_SHIFTED, "the clipped index of the values off by one", |s| rows_shifted(s, "position.values");
    T5_SCALE, "the factor of the dot products", |s| {
        let PositionConfig::T5(config) = &mut s.config.position else { panic!("not t5") };
        config.score_scale = match config.score_scale {
            T5Scale::One => T5Scale::RsqrtDHead,
            T5Scale::RsqrtDHead => T5Scale::One,
        };
    };
    HEADS_REVERSED, "slopes in the reverse order", |s| {
        // The order of heads is free as long as nothing but the scheme tells them apart.
        let d_head = s.config.d_head();
        for name in ["q_proj.weight", "k_proj.weight", "v_proj.weight", "q_proj.bias", "k_proj.bias", "v_proj.bias"] {
            let host = s.tensors.get_mut(name).expect("a projection");
            let width = *host.shape.last().expect("a shape");
            host.values.chunks_mut(width).for_each(|row| chunks_reversed(row, d_head));
        }
        let host = s.tensors.get_mut("o_proj.weight").expect("a projection");
        chunks_reversed(&mut host.values, d_head * host.shape[1]);
    };
}

/// The pairing of a scheme that has one.
pub(crate) fn pairing(position: &mut PositionConfig) -> Option<&mut Pairing> {
    match position {
        PositionConfig::Rotary(config) => Some(&mut config.pairing),
        PositionConfig::XPos(config) => Some(&mut config.pairing),
        PositionConfig::Axial(config) => Some(&mut config.pairing),
        PositionConfig::MRope(config) => Some(&mut config.pairing),
        PositionConfig::ReRope(config) => Some(&mut config.pairing),
        PositionConfig::SelfExtend(config) => Some(&mut config.pairing),
        PositionConfig::DualChunk(config) => Some(&mut config.pairing),
        PositionConfig::AttentionSinks(config) => Some(&mut config.pairing),
        PositionConfig::LambdaMask(config) => Some(&mut config.pairing),
        PositionConfig::BiPe(config) => Some(&mut config.pairing),
        PositionConfig::RoPePlusPlus(config) => Some(&mut config.pairing),
        _ => None,
    }
}

pub(crate) fn other(pairing: Pairing) -> Pairing {
    match pairing {
        Pairing::Halves => Pairing::Interleaved,
        Pairing::Interleaved => Pairing::Halves,
    }
}

fn rotary(s: &mut Subject) -> &mut RotaryConfig {
    let PositionConfig::Rotary(config) = &mut s.config.position else { panic!("not rotary") };
    config
}

fn scaling(s: &mut Subject) -> &mut Scaling {
    rotary(s).scaling.as_mut().expect("a scaling")
}

fn deberta(s: &mut Subject) -> &mut DebertaConfig {
    let PositionConfig::Deberta(config) = &mut s.config.position else { panic!("not deberta") };
    config
}

fn swapped(s: &mut Subject, one: &str, other: &str) {
    let (a, b) = (s.tensors[one].clone(), s.tensors[other].clone());
    s.tensors.extend([(one.to_owned(), b), (other.to_owned(), a)]);
}

/// Output heads where `source` says.
fn heads_reordered(s: &mut Subject, source: fn(usize, usize) -> usize) {
    let d_head = s.config.d_head();
    let host = s.tensors.get_mut("o_proj.weight").expect("a projection");
    let len = d_head * host.shape[1];
    let (heads, old) = (host.shape[0] / d_head, host.values.clone());
    for (head, rows) in host.values.chunks_mut(len).enumerate() {
        let from = source(head, heads) * len;
        rows.copy_from_slice(&old[from..from + len]);
    }
}

fn rows_shifted(s: &mut Subject, name: &str) {
    let host = s.tensors.get_mut(name).expect(name);
    host.values.rotate_right(host.shape[1]);
}

fn rows_reversed(s: &mut Subject, name: &str) {
    let host = s.tensors.get_mut(name).expect(name);
    chunks_reversed(&mut host.values, host.shape[1]);
}

fn chunks_reversed(values: &mut [f32], len: usize) {
    let reversed: Vec<f32> = values.chunks(len).rev().flatten().copied().collect();
    values.copy_from_slice(&reversed);
}
