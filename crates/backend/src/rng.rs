//! Counter-based randomness: every number is a pure function of a key and an index.
//!
//! A key is derived from the run's seed by naming what it is for (`seed → "dropout" → step → layer → site`). Nothing is
//! drawn in sequence, so resuming a run, recomputing a block in the backward pass, the number of threads and the
//! backend leave the numbers as they are.
//!
//! The generator is the output function of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom
//! number generators") applied to `key + index · golden ratio`.

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A point in the tree of random streams.
///
/// ```
/// use locus_backend::rng::Key;
/// let key = Key::new(7).named("dropout").child(3);
/// assert_eq!(key.uniform(5), Key::new(7).named("dropout").child(3).uniform(5));
/// assert_ne!(key.uniform(5), key.uniform(6));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// The root key of a seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(GOLDEN)))
    }

    /// The key of part `idx` of what this key stands for: a step, a layer, a site.
    #[must_use]
    pub fn child(self, idx: u64) -> Self {
        Self(mix(self.0 ^ mix(idx.wrapping_mul(GOLDEN).wrapping_add(1))))
    }

    /// The key of a named part, for instance a parameter's path.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        // FNV-1a, 64 bits: a name needs spreading, not secrecy.
        let hash = name
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
        self.child(hash)
    }

    /// 64 random bits at `idx`.
    pub fn bits(self, idx: u64) -> u64 {
        mix(self.0.wrapping_add(idx.wrapping_mul(GOLDEN)))
    }

    /// A number from the uniform distribution on `[0, 1)`.
    pub fn uniform(self, idx: u64) -> f64 {
        // 53 bits, the width of an f64's significand.
        (self.bits(idx) >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A number from the standard normal distribution (Box–Muller).
    pub fn normal(self, idx: u64) -> f64 {
        // 1 - u lies in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform(2 * idx)).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform(2 * idx + 1)).cos()
    }

    /// An integer from the uniform distribution on `0..n`; 0 where `n` is 0.
    pub fn below(self, idx: u64, n: u64) -> u64 {
        ((u128::from(self.bits(idx)) * u128::from(n)) >> 64) as u64
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn moments_are_those_of_the_distributions() {
        let key = Key::new(1).named("moments");
        let n = 100_000;
        let mean = |f: &dyn Fn(u64) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
        // Five standard errors: 5 · 0.289 / √n and 5 / √n.
        assert!((mean(&|i| key.uniform(i)) - 0.5).abs() < 0.005);
        assert!(mean(&|i| key.normal(i)).abs() < 0.016);
        assert!((mean(&|i| key.normal(i).powi(2)) - 1.0).abs() < 0.025);
    }

    #[test]
    fn siblings_are_uncorrelated() {
        let key = Key::new(3);
        let n = 50_000;
        let centred = |key: Key, i| key.uniform(i) - 0.5;
        for (a, b) in [(key.child(0), key.child(1)), (key.named("a"), key.named("b")), (key, key.child(0))] {
            let covariance = (0..n).map(|i| centred(a, i) * centred(b, i)).sum::<f64>() / n as f64;
            assert!(covariance.abs() < 5.0 / 12.0 / (n as f64).sqrt(), "{covariance}");
        }
    }

    #[test]
    fn below_covers_its_range() {
        let key = Key::new(9);
        let mut seen = [0_usize; 7];
        (0..7_000).for_each(|i| seen[key.below(i, 7) as usize] += 1);
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
    }
}
