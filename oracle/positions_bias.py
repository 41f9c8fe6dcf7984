"""Golden outputs and gradients of biases by distance, for crates/encoder/tests/conformance.rs.

Run from the repository root: python oracle/positions_bias.py
Writes the positions-*.safetensors of KERPLE, Sandwich, FIRE and the dynamic position bias. Deterministic: one seed, no
clock. A bias is computed cell by cell, from the positions of its query and its key.
"""

import math
import sys

import numpy as np
import torch

from position_layer import POSITIONS, Scheme, write


class Bias(Scheme):
    def bias(self, params, head, i, j, row):
        raise NotImplementedError

    def score(self, params, head, query, key, i, j, row):
        return super().score(params, head, query, key, i, j, row) + self.bias(params, head, i, j, row)


class Kerple(Bias):
    """Chi et al. 2022: −r1 log(1 + r2 |m − n|) and −r1 |m − n|^r2, with the authors' letters p and a."""

    trained = ("position.p", "position.a")

    def __init__(self, kernel):
        self.kernel = kernel

    def params(self, rng, shape):
        heads = shape["n_heads"]
        return {"position.p": rng.uniform(0.1, 1.9, size=heads), "position.a": rng.uniform(0.1, 1, size=heads)}

    def bias(self, params, head, i, j, row):
        p, a, distance = params["position.p"][head], params["position.a"][head], abs(i - j)
        if self.kernel == "log":
            return -p * torch.log(1 + a * distance)
        return -a * torch.tensor(float(distance)) ** p if distance else torch.tensor(0.0)


class Sandwich(Bias):
    """Chi et al. 2023: the inner product of two sinusoidal embeddings, less D/2, divided by 8h/H."""

    def __init__(self, n_heads, dims, base=10_000.0):
        self.n_heads, self.dims, self.base = n_heads, dims, base

    def embedding(self, position):
        angles = [position / self.base ** (2 * n / self.dims) for n in range(1, self.dims // 2 + 1)]
        return np.array([f(angle) for angle in angles for f in (math.sin, math.cos)])

    def bias(self, params, head, i, j, row):
        product = self.embedding(i) @ self.embedding(j) - self.dims / 2
        return product / ((head + 1) * 8 / self.n_heads)


class Fire(Bias):
    """Li et al. 2023, eq. 3–4; the constant in the denominator as in the listing of the appendix."""

    names = ("c", "multiplier", "hidden_weight", "hidden_bias", "output_weight", "output_bias")
    trained = tuple(f"position.{name}" for name in names)

    def __init__(self, threshold, hidden):
        self.threshold, self.hidden = threshold, hidden

    def params(self, rng, shape):
        heads, hidden = shape["n_heads"], self.hidden
        sizes = {"hidden_weight": (1, hidden), "hidden_bias": hidden, "output_weight": (hidden, heads), "output_bias": heads}
        fixed = {"position.c": np.array([-0.3]), "position.multiplier": np.array([1.2])}
        while True:
            drawn = {f"position.{name}": rng.normal(size=size) for name, size in sizes.items()}
            # No unit is so close to its corner that a finite difference steps over it, but some have it between 0 and 1.
            weight, bias = drawn["position.hidden_weight"][0], drawn["position.hidden_bias"]
            clear = all(np.abs(x * weight + bias).min() > 0.03 for x in self.all_arguments(-0.3, 1.2))
            if clear and np.sum(bias * (weight + bias) < 0) >= 2:
                return fixed | drawn

    def all_arguments(self, c, multiplier):
        psi = lambda x: math.log(abs(c * x) + 1)
        rows = [row for case in POSITIONS.values() for row in case]
        return [psi(i - j) / psi(max(i, multiplier * self.threshold)) for row in rows for i in row for j in row]

    def bias(self, params, head, i, j, row):
        psi = lambda x: torch.log(torch.abs(params["position.c"][0] * x) + 1)
        threshold = torch.abs(params["position.multiplier"][0] * self.threshold)
        argument = psi(abs(i - j)) / (psi(torch.maximum(torch.tensor(float(i)), threshold)) + 1e-6)
        output = params["position.output_bias"][head]
        for unit in range(self.hidden):
            x = argument * params["position.hidden_weight"][0, unit] + params["position.hidden_bias"][unit]
            output = output + torch.relu(x) * params["position.output_weight"][unit, head]
        return output


class DynamicBias(Bias):
    """The network of x-transformers' DynamicPositionBias over ±ln(1 + |Δ|) (Liu et al. 2021, eq. 4)."""

    names = ("first_weight", "first_bias", "second_weight", "second_bias", "last_weight", "last_bias")
    trained = tuple(f"position.{name}" for name in names)

    def __init__(self, hidden):
        self.hidden = hidden

    def params(self, rng, shape):
        heads, hidden = shape["n_heads"], self.hidden
        sizes = [(1, hidden), hidden, (hidden, hidden), hidden, (hidden, heads), heads]
        return {name: rng.normal(scale=0.7, size=size) for name, size in zip(self.trained, sizes)}

    def bias(self, params, head, i, j, row):
        x = torch.tensor([math.copysign(math.log(1 + abs(i - j)), i - j)])
        for layer in ("first", "second", "last"):
            weight, bias = params[f"position.{layer}_weight"], params[f"position.{layer}_bias"]
            x = torch.nn.functional.linear(x, weight.T, bias)
            if layer != "last":
                x = torch.nn.functional.silu(x)
        return x[head]


def main():
    gqa = {"n_heads": 4, "n_kv_heads": 2}
    rows = {
        "kerple-log": (Kerple("log"), "causal", gqa),
        "kerple-power": (Kerple("power"), "bidirectional", {}),
        "sandwich-causal": (Sandwich(4, 6), "causal", gqa),
        "sandwich-bidirectional": (Sandwich(3, 4, base=50.0), "bidirectional", {}),
        "fire-causal": (Fire(4.0, 5), "causal", gqa),
        "fire-bidirectional": (Fire(3.0, 5), "bidirectional", {}),
        "dynamic_bias-causal": (DynamicBias(5), "causal", gqa),
        "dynamic_bias-bidirectional": (DynamicBias(5), "bidirectional", {}),
    }
    write(__file__, rows, sys.argv[1:])


if __name__ == "__main__":
    main()
