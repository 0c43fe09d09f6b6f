//! CLIP's byte-pair tokenizer: prompts to ids, never cut short in silence.

/// Ids of one prompt, start (49406) and end (49407) included, zero-padded to `context`; or how many ids it needs.
pub struct Tokenizer {
    inner: instant_clip_tokenizer::Tokenizer,
    context: usize,
}

/// A prompt that does not fit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the prompt {prompt:?} has {tokens} tokens (start and end included); the model reads at most {context}: shorten the class name, state or template"
)]
pub struct TooLong {
    pub prompt: String,
    pub tokens: usize,
    pub context: usize,
}

impl Tokenizer {
    pub fn new(context: usize) -> Self {
        Tokenizer { inner: instant_clip_tokenizer::Tokenizer::new(), context }
    }

    pub fn ids(&self, prompt: &str) -> Result<Vec<i64>, TooLong> {
        let mut tokens = vec![self.inner.start_of_text()];
        self.inner.encode(&unescaped(prompt), &mut tokens);
        tokens.push(self.inner.end_of_text());
        if tokens.len() > self.context {
            let mut short: String = prompt.chars().take(80).collect();
            if short.len() < prompt.len() {
                short.push('…');
            }
            return Err(TooLong { prompt: short, tokens: tokens.len(), context: self.context });
        }
        let mut ids: Vec<i64> = tokens.iter().map(|token| i64::from(token.to_u16())).collect();
        ids.resize(self.context, 0);
        Ok(ids)
    }
}

/// open_clip unescapes HTML twice (`html.unescape(html.unescape(text))`) before it tokenizes.
fn unescaped(prompt: &str) -> String {
    let once = html_escape::decode_html_entities(prompt);
    html_escape::decode_html_entities(&once).trim().to_owned()
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
    fn a_prompt_beyond_the_context_is_refused_with_its_length() {
        let long = "bolt ".repeat(300);
        let error = Tokenizer::new(77).ids(&long).expect_err("too long");
        assert_eq!((error.tokens, error.context), (302, 77));
    }

    #[test]
    fn html_entities_are_unescaped_as_open_clip_does() {
        let tokenizer = Tokenizer::new(77);
        assert_eq!(tokenizer.ids("nut &amp;amp; bolt"), tokenizer.ids("nut & bolt"));
    }
}
