//! The measured parts of non-test code: functions, type names, doc comments, tuples and closures.

use crate::sources::{Source, start};
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Words that a doc comment does not open with, because the thing itself is the sentence's subject:
/// pronouns, relatives and question words, prepositions and conjunctions.
pub const OPENERS: [&str; 3] = [
    "it its itself he him his she her they them their theirs we us our you your this that these \
     those nobody nothing everybody everyone everything somebody someone something anybody anyone \
     anything others",
    "what who whom whose which where when why how whether whoever whatever whichever wherever \
     whenever however",
    "of in on at by for from to into onto with within without as about above across after against \
     along among around before behind below beneath beside besides between beyond but despite \
     down during except if like near off out outside over per since so than through till toward \
     towards under unless until up upon while",
];

/// One place in the code and what stands there.
#[derive(Clone)]
pub struct Place {
    pub path: String,
    pub line: usize,
    pub what: String,
}

/// One function with a body.
pub struct Function {
    pub place: Place,
    /// Lines with code, from the signature to the closing brace.
    pub lines: usize,
    /// All lines from the signature to the closing brace, comments and blank lines included.
    pub all_lines: usize,
    /// Tokens from the signature to the closing brace.
    pub tokens: usize,
}

/// One documented item.
pub struct Doc {
    pub place: Place,
    /// True for an opening among [`OPENERS`].
    pub poor: bool,
}

/// What was found in all files.
#[derive(Default)]
pub struct Measures {
    /// Lines with code, of all files.
    pub code_lines: usize,
    /// Lines with a comment alone, of all files.
    pub comment_lines: usize,
    /// Files and how many lines they have, tests included.
    pub files: Vec<(Place, usize)>,
    pub functions: Vec<Function>,
    /// Names of structs, enums, traits and aliases.
    pub types: Vec<Place>,
    pub docs: Vec<Doc>,
    /// Tuples that bind unrelated values: `let (a, b) = (x, y)`.
    pub tuples: Vec<Place>,
    /// Closures that are named and used once.
    pub closures: Vec<Place>,
    /// Files without `//!`.
    pub undocumented: Vec<Place>,
}

impl Measures {
    /// Measures all files.
    pub fn of(sources: &[Source]) -> Self {
        let mut measures = Self::default();
        for source in sources {
            measures.add(source);
        }

        measures
    }

    fn add(&mut self, source: &Source) {
        self.code_lines += source.code_lines(&(0..source.text.len())).len();
        self.comment_lines += source.comment_lines();
        let place = Place {
            path: source.path.clone(),
            line: 1,
            what: String::new(),
        };

        if !source
            .syntax
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("doc"))
        {
            self.undocumented.push(Place {
                what: "no //! at the top".to_owned(),
                ..place.clone()
            });
        }

        self.files.push((place, source.text.lines().count()));
        let mut visitor = Visitor {
            source,
            measures: self,
            docs: Vec::new(),
        };

        visitor.visit_file(&source.syntax);
        let docs = visitor.docs;
        self.add_docs(source, docs);
    }

    /// Takes the first line of each doc comment; the lines that follow directly belong to it.
    fn add_docs(&mut self, source: &Source, mut lines: Vec<(usize, bool, String)>) {
        lines.sort();
        let mut last = (0, false);
        for (line, inner, text) in lines {
            if last != (line - 1, inner) {
                let poor = opens_poorly(text.trim());
                let place = Place {
                    path: source.path.clone(),
                    line,
                    what: text.trim().to_owned(),
                };

                self.docs.push(Doc { place, poor });
            }

            last = (line, inner);
        }
    }
}

fn opens_poorly(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_alphabetic());
    let first = text[..end.unwrap_or(text.len())].to_lowercase();
    !first.is_empty()
        && OPENERS
            .iter()
            .any(|words| words.split(' ').any(|word| word == first))
}

struct Visitor<'a> {
    source: &'a Source,
    measures: &'a mut Measures,
    /// Lines of doc comments: line, whether it is `//!`, text.
    docs: Vec<(usize, bool, String)>,
}

impl Visitor<'_> {
    fn place(&self, span: proc_macro2::Span, what: impl ToString) -> Place {
        Place {
            path: self.source.path.clone(),
            line: span.start().line,
            what: what.to_string(),
        }
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let bytes = start(signature.span())..block.span().byte_range().end;
        let lines = self.source.code_lines(&bytes).len();
        let all_lines = block.span().end().line + 1 - signature.span().start().line;
        let tokens = self.source.tokens_in(&bytes).len();
        let place = self.place(signature.ident.span(), &signature.ident);
        self.measures.functions.push(Function {
            place,
            lines,
            all_lines,
            tokens,
        });
    }

    fn type_name(&mut self, ident: &syn::Ident) {
        let place = self.place(ident.span(), ident);
        self.measures.types.push(place);
    }

    /// How often a name stands in a part of the file.
    fn uses(&self, name: &str, bytes: &Range<usize>) -> usize {
        self.source
            .tokens_in(bytes)
            .iter()
            .filter(|token| self.source.text_of(token) == name)
            .count()
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !self.source.is_test(start(item.span())) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        if !self.source.is_test(start(item.span())) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }

        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.type_name(&item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.type_name(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.type_name(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.type_name(&item.ident);
        visit::visit_item_type(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let inner = matches!(attribute.style, syn::AttrStyle::Inner(_));
        if let syn::Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let syn::Expr::Lit(literal) = &pair.value
            && let syn::Lit::Str(text) = &literal.lit
        {
            self.docs
                .push((attribute.span().start().line, inner, text.value()));
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let syn::Pat::Tuple(_) = &local.pat
            && let Some(init) = &local.init
            && let syn::Expr::Tuple(_) = *init.expr
        {
            let line = self
                .source
                .text
                .lines()
                .nth(local.span().start().line - 1)
                .unwrap_or_default();

            let place = self.place(local.span(), line.trim());
            self.measures.tuples.push(place);
        }

        visit::visit_local(self, local);
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        let end = block.span().byte_range().end;
        for statement in &block.stmts {
            if let syn::Stmt::Local(local) = statement
                && let syn::Pat::Ident(name) = &local.pat
                && let Some(init) = &local.init
                && let syn::Expr::Closure(_) = *init.expr
                && self.uses(
                    &name.ident.to_string(),
                    &(local.span().byte_range().end..end),
                ) == 1
            {
                let place = self.place(
                    local.span(),
                    format!("let {} = |...|, used once", name.ident),
                );

                self.measures.closures.push(place);
            }
        }

        visit::visit_block(self, block);
    }
}
