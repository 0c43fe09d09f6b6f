//! CLIP's byte-pair tokenizer: prompts to ids, never cut short in silence.

use unicode_normalization::UnicodeNormalization;

/// Largest number of a prompt's characters in a message.
const PROMPT_SHOWN: usize = 80;

/// Tokenizer of prompts with at most `context` ids.
pub struct Tokenizer {
    inner: instant_clip_tokenizer::Tokenizer,
    context: usize,
}

/// Refusal of a prompt that has too many ids.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the prompt {prompt:?} has {tokens} tokens (start and end included); the model reads at most {context}: shorten the class name, state or template"
)]
pub struct TooLong {
    /// The prompt, or its beginning.
    pub prompt: String,
    /// Number of ids of the prompt, start and end included.
    pub tokens: usize,
    /// Largest number of ids that the model reads.
    pub context: usize,
}

impl Tokenizer {
    /// A tokenizer for a model that reads `context` ids.
    pub fn new(context: usize) -> Self {
        Tokenizer {
            inner: instant_clip_tokenizer::Tokenizer::new(),
            context,
        }
    }

    /// Ids of one prompt, start (49406) and end (49407) included, zero-padded to `context`.
    ///
    /// # Errors
    /// When the prompt has more ids.
    pub fn ids(&self, prompt: &str) -> Result<Vec<i64>, TooLong> {
        // HTML entities are unescaped first, then characters are repaired, and the text is split
        // last.
        let mut tokens = vec![self.inner.start_of_text()];

        // The text becomes pairs of the vocabulary; its letters are made small by the tokenizer
        // itself.
        self.inner.encode(&typed(&unescaped(prompt)), &mut tokens);
        tokens.push(self.inner.end_of_text());

        // open_clip cuts the prompt here; a class name that lost its end would score in silence as
        // another one.
        if tokens.len() > self.context {
            return Err(TooLong {
                prompt: shortened(prompt),
                tokens: tokens.len(),
                context: self.context,
            });
        }

        // Padding is id 0, which is smaller than the end token's id: the text tower finds the end
        // by the largest one.
        let mut ids = vec![0; self.context];

        // The ids are i64, because the graph gathers rows by ONNX's own integers.
        for (id, token) in ids.iter_mut().zip(tokens) {
            *id = i64::from(token.to_u16());
        }

        Ok(ids)
    }
}

fn shortened(prompt: &str) -> String {
    // Characters are counted rather than bytes, so that none is cut in its middle.
    let mut short: String = prompt.chars().take(PROMPT_SHOWN).collect();

    if short.len() < prompt.len() {
        short.push('…');
    }

    short
}

/// The prompt with HTML unescaped twice (`html.unescape(html.unescape(text))`), as open_clip does before
/// it tokenizes.
fn unescaped(prompt: &str) -> String {
    // Texts from the web are often escaped twice: `&amp;amp;`.
    let once = html_escape::decode_html_entities(prompt);

    html_escape::decode_html_entities(&once).trim().to_owned()
}

/// The prompt with typographers' characters as a keyboard has them, and without control characters.
/// open_clip sends every prompt through ftfy, and this is the part of it that a class name can need.
/// Accents are
/// composed (NFC), as a Mac's file names have them apart. ftfy's repair of wrongly decoded text is left
/// out.
fn typed(prompt: &str) -> String {
    // Each character is looked at by itself: quotes, ligatures, widths, controls.
    let mut out = String::with_capacity(prompt.len());

    for c in prompt.chars() {
        // The tables are ftfy's, `fix_character_width` and `uncurl_quotes` among them; every other
        // character stays.
        match c {
            '\u{2bc}' | '\u{2018}'..='\u{201b}' => out.push('\''),
            '\u{201c}'..='\u{201f}' => out.push('"'),
            'ŉ' => out.push_str("'n"),
            'Ĳ' | 'ĳ' => out.push_str("ij"),
            'Ǆ'..='ǆ' => out.push_str("dž"),
            'Ǉ'..='ǉ' => out.push_str("lj"),
            'Ǌ'..='ǌ' => out.push_str("nj"),
            'Ǳ'..='ǳ' => out.push_str("dz"),
            'ﬀ' => out.push_str("ff"),
            'ﬁ' => out.push_str("fi"),
            'ﬂ' => out.push_str("fl"),
            'ﬃ' => out.push_str("ffi"),
            'ﬄ' => out.push_str("ffl"),
            'ﬅ' => out.push_str("ſt"),
            'ﬆ' => out.push_str("st"),
            '\u{3000}' => out.push(' '),
            // Full width: `！` to `～`, in the order of ASCII.
            '\u{ff01}'..='\u{ff5e}' => out.extend(char::from_u32(c as u32 - 0xfee0)),
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' => {}
            '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}' => {}
            other => out.push(other),
        }
    }

    // Last, as in ftfy: a letter and its accent become the one character that the vocabulary knows.
    out.nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_framed_and_padded() {
        let ids = Tokenizer::new(77).ids("a photo of a cat").expect("short");
        assert_eq!(ids[..8], [49406, 320, 1125, 539, 320, 2368, 49407, 0]);
        assert_eq!(ids.len(), 77);
    }

    #[test]
    fn accents_are_composed_wherever_they_come_from() {
        let tokenizer = Tokenizer::new(16);
        for (apart, composed) in [
            ("Glasko\u{308}rper", "Glask\u{f6}rper"),
            ("cafe\u{301} lid", "caf\u{e9} lid"),
            ("S\u{30c}roub", "\u{160}roub"),
            ("nin\u{303}o", "ni\u{f1}o"),
        ] {
            assert_eq!(tokenizer.ids(apart), tokenizer.ids(composed), "{composed}");
        }
    }

    #[test]
    fn a_prompt_beyond_the_context_is_refused_with_its_length() {
        let long = "bolt ".repeat(300);
        let error = Tokenizer::new(77).ids(&long).expect_err("too long");
        assert_eq!((error.tokens, error.context), (302, 77));
    }

    #[test]
    fn html_entities_are_unescaped_as_open_clip_does() {
        let tokenizer = Tokenizer::new(77);
        assert_eq!(
            tokenizer.ids("nut &amp;amp; bolt"),
            tokenizer.ids("nut & bolt")
        );
    }

    /// Compares with ids from open_clip 2.24 with ftfy 6.
    #[test]
    fn typographers_characters_are_those_of_a_keyboard_as_in_open_clip() {
        let tokenizer = Tokenizer::new(8);
        let table: [(&str, &[i64]); 6] = [
            ("operator\u{2019}s cap", &[15972, 568, 3938]),
            ("\u{201c}cap\u{201d}", &[257, 3938, 257]),
            ("\u{fb01}tting", &[11769]),
            ("\u{ff2d}8\u{3000}screw", &[332, 279, 14225]),
            ("\u{feff}cap\u{7}", &[3938]),
            ("\u{133}zer", &[7337, 3716]),
        ];

        for (prompt, golden) in table {
            let ids = tokenizer.ids(prompt).expect("short");
            assert_eq!(ids[1..=golden.len()], *golden, "{prompt:?}");
            assert_eq!(ids[golden.len() + 1], 49407, "{prompt:?}");
        }
    }
}
