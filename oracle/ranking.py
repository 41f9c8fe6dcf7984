"""Golden values and gradients of the losses of candidates in groups, from PyTorch in float64.

Run from the repository root: python oracle/ranking.py
Writes crates/heads/tests/golden/ranking.safetensors. Deterministic: one seed, no clock.

Softmax and ListNet are PyTorch's cross-entropy with shares as targets, group by group (Cao et al. 2007, eq. 8 with φ = exp);
RankNet is written from its definition, the binary cross-entropy of the difference of every two scores (Burges et al. 2005, §3);
single candidates are PyTorch's binary cross-entropy. Scores are rounded to f32 first. Gradients are those of loss * upstream.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

SEED = 2005_2007
OUT = Path("crates/heads/tests/golden/ranking.safetensors")
SIZES = [5, 3, 2, 1]
# The third group has nothing that is worth anything.
GAINS = torch.tensor([0.0, 3.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 2.0])
RNG = torch.Generator().manual_seed(SEED)


def groups(scores):
    for scores, gains in zip(scores.split(SIZES), GAINS.double().split(SIZES)):
        if gains.max() > 0:
            yield scores, gains


def softmax(scores):
    return sum(cross_entropy(s, y / y.sum()) for s, y in groups(scores))


def listnet(scores):
    return sum(cross_entropy(s, y.softmax(0)) for s, y in groups(scores))


def pairwise(scores):
    pairs = [(s[i], s[j]) for s, y in groups(scores) for i in range(len(s)) for j in range(len(s)) if y[i] > y[j]]
    differences = torch.stack([a - b for a, b in pairs])
    return binary_cross_entropy_with_logits(differences, torch.ones_like(differences), reduction="sum")


def pointwise(scores):
    return binary_cross_entropy_with_logits(scores, (GAINS > 0).double(), reduction="sum")


def main():
    scores = (torch.randn(sum(SIZES), generator=RNG, dtype=torch.float64) * 2).float()
    tensors = {"scores": scores, "gains": GAINS}
    for loss in (softmax, listnet, pairwise, pointwise):
        exact = scores.double().requires_grad_()
        upstream = torch.randn(1, generator=RNG, dtype=torch.float64).float()
        out = loss(exact)
        (out * upstream.double()).sum().backward()
        name = loss.__name__
        tensors |= {
            f"{name}.out": out.detach().float()[None],
            f"{name}.upstream": upstream,
            f"{name}.grad": exact.grad.float(),
        }
    meta = {
        "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        "seed": SEED,
        "versions": {name: version(name) for name in ("torch", "safetensors")},
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, OUT, metadata={"oracle": json.dumps(meta)})


if __name__ == "__main__":
    main()
