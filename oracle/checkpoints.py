"""Golden outputs and gradients of tiny checkpoints of every supported family, for crates/hub/tests.

Run from the repository root: python oracle/checkpoints.py [part of a file's name ...]
Writes crates/hub/tests/golden/<family>-<variant>-<head>.json, without the variant where the configuration is the plain one,
and hash.json. Deterministic: no seed, no clock. Every number drawn is a hash of its name and place (`unit`), so that the
files hold no weights and the tests draw the same.

The models are those of transformers, eager attention, in float64: also where they ask for float32 (norms, softmaxes and
angles), or the last digits would be noise. A file lists what `save_pretrained` writes: config.json, and the keys of
model.safetensors with their shapes. Each is drawn from `unit(key, i)` around `mean` with deviation `std`; buffers have no
gradient. The loss is sum(output · upstream), upstream[i] = unit("upstream", i), and 0 at padding. Of a gradient the file
has its length and three projections, sum(grad[i] · unit("<key>#n", i)). The logits of question answering are [batch, seq, 2]:
start and end. `position_ids` are in the inputs where the model was given them.
"""

import hashlib
import json
import os
import re
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

os.environ["PYTORCH_JIT"] = "0"  # before torch: DeBERTa's scripts are out of InFloat64's sight

import numpy as np
import torch
import transformers
from safetensors import safe_open
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
OUT = Path("crates/hub/tests/golden")
META = {
    "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    "versions": {name: version(name) for name in ("numpy", "safetensors", "torch", "transformers")},
}
BATCH, SEQ, TARGET_SEQ, PADDING = 2, 7, 5, 2
SEQ_OF = {"mpnet": 13}  # its 32 buckets of distances are not a setting: from 8 on they are logarithmic
PAD, EOS, FIRST_WORD = 0, 2, 4

# --- Families ---------------------------------------------------------------------------------------------------------

HEADS = {
    "bare": "AutoModel",
    "masked_lm": "AutoModelForMaskedLM",
    "causal_lm": "AutoModelForCausalLM",
    "sequence_classification": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "question_answering": "AutoModelForQuestionAnswering",
    "seq2seq_lm": "AutoModelForSeq2SeqLM",
}
ENCODER = ("bare", "masked_lm", "sequence_classification", "token_classification", "question_answering")
DECODER = ("bare", "causal_lm", "sequence_classification")
LABELS = {"sequence_classification": 3, "token_classification": 5}

SPECIAL = {"pad_token_id": PAD, "bos_token_id": 1, "eos_token_id": EOS}
PAD_IS_1 = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": EOS}
SIZES = {"vocab_size": 41, "hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 29}
BERT = SIZES | {"max_position_embeddings": 13, "layer_norm_eps": 1e-3}
ALBERT = BERT | {"embedding_size": 11, "num_hidden_groups": 1, "inner_group_num": 1}
DEBERTA = BERT | {"relative_attention": True, "position_buckets": 6, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
DEBERTA |= {"pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0}
DISTILBERT = {"vocab_size": 41, "dim": 18, "n_layers": 2, "n_heads": 3, "hidden_dim": 29, "max_position_embeddings": 13}
MODERNBERT = SIZES | {"hidden_size": 24, "num_hidden_layers": 4, "max_position_embeddings": 13, "norm_eps": 1e-3}
MODERNBERT |= {"global_attn_every_n_layers": 3, "local_attention": 4, "reference_compile": False}
MODERNBERT |= SPECIAL | {"cls_token_id": 1, "sep_token_id": EOS}

GPT2 = SPECIAL | {"vocab_size": 43, "n_embd": 18, "n_layer": 2, "n_head": 3, "n_inner": 29, "n_positions": 11}
GPT2 |= {"layer_norm_epsilon": 1e-3}
NEOX = SPECIAL | SIZES | {"hidden_size": 24, "rotary_pct": 0.5, "layer_norm_eps": 1e-3, "max_position_embeddings": 11}
OPT = {"vocab_size": 43, "hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 3, "ffn_dim": 29}
OPT |= {"max_position_embeddings": 11, "pad_token_id": 1, "bos_token_id": EOS, "eos_token_id": EOS}
BLOOM = SPECIAL | {"vocab_size": 43, "hidden_size": 18, "n_layer": 2, "n_head": 6, "layer_norm_epsilon": 1e-3}
MPT = SPECIAL | {"vocab_size": 43, "d_model": 18, "n_layers": 2, "n_heads": 6, "max_seq_len": 11, "layer_norm_epsilon": 1e-3}
LLAMA = SPECIAL | SIZES | {"hidden_size": 24, "num_attention_heads": 6, "num_key_value_heads": 3, "rms_norm_eps": 1e-3}
LLAMA |= {"max_position_embeddings": 11, "rope_theta": 100.0, "tie_word_embeddings": False}
ROPE = {"head_dim": 12, "rope_theta": 10_000.0}  # enough frequencies for a scaling to treat them differently
GEMMA = LLAMA | {"head_dim": 6, "tie_word_embeddings": True}
GEMMA2 = GEMMA | {"sliding_window": 3, "query_pre_attn_scalar": 5, "attn_logit_softcapping": 2.0}
GEMMA2 |= {"final_logit_softcapping": 3.0}
GEMMA3 = GEMMA | {"sliding_window": 3, "query_pre_attn_scalar": 5, "rope_local_base_freq": 10.0}
GEMMA3 |= {"layer_types": ["sliding_attention", "full_attention"]}
PHI = NEOX | {"partial_rotary_factor": 0.5}

T5 = {"vocab_size": 37, "d_model": 18, "d_kv": 4, "num_heads": 5, "d_ff": 29, "num_layers": 2, "num_decoder_layers": 3}
T5 |= {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 12, "layer_norm_epsilon": 1e-3}
T5 |= {"pad_token_id": PAD, "eos_token_id": 1, "decoder_start_token_id": PAD}
BART = {"vocab_size": 37, "d_model": 18, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 3}
BART |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 29, "decoder_ffn_dim": 31, "max_position_embeddings": 13}
BART |= PAD_IS_1 | {"decoder_start_token_id": EOS, "forced_eos_token_id": EOS}
MARIAN = BART | {"decoder_attention_heads": 3, "pad_token_id": 36, "decoder_start_token_id": 36, "bos_token_id": 1}
MARIAN |= {"scale_embedding": True, "activation_function": "swish", "static_position_embeddings": True}


def scaled(rope_type, **options):
    return LLAMA | ROPE | {"rope_scaling": {"rope_type": rope_type, **options}}


LM = ("causal_lm",)
CASES = [  # model_type, variant, heads, configuration
    ("bert", "", ENCODER, BERT),
    ("bert", "untied", ("masked_lm",), BERT | {"tie_word_embeddings": False}),
    ("bert", "regression", ("sequence_classification",), BERT | {"num_labels": 1}),
    ("bert", "relative_key", ("masked_lm",), BERT | {"position_embedding_type": "relative_key"}),
    ("bert", "relu", ("masked_lm",), BERT | {"hidden_act": "relu"}),
    ("roberta", "", ENCODER, BERT | PAD_IS_1 | {"type_vocab_size": 1}),
    ("xlm-roberta", "", ENCODER, BERT | PAD_IS_1 | {"type_vocab_size": 1}),
    ("distilbert", "", ENCODER, DISTILBERT),
    ("albert", "", ENCODER, ALBERT | SPECIAL),
    ("electra", "", ENCODER, BERT | {"embedding_size": 11}),
    ("deberta-v2", "", ENCODER, DEBERTA),
    # Its logits come from the embeddings all the same; tied, transformers replaces the wrong layer and fails.
    ("deberta-v2", "new_head", ("masked_lm",), DEBERTA | {"legacy": False, "tie_word_embeddings": False}),
    ("mpnet", "", ENCODER, BERT | PAD_IS_1 | {"max_position_embeddings": 17}),
    ("modernbert", "", ENCODER, MODERNBERT),
    ("modernbert", "mean", ("sequence_classification",), MODERNBERT | {"classifier_pooling": "mean"}),
    ("gpt2", "", DECODER, GPT2),
    ("gpt2", "scaled_by_layer", LM, GPT2 | {"scale_attn_by_inverse_layer_idx": True}),
    ("gpt_neox", "", DECODER, NEOX),
    ("gpt_neox", "sequential", LM, NEOX | {"use_parallel_residual": False}),
    ("opt", "", DECODER, OPT),
    ("opt", "post_norm", LM, OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 10}),
    ("bloom", "", DECODER, BLOOM),
    ("bloom", "residual_after_norm", LM, BLOOM | {"apply_residual_connection_post_layernorm": True}),
    ("mpt", "", DECODER, MPT),
    ("llama", "", DECODER, LLAMA),
    ("llama", "tied", LM, LLAMA | {"tie_word_embeddings": True}),
    ("llama", "attention_bias", LM, LLAMA | {"attention_bias": True, "mlp_bias": True}),
    ("llama", "head_dim", LM, LLAMA | {"head_dim": 6}),
    ("llama", "linear", LM, scaled("linear", factor=2.5)),
    ("llama", "dynamic", LM, scaled("dynamic", factor=2.5) | {"max_position_embeddings": 5}),
    ("llama", "yarn", LM, scaled("yarn", factor=4.0, original_max_position_embeddings=16) | {"max_position_embeddings": 64}),
    ("llama", "longrope", LM, scaled("longrope", factor=2.5, original_max_position_embeddings=5,
        short_factor=[1.0, 1.1, 1.3, 1.7, 2.3, 2.9], long_factor=[1.5, 2.0, 2.5, 3.5, 4.0, 5.5])),
    ("llama", "longrope_short", LM, scaled("longrope", factor=2.5, original_max_position_embeddings=8,
        short_factor=[1.0, 1.1, 1.3, 1.7, 2.3, 2.9], long_factor=[1.5, 2.0, 2.5, 3.5, 4.0, 5.5])),
    ("llama", "llama3", LM, scaled("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=32) | {"max_position_embeddings": 256}),
    ("mistral", "", DECODER, LLAMA | {"sliding_window": 3}),
    ("qwen2", "", DECODER, LLAMA),
    ("qwen2", "window", LM, LLAMA | {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}),
    ("qwen3", "", DECODER, LLAMA | {"head_dim": 6}),
    ("gemma", "", DECODER, GEMMA),
    ("gemma2", "", DECODER, GEMMA2),
    ("gemma3_text", "", DECODER, GEMMA3),
    ("phi", "", DECODER, PHI),
    ("smollm3", "", DECODER, LLAMA | {"no_rope_layer_interval": 2, "tie_word_embeddings": True}),
    ("t5", "", ("bare", "seq2seq_lm"), T5),
    ("t5", "v1_1", ("seq2seq_lm",), T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    ("mt5", "", ("seq2seq_lm",), T5 | {"tie_word_embeddings": False}),
    ("bart", "", ("bare", "seq2seq_lm", "sequence_classification"), BART),
    ("bart", "scaled", ("seq2seq_lm",), BART | {"scale_embedding": True}),
    ("marian", "", ("seq2seq_lm",), MARIAN),
]
COUNT_PADDING_THEMSELVES = ("opt", "bloom", "mpt")  # from the attention mask; the others are given position_ids
# What no output depends on: a bias of keys, which moves all scores of a row alike (unless keys are turned), a bare model's pooler.
NO_GRADIENT = {"": r"(self\.key|attention\.key|k_lin|attn\.k)\.bias$", "bare": r"^pooler\.", "relative_key": r"position_embeddings"}
NO_GRADIENT |= dict.fromkeys(("opt", "bart", "marian"), r"k_proj\.bias$")

# --- Draws ------------------------------------------------------------------------------------------------------------


def fnv1a(data, state=0xCBF29CE484222325):
    for byte in data:
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return state


def mixed(state):
    """The finaliser of splitmix64."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def unit(key, shape):
    """unit(key, i) for each place of the shape, in row-major order: numbers in [-1, 1)."""
    index = np.arange(np.prod(shape, dtype=np.int64), dtype=np.uint64)
    state = np.full(index.shape, fnv1a(key.encode()), np.uint64)
    for byte in range(8):
        state = (state ^ (index >> np.uint64(8 * byte)) & np.uint64(0xFF)) * np.uint64(0x100000001B3)
    return ((mixed(state) >> np.uint64(11)) * 2.0**-53 * 2 - 1).reshape(shape)


def spread(model, key):
    """Mean and deviation of a parameter's draws: weights of norms around what leaves values as they are."""
    owner, _, name = key.rpartition(".")
    module = model.get_submodule(owner)
    if "Norm" in type(module).__name__ and name == "weight":
        return (0.0 if "Gemma" in type(module).__name__ else 1.0), 0.1
    if isinstance(module, torch.nn.Embedding):
        return 0.0, 0.5
    return 0.0, 0.1 if name.endswith("bias") else 0.2


# --- Models -----------------------------------------------------------------------------------------------------------


class InFloat64(TorchFunctionMode):
    """Whatever asks for float32 gets float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        wide = lambda value: torch.float64 if value is torch.float32 else value
        func = torch.Tensor.double if func is torch.Tensor.float else func
        return func(*map(wide, args), **{key: wide(value) for key, value in (kwargs or {}).items()})


def saved(model):
    """config.json, and the shapes of model.safetensors by key."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with safe_open(Path(folder, "model.safetensors"), "np") as file:
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}
        return json.loads(Path(folder, "config.json").read_text()), shapes


def draw(model, shapes):
    """The entries of `params` without gradients; the model then has their values."""
    params, values = {}, {}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for key, shape in shapes.items():
        mean, std = spread(model, key)
        params[key] = {"shape": shape, "mean": mean, "std": std}
        params[key] |= {} if key in parameters else {"buffer": True}
        values[key] = torch.tensor((mean + std * 3**0.5 * unit(key, shape)).astype(np.float32))
    missing, unexpected = model.load_state_dict(values, strict=False)
    assert not unexpected, unexpected
    drawn = {id(parameters[key]) for key in shapes if key in parameters}
    fresh = [key for key in missing if id(parameters.get(key)) not in drawn]
    assert all("embed_positions" in key for key in fresh), fresh  # Marian's sinusoids
    return params


def words(name, config, seq):
    count = config.vocab_size - FIRST_WORD - 1
    return (unit(name, (BATCH, seq)) + 1) / 2 * count // 1 + FIRST_WORD


def inputs_of(family, heads, head, config):
    """Two texts, the second padded: before the text where attention is causal, else behind it."""
    seq = SEQ_OF.get(family, SEQ)
    ids, keep = words("input_ids", config, seq), np.ones((BATCH, seq))
    causal = heads is DECODER or heads is LM
    if config.is_encoder_decoder:
        ids[0, -1] = ids[1, -1 - PADDING] = config.eos_token_id
    columns = slice(PADDING) if causal else slice(-PADDING, None)
    ids[1, columns], keep[1, columns] = config.pad_token_id, 0
    inputs = {"input_ids": ids, "attention_mask": keep}
    if causal and family not in COUNT_PADDING_THEMSELVES:
        inputs["position_ids"] = (keep.cumsum(1) - 1).clip(min=0)
    if not causal and getattr(config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = (np.arange(seq) > [[3], [1]]) * keep
    if config.is_encoder_decoder:
        start = np.full((BATCH, 1), config.decoder_start_token_id)
        targets = ids if head == "sequence_classification" else words("decoder_input_ids", config, TARGET_SEQ)
        inputs["decoder_input_ids"] = np.concatenate([start, targets[:, :-1]], 1)
    return {key: torch.tensor(value.astype(np.int64)) for key, value in inputs.items()}


def output_of(model, head, inputs):
    out = model(**inputs)
    if head == "bare":
        return out.last_hidden_state
    return torch.stack([out.start_logits, out.end_logits], -1) if head == "question_answering" else out.logits


def upstream_of(output, inputs, head):
    upstream = unit("upstream", output.shape)
    if head != "sequence_classification" and "decoder_input_ids" not in inputs:
        upstream *= inputs["attention_mask"].numpy().reshape(BATCH, -1, *[1] * (output.dim() - 2))
    return torch.tensor(upstream)


def summary(key, grad):
    projections = [(grad * unit(f"{key}#{n}", grad.shape)).sum() for n in range(3)]
    return {"norm": rounded(np.linalg.norm(grad)), "dots": [rounded(value) for value in projections]}


def rounded(value):
    assert np.isfinite(value)
    return float(f"{value:.9g}") + 0.0


# --- Files ------------------------------------------------------------------------------------------------------------


def case(family, variant, heads, head, settings):
    labels = {"num_labels": LABELS[head]} if head in LABELS else {}
    config = AutoConfig.for_model(family, **labels | settings)
    torch.manual_seed(0)
    with InFloat64():
        model = getattr(transformers, HEADS[head]).from_config(config, dtype=torch.float32, attn_implementation="eager")
    written, shapes = saved(model)
    model.config.use_cache = False
    model = model.double().eval()
    params = draw(model, shapes)
    inputs = inputs_of(family, heads, head, config)
    with InFloat64():
        output = output_of(model, head, inputs)
    assert output.dtype == torch.float64
    (output * upstream_of(output, inputs, head)).sum().backward()
    parameters = dict(model.named_parameters(remove_duplicate=False))
    grads = {key: parameters[key].grad for key in params if key in parameters}
    grads = {key: np.zeros(shapes[key]) if grad is None else grad.numpy() for key, grad in grads.items()}
    patterns = [NO_GRADIENT[name] for name in {"", family, variant, head} if name in NO_GRADIENT]
    for key, grad in grads.items():
        zero = np.abs(grad).max() < 1e-13  # the rest of a sum that is 0
        assert zero == any(re.search(pattern, key) for pattern in patterns), f"{family} {variant} {head}: {key} {grad}"
        params[key]["grad"] = summary(key, 0 * grad if zero else grad)
    values = [rounded(value) for value in output.detach().numpy().ravel()]
    name = "last_hidden_state" if head == "bare" else "logits"
    return {
        "family": family,
        "variant": variant,
        "architecture": written["architectures"][0],
        "head": head,
        "oracle": META,
        "config": written,
        "tie_word_embeddings": config.tie_word_embeddings,
        "params": params,
        "inputs": {key: value.tolist() for key, value in inputs.items()},
        "outputs": {name: {"shape": list(output.shape), "values": values}},
    }


def write(name, content):
    """JSON with a line for each entry of the second level."""
    line = lambda value: json.dumps(value, separators=(",", ":"))
    nested = lambda value: isinstance(value, dict) and value
    block = lambda value: "{\n" + ",\n".join(f"{line(key)}:{line(inner)}" for key, inner in value.items()) + "\n}"
    entries = [f"{line(key)}:{block(value) if nested(value) else line(value)}" for key, value in content.items()]
    (OUT / name).write_text("{\n" + ",\n".join(entries) + "\n}\n")


def write_hash():
    assert fnv1a(b"foobar") == 0x85944171F73967E8  # of the authors' list
    assert mixed(np.zeros(1, np.uint64))[0] == 0xE220A8397B1DCDAF  # the first number of splitmix64 from 0
    places = [("", 0), ("upstream", 7), ("encoder.layer.1.attention.self.query.weight#2", 70_001)]
    values = [{"key": key, "index": index, "unit": float(unit(key, (index + 1,))[index])} for key, index in places]
    write("hash.json", {"oracle": META, "values": values})


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    write_hash()
    for family, variant, heads, settings in CASES:
        for head in heads:
            name = "-".join(filter(None, (family, variant, head))) + ".json"
            if len(sys.argv) == 1 or any(part in name for part in sys.argv[1:]):
                write(name, case(family, variant, heads, head, settings))
                print(name, (OUT / name).stat().st_size)


if __name__ == "__main__":
    main()
