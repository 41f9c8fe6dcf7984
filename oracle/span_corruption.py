"""Hidden tokens of T5's span corruption for given draws, for the test in crates/data/src/objective/corruption.rs.

By the formulas of `random_spans_noise_mask` (Raffel et al., JMLR 2020), in NumPy; the shuffle of each segmentation is a
rotation by a given number of places, so that both sides draw the same. Needs NumPy alone. Prints Rust.
"""

import numpy as np

CASES = [
    (1, 0.15, 3.0, (0, 0)),
    (2, 0.15, 3.0, (0, 0)),
    (7, 0.15, 3.0, (0, 0)),
    (23, 0.15, 3.0, (0, 5)),
    (30, 0.15, 3.0, (0, 0)),
    (50, 0.15, 3.0, (3, 17)),
    (50, 0.5, 3.0, (11, 7)),
    (37, 0.3, 2.0, (4, 19)),
    (61, 0.15, 3.0, (5, 31)),
]


def segment_lengths(n_items, n_segments, turn):
    starts = (np.arange(n_items - 1) < n_segments - 1).astype(int)
    segment = np.cumsum(np.concatenate([[0], np.roll(starts, -turn)]))
    return np.bincount(segment, minlength=n_segments)


def noise_mask(n_tokens, density, mean_span, turns):
    length = max(n_tokens, 2)
    n_noise = min(max(int(np.round(length * density)), 1), length - 1)
    n_spans = max(int(np.round(n_noise / mean_span)), 1)
    noise = segment_lengths(n_noise, n_spans, turns[0])
    shown = segment_lengths(length - n_noise, n_spans, turns[1])
    ends = np.cumsum(np.stack([shown, noise], axis=1).reshape(-1))[:-1]
    indicator = np.zeros(length, int)
    np.add.at(indicator, ends, 1)
    return (np.cumsum(indicator) % 2 == 1)[:n_tokens]


print(f"const GOLDEN: [Case; {len(CASES)}] = [")
for n_tokens, density, mean_span, turns in CASES:
    hidden = [int(at) for at in np.nonzero(noise_mask(n_tokens, density, mean_span, turns))[0]]
    print(f"    ({n_tokens}, {density:.2f}, {mean_span:.1f}, [{turns[0]}, {turns[1]}], &{hidden}),")
print("];")
