"""Golden sentence embeddings and their gradients, for crates/hub/tests; and a comparison with a real folder.

Run from the repository root:
  python oracle/sentence_embeddings.py [part of a file's name ...]
      writes crates/hub/tests/golden/sentences/<case>.json
  python oracle/sentence_embeddings.py --compare FOLDER VECTORS.npy|VECTORS.jsonl SENTENCES.txt [PROMPT_NAME]
      compares what `locus embed --model FOLDER --input SENTENCES.txt --out VECTORS…` wrote with sentence-transformers on the CPU
      in float32, and ends with 1 where a number is further off than 1e-5

As in checkpoints.py every number drawn is a hash of its name and place, models are computed in float64, and gradients are
given by their length and three projections. The modules are those of sentence-transformers; `files` are what it writes.
Parameters of a dense layer are named by their folder: "2_Dense/linear.weight". A case has either the gradients of
sum(embedding · upstream), or of the mean loss of pairs (rows 0, 1, 2 with rows 3, 4, 5). What pairs come with is `loss.labels`; the
layer that SoftmaxLoss has beside the model is `loss.classifier`, with names as in `params`.
"""

import hashlib
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import transformers

import checkpoints
from checkpoints import InFloat64, draw, rounded, saved, summary, unit
from sentence_transformers import SentenceTransformer, losses, models
from transformers import AutoConfig, BertTokenizer

OUT = Path("crates/hub/tests/golden/sentences")
META = {
    "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    "versions": checkpoints.META["versions"] | {"sentence-transformers": version("sentence-transformers")},
}
WIDTH, SEQ, PADDED = 12, 7, (0, 2, 4, 1, 3, 0)  # tokens of padding at the end of each row
BERT = dict(
    vocab_size=23, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=3, intermediate_size=14,
    max_position_embeddings=11, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
QWEN3 = dict(
    vocab_size=23, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=6,
    intermediate_size=14, max_position_embeddings=11, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)  # fmt: skip
Linear, Tanh, Gelu = torch.nn.Identity, torch.nn.Tanh, torch.nn.GELU
ALL = {f"pooling_mode_{name}": True for name in ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens")}
ALL |= {f"pooling_mode_{name}": True for name in ("weightedmean_tokens", "lasttoken")}
# Of the first token there is a view, which a maximum without the prompt overwrites.
WITHOUT_PROMPT = {"include_prompt": False, **ALL, "pooling_mode_cls_token": False}
PROMPTS = {"prompts": {"query": "find: ", "document": ""}, "default_prompt_name": "query"}

# Pooling; further layers: (width, bias, activation) or none for a normalisation; what else.
CASES = {
    "cls": ({"pooling_mode": "cls"}, [], {}),
    "max": ({"pooling_mode": "max"}, [], {}),
    "mean": ({"pooling_mode": "mean"}, [], {}),
    "mean_sqrt_len": ({"pooling_mode": "mean_sqrt_len_tokens"}, [], {}),
    "weighted_mean": ({"pooling_mode": "weightedmean"}, [], {}),
    "last": ({"pooling_mode": "lasttoken"}, [None], {}),
    "causal": ({"pooling_mode": "lasttoken"}, [None], {"family": "qwen3"}),
    "all": (ALL, [(7, True, Tanh), None], {}),
    "dense": ({"pooling_mode": "cls"}, [(5, False, Linear), (8, True, Gelu)], {}),
    "normalize_first": ({"pooling_mode": "mean"}, [None, (5, True, Linear)], {}),
    "without_prompt": (WITHOUT_PROMPT, [None], {"prompt_length": 2} | PROMPTS),
    "pairs": ({"pooling_mode": "mean"}, [None], {"loss": losses.MultipleNegativesRankingLoss}),
    "symmetric": (
        {"pooling_mode": "mean"},
        [(5, True, Tanh)],
        {"loss": losses.MultipleNegativesSymmetricRankingLoss},
    ),
    "cosine": ({"pooling_mode": "mean"}, [(5, True, Tanh)], {"loss": losses.CosineSimilarityLoss, "labels": [0.25, 0.875, -0.5]}),
    # Two have the same number.
    "cosent": ({"pooling_mode": "cls"}, [], {"loss": losses.CoSENTLoss, "labels": [1.5, 4.0, 1.5]}),
    "softmax": ({"pooling_mode": "mean"}, [(7, True, Tanh)], {"loss": losses.SoftmaxLoss, "labels": [4, 0, 2]}),
}
N_LABELS = 5  # of softmax


def inputs():
    keep = np.arange(SEQ) < SEQ - np.array(PADDED)[:, None]
    ids = (unit("input_ids", keep.shape) + 1) / 2 * 18 // 1 + 4
    ids[:, 0] = 2
    return {"input_ids": torch.tensor(np.where(keep, ids, 0).astype(np.int64)), "attention_mask": torch.tensor(keep * 1)}


def stack_of(family):
    """The stack, drawn, with what it is saved as."""
    config = AutoConfig.for_model(family, **{"bert": BERT, "qwen3": QWEN3}[family])
    torch.manual_seed(0)
    with InFloat64():
        model = transformers.AutoModel.from_config(config, dtype=torch.float32, attn_implementation="eager")
    written, shapes = saved(model)
    model.config.use_cache = False
    model = model.double().eval()
    return model, written, draw(model, shapes)


def modules_of(pooling, layers):
    modules = [models.Pooling(WIDTH, **pooling)]
    width = modules[0].get_sentence_embedding_dimension()
    for layer in layers:
        if layer is None:
            modules.append(models.Normalize())
            continue
        d_out, bias, activation = layer
        modules.append(models.Dense(width, d_out, bias=bias, activation_function=activation()))
        width = d_out
    return modules


def draw_dense(modules):
    """The entries of the parameters of dense layers, by name, with the parameters; they then have their values."""
    drawn = {}
    for place, module in enumerate(modules, 1):
        for name, parameter in module.named_parameters():
            drawn[f"{place}_{type(module).__name__}/{name}"] = parameter
    return entries_of(drawn), drawn


def files_of(model, modules, prompts):
    """What sentence-transformers writes beside the weights."""
    with tempfile.TemporaryDirectory() as source, tempfile.TemporaryDirectory() as folder:
        model.float().save_pretrained(source)
        Path(source, "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(18))]))
        BertTokenizer(str(Path(source, "vocab.txt"))).save_pretrained(source)
        model.double()
        whole = SentenceTransformer(modules=[models.Transformer(source), *modules], device="cpu", **prompts)
        whole.save(folder, create_model_card=False)
        names = ["modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"]
        names += [str(path.relative_to(folder)) for path in sorted(Path(folder).glob("*_*/config.json"))]
        for module in modules:
            module.double()
        return {name: Path(folder, name).read_text() for name in names}


class Given(torch.nn.Module):
    """The model that a loss asks for embeddings: here they are made already."""

    device = "cpu"

    def forward(self, features):
        return features


def entries_of(parameters):
    """Parameters with drawn values, as the golden has them."""
    entries = {}
    for key, parameter in parameters.items():
        std = 0.1 if key.endswith("bias") else 0.2
        values = (std * 3**0.5 * unit(key, tuple(parameter.shape))).astype(np.float32)
        parameter.data = torch.tensor(values).double()
        entries[key] = {"shape": list(parameter.shape), "mean": 0.0, "std": std}
    return entries


def loss_of(kind, embedding, labels):
    """The loss of pairs, and the parameters that it has."""
    loss = kind(Given(), embedding.shape[1], N_LABELS) if kind is losses.SoftmaxLoss else kind(Given())
    parameters = dict(loss.named_parameters())
    entries = entries_of(parameters)
    halves = [{"sentence_embedding": half} for half in (embedding[:3], embedding[3:])]
    with InFloat64():
        return loss(halves, torch.tensor(labels)), entries, parameters


def case(name):
    pooling, layers, options = CASES[name]
    options = dict(options)
    family, loss, labels = options.pop("family", "bert"), options.pop("loss", None), options.pop("labels", [0, 1, 2])
    prompt_length = options.pop("prompt_length", 0)
    model, written, params = stack_of(family)
    modules = modules_of(pooling, layers)
    files = files_of(model, modules, options)
    dense, dense_parameters = draw_dense(modules)
    given = inputs()
    features = {key: value.clone() for key, value in given.items()}
    with InFloat64():
        features["token_embeddings"] = model(**given).last_hidden_state
        if prompt_length:
            features["prompt_length"] = prompt_length
        for module in modules:
            features = module(features)
    embedding = features["sentence_embedding"]
    assert embedding.dtype == torch.float64
    of_loss, loss_parameters = {}, {}
    if loss is None:
        value = (embedding * torch.tensor(unit("upstream", tuple(embedding.shape)))).sum()
    else:
        value, of_loss, loss_parameters = loss_of(loss, embedding, labels)
    value.backward()
    parameters = dict(model.named_parameters(remove_duplicate=False)) | dense_parameters
    params |= dense
    for key, entry in params.items():
        grad = parameters[key].grad
        entry["grad"] = summary(key, np.zeros(entry["shape"]) if grad is None else grad.numpy())
    for key, entry in of_loss.items():
        entry["grad"] = summary(key, loss_parameters[key].grad.numpy())
    has_labels = "labels" in CASES[name][2]
    more = ({"labels": labels} if has_labels else {}) | ({"classifier": of_loss} if of_loss else {})
    return {
        "family": family,
        "head": "sentence_embedding",
        "oracle": META,
        "config": written,
        "files": files,
        "params": params,
        "inputs": {key: value.tolist() for key, value in given.items()},
        "prompt_length": prompt_length,
        "loss": None if loss is None else {"name": name, "value": rounded(value.item())} | more,
        "outputs": {
            "sentence_embedding": {
                "shape": list(embedding.shape),
                "values": [rounded(x) for x in embedding.detach().numpy().ravel()],
            }
        },
    }


def compare(folder, vectors, sentences, prompt_name=None):
    torch.set_default_dtype(torch.float32)
    texts = Path(sentences).read_text().splitlines()
    model = SentenceTransformer(folder, device="cpu")
    want = model.encode(texts, prompt_name=prompt_name)
    if vectors.endswith(".npy"):
        got = np.load(vectors)
    else:
        got = np.array([json.loads(line)["embedding"] for line in Path(vectors).read_text().splitlines()])
    assert got.shape == want.shape, f"{got.shape}, expected {want.shape}"
    difference = np.abs(got - want).max()
    cosine = ((got * want).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(want, axis=1)).min()
    print(f"{len(texts)} texts, {want.shape[1]} numbers each: largest difference {difference:.2e}, lowest cosine {cosine:.8f}")
    sys.exit(not difference <= 1e-5)  # a difference that is no number fails


def main():
    if sys.argv[1:2] == ["--compare"]:
        compare(*sys.argv[2:])
    OUT.mkdir(parents=True, exist_ok=True)
    checkpoints.OUT = OUT
    for name in CASES:
        if len(sys.argv) == 1 or any(part in name for part in sys.argv[1:]):
            checkpoints.write(f"{name}.json", case(name))
            print(name, (OUT / f"{name}.json").stat().st_size)


if __name__ == "__main__":
    main()
