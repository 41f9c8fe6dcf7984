"""Golden outputs and gradients of scores that depend on content and position, for crates/encoder/tests/conformance.rs.

Run from the repository root: python oracle/positions_terms.py
Writes the positions-*.safetensors of Transformer-XL, XLNet, DeBERTa, TUPE, projected relative logits and of Shaw's vectors
on keys alone, and DeBERTa's buckets. Deterministic: one seed, no clock. A cell of the scores is computed on its own, from
query, key and their positions. Before anything is written the formulas are compared with transformers, where it has them.
"""

import math
import sys

import numpy as np
import torch
from transformers import DebertaConfig, DebertaV2Config, XLNetConfig, XLNetModel
from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention as AttentionV1
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention as AttentionV2
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position
from transformers.models.t5.modeling_t5 import T5Attention

from position_layer import Scheme, f32, save, write


def of_head(projected, head, d_head):
    return projected[head * d_head : (head + 1) * d_head]


class Shaw(Scheme):
    """Shaw et al. 2018, eq. 4, without the vectors of values."""

    trained = ("position.keys",)

    def __init__(self, n):
        self.n = n

    def params(self, rng, shape):
        return {"position.keys": rng.normal(scale=0.5, size=(2 * self.n + 1, shape["d_head"]))}

    def score(self, params, head, query, key, i, j, row):
        clipped = int(max(-self.n, min(self.n, j - i)))
        vector = params["position.keys"][clipped + self.n]
        return torch.dot(query, key + vector) * self.scale(len(query), i)


class TransformerXL(Scheme):
    """Dai et al. 2019, §3.3, the four terms (a) to (d)."""

    prefix = "position."
    names = ("content_bias", "position_bias", "weight")

    def __init__(self, base=10_000.0, clamp=None):
        self.base, self.clamp = base, clamp
        self.trained = tuple(self.prefix + name for name in self.names)

    def params(self, rng, shape):
        heads = (shape["n_heads"], shape["d_head"])
        sizes = [heads, heads, (shape["d_model"], shape["n_heads"] * shape["d_head"])]
        return {self.prefix + name: rng.normal(scale=0.5, size=size) for name, size in zip(self.names, sizes)}

    def r(self, distance, d_model):
        if self.clamp:
            distance = max(-self.clamp, min(self.clamp, distance))
        angles = [distance / self.base ** (2 * n / d_model) for n in range(d_model // 2)]
        return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles])

    def unscaled(self, params, head, query, key, i, j):
        u, v, weight = (params[self.prefix + name] for name in self.names)
        projected = of_head(self.r(i - j, len(weight)) @ weight, head, len(query))
        content = torch.dot(query, key) + torch.dot(u[head], key)  # (a), (c)
        return content + torch.dot(query, projected) + torch.dot(v[head], projected)  # (b), (d)

    def score(self, params, head, query, key, i, j, row):
        return self.unscaled(params, head, query, key, i, j) * self.scale(len(query), i)


class XLNet(TransformerXL):
    """Yang et al. 2019: Transformer-XL's scores, and (q + s)·e of the same segment or of different ones."""

    prefix = "position.distances."

    def __init__(self, segments=None, **others):
        super().__init__(**others)
        self.segments = segments
        if segments:
            self.trained += ("position.segments.bias", "position.segments.vectors")

    def params(self, rng, shape):
        drawn = super().params(rng, shape)
        if self.segments:
            heads = (shape["n_heads"], shape["d_head"])
            drawn["position.segments.bias"] = rng.normal(scale=0.5, size=heads)
            drawn["position.segments.vectors"] = rng.normal(scale=0.5, size=(2, *heads))
        return drawn

    def score(self, params, head, query, key, i, j, row):
        score = self.unscaled(params, head, query, key, i, j)
        if self.segments:
            relation = int(row.segments[i] != row.segments[j])
            vector = params["position.segments.vectors"][relation, head]
            score = score + torch.dot(query + params["position.segments.bias"][head], vector)
        return score * self.scale(len(query), i)


class DeBERTa(Scheme):
    """He et al. 2020, eq. 4, with the authors' rows: that of i − j in both terms."""

    def __init__(self, span, terms="both", max_distance=None, norm=False):
        self.span, self.max_distance, self.norm = span, max_distance, norm
        self.c2p, self.p2c = terms != "p2c", terms != "c2p"
        names = ["table"] + ["gamma", "beta"] * norm
        names += ["key_weight"] * self.c2p + ["query_weight", "query_bias"] * self.p2c
        self.trained = tuple(f"position.{name}" for name in names)

    def params(self, rng, shape):
        d_model, width = shape["d_model"], shape["n_heads"] * shape["d_head"]
        sizes = {"table": (2 * self.span, d_model), "gamma": d_model, "beta": d_model}
        sizes |= {"key_weight": (d_model, width), "query_weight": (d_model, width), "query_bias": width}
        return {name: rng.normal(scale=0.5, size=sizes[name.removeprefix("position.")]) for name in self.trained}

    def bucket(self, distance):
        if self.max_distance is None or abs(distance) <= (middle := self.span // 2):
            return distance
        log = math.log(abs(distance) / middle) / math.log((self.max_distance - 1) / middle) * (middle - 1)
        return math.copysign(math.ceil(log) + middle, distance)

    def row(self, params, distance):
        row = params["position.table"][int(max(0, min(2 * self.span - 1, self.bucket(distance) + self.span)))]
        if self.norm:
            centred = row - row.mean()
            row = centred / torch.sqrt((centred**2).mean() + 1e-7)
            row = row * params["position.gamma"] + params["position.beta"]
        return row

    def score(self, params, head, query, key, i, j, row):
        d_head, vector = len(query), self.row(params, i - j)
        score = torch.dot(query, key)
        if self.c2p:
            score = score + torch.dot(query, of_head(vector @ params["position.key_weight"], head, d_head))
        if self.p2c:
            projected = vector @ params["position.query_weight"] + params["position.query_bias"]
            score = score + torch.dot(key, of_head(projected, head, d_head))
        return score / math.sqrt(d_head * (1 + self.c2p + self.p2c))


class TUPE(Scheme):
    """Ke et al. 2020, eq. 10: reset acts on the scores of positions and the bias together."""

    def __init__(self, max_positions, first_token, buckets=None, bidirectional=True):
        self.max_positions, self.first_token = max_positions, first_token
        self.buckets, self.bidirectional = buckets, bidirectional
        names = ["table", "gamma", "beta", "query_weight", "key_weight"]
        names += ["first_token"] * first_token + ["buckets"] * bool(buckets)
        self.trained = tuple(f"position.{name}" for name in names)

    def params(self, rng, shape):
        d_model, heads = shape["d_model"], shape["n_heads"]
        width = heads * shape["d_head"]
        sizes = {"table": (self.max_positions, d_model), "gamma": d_model, "beta": d_model}
        sizes |= {"query_weight": (d_model, width), "key_weight": (d_model, width), "first_token": (2, heads)}
        if self.buckets:
            sizes["buckets"] = (self.buckets[0], heads)
        return {name: rng.normal(scale=0.4, size=sizes[name.removeprefix("position.")]) for name in self.trained}

    def normalised(self, params, position):
        row = params["position.table"][int(position)]
        centred = row - row.mean()
        row = centred / torch.sqrt((centred**2).mean() + 1e-5)
        return row * params["position.gamma"] + params["position.beta"]

    def positions(self, params, head, d_head, i, j):
        if self.first_token and i == 0:
            return params["position.first_token"][0, head]
        if self.first_token and j == 0:
            return params["position.first_token"][1, head]
        q = of_head(self.normalised(params, i) @ params["position.query_weight"], head, d_head)
        k = of_head(self.normalised(params, j) @ params["position.key_weight"], head, d_head)
        score = torch.dot(q, k) / math.sqrt(2 * d_head)
        if self.buckets:
            ahead = torch.tensor(int(j - i))
            bucket = T5Attention._relative_position_bucket(ahead, self.bidirectional, *self.buckets)
            score = score + params["position.buckets"][bucket, head]
        return score

    def score(self, params, head, query, key, i, j, row):
        d_head = len(query)
        return torch.dot(query, key) / math.sqrt(2 * d_head) + self.positions(params, head, d_head, i, j)


class RelativeProjection(Scheme):
    """Inkling's relative logits; `both_ways` for encoders, as in RelativeProjPositionalBias of x-transformers."""

    trained = ("position.weight", "position.table")

    def __init__(self, d_rel, extent, both_ways=False):
        self.d_rel, self.extent, self.first = d_rel, extent, 1 - extent if both_ways else 0

    def params(self, rng, shape):
        weight = rng.normal(scale=0.5, size=(shape["d_model"], shape["n_heads"] * self.d_rel))
        table = rng.normal(scale=0.5, size=(self.extent - self.first, self.d_rel))
        return {"position.weight": weight, "position.table": table}

    def score(self, params, head, query, key, i, j, row):
        score = super().score(params, head, query, key, i, j, row)
        if not self.first <= i - j < self.extent:
            return score
        chosen = of_head(row.hidden[i] @ params["position.weight"], head, self.d_rel)
        return score + torch.dot(chosen, params["position.table"][int(i - j - self.first)])


# ---- Comparisons with transformers: one head count and width for all, a text of SEQ tokens without padding.

HEADS, D_HEAD, D_MODEL, SEQ = 3, 4, 12, 9


def scores_of(scheme, params, q, k, form="bidirectional", segments=None):
    """All cells of q and k, [heads, seq, d_head], by the scheme."""

    class AnyRow:
        pass

    row = AnyRow()
    row.segments, row.form = segments, form
    cell = lambda h, i, j: scheme.score(params, h, q[h, i], k[h, j], i, j, row)
    rows = [[[cell(h, i, j) for j in range(SEQ)] for i in range(SEQ)] for h in range(HEADS)]
    return torch.tensor(rows)


def drawn(scheme, rng):
    shape = {"n_heads": HEADS, "n_kv_heads": HEADS, "d_head": D_HEAD, "d_model": D_MODEL}
    return {key: torch.tensor(value) for key, value in scheme.params(rng, shape).items()}


def normal(rng, *size):
    return torch.tensor(rng.normal(size=size))


def close(what, got, want, tolerance):
    off = (got - want).abs().max().item()
    assert off < tolerance, f"{what}: {off}"


def xlnet_is_that_of_transformers(rng):
    for clamp, segments in [(None, None), (3, [0, 0, 0, 1, 1, 1, 1, 2, 2])]:
        scheme = XLNet(segments=[segments] if segments else None, clamp=clamp)
        params = drawn(scheme, rng)
        config = XLNetConfig(vocab_size=5, d_model=D_MODEL, n_layer=1, n_head=HEADS, d_inner=8, clamp_len=clamp or -1)
        model = XLNetModel(config)
        layer = model.layer[0].rel_attn
        weights = {"r_w_bias": "content_bias", "r_r_bias": "position_bias"}
        for theirs, ours in weights.items():
            getattr(layer, theirs).data = params[f"position.distances.{ours}"]
        weight = params["position.distances.weight"].reshape(D_MODEL, HEADS, D_HEAD)
        r = model.relative_positional_encoding(SEQ, SEQ, bsz=1).to(torch.float64)
        k_head_r = torch.einsum("ibh,hnd->ibnd", r, weight)
        seg_mat = None
        if segments:
            layer.r_s_bias.data = params["position.segments.bias"]
            layer.seg_embed.data = params["position.segments.vectors"]
            ids = torch.tensor(segments)
            differ = (ids[:, None] != ids[None, :]).long()[:, :, None]
            seg_mat = torch.nn.functional.one_hot(differ, num_classes=2).to(torch.float64)
        layer.dropout.p = 0.0
        q, k, v = (normal(rng, HEADS, SEQ, D_HEAD) for _ in range(3))
        theirs = lambda x: x.permute(1, 0, 2)[:, None]  # [seq, batch, heads, d_head]
        _, weights = layer.rel_attn_core(
            theirs(q), theirs(k), theirs(v), k_head_r, seg_mat=seg_mat, output_attentions=True
        )
        want = weights[:, :, 0].permute(2, 0, 1)
        got = torch.softmax(scores_of(scheme, params, q, k, segments=segments), dim=-1)
        close(f"xlnet, clamp {clamp}, segments {segments}", got, want.detach(), 1e-6)


def deberta_is_that_of_transformers(rng):
    types = {"both": ["c2p", "p2c"], "c2p": ["c2p"], "p2c": ["p2c"]}
    sizes = {"hidden_size": D_MODEL, "num_attention_heads": HEADS, "relative_attention": True}
    copy = lambda linear, weight, bias: (
        linear.weight.data.copy_(weight.T),
        linear.bias is None or linear.bias.data.copy_(bias),
    )
    nothing = torch.zeros(HEADS * D_HEAD)
    for terms, pos_att_type in types.items():
        scale = 1 + len(pos_att_type)
        q, k = normal(rng, HEADS, SEQ, D_HEAD), normal(rng, HEADS, SEQ, D_HEAD)
        content = q @ k.transpose(1, 2) / math.sqrt(D_HEAD * scale)

        scheme = DeBERTa(span=3, terms=terms)
        params = drawn(scheme, rng)
        layer = AttentionV1(DebertaConfig(max_relative_positions=3, pos_att_type=pos_att_type, **sizes))
        if scheme.c2p:
            copy(layer.pos_proj, params["position.key_weight"], nothing)
        if scheme.p2c:
            copy(layer.pos_q_proj, params["position.query_weight"], params["position.query_bias"])
        distances = torch.arange(SEQ)[:, None] - torch.arange(SEQ)[None, :]
        scaled = q[None] / math.sqrt(D_HEAD * scale)
        bias = layer.disentangled_att_bias(scaled, k[None], distances, params["position.table"], scale)
        got = scores_of(scheme, params, q, k)
        close(f"deberta 1, {terms}", got, (content + bias[0]).detach(), 1e-6)

        scheme = DeBERTa(span=4, terms=terms, max_distance=7, norm=True)
        params = drawn(scheme, rng)
        config = DebertaV2Config(
            position_buckets=4, max_relative_positions=7, pos_att_type=pos_att_type, share_att_key=False, **sizes
        )
        layer = AttentionV2(config)
        if scheme.c2p:
            copy(layer.pos_key_proj, params["position.key_weight"], nothing)
        if scheme.p2c:
            copy(layer.pos_query_proj, params["position.query_weight"], params["position.query_bias"])
        gamma, beta = params["position.gamma"], params["position.beta"]
        table = torch.nn.functional.layer_norm(params["position.table"], (D_MODEL,), gamma, beta, eps=1e-7)
        bias = layer.disentangled_attention_bias(q, k, None, table, scale)
        got = scores_of(scheme, params, q, k)
        close(f"deberta 2, {terms}", got, (content + bias).detach(), 1e-6)


def buckets():
    """DeBERTa's buckets as transformers computes them in float32: distance, span, max_distance, bucket."""
    cells = []
    torch.set_default_dtype(torch.float32)
    for span, max_distance in [(256, 512), (32, 128), (8, 20), (4, 7)]:
        last = max_distance + 3
        distances = torch.tensor(sorted({*range(-last, last + 1), -32_767, -5000, 5000, 32_767}))
        found = make_log_bucket_position(distances, span, max_distance)
        cells += [[d, span, max_distance, b] for d, b in zip(distances.tolist(), found.tolist())]
    torch.set_default_dtype(torch.float64)
    save(__file__, "deberta-buckets", {"cells": f32(cells)})


def main():
    rng = np.random.default_rng(7)
    xlnet_is_that_of_transformers(rng)
    deberta_is_that_of_transformers(rng)
    gqa = {"n_heads": 4, "n_kv_heads": 2}
    segments = [[0, 0, 0, 0, 1, 1, 2], [1, 1, 0, 0, 0, 1, 1]]
    rows = {
        "shaw-keys": (Shaw(2), "causal", gqa),
        "transformer_xl-causal": (TransformerXL(), "causal", gqa),
        "transformer_xl-clamped": (TransformerXL(base=50.0, clamp=3), "bidirectional", {}),
        "xlnet-segments": (XLNet(segments), "bidirectional", gqa),
        "xlnet-clamped": (XLNet(base=50.0, clamp=4), "causal", {}),
        "deberta-clipped": (DeBERTa(3), "bidirectional", gqa),
        "deberta-log": (DeBERTa(4, max_distance=9, norm=True), "causal", {}),
        "deberta-c2p": (DeBERTa(4, "c2p", max_distance=9), "bidirectional", {}),
        "deberta-p2c": (DeBERTa(3, "p2c", norm=True), "causal", gqa),
        "tupe-absolute": (TUPE(23, first_token=False), "bidirectional", gqa),
        "tupe-relative": (TUPE(23, first_token=True, buckets=(8, 16)), "bidirectional", {}),
        "tupe-causal": (TUPE(23, first_token=True, buckets=(8, 12), bidirectional=False), "causal", gqa),
        "relative_projection-causal": (RelativeProjection(3, 4), "causal", gqa),
        "relative_projection-bidirectional": (RelativeProjection(3, 4, both_ways=True), "bidirectional", {}),
    }
    write(__file__, rows, sys.argv[1:])
    if not sys.argv[1:]:
        buckets()


if __name__ == "__main__":
    main()
