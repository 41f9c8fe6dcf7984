//! What a new model takes over from another one of Locus.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::params::ParamPath;
use locus_embedding::position::Form;
use locus_heads::{HeadConfig, TaskModel};

/// A head on the stack of a model with another head; none where the stacks are of different forms.
pub(crate) fn on_stack_of(mut head: HeadConfig, other: &HeadConfig) -> Option<HeadConfig> {
    match *other.forms() {
        [form] => set_form(&mut head, form),
        _ => set_decoder(&mut head, other),
    }
    // Of two stacks those of a model that writes lie elsewhere than those below the scores of labels.
    let alike = other.forms().len() == 1 || head.layers().is_some() == other.layers().is_some();
    (alike && head.forms() == other.forms()).then_some(head)
}

/// Classifiers and sentence embedders stand on encoders and decoders.
fn set_form(head: &mut HeadConfig, form: Form) {
    if let HeadConfig::TokenClassification { layers, .. }
    | HeadConfig::SpanClassification { layers, .. }
    | HeadConfig::SequenceClassification { layers, .. }
    | HeadConfig::MultiLabelClassification { layers, .. }
    | HeadConfig::Regression { layers, .. }
    | HeadConfig::Ranking { layers, .. }
    | HeadConfig::QuestionAnswering { layers } = head
    {
        layers.form = form;
    } else if let HeadConfig::SentenceEmbedding(config) = head {
        config.form = form;
    }
}

/// Classifiers of rows and answers stand on an encoder with a decoder that reads once more.
fn set_decoder(head: &mut HeadConfig, other: &HeadConfig) {
    if let HeadConfig::SequenceClassification { layers, .. }
    | HeadConfig::MultiLabelClassification { layers, .. }
    | HeadConfig::Regression { layers, .. }
    | HeadConfig::Ranking { layers, .. }
    | HeadConfig::QuestionAnswering { layers } = head
    {
        layers.decoder = other.layers().and_then(|layers| layers.decoder);
    }
}

/// The new model with the weights of `loaded`: all of them where both have the same head and labels, else those of the
/// stack, and of the layer below the scores where both are classifiers of one kind. Dropout stays that of the new model. With
/// the paths of the parameters that are still those of the new one.
pub(crate) fn take_over<B: Backend>(
    new: TaskModel<B>,
    loaded: TaskModel<B>,
    keeps_labels: bool,
) -> (TaskModel<B>, Vec<String>) {
    // What is taken keeps its id.
    let taken = params(&loaded).into_iter().map(|(_, id)| id).collect::<BTreeSet<_>>();
    let model = filled(new, loaded, keeps_labels);
    let own = params(&model).into_iter().filter(|(_, id)| !taken.contains(id));
    let own = own.map(|(path, _)| path).collect();
    (model, own)
}

/// The paths and ids of all parameters.
fn params<B: Backend>(model: &TaskModel<B>) -> Vec<(String, ParamId)> {
    struct Params(ParamPath, Vec<(String, ParamId)>);
    impl<B: Backend> ModuleVisitor<B> for Params {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.0.leave(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.1.push((self.0.name(), param.id));
        }
    }
    let mut params = Params(ParamPath::default(), Vec::new());
    model.visit(&mut params);
    params.1
}

fn filled<B: Backend>(new: TaskModel<B>, loaded: TaskModel<B>, keeps_labels: bool) -> TaskModel<B> {
    match (new, loaded) {
        (TaskModel::TokenClassifier(mut new), TaskModel::TokenClassifier(loaded)) => {
            new.encoder = adopted::<B, _>(new.encoder, loaded.encoder);
            new.transform = loaded.transform;
            if keeps_labels {
                new.classifier = loaded.classifier;
                new.crf = new.crf.map(|crf| loaded.crf.unwrap_or(crf));
            }
            TaskModel::TokenClassifier(new)
        }
        (TaskModel::SpanClassifier(mut new), TaskModel::SpanClassifier(loaded)) => {
            new.encoder = adopted::<B, _>(new.encoder, loaded.encoder);
            new.transform = loaded.transform;
            // The vectors of words are the same, whatever the labels.
            (new.start_proj, new.end_proj) = (loaded.start_proj, loaded.end_proj);
            new.position = loaded.position;
            if keeps_labels {
                new.label_proj = loaded.label_proj;
            }
            TaskModel::SpanClassifier(new)
        }
        (TaskModel::SequenceClassifier(mut new), TaskModel::SequenceClassifier(loaded)) => {
            new.encoder = adopted::<B, _>(new.encoder, loaded.encoder);
            new.decoder = adopted::<B, _>(new.decoder, loaded.decoder);
            new.transform = loaded.transform;
            if keeps_labels {
                new.classifier = loaded.classifier;
                new.features = new.features.map(|own| loaded.features.unwrap_or(own));
            }
            TaskModel::SequenceClassifier(new)
        }
        (TaskModel::QuestionAnswerer(new), TaskModel::QuestionAnswerer(loaded)) => {
            TaskModel::QuestionAnswerer(adopted::<B, _>(new, loaded))
        }
        (TaskModel::SentenceEmbedder(mut new), TaskModel::SentenceEmbedder(mut loaded)) => {
            let (own, other) = (new.classifier.take(), loaded.classifier.take());
            let mut model = adopted::<B, _>(new, loaded);
            model.classifier = own.map(|own| other.filter(|_| keeps_labels).unwrap_or(own));
            TaskModel::SentenceEmbedder(model)
        }
        (TaskModel::MaskedLm(new), TaskModel::MaskedLm(loaded)) => {
            TaskModel::MaskedLm(adopted::<B, _>(new, loaded))
        }
        (TaskModel::ReplacedTokenDetector(new), TaskModel::ReplacedTokenDetector(loaded)) => {
            TaskModel::ReplacedTokenDetector(adopted::<B, _>(new, loaded))
        }
        (TaskModel::CausalLm(new), TaskModel::CausalLm(loaded)) => {
            TaskModel::CausalLm(adopted::<B, _>(new, loaded))
        }
        (TaskModel::Seq2Seq(new), TaskModel::Seq2Seq(loaded)) => {
            TaskModel::Seq2Seq(adopted::<B, _>(new, loaded))
        }
        (mut new, mut loaded) => {
            for (own, other) in new.stacks_mut().into_iter().zip(loaded.stacks_mut()) {
                if let (Some(own), Some(other)) = (own, other) {
                    *own = adopted::<B, _>(own.clone(), other.clone());
                }
            }
            new
        }
    }
}

/// A module with the parameters of another one of the same configuration.
fn adopted<B: Backend, M: Module<B>>(own: M, other: M) -> M {
    own.load_record(other.into_record())
}

#[cfg(test)]
mod tests {
    use locus_embedding::position::Form;
    use locus_heads::{ClassifierConfig, RereadConfig};

    use super::{HeadConfig, on_stack_of};

    #[test]
    fn a_head_stands_on_stacks_of_its_form() {
        let tags = HeadConfig::TokenClassification {
            n_labels: 3,
            decoding: Default::default(),
            layers: Default::default(),
        };
        let masked = HeadConfig::MaskedLm { tied: true, bias: true, transform: Default::default() };
        let next = HeadConfig::CausalLm { tied: true, output: Default::default() };
        let pairs = HeadConfig::Seq2Seq { tied: true, output: Default::default() };
        assert_eq!(on_stack_of(tags.clone(), &masked), Some(tags.clone()));
        let on_decoder = on_stack_of(tags.clone(), &next).expect("classifiers stand on decoders");
        assert_eq!(on_decoder.forms(), [Form::Causal]);
        assert_eq!(on_stack_of(masked, &next), None);
        assert_eq!(on_stack_of(tags, &pairs), None);
    }

    #[test]
    fn a_head_stands_on_both_stacks() {
        let answers = |decoder| {
            let layers = ClassifierConfig { decoder, ..ClassifierConfig::default() };
            HeadConfig::QuestionAnswering { layers }
        };
        let both = answers(Some(RereadConfig { start: 1, end: 2 }));
        assert_eq!(on_stack_of(answers(None), &both), Some(both.clone()));
        let tags = HeadConfig::TokenClassification {
            n_labels: 3,
            decoding: Default::default(),
            layers: Default::default(),
        };
        assert_eq!(on_stack_of(tags, &both), None);
        let pairs = HeadConfig::Seq2Seq { tied: true, output: Default::default() };
        assert_eq!(on_stack_of(answers(None), &pairs), None);
        assert_eq!(on_stack_of(pairs, &both), None, "the decoder has no output");
    }
}
