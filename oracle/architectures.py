"""Golden values and gradients of whole two-layer stacks for crates/encoder, from JAX in float64.

Run from the repository root: python oracle/architectures.py
Writes crates/encoder/tests/golden/arch-*.safetensors. Deterministic: one seed, no clock.

Written from the papers: BERT (arXiv:1810.04805), GPT-2 (pre-norm; gelu by tanh), Llama (arXiv:2302.13971; GQA
arXiv:2305.13245), GPT-NeoX (arXiv:2204.06745), T5 v1.1 (arXiv:1910.10683, arXiv:2002.05202). Attention runs head by head
with explicit loops. Parameters are drawn in f32. Gradients are those of sum(output * upstream) with respect to every
parameter; upstream is 0 at padding, whose output has no meaning. Sizes are distinct, so that no swapped axis passes.
"""

import hashlib
import json
import math
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

jax.config.update("jax_enable_x64", True)
SEED = 20_19
OUT = Path("crates/encoder/tests/golden")
META = {
    "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    "seed": SEED,
    "versions": {name: version(name) for name in ("jax", "jaxlib", "numpy", "safetensors")},
}
LAYERS = 2


# Parts.


def gelu(x):
    return 0.5 * x * (1.0 + jax.scipy.special.erf(x / math.sqrt(2.0)))


def gelu_tanh(x):
    return 0.5 * x * (1.0 + jnp.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def silu(x):
    return x / (1.0 + jnp.exp(-x))


def relu(x):
    return jnp.maximum(x, 0.0)


def linear(p, name, x):
    y = x @ p[f"{name}.weight"]
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def norm(p, name, x, eps):
    if f"{name}.Rms.gamma" in p:
        return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + eps) * p[f"{name}.Rms.gamma"]
    centred = x - x.mean(-1, keepdims=True)
    var = (centred * centred).mean(-1, keepdims=True)
    return centred / jnp.sqrt(var + eps) * p[f"{name}.Layer.gamma"] + p[f"{name}.Layer.beta"]


def rotate_halves(x, positions, turned, base=10_000.0):
    """x [batch, seq, d_head]: dimension n and n + turned/2 form a pair; the dimensions from `turned` on stay."""
    half = turned // 2
    angles = positions[..., None] * base ** (-2.0 * np.arange(half) / turned)  # [batch, seq, half]
    a, b, rest = x[..., :half], x[..., half:turned], x[..., turned:]
    cos, sin = np.cos(angles), np.sin(angles)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos, rest], -1)


def t5_bucket(distance, causal, buckets, max_distance):
    """`distance` is query − key."""
    side = 0
    if causal:
        distance = max(distance, 0)
    else:
        buckets //= 2
        side, distance = (buckets if distance < 0 else 0), abs(distance)
    exact = buckets // 2
    if distance < exact:
        return side + distance
    log = math.log(distance / exact) / math.log(max_distance / exact) * (buckets - exact)
    return side + min(exact + int(log), buckets - 1)


def attend(p, name, c, x, source, keep, bias=None, positions=None, scale=None):
    """`keep` [batch, q, k]; `bias(head)` [q, k]."""
    d = c["d_head"]
    group = c["heads"] // c["kv_heads"]
    q, k, v = linear(p, f"{name}.q_proj", x), linear(p, f"{name}.k_proj", source), linear(p, f"{name}.v_proj", source)
    # A query without any key, which only padding can be, sees all: its output is not looked at.
    keep = keep | ~keep.any(-1, keepdims=True)
    outputs = []
    for head in range(c["heads"]):
        kv = head // group
        qh, kh, vh = q[..., head * d : head * d + d], k[..., kv * d : kv * d + d], v[..., kv * d : kv * d + d]
        if positions is not None:
            qh, kh = rotate_halves(qh, positions, c["turned"]), rotate_halves(kh, positions, c["turned"])
        scores = qh @ kh.transpose(0, 2, 1) * (d**-0.5 if scale is None else scale)
        if bias is not None:
            scores = scores + bias(head)
        outputs.append(jax.nn.softmax(jnp.where(keep, scores, -jnp.inf), -1) @ vh)
    return linear(p, f"{name}.o_proj", jnp.concatenate(outputs, -1))


def feed_forward(p, name, c, x):
    up = linear(p, f"{name}.up_proj", x)
    if f"{name}.gate_proj.weight" in p:
        return linear(p, f"{name}.down_proj", c["activation"](linear(p, f"{name}.gate_proj", x)) * up)
    return linear(p, f"{name}.down_proj", c["activation"](up))


def stack(p, root, c, inputs, causal, memory=None, memory_keep=None):
    ids, keep = inputs["ids"], inputs["keep"]
    seq, eps = ids.shape[1], c["eps"]
    positions = np.maximum(np.cumsum(keep, 1) - 1, 0)
    x = p[f"{root}embeddings.tokens"][ids] * c.get("embedding_scale", 1.0)
    if "segments" in inputs:
        x = x + p[f"{root}embeddings.segments"][inputs["segments"]]
    if c["position"] == "learned":
        x = x + p[f"{root}schemes.0.Learned.table"][positions]
    if c.get("embedding_norm"):
        x = norm(p, f"{root}embedding_norm", x, eps)
    see = np.broadcast_to(keep[:, None, :], (len(ids), seq, seq))
    if causal:
        see = see & np.tril(np.ones((seq, seq), bool))
    how = {"positions": positions if c["position"] == "rotary" else None}
    if c["position"] == "t5":
        # Here every row's real tokens are neighbours, so the distance of positions is that of columns.
        of = [[t5_bucket(i - j, causal, *c["buckets"]) for j in range(seq)] for i in range(seq)]
        how = {"bias": lambda head: p[f"{root}schemes.0.T5.table"][np.array(of), head], "scale": c["t5_scale"]}
    for layer in range(LAYERS):
        at = f"{root}layers.{layer}"

        def self_attention(x):
            return attend(p, f"{at}.attn", c, x, x, see, **how)

        def cross_attention(x):
            return attend(p, f"{at}.cross_attn", c, x, memory, np.repeat(memory_keep[:, None], seq, 1))

        def ffn(x):
            return feed_forward(p, f"{at}.ffn", c, x)

        parts = [("attn_norm", self_attention), ("cross_norm", cross_attention), ("ffn_norm", ffn)]
        parts = [part for part in parts if memory is not None or part[0] != "cross_norm"]
        if c["residual"] == "parallel":
            x = x + sum(f(norm(p, f"{at}.{name}", x, eps)) for name, f in parts)
            continue
        for name, f in parts:
            if c["residual"] == "post":
                x = norm(p, f"{at}.{name}", x + f(x), eps)
            else:
                x = x + f(norm(p, f"{at}.{name}", x, eps))
    return x if c["residual"] == "post" else norm(p, f"{root}final_norm", x, eps)


# Parameters and inputs.


class Draw:
    def __init__(self, name):
        self.rng = np.random.default_rng([SEED, *name.encode()])

    def __call__(self, *shape, std=0.4, mean=0.0):
        return (self.rng.normal(size=shape) * std + mean).astype(np.float32)

    def linear(self, p, name, d_in, d_out, bias):
        p[f"{name}.weight"] = self(d_in, d_out)
        if bias:
            p[f"{name}.bias"] = self(d_out)

    def norm(self, p, name, d, kind):
        p[f"{name}.{kind}.gamma"] = self(d, std=0.3, mean=1.0)
        if kind == "Layer":
            p[f"{name}.Layer.beta"] = self(d, std=0.3)

    def stack(self, p, root, c, cross):
        d, wide, narrow = c["d_model"], c["heads"] * c["d_head"], c["kv_heads"] * c["d_head"]
        p[f"{root}embeddings.tokens"] = self(c["vocab"], d, std=1.0)
        if c.get("segments"):
            p[f"{root}embeddings.segments"] = self(c["segments"], d, std=1.0)
        if c["position"] == "learned":
            p[f"{root}schemes.0.Learned.table"] = self(c["max_seq_len"], d, std=1.0)
        if c["position"] == "t5":
            p[f"{root}schemes.0.T5.table"] = self(c["buckets"][0], c["heads"], std=1.0)
        if c.get("embedding_norm"):
            self.norm(p, f"{root}embedding_norm", d, c["norm"])
        for layer in range(LAYERS):
            at = f"{root}layers.{layer}"
            for attn, its_norm in [("attn", "attn_norm")] + [("cross_attn", "cross_norm")] * cross:
                self.norm(p, f"{at}.{its_norm}", d, c["norm"])
                for proj, d_out in [("q_proj", wide), ("k_proj", narrow), ("v_proj", narrow)]:
                    self.linear(p, f"{at}.{attn}.{proj}", d, d_out, c["bias"])
                self.linear(p, f"{at}.{attn}.o_proj", wide, d, c["bias"])
            self.norm(p, f"{at}.ffn_norm", d, c["norm"])
            for proj in ["gate_proj"] * c.get("gated", False) + ["up_proj"]:
                self.linear(p, f"{at}.ffn.{proj}", d, c["d_ff"], c["bias"])
            self.linear(p, f"{at}.ffn.down_proj", c["d_ff"], d, c["bias"])
        if c["residual"] != "post":
            self.norm(p, f"{root}final_norm", d, c["norm"])


def tokens(draw, vocab, seq, padding):
    """Two rows; the second has two tokens of padding on the given side, or none."""
    keep = np.ones((2, seq), bool)
    if padding == "left":
        keep[1, :2] = False
    if padding == "right":
        keep[1, -2:] = False
    return {"ids": draw.rng.integers(vocab, size=(2, seq)), "keep": keep}


def write(name, p, f, inputs, out_keep, d_model):
    exact = {key: jnp.asarray(value, jnp.float64) for key, value in p.items()}
    draw = Draw(f"{name} upstream")
    upstream = draw(*out_keep.shape, d_model, std=1.0) * out_keep[..., None]
    tensors = {f"in.{key}": np.asarray(value, np.float32) for key, value in inputs.items()}
    tensors["out"] = np.asarray(f(exact) * out_keep[..., None], np.float32)
    tensors["upstream"] = upstream.astype(np.float32)
    grads = jax.grad(lambda p: (f(p) * upstream).sum())(exact)
    for key, value in p.items():
        tensors[f"param.{key}"] = value
        tensors[f"grad.{key}"] = np.asarray(grads[key], np.float32)
    save_file(tensors, OUT / f"arch-{name}.safetensors", metadata={"oracle": json.dumps(META)})


def single(name, c, seq, padding, causal):
    draw, p = Draw(name), {}
    draw.stack(p, "", c, cross=False)
    inputs = tokens(draw, c["vocab"], seq, padding)
    if c.get("segments"):
        inputs["segments"] = draw.rng.integers(c["segments"], size=inputs["ids"].shape)
    write(name, p, lambda p: stack(p, "", c, inputs, causal), inputs, inputs["keep"], c["d_model"])


def encoder_decoder(name, c):
    draw, p = Draw(name), {}
    draw.stack(p, "encoder.", c, cross=False)
    draw.stack(p, "decoder.", c, cross=True)
    source, target = tokens(draw, c["vocab"], 7, "right"), tokens(draw, c["vocab"], 5, "right")

    def f(p):
        memory = stack(p, "encoder.", c, source, causal=False)
        return stack(p, "decoder.", c, target, causal=True, memory=memory, memory_keep=source["keep"])

    sides = {"source": source, "target": target}
    inputs = {f"{side}.{key}": value for side, values in sides.items() for key, value in values.items()}
    write(name, p, f, inputs, target["keep"], c["d_model"])


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    base = {"d_model": 11, "heads": 3, "kv_heads": 3, "d_head": 4, "d_ff": 17, "vocab": 13, "bias": True}
    bert = {"norm": "Layer", "residual": "post", "activation": gelu, "eps": 1e-12, "embedding_norm": True}
    bert |= {"segments": 2, "position": "learned", "max_seq_len": 9}
    single("bert", base | bert, seq=7, padding="right", causal=False)
    gpt2 = {"norm": "Layer", "residual": "pre", "activation": gelu_tanh, "eps": 1e-5}
    gpt2 |= {"position": "learned", "max_seq_len": 9}
    single("gpt2", base | gpt2, seq=7, padding="left", causal=True)
    llama = {"norm": "Rms", "residual": "pre", "activation": silu, "gated": True, "eps": 1e-6, "bias": False}
    llama |= {"heads": 4, "kv_heads": 2, "d_head": 6, "position": "rotary", "turned": 6}
    single("llama", base | llama, seq=7, padding="left", causal=True)
    neox = {"norm": "Layer", "residual": "parallel", "activation": gelu, "eps": 1e-5}
    neox |= {"d_head": 8, "position": "rotary", "turned": 4}
    single("neox", base | neox, seq=7, padding="left", causal=True)
    t5 = {"d_model": 7, "d_ff": 5, "norm": "Rms", "residual": "pre", "eps": 1e-6, "bias": False, "vocab": 11}
    t5 |= {"position": "t5", "buckets": (8, 16)}
    encoder_decoder("t5-geglu", base | t5 | {"activation": gelu, "gated": True, "t5_scale": 1.0})
    relu_t5 = {"activation": relu, "t5_scale": None, "embedding_scale": math.sqrt(7.0)}
    encoder_decoder("t5-relu", base | t5 | relu_t5)


if __name__ == "__main__":
    main()
