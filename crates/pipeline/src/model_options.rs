//! How a checkpoint's makers generate with it, as options of ours.

use locus_heads::HeadConfig;
use locus_heads::generate::{Beams, Constraints, EarlyStopping, Sampling};
use locus_model::{Generation, ModelConfig, SearchEnd};
use serde_json::Value;

use crate::{PipelineError, WriteOptions};

/// Options with those of a model over them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelOptions {
    /// The options.
    pub options: WriteOptions,
    /// What the model decides, as `key = value`.
    pub taken: Vec<String>,
    /// What its `generation_config.json` asks for and is not done, with the reason.
    pub passed_over: Vec<String>,
}

/// Keys that are no matter of the text, or are ids that [`ModelConfig::token_ids`] holds.
const OF_NO_MATTER: [&str; 13] = [
    "_from_model_config",
    "transformers_version",
    "use_cache",
    "cache_implementation",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "output_logits",
    "return_dict_in_generate",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "decoder_start_token_id",
];

impl WriteOptions {
    /// These options under those that the makers of a model have given it, where it comes from a checkpoint with a
    /// `generation_config.json`; as they are for every other model.
    ///
    /// Lengths that count the prompt are taken for an encoder–decoder, whose prompt is one token.
    ///
    /// # Errors
    /// If the model's options are out of range.
    pub fn of_model(self, config: &ModelConfig) -> Result<ModelOptions, PipelineError> {
        let is_translator = matches!(config.head, HeadConfig::Seq2Seq { .. });
        let mut of_model = ModelOptions { options: self, ..ModelOptions::default() };
        if !is_translator && !matches!(config.head, HeadConfig::CausalLm { .. }) {
            return Ok(of_model);
        }
        let given = read(config)?;
        let mut done: Vec<&str> = OF_NO_MATTER.to_vec();
        done.extend([
            "forced_bos_token_id",
            "forced_eos_token_id",
            "suppress_tokens",
            "begin_suppress_tokens",
        ]);
        if given.bad_words_ids.iter().flatten().all(|word| word.len() == 1) {
            done.push("bad_words_ids");
        }
        done.extend(of_model.options.take_lengths(&given, is_translator));
        done.extend(of_model.options.take_choice(&given));
        done.extend(of_model.options.take_penalties(&given));
        for (key, value) in &config.generation {
            // That nothing is drawn may be other than the options have it.
            let is_said = !changes_nothing(value) || (key == "do_sample" && !value.is_null());
            if !is_said {
                continue;
            }
            match (done.contains(&key.as_str()), OF_NO_MATTER.contains(&key.as_str())) {
                (true, false) => of_model.taken.push(format!("{key} = {value}")),
                (true, true) => {}
                (false, _) => of_model.passed_over.push(format!("{key} = {value} ({})", reason(key, &given))),
            }
        }
        let problems = of_model.options.problems();
        if problems.is_empty() {
            return Ok(of_model);
        }
        let named = problems.into_iter().map(|problem| format!("generation_config.json: {problem}"));
        Err(PipelineError::Options(named.collect()))
    }

    /// How long texts become. Gives the keys that were taken, as those below.
    fn take_lengths(&mut self, given: &Generation, is_translator: bool) -> Vec<&'static str> {
        let mut taken = Vec::new();
        // The start of a target is one token.
        let without_start = |length: Option<usize>| length.filter(|_| is_translator)?.checked_sub(1);
        if let Some(max) = given.max_new_tokens {
            // As in transformers, it comes before the other.
            self.max_new_tokens = max;
            taken.push("max_new_tokens");
        } else if let Some(max) = without_start(given.max_length) {
            self.max_new_tokens = max;
            taken.push("max_length");
        }
        if let Some(min) = given.min_new_tokens {
            self.min_new_tokens = min;
            taken.push("min_new_tokens");
        } else if let Some(min) = without_start(given.min_length) {
            self.min_new_tokens = min;
            taken.push("min_length");
        }
        // No text is longer than the most tokens, so none ends before them.
        self.min_new_tokens = self.min_new_tokens.min(self.max_new_tokens);
        taken
    }

    /// How tokens are chosen.
    fn take_choice(&mut self, given: &Generation) -> Vec<&'static str> {
        if given.do_sample == Some(true) {
            // 50 is what transformers takes where a file says nothing.
            self.sampling = Sampling {
                temperature: given.temperature.unwrap_or(1.0),
                top_k: given.top_k.unwrap_or(50),
                top_p: given.top_p.unwrap_or(1.0),
                min_p: given.min_p.unwrap_or(0.0),
            };
            return vec!["do_sample", "temperature", "top_k", "top_p", "min_p"];
        }
        if let Some(width) = given.num_beams.filter(|&width| width > 1) {
            self.sampling = Sampling::GREEDY;
            self.beams = Some(Beams {
                width,
                length_penalty: given.length_penalty.unwrap_or(1.0),
                early_stopping: match given.early_stopping {
                    Some(SearchEnd::Early(true)) => EarlyStopping::Full,
                    Some(SearchEnd::Never(_)) => EarlyStopping::Never,
                    Some(SearchEnd::Early(false)) | None => EarlyStopping::Heuristic,
                },
            });
            return vec!["do_sample", "num_beams", "length_penalty", "early_stopping"];
        }
        if given.do_sample == Some(false) {
            self.sampling = Sampling::GREEDY;
        }
        vec!["do_sample"]
    }

    /// What repetition costs.
    fn take_penalties(&mut self, given: &Generation) -> Vec<&'static str> {
        self.penalties.repetition = given.repetition_penalty.unwrap_or(self.penalties.repetition);
        self.penalties.no_repeat_ngram = given.no_repeat_ngram_size.unwrap_or(self.penalties.no_repeat_ngram);
        vec!["repetition_penalty", "no_repeat_ngram_size"]
    }
}

/// The rules about single tokens that a model has.
pub(crate) fn constraints(config: &ModelConfig) -> Result<Constraints, PipelineError> {
    let given = read(config)?;
    Ok(Constraints {
        forced_first: config.token_ids.forced_bos,
        forced_last: config.token_ids.forced_eos,
        suppressed: given.suppressed(),
        suppressed_first: given.begin_suppress_tokens.unwrap_or_default(),
    })
}

/// The tokens that end a text of a model, as its checkpoint names them.
pub(crate) fn ends(config: &ModelConfig) -> Result<Vec<u32>, PipelineError> {
    let ends = read(config)?.ends();
    Ok(if ends.is_empty() { config.token_ids.eos.into_iter().collect() } else { ends })
}

fn read(config: &ModelConfig) -> Result<Generation, PipelineError> {
    let named = |problem| PipelineError::Options(vec![format!("generation_config.json: {problem}")]);
    config.generation().map_err(named)
}

/// Why a key is passed over.
fn reason(key: &str, given: &Generation) -> &'static str {
    let sampled = given.do_sample == Some(true);
    match key {
        "temperature" | "top_k" | "top_p" | "min_p" => "of no effect without do_sample = true",
        "num_beams" | "length_penalty" | "early_stopping" if sampled => {
            "a search takes the best, it does not draw"
        }
        "length_penalty" | "early_stopping" => "of no effect without num_beams",
        "max_length" | "min_length" => {
            "it counts the prompt; there are --max-new-tokens and --min-new-tokens"
        }
        "bad_words_ids" => "only words of one token are ruled out",
        _ => "not known here",
    }
}

/// Whether a value is that of an option which is off, whatever the option.
fn changes_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64().is_some_and(|number| number == 0.0 || number == 1.0),
        Value::Array(list) => list.is_empty(),
        Value::Object(table) => table.is_empty(),
        Value::String(_) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use locus_encoder::StackConfig;
    use locus_heads::HeadConfig;
    use locus_heads::generate::{Beams, EarlyStopping, Sampling};
    use locus_model::ModelConfig;
    use serde_json::{Value, json};

    use super::{ModelOptions, constraints, ends};
    use crate::WriteOptions;

    fn config(head: HeadConfig, generation: &Value) -> ModelConfig {
        let generation = generation.as_object().unwrap().clone();
        ModelConfig { generation, ..ModelConfig::new(head, Vec::new(), 29, StackConfig::default()) }
    }

    fn decoder(generation: &Value) -> ModelConfig {
        config(HeadConfig::CausalLm { tied: true, output: Default::default() }, generation)
    }

    fn translator(generation: &Value) -> ModelConfig {
        config(HeadConfig::Seq2Seq { tied: true, output: Default::default() }, generation)
    }

    fn of(config: &ModelConfig) -> ModelOptions {
        WriteOptions::default().of_model(config).unwrap()
    }

    #[test]
    fn a_model_without_options_changes_none() {
        assert_eq!(of(&decoder(&json!({}))), ModelOptions::default());
        let of_ids =
            json!({ "_from_model_config": true, "eos_token_id": 2, "transformers_version": "4.57.6" });
        assert_eq!(of(&decoder(&of_ids)), ModelOptions::default());
    }

    #[test]
    fn a_summariser() {
        let found = of(&translator(&json!({
            "num_beams": 4, "max_length": 142, "min_length": 56, "length_penalty": 2.0, "early_stopping": true,
            "no_repeat_ngram_size": 3, "forced_eos_token_id": 2, "num_beam_groups": 1
        })));
        let options = &found.options;
        let beams = Beams { width: 4, length_penalty: 2.0, early_stopping: EarlyStopping::Full };
        assert_eq!(options.beams, Some(beams));
        assert_eq!((options.max_new_tokens, options.min_new_tokens), (141, 55));
        assert_eq!(options.penalties.no_repeat_ngram, 3);
        assert_eq!(found.passed_over, [""; 0]);
        assert_eq!(found.taken.len(), 7, "{:?}", found.taken);
    }

    #[test]
    fn a_chat_model() {
        let found = of(&decoder(&json!({
            "do_sample": true, "temperature": 0.6, "top_p": 0.9, "max_length": 4096, "eos_token_id": [7, 3],
            "typical_p": 0.5, "suppress_tokens": [5]
        })));
        let sampling = Sampling { temperature: 0.6, top_k: 50, top_p: 0.9, min_p: 0.0 };
        assert_eq!(found.options, WriteOptions { sampling, ..WriteOptions::default() });
        assert_eq!(
            found.taken,
            ["do_sample = true", "temperature = 0.6", "top_p = 0.9", "suppress_tokens = [5]"]
        );
        assert_eq!(found.passed_over.len(), 2, "{:?}", found.passed_over);
        assert!(found.passed_over[0].starts_with("max_length = 4096 (it counts the prompt"));
        assert_eq!(found.passed_over[1], "typical_p = 0.5 (not known here)");
    }

    #[test]
    fn what_has_no_effect_there_has_none_here() {
        let drawn = WriteOptions {
            sampling: Sampling { temperature: 0.8, ..Sampling::GREEDY },
            ..WriteOptions::default()
        };
        let best = drawn.of_model(&decoder(&json!({ "do_sample": false }))).unwrap();
        assert_eq!(
            (best.options, best.taken),
            (WriteOptions::default(), vec!["do_sample = false".to_owned()])
        );
        let found = of(&decoder(&json!({ "temperature": 0.6, "length_penalty": 2.0 })));
        assert_eq!(found.options, WriteOptions::default());
        assert_eq!(found.passed_over.len(), 2, "{:?}", found.passed_over);
        let both = of(&decoder(&json!({ "do_sample": true, "num_beams": 4 })));
        assert_eq!(both.options.beams, None);
        assert_eq!(both.passed_over, ["num_beams = 4 (a search takes the best, it does not draw)"]);
    }

    #[test]
    fn tokens_with_a_part_of_their_own() {
        let mut config = translator(&json!({ "eos_token_id": [7, 3], "begin_suppress_tokens": [5, 11] }));
        config.token_ids.eos = Some(7);
        config.token_ids.forced_bos = Some(13);
        assert_eq!(ends(&config).unwrap(), [7, 3]);
        let rules = constraints(&config).unwrap();
        assert_eq!((rules.forced_first, rules.forced_last), (Some(13), None));
        assert_eq!((rules.suppressed, rules.suppressed_first), (vec![], vec![5, 11]));
        config.generation =
            json!({ "bad_words_ids": [[17], [2, 3]], "eos_token_id": 7 }).as_object().unwrap().clone();
        assert_eq!(constraints(&config).unwrap().suppressed, [17]);
        let passed_over = of(&config).passed_over;
        assert_eq!(passed_over, ["bad_words_ids = [[17],[2,3]] (only words of one token are ruled out)"]);
        config.generation.clear();
        assert_eq!(ends(&config).unwrap(), [7]);
    }

    #[test]
    fn options_out_of_range_are_an_error() {
        let error = WriteOptions::default().of_model(&decoder(&json!({ "repetition_penalty": -2.0 })));
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("generation_config.json: repetition_penalty must be above 0"), "{error}");
        assert!(constraints(&decoder(&json!({ "suppress_tokens": "all" }))).is_err());
    }
}
