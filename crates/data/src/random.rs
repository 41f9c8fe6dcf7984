//! A counter-based generator: the n-th number is a pure function of (seed, n), so any place can be sought at once.
//!
//! Formula: SplitMix64, `x = seed + (n + 1)·0x9E3779B97F4A7C15` (wrapping), then
//! `x = (x ^ x>>30)·0xBF58476D1CE4E5B9; x = (x ^ x>>27)·0x94D049BB133111EB; x ^ x>>31`.
//! Reference: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; S. Vigna's
//! `splitmix64.c`, whose first outputs for seed 1234567 the test below holds.

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Number `n` of the stream of `seed`.
pub fn number(seed: u64, n: u64) -> u64 {
    let mut x = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(GAMMA));
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A seed for the sub-stream `name` of `seed`, such as one epoch.
pub fn derive(seed: u64, name: u64) -> u64 {
    number(number(seed, 0) ^ number(!name, 0), name)
}

/// Number `n` of the stream as an index below `bound`: the high half of a 128-bit product.
///
/// The bias is at most `bound / 2^64`.
///
/// # Panics
/// If `bound` is 0.
pub fn below(seed: u64, n: u64, bound: usize) -> usize {
    assert!(bound > 0, "an index below 0 does not exist");
    ((u128::from(number(seed, n)) * bound as u128) >> 64) as usize
}

/// The numbers `0..len` in an order that is a pure function of the seed (Fisher–Yates, from the end).
pub fn permutation(seed: u64, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    for at in (1..len).rev() {
        order.swap(at, below(seed, at as u64, at + 1));
    }
    order
}

/// A stream that is drawn from in order; where it starts is a pure function of what it was made from.
#[derive(Debug, Clone)]
pub struct Draws {
    seed: u64,
    n: u64,
}

impl Draws {
    /// The stream of a seed, from its first number.
    pub fn new(seed: u64) -> Self {
        Self { seed, n: 0 }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.n += 1;
        number(self.seed, self.n - 1)
    }

    /// The next number as an index below `bound`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.n += 1;
        below(self.seed, self.n - 1, bound)
    }

    /// The next number in `[0, 1)`, a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// `true` with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// An index with a probability proportional to its weight; the last where rounding leaves none.
    ///
    /// # Panics
    /// If there are no weights.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.uniform() * weights.iter().sum::<f64>();
        let found = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        found.unwrap_or(weights.len() - 1)
    }

    /// A number of the Poisson distribution: how many uniforms can be multiplied before the product falls to
    /// `exp(-mean)`. Reference: Knuth, The Art of Computer Programming, vol. 2, section 3.4.1.
    pub fn poisson(&mut self, mean: f64) -> usize {
        let (limit, mut product, mut n) = ((-mean).exp(), self.uniform(), 0);
        while product > limit {
            product *= self.uniform();
            n += 1;
        }
        n
    }

    /// Brings a list into a random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.below(at + 1));
        }
    }

    /// `n` of the indices below `bound`, each set of them equally likely, ascending; all where `n` is not less.
    ///
    /// Reference: R. Floyd's algorithm, in Bentley, "Programming pearls: a sample of brilliance", CACM 30(9), 1987.
    pub fn sample(&mut self, n: usize, bound: usize) -> Vec<usize> {
        let mut chosen = std::collections::BTreeSet::new();
        for last in bound.saturating_sub(n)..bound {
            let at = self.below(last + 1);
            if !chosen.insert(at) {
                chosen.insert(last);
            }
        }
        chosen.into_iter().collect()
    }
}

/// A permutation of `0..len` that is computed place by place, so that it needs no memory however long it is.
///
/// A Feistel network of eight rounds over the smallest square of a power of two that holds `len`; a number that falls
/// outside goes through the network again until it is inside (cycle walking). References: Luby, Rackoff, "How to construct
/// pseudorandom permutations from pseudorandom functions", SIAM J. Comput. 17(2), 1988; Black, Rogaway, "Ciphers with
/// arbitrary finite domains", CT-RSA 2002.
#[derive(Debug, Clone, Copy)]
pub struct Shuffle {
    seed: u64,
    len: u64,
    half_bits: u32,
}

impl Shuffle {
    const ROUNDS: u64 = 8;

    /// A permutation of `0..len`.
    ///
    /// ```
    /// let shuffle = locus_data::random::Shuffle::new(7, 11);
    /// let mut order: Vec<u64> = (0..11).map(|at| shuffle.at(at)).collect();
    /// order.sort();
    /// assert_eq!(order, (0..11).collect::<Vec<_>>());
    /// ```
    pub fn new(seed: u64, len: u64) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        Self { seed, len, half_bits: bits.div_ceil(2).max(1) }
    }

    /// How many numbers it permutes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it permutes none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number at place `at`.
    ///
    /// # Panics
    /// If `at` is not below [`Shuffle::len`].
    pub fn at(&self, at: u64) -> u64 {
        assert!(at < self.len, "place {at} of {}", self.len);
        let mut found = self.network(at);
        while found >= self.len {
            found = self.network(found);
        }
        found
    }

    fn network(&self, x: u64) -> u64 {
        let mask = (1_u64 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for round in 0..Self::ROUNDS {
            (left, right) = (right, left ^ (number(derive(self.seed, round), right) & mask));
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_splitmix64() {
        let first: Vec<u64> = (0..5).map(|n| number(1_234_567, n)).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        for len in [0, 1, 2, 97] {
            let mut order = permutation(3, len);
            order.sort_unstable();
            assert_eq!(order, (0..len).collect::<Vec<_>>());
        }
        assert_ne!(permutation(3, 97), permutation(4, 97));
        assert_ne!(derive(3, 0), derive(3, 1));
        assert_ne!(derive(0, 1), derive(1, 0));
    }

    #[test]
    fn every_place_of_a_permutation_is_about_equally_likely() {
        let mut first = [0; 5];
        for seed in 0..5000 {
            first[permutation(seed, 5)[0]] += 1;
        }
        // Expected 1000 each, standard deviation 28.
        assert!(first.iter().all(|&n| (850..1150).contains(&n)), "{first:?}");
    }

    #[test]
    fn a_shuffle_without_memory_holds_every_number_once_and_every_place_is_about_equally_likely() {
        for len in [1, 2, 3, 5, 16, 17, 97, 1031] {
            let shuffle = Shuffle::new(3, len);
            let mut order: Vec<u64> = (0..len).map(|at| shuffle.at(at)).collect();
            if len > 16 {
                assert_ne!(order, (0..len).collect::<Vec<_>>());
            }
            order.sort_unstable();
            assert_eq!(order, (0..len).collect::<Vec<_>>());
        }
        assert!(Shuffle::new(3, 0).is_empty());
        let mut seen = [[0; 5]; 5];
        for seed in 0..5000 {
            let shuffle = Shuffle::new(seed, 5);
            for at in 0..5 {
                seen[at as usize][shuffle.at(at) as usize] += 1;
            }
        }
        // Expected 1000 each, standard deviation 28.
        assert!(seen.as_flattened().iter().all(|n| (850..1150).contains(n)), "{seen:?}");
    }

    #[test]
    fn draws_have_their_distributions() {
        let mut draws = Draws::new(5);
        let n = 20_000;
        let mean = (0..n).map(|_| draws.poisson(3.0)).sum::<usize>() as f64 / f64::from(n);
        // Standard error √(3/n) = 0.0122.
        assert!((mean - 3.0).abs() < 0.05, "{mean}");
        let mean = (0..n).map(|_| draws.uniform()).sum::<f64>() / f64::from(n);
        // Standard error √(1/12n) = 0.0020.
        assert!((mean - 0.5).abs() < 0.009, "{mean}");
        let mut seen = [0; 3];
        (0..n).for_each(|_| seen[draws.weighted(&[1.0, 0.0, 3.0])] += 1);
        assert_eq!(seen[1], 0);
        // Expected 5000, standard deviation 61.
        assert!((4750..5250).contains(&seen[0]), "{seen:?}");
    }

    #[test]
    fn samples_are_sets_and_each_is_about_equally_likely() {
        let mut draws = Draws::new(5);
        assert_eq!(draws.sample(7, 5), [0, 1, 2, 3, 4]);
        assert!(draws.sample(0, 5).is_empty());
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..10_000 {
            let set = draws.sample(2, 5);
            assert!(set.len() == 2 && set[0] < set[1] && set[1] < 5, "{set:?}");
            *seen.entry(set).or_insert(0) += 1;
        }
        // Ten sets, expected 1000 each, standard deviation 30.
        assert!(seen.len() == 10 && seen.values().all(|n| (850..1150).contains(n)), "{seen:?}");
    }
}
