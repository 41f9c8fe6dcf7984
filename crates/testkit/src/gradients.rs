//! Gradients of whole models, and how far those of two ways to compute them are apart.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

/// The gradient of each parameter by its path, in the model's order; `None` for those without one.
pub type Gradients = Vec<(String, Option<Vec<f32>>)>;

/// The gradients of a model's parameters.
pub fn gradients<B: AutodiffBackend, M: Module<B>>(model: &M, grads: &GradientsParams) -> Gradients {
    let mut collect = Collect { path: Vec::new(), grads, found: Vec::new() };
    Module::<B>::visit(model, &mut collect);
    collect.found
}

/// The largest difference of two gradients of a parameter, as a share of the largest element of that parameter's
/// gradient, or of a tenth of the largest of all where that is more: some parameters have no gradient but rounding.
/// Infinite where one side has a gradient and the other has none, and where one is not a number; 0 if all bits agree.
pub fn relative_error(got: &Gradients, want: &Gradients) -> f64 {
    let largest = |grad: &[f32]| grad.iter().fold(0.0, |max, x| f64::from(x.abs()).max(max));
    let all = want.iter().filter_map(|(_, grad)| grad.as_deref()).map(largest).fold(0.0, f64::max);
    let error = |got: &Option<Vec<f32>>, want: &Option<Vec<f32>>| match (got, want) {
        (None, None) => 0.0,
        (Some(got), Some(want)) if got.len() == want.len() => {
            let off = got.iter().zip(want).map(|(got, want)| f64::from((got - want).abs()));
            let off = off.fold(0.0, |max: f64, x| if x.is_nan() { f64::INFINITY } else { max.max(x) });
            if off == 0.0 { 0.0 } else { off / largest(want).max(0.1 * all) }
        }
        _ => f64::INFINITY,
    };
    if got.iter().map(|(path, _)| path).ne(want.iter().map(|(path, _)| path)) {
        return f64::INFINITY;
    }
    got.iter().zip(want).map(|((_, got), (_, want))| error(got, want)).fold(0.0, f64::max)
}

struct Collect<'a> {
    path: Vec<String>,
    grads: &'a GradientsParams,
    found: Gradients,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Collect<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let grad = self.grads.get::<B::InnerBackend, D>(param.id);
        let grad = grad.map(|grad| grad.into_data().iter::<f32>().collect());
        self.found.push((self.path.join("."), grad));
    }
}

#[cfg(test)]
mod tests {
    use super::relative_error;

    #[test]
    fn what_is_missing_or_no_number_is_infinitely_far() {
        let one = |grad: Option<f32>| vec![("a".to_owned(), grad.map(|x| vec![x, 4.0]))];
        assert_eq!(relative_error(&one(Some(1.0)), &one(Some(1.0))), 0.0);
        assert_eq!(relative_error(&one(Some(3.0)), &one(Some(1.0))), 0.5);
        for (got, want) in [(None, Some(1.0)), (Some(1.0), None), (Some(f32::NAN), Some(1.0))] {
            assert_eq!(relative_error(&one(got), &one(want)), f64::INFINITY);
        }
        assert_eq!(relative_error(&vec![], &one(None)), f64::INFINITY);
    }
}
