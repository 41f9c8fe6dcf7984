//! T5 (Raffel et al. 2020, arXiv:1910.10683) with both feed-forward layers, and mT5 (Xue et al. 2020, arXiv:2010.11934).

use locus_embedding::position::{PositionConfig, T5Config, T5Scale};
use locus_encoder::{AttentionScale, Bias, DecoderSizes, NormKind, StackConfig, TokenTables};
use locus_heads::{OutputConfig, Pooling, TransformConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Family, activation, activation_name, bart, bert, gated, reread, table, ungated, with, with_reread,
};
use crate::config::HeadKind::{
    Bare, EncoderDecoder, QuestionAnswering, Seq2SeqLm, SequenceClassification, TokenClassification,
};
use crate::config::{Body, Layers};
use crate::keys::{Key, linear, same};
use crate::problems::{only, parse};

pub(crate) const T5: Family = Family {
    name: "T5",
    model_type: "t5",
    prefix: "",
    other_prefixes: &[(TokenClassification, "transformer."), (SequenceClassification, "transformer.")],
    architectures: &[
        (Seq2SeqLm, "T5ForConditionalGeneration"),
        (EncoderDecoder, "T5Model"),
        (Bare, "T5EncoderModel"),
        (TokenClassification, "T5ForTokenClassification"),
        (SequenceClassification, "T5ForSequenceClassification"),
        (QuestionAnswering, "T5ForQuestionAnswering"),
    ],
    read: |json, problems| read(json, true, problems),
    names: &[
        ("d_model", "d_model"),
        ("n_layers", "num_layers"),
        ("n_layers", "num_decoder_layers"),
        ("decoder.n_layers", "num_decoder_layers"),
        ("n_heads", "num_heads"),
        ("d_head", "d_kv"),
        ("d_ff", "d_ff"),
        ("max_seq_len", "n_positions"),
        ("norm_eps", "layer_norm_epsilon"),
        ("dropout", "dropout_rate"),
        ("attention_dropout", "dropout_rate"),
    ],
    write: |body| write(body, true),
    body: KEYS,
    heads: &[
        (&[Seq2SeqLm], &[linear("lm_head.weight", &["lm_head.weight"])]),
        (&[TokenClassification], bert::CLASSIFIER),
        (&[SequenceClassification], bart::ROWS),
        (&[QuestionAnswering], bert::ANSWER),
    ],
    dropped: &[
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
        // Of the first versions, which had a bias that nothing read.
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
    ],
};

pub(crate) const MT5: Family = Family {
    name: "mT5",
    model_type: "mt5",
    architectures: &[
        (Seq2SeqLm, "MT5ForConditionalGeneration"),
        (EncoderDecoder, "MT5Model"),
        (Bare, "MT5EncoderModel"),
        (TokenClassification, "MT5ForTokenClassification"),
        (SequenceClassification, "MT5ForSequenceClassification"),
        (QuestionAnswering, "MT5ForQuestionAnswering"),
    ],
    read: |json, problems| {
        let json = with(json, &[("vocab_size", 250_112.into()), ("feed_forward_proj", "gated-gelu".into())]);
        read(&json, false, problems)
    },
    write: |body| write(body, false),
    ..T5
};

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_decoder_layers: Option<usize>,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    relative_attention_max_distance: usize,
    dropout_rate: f64,
    layer_norm_epsilon: f64,
    feed_forward_proj: String,
    n_positions: usize,
    is_encoder_decoder: bool,
    decoder_start_token_id: usize,
    pad_token_id: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    tie_word_embeddings: Option<bool>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 32128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_decoder_layers: None,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: "relu".to_owned(),
            n_positions: 512,
            is_encoder_decoder: true,
            decoder_start_token_id: 0,
            pad_token_id: 0,
            tie_word_embeddings: None,
        }
    }
}

/// mT5's classes are untied unless a file says otherwise, T5's are tied.
fn read(json: &Map<String, Value>, tied: bool, problems: &mut Vec<String>) -> Body {
    let config: Config = parse(json, problems);
    let class = json.get("architectures").and_then(|names| names[0].as_str()).unwrap_or_default();
    let has_decoder = !["EncoderModel", "ForTokenClassification"].iter().any(|end| class.ends_with(end));
    only(problems, "is_encoder_decoder", &(config.is_encoder_decoder || !has_decoder), &[true]);
    let tied = config.tie_word_embeddings.unwrap_or(tied);
    // The one gated layer with a name of its own: `gated-gelu` is the tanh approximation.
    let activation = match config.feed_forward_proj.strip_prefix("gated-") {
        Some("gelu") => gated(activation("feed_forward_proj", "gelu_new", problems)),
        Some(name) => gated(activation("feed_forward_proj", name, problems)),
        None => activation("feed_forward_proj", &config.feed_forward_proj, problems),
    };
    let stack = StackConfig {
        d_model: config.d_model,
        n_layers: config.num_layers,
        decoder: DecoderSizes { n_layers: config.num_decoder_layers, ..DecoderSizes::default() },
        n_heads: config.num_heads,
        d_head: Some(config.d_kv),
        d_ff: Some(config.d_ff),
        max_seq_len: config.n_positions,
        activation,
        norm: NormKind::RmsNorm,
        norm_eps: config.layer_norm_epsilon,
        bias: Bias::NONE,
        attention_scale: AttentionScale::Value(1.0),
        token_tables: TokenTables::Shared,
        dropout: config.dropout_rate,
        attention_dropout: config.dropout_rate,
        position: PositionConfig::T5(T5Config {
            n_buckets: config.relative_attention_num_buckets,
            max_distance: config.relative_attention_max_distance,
            score_scale: T5Scale::One,
            ..T5Config::default()
        }),
        ..StackConfig::default()
    };
    let scale = if tied { (config.d_model as f64).powf(-0.5) } else { 1.0 };
    let output = OutputConfig { scale, ..OutputConfig::default() };
    Body {
        tied,
        output,
        pooling: Pooling::Last,
        rows: Layers { transform: Some(TransformConfig::default()), bias: true },
        reread: Some(reread(json, [0, 1])),
        ..Body::encoder(config.vocab_size, stack)
    }
}

fn write(body: &Body, tied: bool) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    let PositionConfig::T5(position) = &stack.position else { return None };
    let feed_forward = match ungated(stack.activation).map(activation_name) {
        Some(Some("gelu_new")) => "gated-gelu".to_owned(),
        Some(Some(name)) => format!("gated-{name}"),
        _ => activation_name(stack.activation)?.to_owned(),
    };
    let all = table(&Config {
        vocab_size: body.vocab_size,
        d_model: stack.d_model,
        d_kv: stack.d_head(),
        d_ff: stack.d_ff(),
        num_layers: stack.n_layers,
        num_decoder_layers: stack.decoder.n_layers,
        num_heads: stack.n_heads,
        relative_attention_num_buckets: position.n_buckets,
        relative_attention_max_distance: position.max_distance,
        dropout_rate: stack.dropout,
        layer_norm_epsilon: stack.norm_eps,
        feed_forward_proj: feed_forward,
        n_positions: stack.max_seq_len,
        tie_word_embeddings: (body.tied != tied).then_some(body.tied),
        ..Config::default()
    });
    all.map(|all| with_reread(all, body))
}

const KEYS: &[Key] = &[
    same("*.shared.weight", &["stack.encoder.embeddings.tokens"]),
    same(
        "*.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        &["stack.encoder.schemes.0.table"],
    ),
    linear(
        "*.encoder.block.{}.layer.0.SelfAttention.q.weight",
        &["stack.encoder.layers.{}.attn.q_proj.weight"],
    ),
    linear(
        "*.encoder.block.{}.layer.0.SelfAttention.k.weight",
        &["stack.encoder.layers.{}.attn.k_proj.weight"],
    ),
    linear(
        "*.encoder.block.{}.layer.0.SelfAttention.v.weight",
        &["stack.encoder.layers.{}.attn.v_proj.weight"],
    ),
    linear(
        "*.encoder.block.{}.layer.0.SelfAttention.o.weight",
        &["stack.encoder.layers.{}.attn.o_proj.weight"],
    ),
    same("*.encoder.block.{}.layer.0.layer_norm.weight", &["stack.encoder.layers.{}.attn_norm.gamma"]),
    linear(
        "*.encoder.block.{}.layer.1.DenseReluDense.wi.weight",
        &["stack.encoder.layers.{}.ffn.up_proj.weight"],
    )
    .without("stack.encoder.layers.{}.ffn.gate_proj.weight"),
    linear(
        "*.encoder.block.{}.layer.1.DenseReluDense.wi_0.weight",
        &["stack.encoder.layers.{}.ffn.gate_proj.weight"],
    ),
    linear(
        "*.encoder.block.{}.layer.1.DenseReluDense.wi_1.weight",
        &["stack.encoder.layers.{}.ffn.up_proj.weight"],
    ),
    linear(
        "*.encoder.block.{}.layer.1.DenseReluDense.wo.weight",
        &["stack.encoder.layers.{}.ffn.down_proj.weight"],
    ),
    same("*.encoder.block.{}.layer.1.layer_norm.weight", &["stack.encoder.layers.{}.ffn_norm.gamma"]),
    same("*.encoder.final_layer_norm.weight", &["stack.encoder.final_norm.gamma"]),
    same(
        "*.decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        &["stack.decoder.schemes.0.table"],
    ),
    linear(
        "*.decoder.block.{}.layer.0.SelfAttention.q.weight",
        &["stack.decoder.layers.{}.attn.q_proj.weight"],
    ),
    linear(
        "*.decoder.block.{}.layer.0.SelfAttention.k.weight",
        &["stack.decoder.layers.{}.attn.k_proj.weight"],
    ),
    linear(
        "*.decoder.block.{}.layer.0.SelfAttention.v.weight",
        &["stack.decoder.layers.{}.attn.v_proj.weight"],
    ),
    linear(
        "*.decoder.block.{}.layer.0.SelfAttention.o.weight",
        &["stack.decoder.layers.{}.attn.o_proj.weight"],
    ),
    same("*.decoder.block.{}.layer.0.layer_norm.weight", &["stack.decoder.layers.{}.attn_norm.gamma"]),
    linear(
        "*.decoder.block.{}.layer.1.EncDecAttention.q.weight",
        &["stack.decoder.layers.{}.cross_attn.q_proj.weight"],
    ),
    linear(
        "*.decoder.block.{}.layer.1.EncDecAttention.k.weight",
        &["stack.decoder.layers.{}.cross_attn.k_proj.weight"],
    ),
    linear(
        "*.decoder.block.{}.layer.1.EncDecAttention.v.weight",
        &["stack.decoder.layers.{}.cross_attn.v_proj.weight"],
    ),
    linear(
        "*.decoder.block.{}.layer.1.EncDecAttention.o.weight",
        &["stack.decoder.layers.{}.cross_attn.o_proj.weight"],
    ),
    same("*.decoder.block.{}.layer.1.layer_norm.weight", &["stack.decoder.layers.{}.cross_norm.gamma"]),
    linear(
        "*.decoder.block.{}.layer.2.DenseReluDense.wi.weight",
        &["stack.decoder.layers.{}.ffn.up_proj.weight"],
    )
    .without("stack.decoder.layers.{}.ffn.gate_proj.weight"),
    linear(
        "*.decoder.block.{}.layer.2.DenseReluDense.wi_0.weight",
        &["stack.decoder.layers.{}.ffn.gate_proj.weight"],
    ),
    linear(
        "*.decoder.block.{}.layer.2.DenseReluDense.wi_1.weight",
        &["stack.decoder.layers.{}.ffn.up_proj.weight"],
    ),
    linear(
        "*.decoder.block.{}.layer.2.DenseReluDense.wo.weight",
        &["stack.decoder.layers.{}.ffn.down_proj.weight"],
    ),
    same("*.decoder.block.{}.layer.2.layer_norm.weight", &["stack.decoder.layers.{}.ffn_norm.gamma"]),
    same("*.decoder.final_layer_norm.weight", &["stack.decoder.final_norm.gamma"]),
];
