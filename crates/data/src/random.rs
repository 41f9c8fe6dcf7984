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
}
