"""Golden outputs and gradients of adapters on the tiny checkpoints of checkpoints.py, for crates/hub/tests.

Run from the repository root, after checkpoints.py: python oracle/adapters.py [part of a file's name ...]
Writes crates/hub/tests/golden/adapters/<checkpoint>-<adapter>.json. The models are those of transformers under `peft`, in
float64, with weights drawn as checkpoints.py draws them; the tensors of an adapter are drawn in the same way from their names in
adapter_model.safetensors. A file lists what `save_pretrained` writes, the output, and of each gradient its length and three
projections, as in checkpoints.py. Deterministic: no seed, no clock.

The other direction: python oracle/adapters.py check MODEL ADAPTER IDS LOGITS
Loads an adapter that Locus wrote with `peft` onto the checkpoint MODEL and compares its logits for the ids of IDS with those that
`locus forward --model MODEL --adapter ADAPTER --ids IDS --out LOGITS` wrote. Ends with an error where they differ by more than
1e-4 of the largest.
"""

import hashlib
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import checkpoints
import numpy as np
import torch
import transformers
from checkpoints import HEADS, InFloat64, output_of, rounded, summary, unit, upstream_of
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from transformers import AutoConfig

BASES = Path("crates/hub/tests/golden")
OUT = BASES / "adapters"
META = {
    "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    "versions": {name: version(name) for name in ("numpy", "peft", "safetensors", "torch", "transformers")},
}
RANK, ALPHA = 3, 7.0
# By checkpoint: what LoRA changes, what else its configuration says, what (IA)3 changes, and where it changes inputs.
CASES = {
    "bert-sequence_classification": (
        ["query", "value", "intermediate.dense"],
        {
            "task_type": "SEQ_CLS",
            "rank_pattern": {"layer.1.attention.self.value": 2},
            "alpha_pattern": {"query": 5, r"layer\.0\.intermediate\.dense": 2},
        },
        ["key", "value", "output.dense"],
        ["output.dense"],
    ),
    "gpt2-causal_lm": (["c_attn", "mlp.c_proj"], {"fan_in_fan_out": True}, ["c_attn", "mlp.c_proj"], ["mlp.c_proj"]),
    "llama-causal_lm": (
        ["q_proj", "v_proj", "down_proj"],
        {"layers_to_transform": [1]},
        ["k_proj", "v_proj", "down_proj"],
        ["down_proj"],
    ),
    "gpt_neox-causal_lm": (["query_key_value"], {}, ["query_key_value", "dense_4h_to_h"], ["dense_4h_to_h"]),
    "t5-seq2seq_lm": (r".*(SelfAttention|EncDecAttention)\.(q|v)", {}, ["k", "v", "wo"], ["wo"]),
    # Bodies by another name, and a head whose one layer's name ends with that of the other.
    "llama-question_answering": (["q_proj", "v_proj"], {"task_type": "QUESTION_ANS"}, [], []),
    "t5-token_classification": (["q", "wo"], {"task_type": "TOKEN_CLS"}, [], []),
    "distilbert-sequence_classification": (["q_lin", "v_lin"], {"task_type": "SEQ_CLS"}, [], []),
    # What stands around the blocks.
    "opt-post_norm-causal_lm": (["q_proj", "project_in", "project_out"], {"task_type": "CAUSAL_LM"}, [], []),
    # Both stacks below a classifier of rows.
    "bart-sequence_classification": (["q_proj", "v_proj", "fc2"], {}, [], []),
}
KINDS = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}, "ia3": None}


def base(golden):
    """The checkpoint of a golden file, with its weights."""
    config = AutoConfig.for_model(**golden["config"])
    with InFloat64():
        model = getattr(transformers, HEADS[golden["head"]]).from_config(
            config, dtype=torch.float32, attn_implementation="eager"
        )
    model.config.use_cache = False
    values = {key: drawn(key, **param) for key, param in golden["params"].items()}
    missing, unexpected = model.load_state_dict(values, strict=False)
    assert not unexpected, unexpected
    return model.double().eval()


def drawn(key, shape, mean, std, **_):
    return torch.tensor((mean + std * 3**0.5 * unit(key, shape)).astype(np.float32))


def spread(key):
    """Mean and deviation of an adapter's tensor: far enough from what changes nothing."""
    if key.endswith("ia3_l"):
        return 1.0, 0.4
    if key.endswith("lora_magnitude_vector"):
        return 0.9, 0.2
    return 0.0, 0.1 if key.endswith("bias") else 0.3


def config_of(name, kind):
    targets, settings, scaled, inputs = CASES[name]
    if kind != "ia3":
        return LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, lora_dropout=0.1, **settings | KINDS[kind])
    settings = {key: value for key, value in settings.items() if key in ("task_type", "fan_in_fan_out")}
    return IA3Config(target_modules=scaled, feedforward_modules=inputs, **settings)


def saved(model):
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with safe_open(Path(folder, "adapter_model.safetensors"), "np") as file:
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}
        config = json.loads(Path(folder, "adapter_config.json").read_text())
    for key, value in config.items():
        config[key] = sorted(value) if isinstance(value, list) and key != "layers_to_transform" else value
    config["base_model_name_or_path"] = None
    return config, shapes


def parameter_of(model, key):
    """The parameter behind a name of adapter_model.safetensors."""
    parameters = dict(model.named_parameters())
    stem, _, last = key.rpartition(".")
    names = [
        f"{key}.default.weight",  # a magnitude
        f"{stem}.default.{last}",  # A and B
        f"{key}.default",  # vectors
        f"{stem}.modules_to_save.default.{last}",
    ]
    (name,) = [name for name in names if name in parameters]
    return parameters[name]


def case(name, kind):
    golden = json.loads((BASES / f"{name}.json").read_text())
    model = get_peft_model(base(golden), config_of(name, kind)).double().eval()
    config, shapes = saved(model)
    params = {}
    for key, shape in sorted(shapes.items()):
        mean, std = spread(key)
        params[key] = {"shape": shape, "mean": mean, "std": std}
        with torch.no_grad():
            parameter_of(model, key).copy_(drawn(key, **params[key]).reshape(parameter_of(model, key).shape))
    inputs = {key: torch.tensor(value) for key, value in golden["inputs"].items()}
    with InFloat64():
        output = output_of(model, golden["head"], inputs)
    (output * upstream_of(output, inputs, golden["head"])).sum().backward()
    for key, shape in shapes.items():
        params[key]["grad"] = summary(key, parameter_of(model, key).grad.numpy().reshape(shape))
    values = [rounded(value) for value in output.detach().numpy().ravel()]
    plain = np.array(golden["outputs"]["logits"]["values"])
    assert np.abs(plain - values).max() > 0.1, "the adapter changes nothing"
    return {
        "base": name,
        "kind": kind,
        "oracle": META,
        "adapter_config": config,
        "params": params,
        "outputs": {"logits": {"shape": list(output.shape), "values": values}},
    }


CLASSES = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "FEATURE_EXTRACTION": "AutoModel",
    None: "AutoModelForMaskedLM",
}


def check(model_dir, adapter_dir, ids, logits):
    torch.set_default_dtype(torch.float32)
    config = json.loads(Path(adapter_dir, "adapter_config.json").read_text())
    settings = {}
    if config["task_type"] in ("SEQ_CLS", "TOKEN_CLS"):
        with safe_open(Path(adapter_dir, "adapter_model.safetensors"), "np") as file:
            heads = ("classifier.weight", "classifier.out_proj.weight", "score.weight")
            (key,) = [key for key in file.keys() if key.endswith(heads)]
            settings["num_labels"] = file.get_slice(key).get_shape()[0]
    base_model = getattr(transformers, CLASSES[config["task_type"]]).from_pretrained(model_dir, **settings)
    model = PeftModel.from_pretrained(base_model, adapter_dir).eval()
    content = json.loads(Path(ids).read_text())
    content = content if isinstance(content, dict) else {"input_ids": content}
    with torch.no_grad():
        out = model(**{key: torch.tensor(value) for key, value in content.items()})
    if config["task_type"] == "QUESTION_ANS":
        out = torch.stack([out.start_logits, out.end_logits], -1)
    else:
        out = out.logits if "logits" in out else out.last_hidden_state
    with safe_open(logits, "np") as file:
        ours = file.get_tensor("logits" if "logits" in file.keys() else "last_hidden_state")
    keep = np.ones(ours.shape[:1] + (1,) * (ours.ndim - 1), bool)
    if ours.ndim == 3 and "attention_mask" in content and "decoder_input_ids" not in content:
        keep = np.array(content["attention_mask"], bool)[..., None]
    difference = np.abs(np.where(keep, out.numpy() - ours, 0)).max()
    print(f"largest difference {difference:.2e} of numbers up to {np.abs(ours).max():.2e}")
    assert difference <= 1e-4 * np.abs(ours).max(), "peft computes something else"


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    checkpoints.OUT = OUT
    for name in CASES:
        # Where there is no (IA)3, the names are what is of interest.
        for kind in KINDS if CASES[name][2] else ["lora"]:
            file = f"{name}-{kind}.json"
            if len(sys.argv) == 1 or any(part in file for part in sys.argv[1:]):
                checkpoints.write(file, case(name, kind))
                print(file, (OUT / file).stat().st_size)


if __name__ == "__main__":
    check(*sys.argv[2:]) if sys.argv[1:2] == ["check"] else main()
