"""Golden outputs and gradients of schemes that number tokens in their own way, for crates/encoder/tests/conformance.rs.

Run from the repository root: python oracle/positions_ids.py
Writes the positions-*.safetensors of CAPE, SHAPE, randomised positions, Abacus and BiPE, as they are in evaluation, and
positions-padding-ids.safetensors: the rows of the position table that RoBERTa and OPT of transformers read for padded
texts. Deterministic: one seed, no clock.
"""

import math
import sys

import numpy as np
import torch
from transformers.models.opt.modeling_opt import OPTLearnedPositionalEmbedding
from transformers.models.roberta.modeling_roberta import create_position_ids_from_input_ids

from position_layer import SEED, Scheme, check_layer, f32, save, write
from positions_rotary import Rotary, plain


class Sinusoidal(Scheme):
    """Vaswani et al. 2017, §3.5. CAPE and SHAPE are this in evaluation."""

    def __init__(self, interleaved, base=10_000.0, factor=1.0):
        self.interleaved, self.base, self.factor = interleaved, base, factor

    def embed(self, params, x, position, keep):
        d = len(x)
        sines = [math.sin(position / self.base ** (c / d)) for c in range(0, d, 2)]
        cosines = [math.cos(position / self.base ** (c / d)) for c in range(0, d, 2)]
        pairs = [value for pair in zip(sines, cosines) for value in pair]
        return x + self.factor * torch.tensor(pairs if self.interleaved else sines + cosines)


class Learned(Scheme):
    """A row of a table, each `stride` rows."""

    trained = ("position.inner.table",)

    def __init__(self, rows, stride):
        self.rows, self.stride = rows, stride

    def params(self, rng, shape):
        return {self.trained[0]: rng.normal(size=(self.rows, shape["d_model"]))}

    def embed(self, params, x, position, keep):
        return x + params[self.trained[0]][position * self.stride]


class Alibi(Scheme):
    """Press et al. 2021, for a power of two of heads, with distances times `stride`."""

    def __init__(self, n_heads, stride):
        self.n_heads, self.stride = n_heads, stride

    def score(self, params, head, query, key, i, j, row):
        slope = 2 ** (-8 * (head + 1) / self.n_heads)
        return super().score(params, head, query, key, i, j, row) - slope * abs(i - j) * self.stride


class Slopes(Scheme):
    """ALiBi with slopes that are given and times `factor`."""

    def __init__(self, slopes, factor):
        self.slopes = [factor * slope for slope in slopes]

    def score(self, params, head, query, key, i, j, row):
        return super().score(params, head, query, key, i, j, row) - self.slopes[head] * abs(i - j)


class Spread(Rotary):
    """Rotary at positions times `stride`."""

    def __init__(self, stride, d_head):
        super().__init__("halves", lambda length: [stride * theta for theta in plain(1e4, d_head)])


class Abacus(Scheme):
    """McLeish et al. 2024: the row of the place in a run of digits, from 1; row 0 for other tokens."""

    trained = ("position.table",)

    def __init__(self, digits, rows):
        self.digits, self.rows = digits, rows

    def params(self, rng, shape):
        return {"position.table": rng.normal(size=(self.rows, shape["d_model"]))}

    def number(self, ids, keep):
        places = []
        for t in range(len(ids)):
            # Back over the digits that end here, from the token itself.
            run = 0
            for token, real in zip(reversed(ids[: t + 1]), reversed(keep[: t + 1].tolist())):
                if real and token not in self.digits:
                    break
                run += bool(real)
            places.append(run if keep[t] else 0)
        return places

    def embed(self, params, x, position, keep):
        return x + params["position.table"][position]


class BiPe(Scheme):
    """He et al. 2024: a position is (segment, place in it); a separator is the last token of its segment."""

    trained = ("position.table",)

    def __init__(self, separators, rows, between):
        self.separators, self.rows, self.between = separators, rows, between

    def params(self, rng, shape):
        return {"position.table": rng.normal(size=(self.rows, shape["d_model"]))}

    def number(self, ids, keep):
        places = []
        for t in range(len(ids)):
            before = [token for token, real in zip(ids[:t], keep[:t]) if real]
            ends = [n + 1 for n, token in enumerate(before) if token in self.separators]
            place = len(before) - max(ends, default=0)
            places.append((len(ends), min(place, self.rows - 1)))
        return places

    def embed(self, params, x, position, keep):
        return x + params["position.table"][position[1]]

    def score(self, params, head, query, key, i, j, row):
        return self.between.score(params, head, query, key, i[0], j[0], row)


def padding_ids():
    """Rows of the position table for texts with padding left, right, inside, and everywhere."""
    rng = np.random.default_rng(SEED)
    keep = (rng.random((12, 9)) < 0.7).astype(np.int64)
    keep[0], keep[1] = 1, 0
    keep[2], keep[3] = [0, 0, 0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0, 0, 0]
    padding_idx = 1
    ids = torch.tensor(np.where(keep == 1, 5, padding_idx))
    roberta = create_position_ids_from_input_ids(ids, padding_idx).numpy()
    # A table whose rows are their own numbers.
    table = OPTLearnedPositionalEmbedding(40, 1)
    table.weight = torch.nn.Parameter(torch.arange(42.0)[:, None])
    opt = table(torch.tensor(keep)).detach().numpy()[:, :, 0]
    np.testing.assert_array_equal(roberta, opt)
    save(__file__, "padding-ids", {"keep": f32(keep), "roberta": f32(roberta), "opt": f32(opt)})


def main():
    check_layer("sinusoidal-interleaved", Sinusoidal(True), "bidirectional", n_heads=3, n_kv_heads=3, d_head=4, d_model=10)
    check_layer("alibi-causal", Alibi(4, 1), "causal", n_heads=4, n_kv_heads=2, d_head=4, d_model=10)
    rows = {
        "cape-evaluation": (Sinusoidal(True, base=500.0), "bidirectional", {}),
        "shape-evaluation": (Sinusoidal(False, factor=0.5), "causal", {}),
        "randomised-sinusoidal": (Sinusoidal(True), "bidirectional", {}),
        "randomised-learned": (Learned(50, 2), "causal", {}),
        "randomised-rotary": (Spread(3, 8), "causal", {"d_head": 8}),
        "randomised-alibi": (Alibi(4, 2), "bidirectional", {"n_heads": 4}),
        "abacus-causal": (Abacus({1, 2, 3}, 23), "causal", {}),
        "bipe-rotary": (
            BiPe({5, 6, 9}, 3, Spread(1, 8)), "causal", {"d_head": 8, "n_heads": 4, "n_kv_heads": 2}
        ),
        "bipe-alibi": (BiPe({5, 6, 9}, 5, Slopes([1 / 16, 1 / 256, 1 / 4], 9.0)), "bidirectional", {}),
    }
    only = sys.argv[1:]
    if not only or "padding-ids" in only:
        padding_ids()
    write(__file__, rows, only)


if __name__ == "__main__":
    main()
