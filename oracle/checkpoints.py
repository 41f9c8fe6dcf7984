"""Golden outputs and gradients of tiny checkpoints of every supported family, for crates/hub/tests.

Run from the repository root: python oracle/checkpoints.py [part of a file's name ...]
Writes crates/hub/tests/golden/<family>-<variant>-<head>.json, without the variant where the configuration is the plain one,
hash.json, and the list of classes in crates/hub/tests/parity/classes.txt. Deterministic: no seed, no clock. Every number drawn is a hash of its name and place (`unit`), so that the
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
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

os.environ["PYTORCH_JIT"] = "0"  # before torch: DeBERTa's scripts are out of InFloat64's sight

import numpy as np
import torch
import transformers
from safetensors import safe_open
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import model_type_to_module_name

from checkpoint_cases import CASES, CAUSAL, READ_TWICE

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
OUT = Path("crates/hub/tests/golden")
CLASSES = Path("crates/hub/tests/parity/classes.txt")
SCRIPTS = [Path(__file__), Path(__file__).with_name("checkpoint_cases.py")]
META = {
    "script_sha256": hashlib.sha256(b"".join(path.read_bytes() for path in SCRIPTS)).hexdigest(),
    "versions": {name: version(name) for name in ("numpy", "safetensors", "torch", "transformers")},
}
BATCH, SEQ, TARGET_SEQ, PADDING = 2, 7, 5, 2
ENCODER_DECODERS = ("t5", "mt5", "bart", "marian")
SEQ_OF = {"mpnet": 13}  # its 32 buckets of distances are not a setting: from 8 on they are logarithmic
FIRST_WORD = 4  # the ids before it are those of special tokens
HEADS = {
    "bare": "AutoModel",
    "masked_lm": "AutoModelForMaskedLM",
    "causal_lm": "AutoModelForCausalLM",
    "sequence_classification": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "question_answering": "AutoModelForQuestionAnswering",
    "multiple_choice": "AutoModelForMultipleChoice",
    "next_sentence": "AutoModelForNextSentencePrediction",
    "seq2seq_lm": "AutoModelForSeq2SeqLM",
    "encoder": "AutoModelForTextEncoding",
}
LABELS = {"sequence_classification": 3, "token_classification": 5}
ROWS = ("sequence_classification", "multiple_choice", "next_sentence")  # one vector of scores for each
ENCODER_ALONE = ("encoder", "token_classification")  # of an encoder–decoder
COUNT_PADDING_THEMSELVES = ("opt", "bloom", "mpt")  # from the attention mask; the others are given position_ids
# By family, variant or head, what no output depends on: biases of keys, which move all scores of a row alike (unless keys are
# turned or meet positions), and a bare model's pooler.
NO_GRADIENT = {"": r"(self|attention)\.key\.bias$|(k_lin|attn\.k)\.bias$", "bare": r"^pooler\."}
NO_GRADIENT |= dict.fromkeys(("relative_key", "relative_key_query"), r"\.position_embeddings\.")
NO_GRADIENT |= {"c2p": r"(key_proj|encoder\.LayerNorm)\.bias$"}
NO_GRADIENT |= dict.fromkeys(("opt", "bart", "marian"), r"k_proj\.bias$")
NO_GRADIENT |= {"smollm3": r"layers\.1\.self_attn\.k_proj\.bias$"}  # the layer whose keys do not turn

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
    """Two texts, the second padded: before the text where attention is causal, else behind it. Causal classifiers read the
    last token of a text: theirs are padded before the first text and behind the second."""
    seq = SEQ_OF.get(family, SEQ)
    ids, keep = words("input_ids", config, seq), np.ones((BATCH, seq))
    causal = heads in CAUSAL
    has_decoder = family in ENCODER_DECODERS and head not in ENCODER_ALONE
    if has_decoder:
        ids[0, -1] = ids[1, -1 - PADDING] = config.eos_token_id
    if has_decoder and head in READ_TWICE:
        ids[:, 2] = config.eos_token_id  # between two parts of a text
    if causal and head == "sequence_classification":
        keep[0, :1] = keep[1, -PADDING:] = 0
    else:
        keep[1, slice(PADDING) if causal else slice(-PADDING, None)] = 0
    ids[keep == 0] = config.pad_token_id
    inputs = {"input_ids": ids, "attention_mask": keep}
    if causal and family not in COUNT_PADDING_THEMSELVES:
        inputs["position_ids"] = (keep.cumsum(1) - 1).clip(min=0)
    if not causal and getattr(config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = (np.arange(seq) > [[3], [1]]) * keep
    if has_decoder and head not in READ_TWICE:
        start = np.full((BATCH, 1), config.decoder_start_token_id)
        targets = words("decoder_input_ids", config, TARGET_SEQ)
        inputs["decoder_input_ids"] = np.concatenate([start, targets[:, :-1]], 1)
    return {key: torch.tensor(value.astype(np.int64)) for key, value in inputs.items()}


def output_of(model, head, inputs):
    # One choice for each row: their scores are taken on their own.
    out = model(**{key: value.unsqueeze(1) if head == "multiple_choice" else value for key, value in inputs.items()})
    if head in ("bare", "encoder"):
        return out.last_hidden_state
    return torch.stack([out.start_logits, out.end_logits], -1) if head == "question_answering" else out.logits


def upstream_of(output, inputs, head):
    upstream = unit("upstream", output.shape)
    if head not in ROWS and "decoder_input_ids" not in inputs:
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
    # Keys that meet positions by themselves tell them apart by their biases.
    names = {family, variant, head} | ({""} if variant != "relative_key_query" else set())
    patterns = [NO_GRADIENT[name] for name in names if name in NO_GRADIENT]
    for key, grad in grads.items():
        zero = np.abs(grad).max() < 1e-13  # the rest of a sum that is 0
        assert zero == any(re.search(pattern, key) for pattern in patterns), f"{family} {variant} {head}: {key} {grad}"
        params[key]["grad"] = summary(key, 0 * grad if zero else grad)
    values = [rounded(value) for value in output.detach().numpy().ravel()]
    name = "last_hidden_state" if head in ("bare", "encoder") else "logits"
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


def write_classes():
    """The models of each family, with what stands on them: a line of model_type and class."""
    lines = set()
    for family in {family for family, *_ in CASES}:
        module = model_type_to_module_name(family)
        names = import_module(f"transformers.models.{module}.modeling_{module}").__all__
        models = (name for name in names if re.search(r"(Model|LM|For\w+)$", name) and "reTrained" not in name)
        lines |= {f"{family} {name}" for name in models if "retrained" not in name}
    CLASSES.write_text("".join(f"{line}\n" for line in sorted(lines)))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    write_hash()
    write_classes()
    for family, variant, heads, settings in CASES:
        for head in heads:
            name = "-".join(filter(None, (family, variant, head))) + ".json"
            if len(sys.argv) == 1 or any(part in name for part in sys.argv[1:]):
                write(name, case(family, variant, heads, head, settings))
                print(name, (OUT / name).stat().st_size)


if __name__ == "__main__":
    main()
