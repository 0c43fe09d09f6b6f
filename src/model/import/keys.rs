//! Values of a JSON configuration, read with their defaults and checked; what is wrong is noted with its
//! key.

use crate::base::problems::Problems;
use crate::model::tower::Activation;
use serde_json::{Map, Value};

/// Largest whole number that a key may have: 2^20.
const COUNT_MAX: f64 = 1_048_576.0;

/// A key that must be unused: its name, its harmless words, and what it stands for.
pub type RefusedKey<'a> = (&'a str, &'a [&'a str], &'a str);

/// Keys that transformers writes into every configuration, none of which changes a tower's output.
pub const TRANSFORMERS: [&str; 58] = [
    "_attn_implementation_autoset",
    "_name_or_path",
    "architectures",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "model_type",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_word_embeddings",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "transformers.js_config",
    "typical_p",
    "use_bfloat16",
    "use_cache",
];
/// Keys of transformers that must be unused.
pub const TRANSFORMERS_REFUSED: [RefusedKey; 4] = [
    ("pruned_heads", &[], "heads that were taken out"),
    ("add_cross_attention", &[], "cross attention"),
    ("is_decoder", &[], "a decoder"),
    ("is_encoder_decoder", &[], "an encoder and decoder"),
];

/// Names of keys that must be unused, for [`Keys::refuse_unknown`].
pub fn names<const N: usize>(keys: &[RefusedKey<'static>; N]) -> [&'static str; N] {
    keys.map(|(name, _, _)| name)
}

/// Reader of one JSON object's values.
pub struct Keys<'a> {
    /// `None` if the object is missing: all its keys are then at their defaults.
    object: Option<&'a Map<String, Value>>,
    /// The object's own key, empty for the outermost.
    place: &'a str,
    problems: &'a mut Problems,
}

impl<'a> Keys<'a> {
    /// A reader of `value`, whose key is `place`.
    pub fn new(value: Option<&'a Value>, place: &'a str, problems: &'a mut Problems) -> Self {
        Keys {
            object: value.and_then(Value::as_object),
            place,
            problems,
        }
    }

    /// A key's value. `None` if it is absent or null.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        let value = self.object?.get(key)?;

        (!value.is_null()).then_some(value)
    }

    /// A key's text. `None` if it is absent or no text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.value(key)?.as_str()
    }

    /// A key's truth. `None` if it is absent or neither true nor false.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.value(key)?.as_bool()
    }

    /// Notes a problem of `key`.
    pub fn note(&mut self, key: &str, words: impl std::fmt::Display) {
        // The place is the whole path of the key, as it must be looked for in the file.
        let place = if self.place.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.place)
        };

        self.problems.note(place, words);
    }

    /// A number above 0.
    pub fn number(&mut self, key: &str, default: Option<f64>) -> f64 {
        // An absent or null key has its default, or else is a problem. 1 is a stand-in by which the
        // other checks go on without dividing by zero.
        let Some(value) = self.value(key) else {
            return default.unwrap_or_else(|| {
                self.note(key, "missing");
                1.0
            });
        };

        // Every number of these configurations is a size or an epsilon; zero would mean a layer
        // that is not there.
        match value.as_f64() {
            Some(number) if number.is_finite() && number > 0.0 => number,
            _ => {
                self.note(key, format!("must be a number above 0, got {value}"));

                1.0
            }
        }
    }

    /// A whole number from 1 to [`COUNT_MAX`].
    pub fn count(&mut self, key: &str, default: Option<usize>) -> usize {
        // JSON has one kind of number: `16.0` is a whole one, too.
        let number = self.number(key, default.map(|default| default as f64));

        if number.fract() != 0.0 || number > COUNT_MAX {
            let words = format!("must be a whole number up to {COUNT_MAX}, got {number}");
            self.note(key, words);
            return 1;
        }

        number as usize
    }

    /// A whole number from 0 to [`COUNT_MAX`].
    pub fn count_or_none(&mut self, key: &str, default: usize) -> usize {
        // [`Keys::number`] refuses zero, which stands for something that is not there.
        match self.value(key).and_then(Value::as_u64) {
            Some(0) => 0,
            None if self.value(key).is_none() => default,
            _ => self.count(key, None),
        }
    }

    /// A side in pixels: a number, or two equal ones.
    pub fn side(&mut self, key: &str, default: Option<usize>) -> usize {
        // Both forms are in use: `224` and `[224, 224]`.
        let pair = self.value(key).and_then(Value::as_array);
        let Some([a, b]) = pair.map(Vec::as_slice) else {
            return self.count(key, default);
        };

        // Oblong grids are refused, because positions and windows are laid out in squares.
        match a.as_u64() {
            Some(side) if a == b && side > 0 && side < 1 << 20 => side as usize,
            _ => {
                self.note(key, format!("only squares can be run, got [{a}, {b}]"));

                1
            }
        }
    }

    /// Notes each key whose value is neither absent, null, false, 0 nor a harmless word.
    pub fn refuse(&mut self, keys: &[RefusedKey]) {
        // A key at its harmless value changes nothing; any other value means a layer that the graph
        // does not have, and features that would be wrong in silence.
        for (key, harmless, why) in keys {
            let Some(value) = self.value(key) else {
                continue;
            };

            if !is_harmless(value, harmless) {
                self.note(key, format!("{value} cannot be run: {why}"));
            }
        }
    }

    /// Notes each key that is in none of `known`, unless it is null: nothing says that the model is the
    /// same without it.
    pub fn refuse_unknown(&mut self, known: &[&[&str]]) {
        let Some(object) = self.object else {
            return;
        };

        for (key, value) in object {
            let is_known = known.iter().any(|names| names.contains(&key.as_str()));

            if !is_known && !value.is_null() {
                let words =
                    "is not known, and the model may need it; remove it if it changes nothing";
                self.note(key, words);
            }
        }
    }

    /// The MLP's width, as a multiple of the tower's.
    pub fn mlp_by_ratio(&mut self, width: usize) -> usize {
        // The product is rounded down, as open_clip and transformers do: `int(width * ratio)`.
        let ratio = self.number("mlp_ratio", Some(4.0));

        (width as f64 * ratio) as usize
    }

    /// The activation of a transformers CLIP tower.
    pub fn clip_activation(&mut self) -> Activation {
        // The stand-in after a problem does not matter: the problem ends the import.
        match self.text("hidden_act").unwrap_or("quick_gelu") {
            "quick_gelu" => Activation::QuickGelu,
            "gelu" => Activation::Gelu,
            other => {
                let words = format!("{other:?} cannot be run; \"gelu\" and \"quick_gelu\" can");
                self.note("hidden_act", words);

                Activation::Gelu
            }
        }
    }
}

fn is_harmless(value: &Value, words: &[&str]) -> bool {
    // A list is never harmless: none of the keys has one as its default.
    match value {
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Object(object) => object.is_empty(),
        Value::String(text) => text.is_empty() || words.contains(&text.as_str()),
        Value::Null | Value::Array(_) => false,
    }
}

/// Three numbers above `above`, such as a mean of red, green and blue; `default` if they are absent.
pub fn three_numbers(
    value: Option<&Value>,
    default: [f32; 3],
    place: &str,
    above: f32,
    problems: &mut Problems,
) -> [f32; 3] {
    // Absent and null are the same to the libraries that write these files.
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return default;
    };

    // Entries that are no numbers above the bound are dropped here, and so the count is wrong
    // below: one message for all mistakes.
    let numbers: Vec<f32> = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .map(|number| number as f32)
        .filter(|number| *number > above)
        .collect();

    numbers.try_into().unwrap_or_else(|_| {
        let words = format!("must be three numbers above {above}, got {value}");
        problems.note(place, words);
        default
    })
}
