"""Golden values and gradients of stacks whose layers differ, for crates/encoder/tests/architectures.rs.

Run from the repository root: python oracle/hybrids.py
Writes crates/encoder/tests/golden/arch-smollm3.safetensors and arch-llama4.safetensors. Deterministic: one seed, no clock.

Llama blocks (arXiv:2302.13971; GQA arXiv:2305.13245) of which every second has no positions: as in SmolLM3, and as in Llama 4,
where pairs are neighbours and queries of those layers grow with their position. Computed in float64, head by head, gradients
by autograd, and compared with `SmolLM3Model` and `Llama4TextModel` of transformers, which are in float32, before anything is
written. Llama 4's temperature follows the column there and the position here, so the two are compared on text that is padded on the
right; its chunks, experts and norms of queries and keys are switched off.
"""

import hashlib
import json
import math
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import Llama4TextConfig, SmolLM3Config, SmolLM3Model
from transformers.models.llama4.modeling_llama4 import Llama4TextModel

torch.set_num_threads(1)
SEED = 2025_07
OUT = Path("crates/encoder/tests/golden")
META = {
    "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    "seed": SEED,
    "versions": {name: version(name) for name in ("numpy", "safetensors", "torch", "transformers")},
}
LAYERS, D_MODEL, HEADS, KV_HEADS, D_HEAD, D_FF, VOCAB, SEQ = 4, 11, 4, 2, 6, 17, 13, 7
BASE, EPS = 10_000.0, 1e-6
SCALE, FLOOR = 0.7, 3


def turn(x, positions, interleaved):
    """x [batch, seq, d_head], as complex numbers times exp(i · position · θ_n)."""
    half = D_HEAD // 2
    thetas = BASE ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = positions[..., None].double() * thetas
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    turned = torch.complex(a, b) * torch.polar(torch.ones_like(angles), angles)
    parts = (turned.real, turned.imag)
    return torch.stack(parts, -1).flatten(-2) if interleaved else torch.cat(parts, -1)


def norm(p, name, x):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + EPS) * p[f"{name}.Rms.gamma"]


def attend(p, at, x, positions, see, rotates, interleaved, temperature):
    q, k, v = (x @ p[f"{at}.{name}_proj.weight"] for name in "qkv")
    contexts = []
    for head in range(HEADS):
        part = lambda y, h: y[..., h * D_HEAD : (h + 1) * D_HEAD]
        kv = head // (HEADS // KV_HEADS)
        qh, kh, vh = part(q, head), part(k, kv), part(v, kv)
        if rotates:
            qh, kh = turn(qh, positions, interleaved), turn(kh, positions, interleaved)
        elif temperature:
            grown = 1 + SCALE * torch.log(1 + torch.floor((positions + 1) / FLOOR).double())
            qh = qh * grown[..., None]
        scores = qh @ kh.transpose(1, 2) / math.sqrt(D_HEAD)
        contexts.append(torch.softmax(scores.masked_fill(~see, -math.inf), -1) @ vh)
    return torch.cat(contexts, -1) @ p[f"{at}.o_proj.weight"]


def stack(p, inputs, interleaved, temperature):
    ids, keep = torch.tensor(inputs["ids"]), torch.tensor(inputs["keep"])
    positions = (keep.cumsum(1) - 1).clamp(min=0)
    see = keep[:, None, :] & torch.ones(SEQ, SEQ, dtype=torch.bool).tril()
    see = see | ~see.any(-1, keepdim=True)  # padding before a text, which nobody looks at
    x = p["embeddings.tokens"][ids]
    for layer in range(LAYERS):
        at = f"layers.{layer}"
        rotates = layer % 2 == 0
        x = x + attend(p, f"{at}.attn", norm(p, f"{at}.attn_norm", x), positions, see, rotates, interleaved, temperature)
        h = norm(p, f"{at}.ffn_norm", x)
        gate = h @ p[f"{at}.ffn.gate_proj.weight"]
        up = h @ p[f"{at}.ffn.up_proj.weight"]
        x = x + (gate * torch.sigmoid(gate) * up) @ p[f"{at}.ffn.down_proj.weight"]
    return norm(p, "final_norm", x)


def parameters(rng):
    draw = lambda *shape, std=0.4, mean=0.0: (rng.normal(size=shape) * std + mean).astype(np.float32)
    p = {"embeddings.tokens": draw(VOCAB, D_MODEL, std=1.0), "final_norm.Rms.gamma": draw(D_MODEL, std=0.3, mean=1.0)}
    wide, narrow = HEADS * D_HEAD, KV_HEADS * D_HEAD
    for layer in range(LAYERS):
        at = f"layers.{layer}"
        for name in ("attn_norm", "ffn_norm"):
            p[f"{at}.{name}.Rms.gamma"] = draw(D_MODEL, std=0.3, mean=1.0)
        for name, d_in, d_out in [
            ("attn.q_proj", D_MODEL, wide),
            ("attn.k_proj", D_MODEL, narrow),
            ("attn.v_proj", D_MODEL, narrow),
            ("attn.o_proj", wide, D_MODEL),
            ("ffn.gate_proj", D_MODEL, D_FF),
            ("ffn.up_proj", D_MODEL, D_FF),
            ("ffn.down_proj", D_FF, D_MODEL),
        ]:
            p[f"{at}.{name}.weight"] = draw(d_in, d_out)
    return p


def theirs(model, p, inputs, feed_forward):
    """The output of a model of transformers with these parameters."""
    of_name = {"embed_tokens.weight": p["embeddings.tokens"], "norm.weight": p["final_norm.Rms.gamma"]}
    for layer in range(LAYERS):
        at = f"layers.{layer}"
        of_name[f"{at}.input_layernorm.weight"] = p[f"{at}.attn_norm.Rms.gamma"]
        of_name[f"{at}.post_attention_layernorm.weight"] = p[f"{at}.ffn_norm.Rms.gamma"]
        for name in "qkvo":
            of_name[f"{at}.self_attn.{name}_proj.weight"] = p[f"{at}.attn.{name}_proj.weight"].T
        for name in ("gate", "up", "down"):
            of_name[f"{at}.{feed_forward}.{name}_proj.weight"] = p[f"{at}.ffn.{name}_proj.weight"].T
    model.load_state_dict({name: torch.tensor(value) for name, value in of_name.items()})
    keep = torch.tensor(inputs["keep"])
    positions = (keep.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        out = model(torch.tensor(inputs["ids"]), attention_mask=keep.long(), position_ids=positions, use_cache=False)
    return out.last_hidden_state.numpy()


def padded(ids, columns):
    """The second of two texts without these columns."""
    keep = np.ones((2, SEQ), bool)
    keep[1, columns] = False
    return {"ids": ids, "keep": keep}


def write(name, compared, model, feed_forward, interleaved, temperature):
    """Text is padded on the left; `compared` are the columns of padding for transformers."""
    rng = np.random.default_rng([SEED, *name.encode()])
    p = parameters(rng)
    ids = rng.integers(VOCAB, size=(2, SEQ))
    exact = {key: torch.tensor(value, dtype=torch.float64, requires_grad=True) for key, value in p.items()}
    inputs = padded(ids, compared)
    keep = inputs["keep"]
    found = stack(exact, inputs, interleaved, temperature).detach().numpy()
    np.testing.assert_allclose(found[keep], theirs(model, p, inputs, feed_forward)[keep], rtol=0, atol=2e-5)
    inputs = padded(ids, slice(2))
    keep = inputs["keep"]
    out = stack(exact, inputs, interleaved, temperature)
    found = out.detach().numpy()
    upstream = (rng.normal(size=(2, SEQ, D_MODEL)) * keep[..., None]).astype(np.float32)
    grads = torch.autograd.grad((out * torch.tensor(upstream)).sum(), list(exact.values()))
    tensors = {f"in.{key}": np.asarray(value, np.float32) for key, value in inputs.items()}
    tensors |= {"out": (found * keep[..., None]).astype(np.float32), "upstream": upstream}
    tensors |= {f"param.{key}": value for key, value in p.items()}
    tensors |= {f"grad.{key}": grad.numpy().astype(np.float32) for key, grad in zip(exact, grads)}
    save_file(tensors, OUT / f"arch-{name}.safetensors", metadata={"oracle": json.dumps(META)})


def main():
    sizes = {
        "vocab_size": VOCAB,
        "hidden_size": D_MODEL,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": D_HEAD,
        "intermediate_size": D_FF,
        "rope_theta": BASE,
        "rms_norm_eps": EPS,
        "max_position_embeddings": 32,
        "attn_implementation": "eager",
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    smollm3 = SmolLM3Config(**sizes, no_rope_layer_interval=2, use_sliding_window=False)
    assert smollm3.no_rope_layers == [1, 0, 1, 0]
    write("smollm3", slice(2), SmolLM3Model(smollm3), "mlp", interleaved=False, temperature=False)
    llama4 = Llama4TextConfig(
        **sizes,
        intermediate_size_mlp=D_FF,
        moe_layers=[],
        no_rope_layers=[1, 0, 1, 0],
        use_qk_norm=False,
        attn_temperature_tuning=True,
        attn_scale=SCALE,
        floor_scale=FLOOR,
        attention_chunk_size=1024,
    )
    write("llama4", slice(-2, None), Llama4TextModel(llama4), "feed_forward", interleaved=True, temperature=True)


if __name__ == "__main__":
    main()
