//! The configuration of a stack: as written, checked, and with its defaults derived.

use locus_embedding::position::{Form, PositionConfig, PositionProblem, PositionShape, T5Config, T5Scale};
use serde::{Deserialize, Serialize};

use crate::{
    Activation, AttentionScale, Bias, DecoderSizes, EmbeddingProjection, EmbeddingScale, LayerSharing,
    NormKind, PositionSharing, QkNorm, Residual, TokenTables,
};

/// A stack as a configuration file writes it. Sizes that follow from others may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StackConfig {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// Sizes of the decoder of an encoder–decoder, where they are others.
    #[serde(skip_serializing_if = "DecoderSizes::is_default")]
    pub decoder: DecoderSizes,
    /// Which layers have parameters in common.
    pub layer_sharing: LayerSharing,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads: `n_heads` for multi-head, 1 for multi-query, between for grouped-query attention.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_kv_heads: Option<usize>,
    /// Width of a head; `d_model / n_heads` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_head: Option<usize>,
    /// Width of the feed-forward layer; `4 · d_model` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_ff: Option<usize>,
    /// The longest sequence, in tokens: what position tables and windows are sized by.
    pub max_seq_len: usize,
    /// The feed-forward activation.
    pub activation: Activation,
    /// Which normalisation.
    pub norm: NormKind,
    /// What is added to the variance before the root.
    pub norm_eps: f64,
    /// Where the norms stand.
    pub residual: Residual,
    /// Which projections and norms have a bias.
    pub bias: Bias,
    /// Whether queries and keys are normalised.
    pub qk_norm: QkNorm,
    /// The factor of the dot products of queries and keys.
    pub attention_scale: AttentionScale,
    /// Keeps scores between −c and c by `c · tanh(score / c)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_cap: Option<f64>,
    /// Whether the embedding is normalised before the first block, as in BERT.
    pub embedding_norm: bool,
    /// What token vectors are multiplied by.
    pub embedding_scale: EmbeddingScale,
    /// Whether token vectors have a width of their own.
    pub embedding_projection: EmbeddingProjection,
    /// Whether the stacks of an encoder–decoder have one token table.
    pub token_tables: TokenTables,
    /// Number of segments; 0 for a model without segment embedding.
    pub n_segments: usize,
    /// Probability of dropping an element of the embedding or of a block's output.
    pub dropout: f64,
    /// Probability of dropping an attention weight.
    pub attention_dropout: f64,
    /// Standard deviation of the initial weights.
    pub init_std: f64,
    /// The position scheme.
    pub position: PositionConfig,
    /// A scheme that acts on the embedding beside that of the layers, as MPNet has learned positions beside T5's biases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_position: Option<PositionConfig>,
    /// A scheme for each layer; a list of at most half as many repeats, the last time as far as there are layers. Empty where
    /// all use `position`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layer_positions: Vec<PositionConfig>,
    /// Whether layers with the same scheme share its parameters.
    pub position_sharing: PositionSharing,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self {
            d_model: 128,
            n_layers: 2,
            decoder: DecoderSizes::default(),
            layer_sharing: LayerSharing::None,
            n_heads: 4,
            n_kv_heads: None,
            d_head: None,
            d_ff: None,
            max_seq_len: 128,
            activation: Activation::Gelu,
            norm: NormKind::LayerNorm,
            norm_eps: 1e-5,
            residual: Residual::Pre,
            bias: Bias::ALL,
            qk_norm: QkNorm::None,
            attention_scale: AttentionScale::Scheme,
            score_cap: None,
            embedding_norm: false,
            embedding_scale: EmbeddingScale::One,
            embedding_projection: EmbeddingProjection::None,
            token_tables: TokenTables::Own,
            n_segments: 0,
            dropout: 0.1,
            attention_dropout: 0.1,
            init_std: 0.02,
            position: PositionConfig::Rotary(Default::default()),
            embedding_position: None,
            layer_positions: Vec::new(),
            position_sharing: PositionSharing::AcrossLayers,
        }
    }
}

/// What a stack must know that its configuration does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackShape {
    /// Number of tokens.
    pub vocab_size: usize,
    /// Whether a token sees what follows it.
    pub form: Form,
    /// Whether blocks attend to a memory too.
    pub cross_attention: bool,
}

/// No size may be larger: far above any model, and small enough that a slip of the pen does not exhaust the memory.
const LARGEST: usize = 1 << 20;

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key, below that of the stack.
    pub key: String,
    /// Its value.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

impl StackConfig {
    /// Width of a head.
    pub fn d_head(&self) -> usize {
        self.d_head.unwrap_or(self.d_model / self.n_heads.max(1))
    }

    /// Number of key and value heads.
    pub fn n_kv_heads(&self) -> usize {
        self.n_kv_heads.unwrap_or(self.n_heads)
    }

    /// Width of the feed-forward layer.
    pub fn d_ff(&self) -> usize {
        self.d_ff.unwrap_or(self.d_model.saturating_mul(4))
    }

    /// Width of a token's vector.
    pub fn embedding_width(&self) -> usize {
        self.embedding_projection.width().unwrap_or(self.d_model)
    }

    /// The factor of token vectors.
    pub fn embedding_factor(&self) -> f64 {
        match self.embedding_scale {
            EmbeddingScale::One => 1.0,
            EmbeddingScale::SqrtDModel => (self.d_model as f64).sqrt(),
            EmbeddingScale::Value(value) => value,
        }
    }

    /// Number of sets of block parameters: `n_layers` unless layers share.
    pub fn n_blocks(&self) -> usize {
        match self.layer_sharing {
            LayerSharing::None => self.n_layers,
            LayerSharing::Groups(n) => n.min(self.n_layers).max(1),
        }
    }

    /// For each layer its block. Where blocks do not divide layers, the runs of layers are those of `transformers`' ALBERT.
    pub fn layer_blocks(&self) -> Vec<usize> {
        let per_block = self.n_layers as f64 / self.n_blocks().max(1) as f64;
        let last = self.n_blocks().saturating_sub(1);
        (0..self.n_layers).map(|layer| ((layer as f64 / per_block) as usize).min(last)).collect()
    }

    /// The stack of the decoder of an encoder–decoder.
    #[must_use]
    pub fn of_decoder(&self) -> Self {
        let DecoderSizes { n_layers, n_heads, d_ff } = self.decoder;
        Self {
            n_layers: n_layers.unwrap_or(self.n_layers),
            n_heads: n_heads.unwrap_or(self.n_heads),
            d_ff: d_ff.or(self.d_ff),
            decoder: DecoderSizes::default(),
            ..self.clone()
        }
    }

    /// What a scheme needs to know. One that acts on an embedding which is projected after it sees that width.
    pub fn shape_of(&self, scheme: &PositionConfig, form: Form) -> PositionShape {
        let shape = self.position_shape(form);
        match self.embedding_projection {
            EmbeddingProjection::Factorised { width } if scheme.acts_on_embedding() => {
                PositionShape { d_model: width, ..shape }
            }
            _ => shape,
        }
    }

    /// What position schemes need to know.
    pub fn position_shape(&self, form: Form) -> PositionShape {
        PositionShape {
            d_model: self.d_model,
            n_heads: self.n_heads,
            n_kv_heads: self.n_kv_heads(),
            d_head: self.d_head(),
            max_seq_len: self.max_seq_len,
            form,
        }
    }

    /// Everything that is wrong with the configuration.
    pub fn check(&self, form: Form) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut unless = |fits: bool, key: &str, found: String, allowed: &str| {
            if !fits {
                problems.push(ConfigProblem { key: key.to_owned(), found, allowed: allowed.to_owned() });
            }
        };
        for (key, size) in [
            ("d_model", self.d_model),
            ("n_layers", self.n_layers),
            ("decoder.n_layers", self.decoder.n_layers.unwrap_or(1)),
            ("decoder.n_heads", self.decoder.n_heads.unwrap_or(1)),
            ("decoder.d_ff", self.decoder.d_ff.unwrap_or(1)),
            ("layer_sharing.groups", self.n_blocks()),
            ("embedding_projection.width", self.embedding_width()),
            ("n_heads", self.n_heads),
            ("n_kv_heads", self.n_kv_heads()),
            ("d_head", self.d_head.unwrap_or(1)),
            ("d_ff", self.d_ff()),
            ("max_seq_len", self.max_seq_len),
            // 0 is none.
            ("n_segments", self.n_segments.max(1)),
        ] {
            let allowed = format!("1 to {LARGEST}");
            unless((1..=LARGEST).contains(&size), key, size.to_string(), &allowed);
        }
        if self.n_layers.max(self.decoder.n_layers.unwrap_or(1)) > LARGEST {
            return problems;
        }
        if self.n_heads > 0 && self.d_head.is_none() {
            let fits = self.d_model.is_multiple_of(self.n_heads);
            let allowed = format!("a divisor of d_model = {} (or set d_head)", self.d_model);
            unless(fits, "n_heads", self.n_heads.to_string(), &allowed);
        }
        if self.n_kv_heads() > 0 {
            let allowed = format!("a divisor of n_heads = {}", self.n_heads);
            let fits = self.n_heads.is_multiple_of(self.n_kv_heads());
            unless(fits, "n_kv_heads", self.n_kv_heads().to_string(), &allowed);
        }
        for (key, p) in [("dropout", self.dropout), ("attention_dropout", self.attention_dropout)] {
            unless((0.0..1.0).contains(&p), key, p.to_string(), "0 or more and below 1");
        }
        let (cap, factor) = (self.score_cap.unwrap_or(1.0), self.attention_scale.value().unwrap_or(1.0));
        for (key, x) in [
            ("norm_eps", self.norm_eps),
            ("init_std", self.init_std),
            ("score_cap", cap),
            ("attention_scale.value", factor),
            ("embedding_scale.value", self.embedding_factor()),
        ] {
            unless(x > 0.0 && x.is_finite(), key, x.to_string(), "a positive number");
        }
        if let LayerSharing::Groups(n) = self.layer_sharing {
            let allowed = format!("1 to n_layers = {}, with one scheme for all layers", self.n_layers);
            let fits = (1..=self.n_layers).contains(&n) && self.layer_positions.is_empty();
            unless(fits, "layer_sharing.groups", n.to_string(), &allowed);
        }
        let fits = self.decoder.n_layers.is_none() || self.layer_positions.is_empty();
        let allowed = "none where layer_positions is set: it lists the encoder's layers";
        unless(fits, "decoder.n_layers", self.decoder.n_layers.unwrap_or(0).to_string(), allowed);
        let n_heads = self.decoder.n_heads.unwrap_or(self.n_heads);
        let fits = n_heads == self.n_heads
            || (n_heads > 0 && self.d_model.is_multiple_of(n_heads) && self.n_kv_heads.is_none());
        let allowed = format!("a divisor of d_model = {}, without n_kv_heads", self.d_model);
        unless(fits, "decoder.n_heads", n_heads.to_string(), &allowed);
        let (listed, n_layers) = (self.layer_positions.len(), self.n_layers);
        let allowed = format!(
            "no entry, one for each of the {n_layers} layers, or a pattern of at most {} that repeats",
            n_layers / 2
        );
        let fits = listed == n_layers || listed <= n_layers / 2;
        unless(fits, "layer_positions", format!("{listed} entries"), &allowed);
        let extra = self.schemes().0.iter().map(PositionConfig::extra_width).sum::<usize>();
        let width = self.embedding_width();
        let allowed =
            format!("appended positions that leave room for tokens in an embedding of width {width}");
        unless(extra < width.max(1), "position", format!("{extra} appended dimensions"), &allowed);
        self.check_positions(form, &mut problems);
        problems
    }

    fn check_positions(&self, form: Form, problems: &mut Vec<ConfigProblem>) {
        for (key, position) in self.positions() {
            if key == "embedding_position" && !position.acts_on_embedding() {
                problems.push(ConfigProblem {
                    key: key.clone(),
                    found: position.name().to_owned(),
                    allowed: "a scheme that acts on the embedding, such as learned".to_owned(),
                });
            }
            if let Some(value) = self.attention_scale.value().filter(|value| replaces_scale(position, *value))
            {
                problems.push(ConfigProblem {
                    key: "attention_scale.value".to_owned(),
                    found: value.to_string(),
                    allowed: format!("scheme: {key} = {} has a factor of its own", position.name()),
                });
            }
            if let PositionConfig::T5(T5Config { n_buckets, .. }) = position
                && *n_buckets > LARGEST
            {
                problems.push(ConfigProblem {
                    key: format!("{key}.t5.n_buckets"),
                    found: n_buckets.to_string(),
                    allowed: format!("at most {LARGEST}"),
                });
            }
            let wrong = position.check(&self.shape_of(position, form));
            problems.extend(wrong.into_iter().map(|problem| below(&key, position.name(), problem)));
        }
    }

    /// The schemes that can read no prefix in both directions, as a prefix language model does.
    pub fn check_prefix(&self) -> Vec<ConfigProblem> {
        let problem = |(key, position): (String, &PositionConfig)| {
            let allowed = format!("a scheme whose queries may see later keys: {}", position.only_earlier()?);
            Some(ConfigProblem { key, found: position.name().to_owned(), allowed })
        };
        self.positions().into_iter().filter_map(problem).collect()
    }

    /// The schemes in use and where the configuration writes them.
    fn positions(&self) -> Vec<(String, &PositionConfig)> {
        let single = self.layer_positions.is_empty().then_some(("position".to_owned(), &self.position));
        let listed = self.layer_positions.iter().enumerate();
        let listed = listed.map(|(idx, position)| (format!("layer_positions.{idx}"), position));
        let added =
            self.embedding_position.iter().map(|position| ("embedding_position".to_owned(), position));
        single.into_iter().chain(listed).chain(added).collect()
    }

    /// Looks up the ids of tokens that the position schemes count by, where they are not set, and says what it does not find.
    /// `id` gives the id of a token as the vocabulary writes it.
    pub fn find_tokens(&mut self, id: &dyn Fn(&str) -> Option<u32>) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        for (key, position) in self.positions_mut() {
            let missing = position.find_tokens(id);
            problems.extend(missing.into_iter().map(|problem| below(&key, position.name(), problem)));
        }
        problems
    }

    /// As [`Self::positions`], to complete them.
    fn positions_mut(&mut self) -> Vec<(String, &mut PositionConfig)> {
        let single = self.layer_positions.is_empty().then_some(("position".to_owned(), &mut self.position));
        let listed = self.layer_positions.iter_mut().enumerate();
        let listed = listed.map(|(idx, position)| (format!("layer_positions.{idx}"), position));
        let added =
            self.embedding_position.iter_mut().map(|position| ("embedding_position".to_owned(), position));
        single.into_iter().chain(listed).chain(added).collect()
    }

    /// The distinct scheme instances and, per layer, which one it uses. One that acts on the embedding alone comes last.
    pub fn schemes(&self) -> (Vec<PositionConfig>, Vec<usize>) {
        let mut instances: Vec<PositionConfig> = Vec::new();
        let mut layer_scheme = Vec::with_capacity(self.n_layers);
        for layer in 0..self.n_layers {
            let wanted = match self.layer_positions.as_slice() {
                [] => &self.position,
                pattern => &pattern[layer % pattern.len()],
            };
            // What acts on the embedding acts once, so instances of their own would act several times.
            let shares = self.position_sharing == PositionSharing::AcrossLayers || wanted.acts_on_embedding();
            let known = instances.iter().position(|instance| shares && instance == wanted);
            layer_scheme.push(known.unwrap_or_else(|| {
                instances.push(wanted.clone());
                instances.len() - 1
            }));
        }
        instances.extend(self.embedding_position.clone());
        (instances, layer_scheme)
    }
}

/// Whether a scheme has a factor of the scores of its own that this number would take the place of.
fn replaces_scale(position: &PositionConfig, value: f64) -> bool {
    match position {
        PositionConfig::Deberta(_) | PositionConfig::Temperature(_) | PositionConfig::Tupe(_) => true,
        PositionConfig::ReRope(config) => config.log_length.is_some(),
        // The same factor, in cross-attention too.
        PositionConfig::T5(config) => config.score_scale == T5Scale::One && value != 1.0,
        _ => false,
    }
}

/// A problem of the scheme that stands at a key.
fn below(key: &str, scheme: &str, problem: PositionProblem) -> ConfigProblem {
    let PositionProblem { key: own, found, allowed } = problem;
    let key = if own.is_empty() { format!("{key}.{scheme}") } else { format!("{key}.{scheme}.{own}") };
    ConfigProblem { key, found, allowed }
}

#[cfg(test)]
mod tests {
    use locus_embedding::position::{Form, PositionConfig};

    use super::{AttentionScale, LARGEST, LayerSharing, StackConfig};

    #[track_caller]
    fn assert_problem(config: &StackConfig, key: &str) {
        let problems = config.check(Form::Bidirectional);
        assert!(problems.len() == 1 && problems[0].key == key, "{problems:?}");
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        let embedding_position = Some(PositionConfig::Rotary(Default::default()));
        assert_problem(&StackConfig { embedding_position, ..StackConfig::default() }, "embedding_position");
        let attention_scale = AttentionScale::Value(0.5);
        assert_eq!(StackConfig { attention_scale, ..StackConfig::default() }.check(Form::Bidirectional), []);
        let position = PositionConfig::Deberta(Default::default());
        let config = StackConfig { attention_scale, position, ..StackConfig::default() };
        assert_problem(&config, "attention_scale.value");
    }

    /// The blocks of each layer as AlbertTransformer of transformers 4.57.6 counts them: `int(i / (layers / groups))`.
    #[test]
    fn blocks_that_do_not_divide_layers() {
        let blocks = |n_layers, groups| {
            let layer_sharing = LayerSharing::Groups(groups);
            let config = StackConfig { n_layers, layer_sharing, ..StackConfig::default() };
            assert_eq!(config.check(Form::Bidirectional), []);
            config.layer_blocks()
        };
        assert_eq!(blocks(3, 2), [0, 0, 1]);
        assert_eq!(blocks(6, 3), [0, 0, 1, 1, 2, 2]);
        assert_eq!(blocks(7, 3), [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(blocks(15, 9), [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7, 8]);
        let layer_sharing = LayerSharing::Groups(7);
        assert_problem(
            &StackConfig { n_layers: 5, layer_sharing, ..StackConfig::default() },
            "layer_sharing.groups",
        );
    }

    #[test]
    fn segments_are_counted() {
        let config = StackConfig { n_segments: LARGEST + 1, ..StackConfig::default() };
        assert_problem(&config, "n_segments");
    }
}
