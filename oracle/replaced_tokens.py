"""Golden loss and gradients of replaced-token detection, from the ELECTRA of transformers in float64.

Run from the repository root, with requirements-torch.txt: python oracle/replaced_tokens.py
Writes crates/heads/tests/golden/replaced-tokens.safetensors. Deterministic: one seed, no clock.

A generator (ElectraForMaskedLM) and a discriminator (ElectraForPreTraining) with random weights and one table of token vectors.
Tokens are drawn by inverting the distribution function of the generator's scores over a temperature. The quantiles are given:
each lies in the middle of its token's probability, so that rounding does not decide, and one hits the original token. The loss is
that of the paper (Clark et al. 2020, section 2), the mean over hidden tokens plus lambda times the mean over all tokens but
padding, here times the number of tokens; gradients are those of it.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

SEED = 2003_10555
OUT = Path("crates/heads/tests/golden/replaced-tokens.safetensors")
VOCAB, WIDTH, LAYERS, POSITIONS = 29, 7, 2, 11
MASK, PAD = 4, 0
LAMBDA, TEMPERATURE = 50.0, 0.8
IDS = torch.tensor([[2, 17, 9, 23, 3], [2, 11, 26, 3, PAD], [2, 5, 3, PAD, PAD]])
# Of the hidden tokens one stays as it is. Those of the first two places are drawn as they were.
HIDDEN = [(0, 1), (0, 3), (1, 1), (1, 2), (2, 1)]
STAYS = (1, 1)
RNG = torch.Generator().manual_seed(SEED)


def config(heads, d_ff):
    return ElectraConfig(
        vocab_size=VOCAB, embedding_size=WIDTH, hidden_size=4 * heads, num_hidden_layers=LAYERS,
        num_attention_heads=heads, intermediate_size=d_ff, max_position_embeddings=POSITIONS, type_vocab_size=1,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=PAD, attn_implementation="eager",
    )


def randomised(model):
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=RNG, dtype=torch.float64) * 0.5
            # Rounded to f32, so that both sides begin with the same numbers.
            p.copy_((noise + ("LayerNorm.weight" in name)).float().double())
        model.electra.embeddings.token_type_embeddings.weight.zero_()
    return model.eval()


def names(prefix):
    """The parameters of a stack: ours, theirs, and whether a matrix is turned."""
    pairs = [
        ("schemes.0.Learned.table", "embeddings.position_embeddings.weight", False),
        ("embedding_norm.Layer.gamma", "embeddings.LayerNorm.weight", False),
        ("embedding_norm.Layer.beta", "embeddings.LayerNorm.bias", False),
        ("embedding_proj.weight", "embeddings_project.weight", True),
        ("embedding_proj.bias", "embeddings_project.bias", False),
    ]
    for layer in range(LAYERS):
        ours, theirs = f"layers.{layer}", f"encoder.layer.{layer}"
        linears = [
            ("attn.q_proj", "attention.self.query"), ("attn.k_proj", "attention.self.key"),
            ("attn.v_proj", "attention.self.value"), ("attn.o_proj", "attention.output.dense"),
            ("ffn.up_proj", "intermediate.dense"), ("ffn.down_proj", "output.dense"),
        ]
        for own, other in linears:
            pairs.append((f"{ours}.{own}.weight", f"{theirs}.{other}.weight", True))
            pairs.append((f"{ours}.{own}.bias", f"{theirs}.{other}.bias", False))
        for own, other in [("attn_norm", "attention.output.LayerNorm"), ("ffn_norm", "output.LayerNorm")]:
            pairs.append((f"{ours}.{own}.Layer.gamma", f"{theirs}.{other}.weight", False))
            pairs.append((f"{ours}.{own}.Layer.beta", f"{theirs}.{other}.bias", False))
    return [(f"{prefix}encoder.{ours}", f"electra.{theirs}", turned) for ours, theirs, turned in pairs]


OF_DISCRIMINATOR = names("") + [
    ("encoder.embeddings.tokens", "electra.embeddings.word_embeddings.weight", False),
    ("transform.dense.weight", "discriminator_predictions.dense.weight", True),
    ("transform.dense.bias", "discriminator_predictions.dense.bias", False),
    ("classifier.weight", "discriminator_predictions.dense_prediction.weight", True),
    ("classifier.bias", "discriminator_predictions.dense_prediction.bias", False),
]
OF_GENERATOR = names("generator.") + [
    ("generator.transform.dense.weight", "generator_predictions.dense.weight", True),
    ("generator.transform.dense.bias", "generator_predictions.dense.bias", False),
    ("generator.transform.norm.Layer.gamma", "generator_predictions.LayerNorm.weight", False),
    ("generator.transform.norm.Layer.beta", "generator_predictions.LayerNorm.bias", False),
    ("generator.output_bias", "generator_lm_head.bias", False),
]


def quantile(probabilities, token):
    """The middle of a token's part of the distribution function."""
    below = probabilities[:token].sum()
    assert probabilities[token] > 1e-3, "rounding would decide"
    return (below + probabilities[token] / 2).item()


def main():
    discriminator = randomised(ElectraForPreTraining(config(3, 15)).double())
    generator = randomised(ElectraForMaskedLM(config(1, 5)).double())
    # One table of both, and the generator's output.
    table = discriminator.electra.embeddings.word_embeddings.weight
    generator.electra.embeddings.word_embeddings.weight = table
    generator.generator_lm_head.weight = table
    keep = (IDS != PAD).long()
    masked, labels = IDS.clone(), torch.full_like(IDS, -100)
    for place in HIDDEN:
        labels[place] = IDS[place]
        if place != STAYS:
            masked[place] = MASK
    out = generator(masked, attention_mask=keep, labels=labels)
    probabilities = (out.logits.detach() / TEMPERATURE).softmax(-1)
    sampled, quantiles = IDS.clone(), torch.rand(IDS.shape, generator=RNG, dtype=torch.float64)
    for number, place in enumerate(HIDDEN):
        if number == 0:
            token = IDS[place].item()
        else:
            token = torch.multinomial(probabilities[place], 1, generator=RNG).item()
        sampled[place], quantiles[place] = token, quantile(probabilities[place], token)
    is_replaced = (sampled != IDS).long()
    assert 0 < is_replaced.sum() < len(HIDDEN)
    found = discriminator(sampled, attention_mask=keep, labels=is_replaced)
    n_tokens = keep.sum()
    loss = n_tokens * (out.loss + LAMBDA * found.loss)
    loss.backward()
    tensors = {
        "ids": masked, "labels": labels, "quantiles": quantiles, "sampled": sampled, "is_replaced": is_replaced,
        "loss": loss.detach()[None], "generator.loss": out.loss.detach()[None], "discriminator.loss": found.loss.detach()[None],
        "discriminator.logits": found.logits.detach(),
    }
    for model, pairs in [(discriminator, OF_DISCRIMINATOR), (generator, OF_GENERATOR)]:
        parameters = dict(model.named_parameters(remove_duplicate=False))
        for ours, theirs, turned in pairs:
            for what, tensor in [("param", parameters[theirs].detach()), ("grad", parameters[theirs].grad)]:
                tensors[f"{what}.{ours}"] = tensor.T if turned else tensor
    meta = {
        "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        "seed": SEED,
        "versions": {name: version(name) for name in ("transformers", "torch", "safetensors")},
    }
    tensors = {name: tensor.float().contiguous().clone() for name, tensor in tensors.items()}
    save_file(tensors, OUT, metadata={"oracle": json.dumps(meta)})


if __name__ == "__main__":
    main()
