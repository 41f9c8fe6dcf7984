//! Errors that people make in position schemes, one each, planted into a [`Subject`].

use locus_embedding::position::{Form, Layout, Pairing, PositionConfig, T5Scale};

use crate::subject::Subject;

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
        PositionConfig::Rotary(config) => config.base *= 0.9,
        other => panic!("{} has no base", other.name()),
    };
    OTHER_LAYOUT, "another layout", |s| {
        let PositionConfig::Sinusoidal(config) = &mut s.config.position else { panic!("not sinusoidal") };
        config.layout = match config.layout {
            Layout::Interleaved => Layout::Concatenated,
            Layout::Concatenated => Layout::Timescales,
            Layout::Timescales => Layout::Concatenated,
        };
    };
    OTHER_PAIRING, "halves taken for neighbours or the reverse", |s| {
        let PositionConfig::Rotary(config) = &mut s.config.position else { panic!("not rotary") };
        config.pairing = match config.pairing {
            Pairing::Halves => Pairing::Interleaved,
            Pairing::Interleaved => Pairing::Halves,
        };
    };
    ALL_TURNED, "all dimensions turned", |s| {
        let PositionConfig::Rotary(config) = &mut s.config.position else { panic!("not rotary") };
        config.fraction = 1.0;
    };

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
        let name = ["position.table", "position.vectors", "position.keys"];
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
