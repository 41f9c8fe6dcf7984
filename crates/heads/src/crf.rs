//! A linear-chain conditional random field over the labels of a sentence's words.
//!
//! Lafferty, McCallum and Pereira 2001, on the scores of a network as in Lample et al., arXiv:1603.01360, eq. 1–4. Each
//! label has a score as the first and as the last, each pair of labels one for following each other; the likelihood is that
//! of the whole sequence. What a tag scheme forbids is taken away in decoding, not in training, as in AllenNLP.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::IGNORE;
use locus_backend::rng::Key;
use rayon::prelude::*;

use crate::chain::Gradient;
use crate::{Chain, HeadError, LossSum};

/// The scores of steps from label to label.
#[derive(Module, Debug)]
pub struct Crf<B: Backend> {
    /// `[n_labels]`: each label as the first.
    pub start: Param<Tensor<B, 1>>,
    /// `[n_labels]`: each label as the last.
    pub end: Param<Tensor<B, 1>>,
    /// `[n_labels, n_labels]`: from the row's label to the column's.
    pub transitions: Param<Tensor<B, 2>>,
}

impl<B: Backend> Crf<B> {
    /// Every step is as good as any other.
    pub fn new(n_labels: usize, device: &B::Device) -> Self {
        let vector = || Init::Zeros.param([n_labels], Key::new(0), device);
        let transitions = Init::Zeros.param([n_labels, n_labels], Key::new(0), device);
        Self { start: vector(), end: vector(), transitions }
    }

    /// The scores on the host.
    pub fn chain(&self) -> Chain {
        fn host<B: Backend, const D: usize>(tensor: &Param<Tensor<B, D>>) -> Vec<f64> {
            tensor.val().into_data().iter::<f64>().collect()
        }
        Chain { start: host(&self.start), end: host(&self.end), steps: host(&self.transitions) }
    }

    /// The summed negative log-likelihood, in nats, of the labels of each row; tokens without a label are left out, as
    /// if the others followed one another. The weight is the number of labels.
    ///
    /// It is computed on the host with its gradient, once.
    ///
    /// # Shapes
    /// - emissions: `[batch, seq, n_labels]`; labels: `[batch · seq]`; output: `[1]`
    ///
    /// # Errors
    /// If the labels do not fit the emissions.
    ///
    /// # Example
    /// ```
    /// # use burn::tensor::Tensor;
    /// # use locus_testkit::device::NdArray;
    /// # let device = Default::default();
    /// use locus_heads::Crf;
    /// let crf = Crf::<NdArray>::new(3, &device);
    /// let loss = crf.loss(Tensor::zeros([1, 4, 3], &device), &[2, -100, 0, 1])?;
    /// // One of 3³ sequences that are all alike.
    /// assert!((loss.sum.into_scalar() - 27.0_f32.ln()).abs() < 1e-6);
    /// assert_eq!(loss.weight, 3.0);
    /// # Ok::<(), locus_heads::HeadError>(())
    /// ```
    pub fn loss(&self, emissions: Tensor<B, 3>, labels: &[i32]) -> Result<LossSum<B>, HeadError> {
        let [batch, seq, n_labels] = emissions.dims();
        if labels.len() != batch * seq {
            return Err(HeadError::WrongLabelCount { expected: batch * seq, found: labels.len() });
        }
        if let Some(idx) = labels.iter().position(|&l| l != IGNORE && !(0..n_labels as i32).contains(&l)) {
            return Err(HeadError::LabelOutOfRange { label: labels[idx], idx, n_labels });
        }
        let is_word = |&place: &i32| labels[place as usize] != IGNORE;
        let places: Vec<i32> = (0..labels.len() as i32).filter(is_word).collect();
        let weight = places.len() as f64;
        if places.is_empty() {
            return Ok(LossSum { sum: self.start.val().sum() * 0.0, weight });
        }
        let places = Tensor::from_data(TensorData::from(&places[..]), &emissions.device());
        let words = emissions.reshape([batch * seq, n_labels]).select(0, places); // [words, n_labels]
        let scores: Vec<f64> = words.to_data().iter::<f64>().collect();
        let mut rest = &scores[..];
        let rows = labels.chunks(seq).map(|labels| {
            let gold: Vec<usize> = labels.iter().filter(|l| **l != IGNORE).map(|&l| l as usize).collect();
            let (own, later) = rest.split_at(gold.len() * n_labels);
            rest = later;
            (own, gold)
        });
        let rows: Vec<(&[f64], Vec<usize>)> = rows.collect();
        let chain = self.chain();
        let of_rows: Vec<_> = rows.par_iter().map(|(scores, gold)| chain.nll(scores, gold)).collect();
        // In the order of the rows, so that the sums do not depend on the threads.
        let (mut nll, mut gradient) = (0.0, Gradient::zeros(n_labels));
        for (of_row, more) in of_rows {
            nll += of_row;
            gradient.append(more);
        }
        let linear = product(words, gradient.scores)
            + product(self.start.val(), gradient.start)
            + product(self.end.val(), gradient.end)
            + product(self.transitions.val(), gradient.steps);
        // The value of the likelihood, with the gradient of the linear function that touches it.
        Ok(LossSum { sum: linear.clone() - linear.detach() + nll, weight })
    }
}

/// `Σ x · factors`, with the factors constant to autodiff.
fn product<B: Backend, const D: usize>(x: Tensor<B, D>, factors: Vec<f64>) -> Tensor<B, 1> {
    let like = (&x.device(), x.dtype());
    let factors: Vec<f32> = factors.into_iter().map(|x| x as f32).collect();
    let factors = Tensor::<B, D>::from_data(TensorData::new(factors, x.shape()), like);
    (x * factors).sum()
}
