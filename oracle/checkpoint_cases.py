"""The cases of oracle/checkpoints.py: families, variants, and which heads each has.

Every length differs where the architecture lets it, and norms have an epsilon that shows in the output. Settings that act
only on longer texts (windows, buckets of distances, scalings of angles) are small enough to act on seven tokens.
"""

ENCODER = ("bare", "masked_lm", "sequence_classification", "token_classification", "question_answering")
DECODER = ("bare", "causal_lm", "sequence_classification")
LM = ("causal_lm",)
TOKENS = DECODER + ("token_classification",)
ALL_OF_DECODER = TOKENS + ("question_answering",)
MASKED = ("masked_lm",)
ANSWERS = DECODER + ("question_answering",)
CAUSAL = (DECODER, LM, TOKENS, ALL_OF_DECODER, ANSWERS)
CHOICES = ENCODER + ("multiple_choice",)
READ_TWICE = ("sequence_classification", "question_answering")  # of an encoder–decoder, the decoder reads the text again
ALL_OF_T5 = ("bare", "encoder", "seq2seq_lm", "token_classification") + READ_TWICE

SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
PAD_IS_1 = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
SIZES = {"vocab_size": 41, "hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 29}
BERT = SIZES | {"max_position_embeddings": 13, "layer_norm_eps": 1e-3}
ALBERT = BERT | {"embedding_size": 11, "num_hidden_groups": 1, "inner_group_num": 1}
DEBERTA = BERT | {"relative_attention": True, "position_buckets": 6, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
DEBERTA |= {"pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0}
DISTILBERT = {"vocab_size": 41, "dim": 18, "n_layers": 2, "n_heads": 3, "hidden_dim": 29, "max_position_embeddings": 13}
MODERNBERT = SIZES | {"hidden_size": 24, "num_hidden_layers": 4, "max_position_embeddings": 13, "norm_eps": 1e-3}
MODERNBERT |= {"global_attn_every_n_layers": 3, "local_attention": 4, "reference_compile": False}
MODERNBERT |= SPECIAL | {"cls_token_id": 1, "sep_token_id": 2}
BIASES = dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"), True)

GPT2 = SPECIAL | {"vocab_size": 43, "n_embd": 18, "n_layer": 2, "n_head": 3, "n_inner": 29, "n_positions": 11}
GPT2 |= {"layer_norm_epsilon": 1e-3}
NEOX = SPECIAL | SIZES | {"hidden_size": 24, "rotary_pct": 0.5, "layer_norm_eps": 1e-3, "max_position_embeddings": 11}
OPT = {"vocab_size": 43, "hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 3, "ffn_dim": 29}
OPT |= {"max_position_embeddings": 11, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2}
BLOOM = SPECIAL | {"vocab_size": 43, "hidden_size": 18, "n_layer": 2, "n_head": 6, "layer_norm_epsilon": 1e-3}
MPT = SPECIAL | {"vocab_size": 43, "d_model": 18, "n_layers": 2, "n_heads": 6, "max_seq_len": 11, "layer_norm_epsilon": 1e-3}
LLAMA = SPECIAL | SIZES | {"hidden_size": 24, "num_attention_heads": 6, "num_key_value_heads": 3, "rms_norm_eps": 1e-3}
LLAMA |= {"max_position_embeddings": 11, "rope_theta": 100.0, "tie_word_embeddings": False}
ROPE = {"head_dim": 12, "rope_theta": 10_000.0}  # enough frequencies for a scaling to treat them differently
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 48}
GEMMA = LLAMA | {"head_dim": 6, "tie_word_embeddings": True}
GEMMA2 = GEMMA | {"sliding_window": 3, "query_pre_attn_scalar": 5, "attn_logit_softcapping": 2.0}
GEMMA2 |= {"final_logit_softcapping": 3.0}
GEMMA3 = GEMMA | {"sliding_window": 3, "query_pre_attn_scalar": 5, "rope_local_base_freq": 10.0}
GEMMA3 |= {"layer_types": ["sliding_attention", "full_attention"]}
PHI = SPECIAL | SIZES | {"hidden_size": 24, "partial_rotary_factor": 0.5, "layer_norm_eps": 1e-3}
SMOLLM3 = LLAMA | {"no_rope_layer_interval": 2, "tie_word_embeddings": True}

T5 = {"vocab_size": 37, "d_model": 18, "d_kv": 4, "num_heads": 5, "d_ff": 29, "num_layers": 2, "num_decoder_layers": 3}
T5 |= {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 12, "layer_norm_epsilon": 1e-3}
T5 |= {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
BART = {"vocab_size": 37, "d_model": 18, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 3}
BART |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 29, "decoder_ffn_dim": 31, "max_position_embeddings": 13}
BART |= PAD_IS_1 | {"decoder_start_token_id": 2, "forced_eos_token_id": 2}
MARIAN = BART | {"decoder_attention_heads": 3, "pad_token_id": 36, "decoder_start_token_id": 36, "bos_token_id": 1}
MARIAN |= {"scale_embedding": True, "activation_function": "swish", "static_position_embeddings": True}


def scaled(rope_type, **options):
    return LLAMA | ROPE | {"rope_scaling": {"rope_type": rope_type, **options}}


def longrope(original, **options):
    """Long factors beyond `original` tokens: transformers looks for that number beside the scaling, not in it."""
    factors = {"short_factor": [1.0, 1.1, 1.3, 1.7, 2.3, 2.9], "long_factor": [1.5, 2.0, 2.5, 3.5, 4.0, 5.5]}
    beside = {"original_max_position_embeddings": original} if original else {}
    return scaled("longrope", **factors, **options) | beside


CASES = [  # model_type, variant, heads, configuration
    ("bert", "", CHOICES + ("next_sentence",), BERT),
    ("bert", "untied", ("masked_lm",), BERT | {"tie_word_embeddings": False}),
    ("bert", "regression", ("sequence_classification",), BERT | {"num_labels": 1}),
    ("bert", "relative_key", ("masked_lm",), BERT | {"position_embedding_type": "relative_key"}),
    ("bert", "relative_key_query", MASKED, BERT | {"position_embedding_type": "relative_key_query"}),
    ("bert", "relu", ("masked_lm",), BERT | {"hidden_act": "relu"}),
    ("roberta", "", CHOICES, BERT | PAD_IS_1 | {"type_vocab_size": 1}),
    ("roberta", "untied", MASKED, BERT | PAD_IS_1 | {"type_vocab_size": 1, "tie_word_embeddings": False}),
    ("xlm-roberta", "", CHOICES, BERT | PAD_IS_1 | {"type_vocab_size": 1}),
    ("distilbert", "", CHOICES, DISTILBERT),
    ("albert", "", CHOICES, ALBERT | SPECIAL),
    ("albert", "groups", MASKED, ALBERT | SPECIAL | {"num_hidden_layers": 4, "num_hidden_groups": 2}),
    ("albert", "uneven", MASKED, ALBERT | SPECIAL | {"num_hidden_layers": 3, "num_hidden_groups": 2}),
    ("electra", "", CHOICES, BERT | {"embedding_size": 11}),
    ("deberta-v2", "", CHOICES, DEBERTA),
    ("deberta-v2", "clipped", MASKED, DEBERTA | {"position_buckets": -1, "max_relative_positions": 4}),
    ("deberta-v2", "c2p", MASKED, DEBERTA | {"pos_att_type": "C2P"}),
    ("deberta-v2", "p2c", MASKED, DEBERTA | {"pos_att_type": ["p2c"], "norm_rel_ebd": "none"}),
    ("deberta-v2", "biased", MASKED, DEBERTA | {"position_biased_input": True, "type_vocab_size": 2}),
    ("deberta-v2", "tanh", ("sequence_classification",), DEBERTA | {"pooler_hidden_act": "tanh"}),
    # Its logits come from the embeddings all the same; tied, transformers replaces the wrong layer and fails.
    ("deberta-v2", "new_head", ("masked_lm",), DEBERTA | {"legacy": False, "tie_word_embeddings": False}),
    ("mpnet", "", CHOICES, BERT | PAD_IS_1 | {"max_position_embeddings": 17}),
    ("modernbert", "", CHOICES, MODERNBERT),
    ("modernbert", "mean", ("sequence_classification",), MODERNBERT | {"classifier_pooling": "mean"}),
    ("modernbert", "biases", ("masked_lm", "sequence_classification"), MODERNBERT | BIASES),
    ("modernbert", "no_decoder_bias", MASKED, MODERNBERT | {"decoder_bias": False}),
    ("modernbert", "one_base", ("bare",), MODERNBERT | {"global_rope_theta": 100.0, "local_rope_theta": None}),
    ("gpt2", "", ALL_OF_DECODER, GPT2),
    ("gpt2", "scaled_by_layer", LM, GPT2 | {"scale_attn_by_inverse_layer_idx": True}),
    ("gpt2", "unscaled", LM, GPT2 | {"scale_attn_weights": False}),
    ("gpt_neox", "", ALL_OF_DECODER, NEOX),
    ("gpt_neox", "sequential", LM, NEOX | {"use_parallel_residual": False}),
    ("gpt_neox", "no_bias", LM, NEOX | {"attention_bias": False}),
    ("opt", "", ANSWERS, OPT),
    ("opt", "post_norm", LM, OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 10}),
    ("opt", "no_bias", LM, OPT | {"enable_bias": False}),
    ("bloom", "", ALL_OF_DECODER, BLOOM),
    ("bloom", "residual_after_norm", LM, BLOOM | {"apply_residual_connection_post_layernorm": True}),
    ("mpt", "", ALL_OF_DECODER, MPT),
    ("mpt", "softmax_scale", LM, MPT | {"attn_config": {"softmax_scale": 0.3}}),
    ("llama", "", ALL_OF_DECODER, LLAMA),
    ("llama", "tied", LM, LLAMA | {"tie_word_embeddings": True}),
    ("llama", "attention_bias", LM, LLAMA | {"attention_bias": True, "mlp_bias": True}),
    ("llama", "head_dim", LM, LLAMA | {"head_dim": 6}),
    ("llama", "linear", LM, scaled("linear", factor=2.5)),
    ("llama", "dynamic", LM, scaled("dynamic", factor=2.5) | {"max_position_embeddings": 5}),
    ("llama", "yarn", LM, scaled("yarn", factor=4.0, original_max_position_embeddings=256) | {"max_position_embeddings": 1024}),
    ("llama", "longrope", LM, longrope(5)),
    ("llama", "longrope_short", LM, longrope(7)),
    ("llama", "longrope_alone", LM, longrope(None, factor=2.5)),
    # Its factor does not count: the two lengths say what it is.
    ("llama", "longrope_factor", LM, longrope(7, factor=9.0)),
    ("llama", "llama3", LM, scaled("llama3", **LLAMA3) | {"max_position_embeddings": 384}),
    ("mistral", "", ALL_OF_DECODER, LLAMA | {"sliding_window": 3}),
    ("qwen2", "", ALL_OF_DECODER, LLAMA),
    ("qwen2", "window", LM, LLAMA | {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}),
    ("qwen3", "", ALL_OF_DECODER, LLAMA | {"head_dim": 6}),
    ("qwen3", "attention_bias", LM, LLAMA | {"head_dim": 6, "attention_bias": True}),
    ("gemma", "", TOKENS, GEMMA),
    ("gemma", "attention_bias", LM, GEMMA | {"attention_bias": True}),
    ("gemma2", "", TOKENS, GEMMA2),
    ("gemma2", "linear", LM, GEMMA2 | {"rope_scaling": {"rope_type": "linear", "factor": 2.5}}),
    ("gemma3_text", "", DECODER, GEMMA3),
    # Its layers do not cap their scores, whatever the file says.
    ("gemma3_text", "capped", LM, GEMMA3 | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    ("phi", "", TOKENS, PHI),
    ("phi", "linear", LM, PHI | {"rope_scaling": {"rope_type": "linear", "factor": 2.5}}),
    ("phi", "qk_layernorm", LM, PHI | {"qk_layernorm": True}),
    ("smollm3", "", ALL_OF_DECODER, SMOLLM3),
    ("smollm3", "attention_bias", LM, SMOLLM3 | {"attention_bias": True, "mlp_bias": True}),
    ("t5", "", ALL_OF_T5, T5),
    ("t5", "v1_1", ("seq2seq_lm",), T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    ("mt5", "", ALL_OF_T5, T5 | {"tie_word_embeddings": False}),
    ("bart", "", ("bare", "seq2seq_lm") + READ_TWICE, BART),
    ("bart", "scaled", ("seq2seq_lm",), BART | {"scale_embedding": True}),
    ("marian", "", ("seq2seq_lm",), MARIAN),
    ("marian", "untied", ("seq2seq_lm",), MARIAN | {"tie_word_embeddings": False}),
]
