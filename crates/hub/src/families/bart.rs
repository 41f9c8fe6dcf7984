//! BART (Lewis et al. 2019, arXiv:1910.13461) and Marian (Junczys-Dowmunt et al. 2018, arXiv:1804.00344; the OPUS-MT models):
//! encoder–decoders with norms after each layer and one token table. A row is scored, and an answer found, by BART's decoder, which
//! reads the text once more.

use locus_embedding::position::{Layout, LearnedConfig, PositionConfig, SinusoidalConfig};
use locus_encoder::{DecoderSizes, EmbeddingScale, Residual, StackConfig, TokenTables};
use locus_heads::{OutputConfig, Pooling, TransformConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Family, activation, activation_name, bert, reread, table, with, with_reread};
use crate::config::HeadKind::{EncoderDecoder, QuestionAnswering, Seq2SeqLm, SequenceClassification};
use crate::config::{Body, Layers};
use crate::keys::{How, Key, fused, linear, same};
use crate::problems::{is_wrong, only, parse};

pub(crate) const BART: Family = Family {
    name: "BART",
    model_type: "bart",
    prefix: "model.",
    other_prefixes: &[],
    architectures: &[
        (Seq2SeqLm, "BartForConditionalGeneration"),
        (EncoderDecoder, "BartModel"),
        (SequenceClassification, "BartForSequenceClassification"),
        (QuestionAnswering, "BartForQuestionAnswering"),
    ],
    read: |json, problems| read(json, false, problems),
    names: &[
        ("d_model", "d_model"),
        ("n_layers", "encoder_layers"),
        ("n_layers", "decoder_layers"),
        ("decoder.n_layers", "decoder_layers"),
        ("n_heads", "encoder_attention_heads"),
        ("n_heads", "decoder_attention_heads"),
        ("decoder.n_heads", "decoder_attention_heads"),
        ("d_ff", "encoder_ffn_dim"),
        ("d_ff", "decoder_ffn_dim"),
        ("decoder.d_ff", "decoder_ffn_dim"),
        ("init_std", "init_std"),
        ("dropout", "dropout"),
        ("attention_dropout", "attention_dropout"),
    ],
    write: |body| write(body, false),
    body: KEYS,
    heads: &[
        (
            &[Seq2SeqLm],
            &[
                fused("final_logits_bias", &["output_bias"], How::Row),
                fused("final_logits_bias", &["lm_head.bias"], How::Row),
                linear("lm_head.weight", &["lm_head.weight"]),
            ],
        ),
        (&[SequenceClassification], ROWS),
        (&[QuestionAnswering], bert::ANSWER),
    ],
    dropped: &["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"],
};

pub(crate) const MARIAN: Family = Family {
    name: "Marian",
    model_type: "marian",
    architectures: &[(Seq2SeqLm, "MarianMTModel"), (EncoderDecoder, "MarianModel")],
    read: |json, problems| read(json, true, problems),
    write: |body| write(body, true),
    dropped: &[
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
        "encoder.embed_positions.weight",
        "decoder.embed_positions.weight",
    ],
    ..BART
};

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoder_vocab_size: Option<usize>,
    max_position_embeddings: usize,
    encoder_layers: usize,
    encoder_ffn_dim: usize,
    encoder_attention_heads: usize,
    decoder_layers: usize,
    decoder_ffn_dim: usize,
    decoder_attention_heads: usize,
    activation_function: String,
    d_model: usize,
    dropout: f64,
    attention_dropout: f64,
    init_std: f64,
    scale_embedding: bool,
    share_encoder_decoder_embeddings: bool,
    tie_word_embeddings: bool,
    is_encoder_decoder: bool,
    pad_token_id: usize,
    decoder_start_token_id: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 50265,
            decoder_vocab_size: None,
            max_position_embeddings: 1024,
            encoder_layers: 12,
            encoder_ffn_dim: 4096,
            encoder_attention_heads: 16,
            decoder_layers: 12,
            decoder_ffn_dim: 4096,
            decoder_attention_heads: 16,
            activation_function: "gelu".to_owned(),
            d_model: 1024,
            dropout: 0.1,
            attention_dropout: 0.0,
            init_std: 0.02,
            scale_embedding: false,
            share_encoder_decoder_embeddings: true,
            tie_word_embeddings: true,
            is_encoder_decoder: true,
            pad_token_id: 1,
            decoder_start_token_id: 2,
        }
    }
}

/// Rows before that of position 0.
const OFFSET: usize = 2;

fn read(json: &Map<String, Value>, marian: bool, problems: &mut Vec<String>) -> Body {
    let json = if marian { with(json, &[("vocab_size", 58101.into())]) } else { json.clone() };
    let config: Config = parse(&json, problems);
    only(problems, "is_encoder_decoder", &config.is_encoder_decoder, &[true]);
    // Without it BART's encoder, decoder and output have a table each, of which its class writes one; Marian's output only.
    only(problems, "tie_word_embeddings", &(config.tie_word_embeddings || marian), &[true]);
    only(problems, "share_encoder_decoder_embeddings", &config.share_encoder_decoder_embeddings, &[true]);
    if !is_wrong(problems, "vocab_size") {
        let of_decoder = config.decoder_vocab_size.unwrap_or(config.vocab_size);
        only(problems, "decoder_vocab_size", &of_decoder, &[config.vocab_size]);
    }
    let other = |of_decoder: usize, of_encoder: usize| (of_decoder != of_encoder).then_some(of_decoder);
    let position = if marian {
        PositionConfig::Sinusoidal(SinusoidalConfig { layout: Layout::Concatenated, ..Default::default() })
    } else {
        PositionConfig::Learned(LearnedConfig { offset: OFFSET, ..LearnedConfig::default() })
    };
    let stack = StackConfig {
        d_model: config.d_model,
        n_layers: config.encoder_layers,
        n_heads: config.encoder_attention_heads,
        d_ff: Some(config.encoder_ffn_dim),
        decoder: DecoderSizes {
            n_layers: other(config.decoder_layers, config.encoder_layers),
            n_heads: other(config.decoder_attention_heads, config.encoder_attention_heads),
            d_ff: other(config.decoder_ffn_dim, config.encoder_ffn_dim),
        },
        max_seq_len: config.max_position_embeddings,
        activation: activation("activation_function", &config.activation_function, problems),
        residual: Residual::Post,
        embedding_norm: !marian,
        embedding_scale: if config.scale_embedding {
            EmbeddingScale::SqrtDModel
        } else {
            EmbeddingScale::One
        },
        token_tables: TokenTables::Shared,
        dropout: config.dropout,
        attention_dropout: config.attention_dropout,
        init_std: config.init_std,
        position,
        ..StackConfig::default()
    };
    let output = OutputConfig { bias: true, ..OutputConfig::default() };
    let plain = Body { tied: config.tie_word_embeddings, output, ..Body::encoder(config.vocab_size, stack) };
    if marian {
        return plain;
    }
    Body {
        pooling: Pooling::Last,
        rows: Layers { transform: Some(TransformConfig::default()), bias: true },
        reread: Some(reread(&json, [2, 2])),
        ..plain
    }
}

fn write(body: &Body, marian: bool) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    let decoder = stack.of_decoder();
    let all = table(&Config {
        vocab_size: body.vocab_size,
        decoder_vocab_size: marian.then_some(body.vocab_size),
        max_position_embeddings: stack.max_seq_len,
        encoder_layers: stack.n_layers,
        encoder_ffn_dim: stack.d_ff(),
        encoder_attention_heads: stack.n_heads,
        decoder_layers: decoder.n_layers,
        decoder_ffn_dim: decoder.d_ff(),
        decoder_attention_heads: decoder.n_heads,
        activation_function: activation_name(stack.activation)?.to_owned(),
        d_model: stack.d_model,
        dropout: stack.dropout,
        attention_dropout: stack.attention_dropout,
        init_std: stack.init_std,
        scale_embedding: stack.embedding_scale == EmbeddingScale::SqrtDModel,
        tie_word_embeddings: body.tied,
        ..Config::default()
    });
    all.map(|all| with_reread(all, body))
}

/// Of a classifier of rows on a decoder; T5's is the same.
pub(super) const ROWS: &[Key] = &[
    linear("classification_head.dense.weight", &["transform.dense.weight"]),
    same("classification_head.dense.bias", &["transform.dense.bias"]),
    linear("classification_head.out_proj.weight", &["classifier.weight"]),
    same("classification_head.out_proj.bias", &["classifier.bias"]),
];

const KEYS: &[Key] = &[
    same("*.shared.weight", &["stack.encoder.embeddings.tokens"]),
    // The one table by other names, where a file has no `shared`.
    same("*.decoder.embed_tokens.weight", &["stack.encoder.embeddings.tokens"]),
    same("*.encoder.embed_tokens.weight", &["stack.encoder.embeddings.tokens"]),
    same("*.encoder.embed_positions.weight", &["stack.encoder.schemes.0.table"]),
    same("*.encoder.layernorm_embedding.weight", &["stack.encoder.embedding_norm.gamma"]),
    same("*.encoder.layernorm_embedding.bias", &["stack.encoder.embedding_norm.beta"]),
    linear("*.encoder.layers.{}.self_attn.q_proj.weight", &["stack.encoder.layers.{}.attn.q_proj.weight"]),
    same("*.encoder.layers.{}.self_attn.q_proj.bias", &["stack.encoder.layers.{}.attn.q_proj.bias"]),
    linear("*.encoder.layers.{}.self_attn.k_proj.weight", &["stack.encoder.layers.{}.attn.k_proj.weight"]),
    same("*.encoder.layers.{}.self_attn.k_proj.bias", &["stack.encoder.layers.{}.attn.k_proj.bias"]),
    linear("*.encoder.layers.{}.self_attn.v_proj.weight", &["stack.encoder.layers.{}.attn.v_proj.weight"]),
    same("*.encoder.layers.{}.self_attn.v_proj.bias", &["stack.encoder.layers.{}.attn.v_proj.bias"]),
    linear("*.encoder.layers.{}.self_attn.out_proj.weight", &["stack.encoder.layers.{}.attn.o_proj.weight"]),
    same("*.encoder.layers.{}.self_attn.out_proj.bias", &["stack.encoder.layers.{}.attn.o_proj.bias"]),
    same("*.encoder.layers.{}.self_attn_layer_norm.weight", &["stack.encoder.layers.{}.attn_norm.gamma"]),
    same("*.encoder.layers.{}.self_attn_layer_norm.bias", &["stack.encoder.layers.{}.attn_norm.beta"]),
    linear("*.encoder.layers.{}.fc1.weight", &["stack.encoder.layers.{}.ffn.up_proj.weight"]),
    same("*.encoder.layers.{}.fc1.bias", &["stack.encoder.layers.{}.ffn.up_proj.bias"]),
    linear("*.encoder.layers.{}.fc2.weight", &["stack.encoder.layers.{}.ffn.down_proj.weight"]),
    same("*.encoder.layers.{}.fc2.bias", &["stack.encoder.layers.{}.ffn.down_proj.bias"]),
    same("*.encoder.layers.{}.final_layer_norm.weight", &["stack.encoder.layers.{}.ffn_norm.gamma"]),
    same("*.encoder.layers.{}.final_layer_norm.bias", &["stack.encoder.layers.{}.ffn_norm.beta"]),
    same("*.decoder.embed_positions.weight", &["stack.decoder.schemes.0.table"]),
    same("*.decoder.layernorm_embedding.weight", &["stack.decoder.embedding_norm.gamma"]),
    same("*.decoder.layernorm_embedding.bias", &["stack.decoder.embedding_norm.beta"]),
    linear("*.decoder.layers.{}.self_attn.q_proj.weight", &["stack.decoder.layers.{}.attn.q_proj.weight"]),
    same("*.decoder.layers.{}.self_attn.q_proj.bias", &["stack.decoder.layers.{}.attn.q_proj.bias"]),
    linear("*.decoder.layers.{}.self_attn.k_proj.weight", &["stack.decoder.layers.{}.attn.k_proj.weight"]),
    same("*.decoder.layers.{}.self_attn.k_proj.bias", &["stack.decoder.layers.{}.attn.k_proj.bias"]),
    linear("*.decoder.layers.{}.self_attn.v_proj.weight", &["stack.decoder.layers.{}.attn.v_proj.weight"]),
    same("*.decoder.layers.{}.self_attn.v_proj.bias", &["stack.decoder.layers.{}.attn.v_proj.bias"]),
    linear("*.decoder.layers.{}.self_attn.out_proj.weight", &["stack.decoder.layers.{}.attn.o_proj.weight"]),
    same("*.decoder.layers.{}.self_attn.out_proj.bias", &["stack.decoder.layers.{}.attn.o_proj.bias"]),
    same("*.decoder.layers.{}.self_attn_layer_norm.weight", &["stack.decoder.layers.{}.attn_norm.gamma"]),
    same("*.decoder.layers.{}.self_attn_layer_norm.bias", &["stack.decoder.layers.{}.attn_norm.beta"]),
    linear(
        "*.decoder.layers.{}.encoder_attn.q_proj.weight",
        &["stack.decoder.layers.{}.cross_attn.q_proj.weight"],
    ),
    same("*.decoder.layers.{}.encoder_attn.q_proj.bias", &["stack.decoder.layers.{}.cross_attn.q_proj.bias"]),
    linear(
        "*.decoder.layers.{}.encoder_attn.k_proj.weight",
        &["stack.decoder.layers.{}.cross_attn.k_proj.weight"],
    ),
    same("*.decoder.layers.{}.encoder_attn.k_proj.bias", &["stack.decoder.layers.{}.cross_attn.k_proj.bias"]),
    linear(
        "*.decoder.layers.{}.encoder_attn.v_proj.weight",
        &["stack.decoder.layers.{}.cross_attn.v_proj.weight"],
    ),
    same("*.decoder.layers.{}.encoder_attn.v_proj.bias", &["stack.decoder.layers.{}.cross_attn.v_proj.bias"]),
    linear(
        "*.decoder.layers.{}.encoder_attn.out_proj.weight",
        &["stack.decoder.layers.{}.cross_attn.o_proj.weight"],
    ),
    same(
        "*.decoder.layers.{}.encoder_attn.out_proj.bias",
        &["stack.decoder.layers.{}.cross_attn.o_proj.bias"],
    ),
    same("*.decoder.layers.{}.encoder_attn_layer_norm.weight", &["stack.decoder.layers.{}.cross_norm.gamma"]),
    same("*.decoder.layers.{}.encoder_attn_layer_norm.bias", &["stack.decoder.layers.{}.cross_norm.beta"]),
    linear("*.decoder.layers.{}.fc1.weight", &["stack.decoder.layers.{}.ffn.up_proj.weight"]),
    same("*.decoder.layers.{}.fc1.bias", &["stack.decoder.layers.{}.ffn.up_proj.bias"]),
    linear("*.decoder.layers.{}.fc2.weight", &["stack.decoder.layers.{}.ffn.down_proj.weight"]),
    same("*.decoder.layers.{}.fc2.bias", &["stack.decoder.layers.{}.ffn.down_proj.bias"]),
    same("*.decoder.layers.{}.final_layer_norm.weight", &["stack.decoder.layers.{}.ffn_norm.gamma"]),
    same("*.decoder.layers.{}.final_layer_norm.bias", &["stack.decoder.layers.{}.ffn_norm.beta"]),
];
