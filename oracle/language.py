"""Baseline of language models: symbols by the n before them, every order interpolated with the one below (Witten and Bell 1991)."""

import numpy as np

LONGEST = 8


class Codes:
    """The symbols of texts as numbers from 1; 0 stands for all that is new in dev and test."""

    def __init__(self, train, of_bytes, ends):
        self.of_bytes, self.ends = of_bytes, ends
        self.known = np.arange(256) if of_bytes else np.unique(np.concatenate([self.symbols(text) for text in train]))
        self.n = len(self.known) + 1 + ends

    def symbols(self, text):
        """Bytes or characters."""
        return np.frombuffer(*((text.encode(), np.uint8) if self.of_bytes else (text.encode("utf-32-le"), np.uint32)))

    def __call__(self, texts):
        """All texts in a row, with the place of each symbol in its text; with ends, a mark stands before and after each."""
        codes, places = [], []
        for text in texts:
            symbols = self.symbols(text)
            at = np.minimum(np.searchsorted(self.known, symbols), len(self.known) - 1)
            code = np.where(self.known[at] == symbols, at + 1, 0)
            codes.append(np.pad(code, int(self.ends), constant_values=self.n - 1))
            places.append(np.arange(len(codes[-1])))
        return np.concatenate(codes).astype(np.int64), np.concatenate(places)


def before(grams, places, n):
    """For each place the number of the n symbols before it, -1 where the text has fewer or train lacks them."""
    return np.where(places >= n, np.concatenate([[-1], grams[:-1]]), -1) if n else np.zeros_like(grams)


class Counts:
    """How often each symbol follows each context, order by order. A context and a symbol make one number."""

    def __init__(self, codes, places, n_codes):
        self.n_codes, self.orders, grams = n_codes, [], codes
        for n in range(LONGEST + 1):
            contexts = before(grams, places, n)
            is_whole = contexts >= 0
            both = (contexts * n_codes + codes)[is_whole]
            keys, numbers, counts = np.unique(both, return_inverse=True, return_counts=True)
            totals = np.bincount(keys // n_codes, counts)
            self.orders.append((keys, counts, totals, np.bincount(keys // n_codes)))
            grams = np.full(len(codes), -1)
            grams[is_whole] = numbers

    def nats(self, codes, places, is_scored):
        """Summed over the symbols, of every order at once."""
        p, sums, grams = np.full(len(codes), 1.0 / self.n_codes), [], codes
        for n, (keys, counts, totals, kinds) in enumerate(self.orders):
            contexts = before(grams, places, n)
            wanted = contexts * self.n_codes + codes
            at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            found = (contexts >= 0) & (keys[at] == wanted)
            # A context at the very end of train is followed by nothing.
            known = (contexts >= 0) & (contexts < len(totals))
            known[known] = totals[contexts[known]] > 0
            context = contexts[known]
            p[known] = (np.where(found, counts[at], 0)[known] + kinds[context] * p[known]) / (totals[context] + kinds[context])
            sums.append(-np.log(p[is_scored]).sum())
            grams = np.where(found, at, -1)
        return np.array(sums)


def symbols_by_those_before(parts, of_bytes=False, ends=False):
    """The loss per symbol is given for characters alone, as no tokenizer here has bytes for tokens."""
    codes = Codes(parts["train"], of_bytes, ends)
    counts = Counts(*codes(parts["train"]), codes.n)

    def nats(part):
        numbers, places = codes(parts[part])
        is_scored = places >= int(ends)
        return counts.nats(numbers, places, is_scored), is_scored.sum()

    def scores(part, n):
        text = "".join(parts[part])
        sums, n_symbols = nats(part)
        bits = sums[n] / np.log(2)
        found = {"bits_per_byte": bits / len(text.encode()), "bits_per_char": bits / len(text)}
        return found if of_bytes else {"loss": sums[n] / n_symbols, "perplexity": np.exp(sums[n] / n_symbols)} | found

    best = int(nats("dev")[0].argmin())
    return {
        "method": f"{'bytes' if of_bytes else 'characters'} by the {best} before them, Witten–Bell interpolation",
        "chosen": {"context": best},
        "dev": scores("dev", best),
        "test": scores("test", best),
    }
