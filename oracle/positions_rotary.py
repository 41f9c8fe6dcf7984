"""Golden outputs and gradients of the rotary family, for crates/encoder/tests/conformance.rs.

Run from the repository root: python oracle/positions_rotary.py
Writes crates/encoder/tests/golden/positions-rotary-*.safetensors (those that oracle/positions.py does not) and
positions-rope-tables.safetensors. Deterministic: one seed, no clock.

Frequencies are written here from the equations of the papers in float64 and compared with those of
`ROPE_INIT_FUNCTIONS` of transformers, which are in float32. Proportional frequencies, NTK-aware scaling with a fixed
base, and NTK-by-parts have no function there; NTK-by-parts is the one of Llama 3 with other bounds, NTK-aware scaling
the dynamic one at `L = L0 · 2` for the factor `2s − (s − 1)`.
"""

import math
import sys
from types import SimpleNamespace

import numpy as np
import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from position_layer import Scheme, check_layer, f32, save, write

# --- Frequencies, from the papers ---


def plain(base, r):
    """Su et al. 2021, eq. 15: θ_n = base^(−2n/r)."""
    return [base ** (-2 * n / r) for n in range(r // 2)]


def proportional(base, d_head, turning):
    """Barbero et al. 2024 (p-RoPE): the `turning` highest frequencies, the others zero."""
    return [base ** (-2 * n / d_head) if n < turning else 0.0 for n in range(d_head // 2)]


def linear(base, r, s):
    """Chen et al. 2023, eq. 4: f(x, m L/L')."""
    return [theta / s for theta in plain(base, r)]


def ntk(base, r, s):
    """Peng et al. 2023, definition 1: b' = b · s^(|D|/(|D|−2))."""
    return plain(base * s ** (r / (r - 2)), r)


def dynamic_ntk(base, r, s, original, length):
    """transformers' `dynamic`: s grows with the text past the original length."""
    length = max(length, original)
    return ntk(base, r, s * length / original - (s - 1))


def ntk_by_parts(base, r, s, original, alpha=1, beta=32):
    """Peng et al. 2023, definition 2: γ(r(d)) with r(d) = L/λ_d; h(θ) = (1 − γ) θ/s + γ θ."""
    thetas = []
    for theta in plain(base, r):
        turns = original / (2 * math.pi / theta)
        if turns < alpha:
            gamma = 0.0
        elif turns > beta:
            gamma = 1.0
        else:
            gamma = (turns - alpha) / (beta - alpha)
        thetas.append((1 - gamma) * theta / s + gamma * theta)
    return thetas


def llama3(base, r, s, original, low=1, high=4):
    """By wavelength, as Meta's code has it."""
    thetas = []
    for theta in plain(base, r):
        wavelength = 2 * math.pi / theta
        if wavelength < original / high:
            thetas.append(theta)
        elif wavelength > original / low:
            thetas.append(theta / s)
        else:
            smooth = (original / wavelength - low) / (high - low)
            thetas.append((1 - smooth) * theta / s + smooth * theta)
    return thetas


def yarn(base, r, s, original, fast=32, slow=1, truncate=True):
    """Peng et al. 2023, §3.4, in the authors' form: the ramp runs over the index of the pair."""
    dimension = lambda turns: r * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))
    low, high = dimension(fast), dimension(slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, r - 1)
    if low == high:
        high += 0.001
    thetas = []
    for n, theta in enumerate(plain(base, r)):
        interpolated = min(max((n - low) / (high - low), 0), 1)
        thetas.append(theta / s * interpolated + theta * (1 - interpolated))
    return thetas


def yarn_magnitude(s, mscale=1, mscale_all_dim=None):
    """√(1/t) = 0.1 ln s + 1; a ratio of two such in DeepSeek."""
    m = lambda x: 0.1 * x * math.log(s) + 1 if s > 1 else 1.0
    return m(mscale) / (1.0 if mscale_all_dim is None else m(mscale_all_dim))


def longrope(base, r, original, short, long, length):
    """Ding et al. 2024: θ_n divided by a factor of its own."""
    return [theta / f for theta, f in zip(plain(base, r), long if length > original else short)]


def longrope_magnitude(s, original):
    return math.sqrt(1 + math.log(s) / math.log(original)) if s > 1 else 1.0


# --- Schemes ---


class Rotary(Scheme):
    """Su et al. 2021: pair n is a complex number, multiplied by exp(i · position · θ_n)."""

    def __init__(self, pairing, frequencies, magnitude=1.0):
        """frequencies: from the length of the row to the θ of each pair."""
        self.pairing, self.frequencies, self.magnitude = pairing, frequencies, magnitude

    def thetas(self, params, row):
        return self.frequencies(row.length)

    def turn(self, params, vector, position, row):
        thetas = self.thetas(params, row)
        r = 2 * len(thetas)
        out = list(vector)
        for n, theta in enumerate(thetas):
            a, b = (n, n + r // 2) if self.pairing == "halves" else (2 * n, 2 * n + 1)
            angle = torch.as_tensor(position * theta)
            turned = torch.complex(vector[a], vector[b]) * torch.polar(torch.tensor(self.magnitude), angle)
            out[a], out[b] = turned.real, turned.imag
        return torch.stack(out)

    def score(self, params, head, query, key, i, j, row):
        query, key = self.turn(params, query, i, row), self.turn(params, key, j, row)
        return torch.dot(query, key) * self.scale(len(query), i)


class Trained(Rotary):
    """θ_n exp(w_n)."""

    trained = ("position.log_factors",)

    def params(self, rng, shape):
        return {"position.log_factors": rng.normal(scale=0.3, size=len(self.frequencies(1)))}

    def thetas(self, params, row):
        w = params["position.log_factors"]
        return [theta * torch.exp(w[n]) for n, theta in enumerate(self.frequencies(row.length))]


class XPos(Scheme):
    """Sun et al. 2022: e^{iθ(i−j)} and ζ^{(i−j)/s} in one factor per pair."""

    def __init__(self, pairing, scale_base, base=10_000.0):
        self.pairing, self.scale_base, self.base = pairing, scale_base, base

    def score(self, params, head, query, key, i, j, row):
        d = len(query)
        total = 0.0
        for n, theta in enumerate(plain(self.base, d)):
            a, b = (n, n + d // 2) if self.pairing == "halves" else (2 * n, 2 * n + 1)
            zeta = (2 * n + 0.4 * d) / (1.4 * d)
            q, k = torch.complex(query[a], query[b]), torch.complex(key[a], key[b])
            turned = q * torch.conj(k) * torch.polar(torch.tensor(1.0), torch.tensor((i - j) * theta))
            total = total + turned.real * zeta ** ((i - j) / self.scale_base)
        return total * self.scale(d, i)


class Pairwise(Scheme):
    """A scheme that turns each pair by an angle of its own."""

    pairing = "halves"

    def angle(self, position, n, d):
        raise NotImplementedError

    def turn(self, vector, position):
        d = len(vector)
        out = list(vector)
        for n in range(d // 2):
            a, b = (n, n + d // 2) if self.pairing == "halves" else (2 * n, 2 * n + 1)
            angle = torch.tensor(self.angle(position, n, d))
            z = torch.complex(vector[a], vector[b]) * torch.polar(torch.tensor(1.0), angle)
            out[a], out[b] = z.real, z.imag
        return torch.stack(out)

    def score(self, params, head, query, key, i, j, row):
        return torch.dot(self.turn(query, i), self.turn(key, j)) * self.scale(len(query), i)


class Axial(Pairwise):
    """Heo et al. 2024, eq. 6: R(n, 2t) = e^{iθ_t p_x}, R(n, 2t+1) = e^{iθ_t p_y}, θ_t = base^(−t/(d_head/4))."""

    def __init__(self, pairing, width, base=100.0, axes=1):
        self.pairing, self.width, self.base, self.axes = pairing, width, base, axes

    def angle(self, position, n, d):
        row, column = position if self.axes > 1 else divmod(position, self.width)
        return (column if n % 2 == 0 else row) * self.base ** (-(n // 2) / (d / 4))


class MRope(Pairwise):
    """Wang et al. 2024; the axis of each pair as transformers' Qwen2-VL and Qwen3-VL lay them out."""

    axes = 3

    def __init__(self, pairing, sections, interleaved=False, base=10_000.0):
        self.pairing, self.base = pairing, base
        self.of_pair = [0] * sections[0] + [1] * sections[1] + [2] * sections[2]
        if interleaved:
            self.of_pair = [0] * sum(sections)
            for axis in (1, 2):
                self.of_pair[axis : 3 * sections[axis] : 3] = [axis] * sections[axis]

    def angle(self, position, n, d):
        return position[self.of_pair[n]] * self.base ** (-2 * n / d)


def check_mrope():
    """The angles of both layouts against those of transformers, by turning vectors of ones."""
    from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_multimodal_rotary_pos_emb
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRotaryEmbedding

    sections, d = [4, 3, 3], 20
    places = torch.tensor([[5.0], [9.0], [2.0]])  # [axes, seq]
    angles = places[:, :, None] * torch.tensor(plain(1e4, d))  # [axes, seq, pairs]
    ones = torch.ones(1, 1, 1, d)
    tables = torch.cat((angles, angles), dim=-1)[:, None]  # [axes, 1, seq, d]
    want, _ = apply_multimodal_rotary_pos_emb(ones, ones, tables.cos(), tables.sin(), sections)
    found = MRope("halves", sections).turn(torch.ones(d), (5, 9, 2))
    torch.testing.assert_close(found, want[0, 0, 0])
    mixed = Qwen3VLTextRotaryEmbedding.apply_interleaved_mrope(None, angles[:, None].clone(), sections)[0, 0]
    want = torch.cat((mixed.cos() - mixed.sin(), mixed.cos() + mixed.sin()))
    found = MRope("halves", sections, interleaved=True).turn(torch.ones(d), (5, 9, 2))
    torch.testing.assert_close(found, want)


class FoPe(Scheme):
    """Hua et al. 2024, §4: frequencies below 2π/L0 are dropped, the others mixed."""

    trained = ("position.cos", "position.sin")

    def __init__(self, length, base=10_000.0):
        self.length, self.base = length, base

    def kept(self, d):
        return [theta for theta in plain(self.base, d) if theta > 2 * math.pi / self.length]

    def params(self, rng, shape):
        k = len(self.kept(shape["d_head"]))
        return {name: np.eye(k) + rng.normal(scale=0.3, size=(k, k)) for name in self.trained}

    def turn(self, params, vector, position):
        d = len(vector)
        thetas = self.kept(d)
        out = list(vector)
        for n in range(len(thetas)):
            cos = sum(math.cos(position * t) * params["position.cos"][m, n] for m, t in enumerate(thetas))
            sin = sum(math.sin(position * t) * params["position.sin"][m, n] for m, t in enumerate(thetas))
            a, b = vector[n], vector[n + d // 2]
            out[n], out[n + d // 2] = a * cos - b * sin, b * cos + a * sin
        return torch.stack(out)

    def score(self, params, head, query, key, i, j, row):
        return torch.dot(self.turn(params, query, i), self.turn(params, key, j)) * self.scale(len(query), i)


class PoPe(Scheme):
    """Gopalakrishnan et al. 2025: Σ_c softplus(q_c) softplus(k_c) cos((s − t) θ_c + δ_c)."""

    trained = ("position.phases",)

    def params(self, rng, shape):
        # One of them outside the bounds.
        phases = rng.uniform(-6, 0, size=(shape["n_heads"], shape["d_head"]))
        phases[0, 0] = 0.7
        return {"position.phases": phases}

    def score(self, params, head, query, key, i, j, row):
        d = len(query)
        magnitude = lambda x: torch.log(1 + torch.exp(x))
        delta = params["position.phases"][head].clamp(-2 * math.pi, 0)
        angles = [(j - i) * 10_000 ** (-c / d) + delta[c] for c in range(d)]
        terms = [magnitude(query[c]) * magnitude(key[c]) * torch.cos(angles[c]) for c in range(d)]
        return sum(terms) * self.scale(d, i)


class RoPePlusPlus(Pairwise):
    """Liu et al. 2025: Re Σ q k̄ e^{i(s−t)θ} for the first head of a query, Im of it for the second."""

    head_factor = 2

    def __init__(self, pairing, base=10_000.0):
        self.pairing, self.base = pairing, base

    def score(self, params, head, query, key, i, j, row):
        d = len(query)
        total = 0.0
        for n, theta in enumerate(plain(self.base, d)):
            a, b = (n, n + d // 2) if self.pairing == "halves" else (2 * n, 2 * n + 1)
            q, k = torch.complex(query[a], query[b]), torch.complex(key[a], key[b])
            product = q * torch.conj(k) * torch.polar(torch.tensor(1.0), torch.tensor((i - j) * theta))
            total = total + (product.imag if head % 2 else product.real)
        return total * self.scale(d, i)


def check_rope_plus_plus():
    """The imaginary head against the authors' way to write it: the query is q·sin − rotate_half(q)·cos."""
    from transformers.models.llama.modeling_llama import rotate_half

    q, k = (torch.tensor(np.random.default_rng(seed).normal(size=8)) for seed in (1, 2))
    angles = lambda position: torch.tensor(2 * [position * theta for theta in plain(1e4, 8)])
    cos, sin = torch.cos(angles(5)), torch.sin(angles(5))
    turned = k * torch.cos(angles(2)) + rotate_half(k) * torch.sin(angles(2))
    for head, query in enumerate([q * cos + rotate_half(q) * sin, q * sin - rotate_half(q) * cos]):
        found = RoPePlusPlus("halves").score({}, head, q, k, 5, 2, None)
        torch.testing.assert_close(found, torch.dot(query, turned) / math.sqrt(8))


# --- Tables, against transformers ---

SHORT, LONG = [1.0, 1.05, 1.5, 2.5], [1.1, 1.7, 3.5, 7.0]


def theirs(kind, base, r, length, max_positions, **scaling):
    """Frequencies and factor of transformers."""
    config = SimpleNamespace(
        rope_theta=base, head_dim=r, hidden_size=r, num_attention_heads=1, max_position_embeddings=max_positions
    )
    if kind == "longrope":
        config.original_max_position_embeddings = scaling.pop("original_max_position_embeddings")
    config.rope_scaling = {"rope_type": kind} | scaling
    thetas, factor = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=length)
    return thetas.double().numpy(), factor


def tables():
    """A table per case of crates/encoder/tests/conformance/scaling.rs: for texts of 100 and of 3000 positions."""
    r, long_r = 64, 8
    original = lambda n: {"original_max_position_embeddings": n}
    cases = {
        "linear": (lambda L: linear(1e4, r, 4), 1.0, ("linear", 1e4, r), {"factor": 4.0}),
        "dynamic_ntk": (lambda L: dynamic_ntk(1e4, r, 2, 512, L), 1.0, ("dynamic", 1e4, r), {"factor": 2.0}),
        "llama3": (
            lambda L: llama3(5e5, r, 8, 8192),
            1.0,
            ("llama3", 5e5, r),
            {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0} | original(8192),
        ),
        "ntk_by_parts": (
            lambda L: ntk_by_parts(1e4, r, 4, 2048),
            1.0,
            ("llama3", 1e4, r),
            {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 32.0} | original(2048),
        ),
        "yarn": (
            lambda L: yarn(1e4, r, 40, 4096),
            yarn_magnitude(40),
            ("yarn", 1e4, r),
            {"factor": 40.0} | original(4096),
        ),
        "yarn_mscale": (
            lambda L: yarn(1e4, r, 40, 4096),
            yarn_magnitude(40, 1.0, 0.707),
            ("yarn", 1e4, r),
            {"factor": 40.0, "mscale": 1.0, "mscale_all_dim": 0.707} | original(4096),
        ),
        "yarn_exact": (
            lambda L: yarn(15e4, r, 32, 4096, truncate=False),
            1.25,
            ("yarn", 15e4, r),
            {"factor": 32.0, "truncate": False, "attention_factor": 1.25} | original(4096),
        ),
        "longrope": (
            lambda L: longrope(1e4, long_r, 512, SHORT, LONG, L),
            longrope_magnitude(8, 512),
            ("longrope", 1e4, long_r),
            {"short_factor": SHORT, "long_factor": LONG} | original(512),
        ),
    }
    tensors = {}
    for name, (frequencies, magnitude, upstream, scaling) in cases.items():
        for length in (100, 3000):
            max_positions = 512 if name == "dynamic_ntk" else 4096
            want, factor = theirs(*upstream, length, max_positions, **scaling)
            np.testing.assert_allclose(frequencies(length), want, rtol=3e-6, err_msg=name)
            np.testing.assert_allclose(magnitude, factor, rtol=1e-12, err_msg=name)
            tensors[f"{name}.{length}"] = f32(frequencies(length))
        tensors[f"{name}.magnitude"] = f32([magnitude])
    # The fixed base of factor 2·4 − (4 − 1) is the dynamic one at twice the original length.
    want, _ = theirs("dynamic", 1e4, r, 1024, 512, factor=4.0)
    np.testing.assert_allclose(ntk(1e4, r, 5), want, rtol=3e-6)
    tensors |= {f"ntk.{length}": f32(ntk(1e4, r, 5)) for length in (100, 3000)} | {"ntk.magnitude": f32([1.0])}
    half = proportional(1e4, r, 12)
    tensors |= {f"proportional.{length}": f32(half) for length in (100, 3000)}
    tensors |= {"proportional.magnitude": f32([1.0])}
    save(__file__, "rope-tables", tensors)


def main():
    fixed = lambda thetas: lambda length: thetas
    gqa = {"d_head": 8, "n_heads": 4, "n_kv_heads": 2}
    check_layer("rotary-halves", Rotary("halves", fixed(plain(1e4, 8))), "causal", **gqa, d_model=10)
    check_layer("rotary-interleaved", Rotary("interleaved", fixed(plain(1e4, 8))), "bidirectional", n_heads=3, n_kv_heads=3, d_head=8, d_model=10)
    rows = {
        "rotary-linear": (Rotary("halves", fixed(linear(1e4, 8, 4))), "causal", gqa),
        "rotary-ntk": (Rotary("interleaved", fixed(ntk(1e4, 8, 4))), "bidirectional", {"d_head": 8}),
        "rotary-dynamic_ntk": (
            Rotary("halves", lambda length: dynamic_ntk(1e4, 8, 3, 6, length)), "causal", gqa
        ),
        "rotary-ntk_by_parts": (
            Rotary("halves", fixed(ntk_by_parts(50, 8, 4, 40, alpha=1, beta=5))), "bidirectional", {"d_head": 8}
        ),
        "rotary-yarn": (
            Rotary("halves", fixed(yarn(50, 8, 4, 40, fast=5, slow=1)), yarn_magnitude(4)), "causal", gqa
        ),
        "rotary-yarn_mscale": (
            Rotary(
                "interleaved",
                fixed(yarn(50, 8, 4, 40, fast=5, slow=1, truncate=False)),
                yarn_magnitude(4, 1.5, 0.7),
            ),
            "causal",
            {"d_head": 8},
        ),
        "rotary-yarn_partial": (
            Rotary("halves", fixed(yarn(50, 8, 4, 40, fast=5, slow=1)), 1.5), "causal", {"d_head": 16, "n_heads": 2}
        ),
        "rotary-longrope": (
            Rotary("halves", lambda length: longrope(1e4, 8, 6, SHORT, LONG, length), longrope_magnitude(4, 6)),
            "causal",
            gqa,
        ),
        "rotary-llama3": (Rotary("halves", fixed(llama3(50, 8, 8, 40, low=1, high=4))), "causal", gqa),
        "rotary-proportional": (Rotary("halves", fixed(proportional(1e4, 8, 2))), "causal", gqa),
        "rotary-trained": (Trained("halves", fixed(plain(1e4, 8))), "causal", gqa),
        "rotary-trained_yarn": (
            Trained("interleaved", fixed(yarn(50, 8, 4, 40, fast=5, slow=1)), yarn_magnitude(4)),
            "bidirectional",
            {"d_head": 8},
        ),
    }
    rows |= {
        "xpos-interleaved": (XPos("interleaved", 8.0), "causal", gqa),
        "xpos-halves": (XPos("halves", 5.0, base=50.0), "causal", {"d_head": 6}),
        "axial-raster": (Axial("interleaved", 3), "bidirectional", {"d_head": 8}),
        "axial-axes": (Axial("halves", 3, base=50.0, axes=2), "causal", gqa),
        "mrope-sections": (MRope("halves", [2, 3, 3]), "causal", {"d_head": 16, "n_heads": 2}),
        "mrope-interleaved": (MRope("interleaved", [3, 2, 1], interleaved=True, base=50.0), "bidirectional", {"d_head": 12}),
        "fope-causal": (FoPe(40, base=50.0), "causal", gqa),
        "fope-all": (FoPe(200, base=10.0), "bidirectional", {"d_head": 6}),
        "pope-causal": (PoPe(), "causal", {"n_heads": 4, "n_kv_heads": 2, "d_head": 5}),
        "pope-bidirectional": (PoPe(), "bidirectional", {}),
        "rope_plus_plus-halves": (RoPePlusPlus("halves"), "causal", gqa),
        "rope_plus_plus-interleaved": (RoPePlusPlus("interleaved", base=50.0), "bidirectional", {"d_head": 6}),
    }
    check_mrope()
    check_rope_plus_plus()
    only = sys.argv[1:]
    if not only or "rope-tables" in only:
        tables()
    write(__file__, rows, only)


if __name__ == "__main__":
    main()
