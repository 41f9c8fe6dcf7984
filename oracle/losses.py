"""Golden values and gradients of the losses, from PyTorch in float64.

Run from the repository root: python oracle/losses.py
Writes crates/testkit/tests/golden/losses.safetensors (the operations of crates/backend) and
crates/heads/tests/golden/crf.safetensors (the linear-chain CRF). Deterministic: one seed, no clock.

Weighted cross-entropy, binary cross-entropy and squared error are PyTorch's own. The focal loss is written from equation 5 of
arXiv:1708.02002 and differentiated by PyTorch. The CRF is written from its definition (Lafferty, McCallum and Pereira
2001): the score of every sequence of labels there is, one by one. Inputs are rounded to f32 first. Gradients are those
of output * upstream.
"""

import hashlib
import itertools
import json
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid, mse_loss

SEED = 1708_02002
META = {
    "oracle": json.dumps(
        {
            "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
            "seed": SEED,
            "versions": {name: version(name) for name in ("torch", "safetensors")},
        }
    )
}
IGNORE = -100
RNG = torch.Generator().manual_seed(SEED)


def draw(*shape, scale=1.0):
    return (torch.randn(*shape, generator=RNG, dtype=torch.float64) * scale).float()


def case(tensors, name, f, **inputs):
    """Stores inputs, output, upstream and the gradient of each input."""
    exact = {key: value.double().requires_grad_() for key, value in inputs.items()}
    out = f(**exact)
    upstream = draw(*out.shape)
    (out * upstream).sum().backward()
    for key, value in inputs.items():
        tensors[f"{name}.{key}"] = value
        tensors[f"{name}.grad.{key}"] = exact[key].grad.float()
    tensors[f"{name}.out"] = out.detach().float()
    tensors[f"{name}.upstream"] = upstream


# Operations.


def focal(logits, classes, weights, gamma):
    counted = classes != IGNORE
    log_p = logits.log_softmax(1)[counted].gather(1, classes[counted, None])[:, 0]
    return -(weights[classes[counted]] * (1 - log_p.exp()) ** gamma * log_p).sum()[None]


def binary(logits, cells, smoothing=0.0, pos_weight=None, gamma=0.0):
    counted = cells != IGNORE
    y = torch.where(cells == 1, 1 - smoothing / 2, smoothing / 2).double()
    weight = torch.ones(logits.shape[1]).double() if pos_weight is None else pos_weight
    if gamma == 0.0:
        loss = binary_cross_entropy_with_logits(logits, y, reduction="none", pos_weight=weight)
    else:
        p = logits.sigmoid()
        loss = -weight * y * (1 - p) ** gamma * logsigmoid(logits) - (1 - y) * p**gamma * logsigmoid(-logits)
    return loss[counted].sum()[None]


def operations():
    tensors = {}
    rows, n = 23, 5
    classes = torch.tensor([3, IGNORE, 0, 4, IGNORE, 1, 3, 2] + [row % n for row in range(15)])
    weights = torch.tensor([0.5, 2.0, 1.0, 0.25, 3.0]).double()
    ones = torch.ones(n).double()

    def summed(smoothing):
        return lambda logits: cross_entropy(
            logits, classes, weights, ignore_index=IGNORE, label_smoothing=smoothing, reduction="sum"
        )[None]

    def logits():
        return draw(rows, n, scale=3.0)

    case(tensors, "cross_entropy.weighted", summed(0.0), logits=logits())
    case(tensors, "cross_entropy.smoothed_weighted", summed(0.25), logits=logits())
    for name, gamma, weight in [("focal", 2.0, ones), ("focal_weighted", 0.5, weights), ("focal_odd", 3.7, weights)]:
        f = lambda logits: focal(logits, classes, weight, gamma)  # noqa: E731, B023
        case(tensors, f"cross_entropy.{name}", f, logits=logits())

    rows, n = 7, 3
    cells = torch.tensor([[0, 1, 1], [IGNORE, 0, 1], [1, 1, 1], [0, 0, 0], [0, IGNORE, 0], [1, 0, 0], [0, 1, 0]])
    pos_weight = torch.tensor([0.5, 7.0, 1.5]).double()
    for name, options in [
        ("plain", {}),
        ("smoothed", {"smoothing": 0.25}),
        ("pos_weight", {"pos_weight": pos_weight}),
        ("smoothed_pos_weight", {"smoothing": 0.125, "pos_weight": pos_weight}),
        ("focal", {"gamma": 2.0}),
        ("focal_pos_weight", {"gamma": 0.5, "pos_weight": pos_weight}),
    ]:
        f = lambda logits: binary(logits, cells, **options)  # noqa: E731, B023
        case(tensors, f"binary_cross_entropy.{name}", f, logits=draw(rows, n, scale=4.0))

    numbers = draw(rows, scale=3.0)
    tensors["squared_error.targets"] = numbers
    f = lambda predictions: mse_loss(predictions, numbers.double(), reduction="sum")[None]  # noqa: E731
    case(tensors, "squared_error", f, predictions=draw(rows))
    return tensors


# The chain.


def scores(emissions, start, end, transitions):
    """Every sequence of labels with its score."""
    words, n = emissions.shape
    for labels in itertools.product(range(n), repeat=words):
        score = start[labels[0]] + end[labels[-1]]
        score = score + sum(emissions[word, label] for word, label in enumerate(labels))
        score = score + sum(transitions[a, b] for a, b in itertools.pairwise(labels))
        yield labels, score


def chains():
    """Three chains of 5, 1 and 3 words over four labels, one after the other."""
    lengths, n = [5, 1, 3], 4
    gold = [[2, 0, 3, 3, 1], [1], [0, 2, 2]]
    tensors = {}

    def nll(emissions, start, end, transitions):
        total = 0.0
        for rows, labels in zip(emissions.split(lengths), gold):
            every = dict(scores(rows, start, end, transitions))
            total = total + torch.stack(list(every.values())).logsumexp(0) - every[tuple(labels)]
        return total[None]

    inputs = {
        "emissions": draw(sum(lengths), n, scale=2.0),
        "start": draw(n),
        "end": draw(n),
        "transitions": draw(n, n),
    }
    case(tensors, "crf", nll, **inputs)
    exact = {key: value.double() for key, value in inputs.items()}
    marginals, best = [], []
    for rows in exact["emissions"].split(lengths):
        every = list(scores(rows, exact["start"], exact["end"], exact["transitions"]))
        p = torch.stack([score for _, score in every]).softmax(0)
        for word in range(len(rows)):
            marginals.append([sum(q for (labels, _), q in zip(every, p) if labels[word] == k) for k in range(n)])
        best += max(every, key=lambda pair: pair[1])[0]
    tensors["crf.marginals"] = torch.tensor(marginals).float()
    tensors["crf.best"] = torch.tensor(best).float()
    return tensors


def main():
    for path, tensors in [
        ("crates/testkit/tests/golden/losses.safetensors", operations()),
        ("crates/heads/tests/golden/crf.safetensors", chains()),
    ]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=META)


if __name__ == "__main__":
    main()
