"""Golden outputs and gradients of schemes that depend on content, for crates/encoder/tests/conformance.rs.

Run from the repository root: python oracle/positions_content.py
Writes the positions-*.safetensors of FoX, CABLE, CoPE, DAPE, stick-breaking and PaTH. Deterministic: one seed, no clock. Cell by
cell, as the formulas are written: sums over the tokens between a key and a query are loops over them, and reflections are
applied one after another. Nothing is shared between cells.
"""

import sys

import numpy as np
import torch
from torch.nn.functional import leaky_relu, logsigmoid, softplus

from position_layer import Scheme, write
from positions_bias import Fire, Kerple


class Gates(Scheme):
    """A bias that adds up, over the tokens after the key up to the query, what each of them gives."""

    trained = ("position.weight", "position.bias")

    def __init__(self, offset):
        self.offset = offset

    def params(self, rng, shape):
        weight = rng.normal(scale=0.4, size=(shape["d_model"], shape["n_heads"]))
        return {"position.weight": weight, "position.bias": rng.normal(size=shape["n_heads"]) + self.offset}

    def of_token(self, z):
        raise NotImplementedError

    def map_scores(self, params, head, scores, i, seen, row):
        mapped = []
        for score, j in zip(scores, seen):
            bias = torch.tensor(0.0)
            for between in range(j + 1, i + 1):
                if row.keep[between]:
                    z = row.x[between] @ params["position.weight"][:, head] + params["position.bias"][head]
                    bias = bias + self.of_token(z)
            mapped.append(score + bias)
        return torch.stack(mapped)


class Fox(Gates):
    """Lin et al. 2025: the logarithm of a gate in (0, 1)."""

    def of_token(self, z):
        return logsigmoid(z)


class Cable(Gates):
    """Veisi et al. 2025: c_i − c_j of c = cumsum(−softplus)."""

    def of_token(self, z):
        return -softplus(z)


class CoPe(Scheme):
    """Golovneva et al. 2024; gates of scaled scores, as in the listing of the paper."""

    trained = ("position.table",)

    def __init__(self, n_positions):
        self.n_positions = n_positions

    def params(self, rng, shape):
        return {"position.table": rng.normal(size=(self.n_positions, shape["d_head"]))}

    def map_scores(self, params, head, scores, i, seen, row):
        table, query, last = params["position.table"], row.q[i][head], self.n_positions - 1
        mapped = []
        for idx, score in enumerate(scores):
            count = sum(torch.sigmoid(counted) for counted in scores[idx:])
            if count >= last:
                mapped.append(score + query @ table[last])
                continue
            floor = int(count)
            share = count - floor
            mapped.append(score + (1 - share) * (query @ table[floor]) + share * (query @ table[floor + 1]))
        return torch.stack(mapped)


class Alibi:
    """Press et al. 2021, for a power of two of heads."""

    trained = ()

    def params(self, rng, shape):
        self.n_heads = shape["n_heads"]
        return {}

    def bias(self, params, head, i, j, row):
        return torch.tensor(-(2 ** (-8 * (head + 1) / self.n_heads)) * abs(i - j))


class SmallFire(Fire):
    """With parameters anywhere: here it is not its corners that are looked at."""

    def params(self, rng, shape):
        heads, hidden = shape["n_heads"], self.hidden
        sizes = {"hidden_weight": (1, hidden), "hidden_bias": hidden, "output_weight": (hidden, heads), "output_bias": heads}
        drawn = {f"position.{name}": rng.normal(size=size) for name, size in sizes.items()}
        return {"position.c": rng.uniform(0.2, 0.5, size=1), "position.multiplier": rng.uniform(0.8, 1.2, size=1)} | drawn


class Dape(Scheme):
    """Zheng et al. 2024: a network over the scores and biases of all heads at a cell."""

    names = ("hidden_weight", "hidden_bias", "output_weight", "output_bias")

    def __init__(self, over, hidden, far=5.0):
        self.over, self.hidden, self.far = over, hidden, far
        inner = [name.replace("position.", "position.inner.") for name in over.trained]
        self.trained = tuple(inner) + tuple(f"position.{name}" for name in self.names)

    def params(self, rng, shape):
        heads, hidden = shape["n_heads"], self.hidden
        inner = {name.replace("position.", "position.inner."): value for name, value in self.over.params(rng, shape).items()}
        # Most cells lie on one side of a unit's corner, for half of the units on either: finite differences step over few.
        network = {
            "position.hidden_weight": rng.normal(scale=0.2, size=(2 * heads, hidden)),
            "position.hidden_bias": rng.uniform(self.far, self.far + 2, size=hidden) * (-1.0) ** np.arange(hidden),
            "position.output_weight": rng.normal(scale=0.2, size=(hidden, heads)),
            "position.output_bias": rng.normal(size=heads),
        }
        return inner | network

    def map_scores(self, params, head, scores, i, seen, row):
        n_heads, group = len(row.q[i]), len(row.q[i]) // len(row.k[i])
        of_inner = {name.replace("position.inner.", "position."): value for name, value in params.items() if ".inner." in name}
        weight, bias = params["position.hidden_weight"], params["position.hidden_bias"]
        mapped = []
        for j in seen:
            at = (row.places[i], row.places[j])
            a = [self.score(params, h, row.q[i][h], row.k[j][h // group], *at, row) for h in range(n_heads)]
            b = [self.over.bias(of_inner, h, *at, row) for h in range(n_heads)]
            hidden = leaky_relu(torch.stack(a + b) @ weight + bias, 0.01)
            output = hidden @ params["position.output_weight"][:, head] + params["position.output_bias"][head]
            mapped.append(a[head] + b[head] + output)
        return torch.stack(mapped)


class StickBreaking(Scheme):
    """Tan et al. 2024: shares of a stick, the nearest key first; what is left may go to the query's own value."""

    def __init__(self, attend_current, remainder):
        self.attend_current, self.remainder = attend_current, remainder

    def weigh(self, scores, i, seen):
        weights = [torch.tensor(0.0)] * len(seen)
        left = torch.tensor(1.0)
        for idx in reversed(range(len(seen))):
            if seen[idx] == i and not self.attend_current:
                continue
            share = torch.sigmoid(scores[idx])
            weights[idx] = left * share
            left = left * (1 - share)
        if self.remainder:
            weights[seen.index(i)] = weights[seen.index(i)] + left
        return torch.stack(weights)


class PaTH(Scheme):
    """Yang et al. 2025: the query meets a key after the reflections of the tokens between them."""

    trained = tuple(f"position.{name}" for name in ("down", "up", "beta_weight", "beta_bias"))

    def __init__(self, rank):
        self.rank = rank

    def params(self, rng, shape):
        d_model, kv = shape["d_model"], shape["n_kv_heads"]
        sizes = [(d_model, self.rank), (self.rank, kv * shape["d_head"]), (d_model, kv), kv]
        # Vectors so long that finite differences hardly turn them.
        scales = [2.0, 1.0, 0.5, 0.5]
        return {name: rng.normal(scale=scale, size=size) for name, scale, size in zip(self.trained, scales, sizes)}

    def reflect(self, params, vector, x, kv, d_head):
        w = (x @ params["position.down"] @ params["position.up"])[kv * d_head : (kv + 1) * d_head]
        w = w / torch.sqrt((w * w).sum() + 1e-6)
        beta = 2 * torch.sigmoid(x @ params["position.beta_weight"][:, kv] + params["position.beta_bias"][kv])
        return vector - beta * w * torch.dot(w, vector)

    def map_scores(self, params, head, scores, i, seen, row):
        kv = head // (len(row.q[i]) // len(row.k[i]))
        d_head = len(row.q[i][head])
        mapped = []
        for j in seen:
            key = row.k[j][kv]
            for between in range(j + 1, i + 1):
                if row.keep[between]:
                    key = self.reflect(params, key, row.x[between], kv, d_head)
            mapped.append(torch.dot(row.q[i][head], key) * self.scale(d_head, i))
        return torch.stack(mapped)


def main():
    gqa = {"n_heads": 4, "n_kv_heads": 2}
    rows = {
        "fox-gqa": (Fox(1.0), "causal", gqa),
        "fox-heads": (Fox(0.0), "causal", {}),
        "cable-gqa": (Cable(-1.0), "causal", gqa),
        "cope-gqa": (CoPe(3), "causal", gqa),
        "cope-long": (CoPe(9), "causal", {}),
        "dape-kerple": (Dape(Kerple("log"), 5), "bidirectional", {}),
        "dape-alibi": (Dape(Alibi(), 6), "causal", gqa),
        "dape-fire": (Dape(SmallFire(4.0, 3), 5, far=3.0), "causal", {}),
        "stick_breaking-plain": (StickBreaking(False, False), "causal", gqa),
        "stick_breaking-remainder": (StickBreaking(False, True), "causal", {}),
        "stick_breaking-current": (StickBreaking(True, False), "causal", {}),
        "path-gqa": (PaTH(3), "causal", gqa),
        "path-chunks": (PaTH(4), "causal", {}),
    }
    write(__file__, rows, sys.argv[1:])


if __name__ == "__main__":
    main()
