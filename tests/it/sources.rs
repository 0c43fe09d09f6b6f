//! Rust files read and parsed for the tests of the code's shape. Code that only tests compile is
//! left out: its tokens are dropped, and [`Source::is_test`] tells visitors what to skip.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Operators of several characters. `<<` and `>>` stay two tokens, as they are in nested generics.
const OPERATORS: &[&str] = &[
    "::", "->", "=>", "==", "!=", "<=", ">=", "&&", "||", "..", "...", "..=", "+=", "-=", "*=",
    "/=", "%=", "^=", "&=", "|=",
];

/// One lexical token outside of comments and test code.
pub struct Token {
    /// Bytes of the file that the token covers.
    pub bytes: Range<usize>,
    /// Lines that the token covers, counted from 1. A string can cover several.
    pub lines: Range<usize>,
}

/// One file of the source folder.
pub struct Source {
    /// Path from the project's folder, such as `src/store/ledger.rs`.
    pub path: String,
    /// Modules from the crate's root, such as `["store", "ledger"]`. Empty for `lib.rs` and
    /// `main.rs`.
    pub modules: Vec<String>,
    /// The whole text.
    pub text: String,
    /// The parsed text.
    pub syntax: syn::File,
    /// All tokens, without comments, doc comments and test code.
    pub tokens: Vec<Token>,
    tests: Vec<Range<usize>>,
}

impl Source {
    fn parse(root: &Path, file: &Path) -> Self {
        let below = file.strip_prefix(root).expect("files come from the folder");
        let text = read_text(file);
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| refuse(file, &error));
        let stream: TokenStream = text.parse().unwrap_or_else(|error| refuse(file, &error));
        let mut source = Self {
            path: format!("src/{}", below.display()),
            modules: modules(below),
            text,
            syntax,
            tokens: Vec::new(),
            tests: Vec::new(),
        };

        source.find_tests(stream.clone());
        source.collect_tokens(stream);
        source
    }

    /// True for a place in code that only tests compile.
    pub fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// Text of a token.
    pub fn text_of(&self, token: &Token) -> &str {
        &self.text[token.bytes.clone()]
    }

    /// Tokens within a part of the file.
    pub fn tokens_in(&self, bytes: &Range<usize>) -> &[Token] {
        let first = self
            .tokens
            .partition_point(|token| token.bytes.start < bytes.start);

        let end = self
            .tokens
            .partition_point(|token| token.bytes.start < bytes.end);

        &self.tokens[first..end]
    }

    /// Lines within a part of the file that hold at least one token.
    pub fn code_lines(&self, bytes: &Range<usize>) -> BTreeSet<usize> {
        self.tokens_in(bytes)
            .iter()
            .flat_map(|token| token.lines.clone())
            .collect()
    }

    /// Lines that hold a comment and nothing else.
    pub fn comment_lines(&self) -> usize {
        let code = self.code_lines(&(0..self.text.len()));
        let mut at = 0;
        let mut count = 0;
        for (index, line) in self.text.split_inclusive('\n').enumerate() {
            let comment = line.trim_start().starts_with("//");
            if comment && !code.contains(&(index + 1)) && !self.is_test(at) {
                count += 1;
            }

            at += line.len();
        }

        count
    }

    /// Names of child files that only tests compile.
    fn test_children(&self) -> Vec<String> {
        let mut children = Vec::new();
        for item in &self.syntax.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
                && self.is_test(start(module.ident.span()))
            {
                children.push(module.ident.to_string());
            }
        }

        children
    }

    /// Notes each item behind `#[cfg(test)]` or `#[test]`, at any depth.
    fn find_tests(&mut self, stream: TokenStream) {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        let mut next = 0;
        while next < trees.len() {
            let first = next;
            let mut test = false;
            while let Some(attribute) = attribute(&trees[next..]) {
                test |= means_test(attribute);
                next += 2;
            }

            if test {
                next = end_of_item(&trees, next);
                let end = trees[next - 1].span().byte_range().end;
                self.tests.push(start(trees[first].span())..end);
                continue;
            }

            if let Some(TokenTree::Group(group)) = trees.get(next) {
                self.find_tests(group.stream());
            }

            next += 1;
        }
    }

    fn collect_tokens(&mut self, stream: TokenStream) {
        for tree in stream {
            match tree {
                TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                    self.collect_tokens(group.stream())
                }
                // A doc comment is an attribute to the parser.
                TokenTree::Group(group) if self.is_comment(group.span()) => {}
                TokenTree::Group(group) => {
                    self.add_token(group.span_open());
                    self.collect_tokens(group.stream());
                    self.add_token(group.span_close());
                }
                other => self.add_token(other.span()),
            }
        }
    }

    fn is_comment(&self, span: Span) -> bool {
        let rest = &self.text[start(span)..];
        rest.starts_with("//") || rest.starts_with("/*")
    }

    fn add_token(&mut self, span: Span) {
        let bytes = span.byte_range();
        if self.is_comment(span) || self.is_test(bytes.start) {
            return;
        }

        if let Some(last) = self.tokens.last_mut()
            && last.bytes.end == bytes.start
            && joins(&self.text[last.bytes.clone()], &self.text[bytes.clone()])
        {
            last.bytes.end = bytes.end;
            return;
        }

        let lines = span.start().line..span.end().line + 1;
        self.tokens.push(Token { bytes, lines });
    }
}

/// Reads one file as text.
pub fn read_text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| refuse(file, &error))
}

fn refuse(file: &Path, error: &dyn std::fmt::Display) -> ! {
    panic!("{}: {error}", file.display())
}

/// True for two halves of one token: an operator or a lifetime.
fn joins(first: &str, second: &str) -> bool {
    first == "'" || OPERATORS.contains(&format!("{first}{second}").as_str())
}

/// First byte of a span.
pub fn start(span: Span) -> usize {
    span.byte_range().start
}

/// Source folder under test: that of the project, or the one that `SHAPE_SOURCE` names.
pub fn folder() -> PathBuf {
    match std::env::var_os("SHAPE_SOURCE") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
    }
}

/// Parses all Rust files of a source folder, without those that only tests compile.
pub fn read(root: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    find_files(root, &mut files);
    files.sort();
    let sources: Vec<Source> = files.iter().map(|file| Source::parse(root, file)).collect();

    let mut test_modules: Vec<Vec<String>> = Vec::new();
    for source in &sources {
        for child in source.test_children() {
            test_modules.push([source.modules.as_slice(), &[child]].concat());
        }
    }

    let mut compiled = sources;
    for module in &test_modules {
        compiled.retain(|source| !source.modules.starts_with(module));
    }

    compiled
}

fn find_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| refuse(folder, &error));
    for entry in entries {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            find_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Modules of a file, from its path below the source folder.
fn modules(below: &Path) -> Vec<String> {
    let path = below.with_extension("");
    let mut modules: Vec<String> = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();

    if modules
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        modules.pop();
    }

    modules
}

/// Content of the attribute that these trees begin with.
fn attribute(trees: &[TokenTree]) -> Option<TokenStream> {
    match trees {
        [TokenTree::Punct(hash), TokenTree::Group(group), ..]
            if hash.as_char() == '#' && group.delimiter() == Delimiter::Bracket =>
        {
            Some(group.stream())
        }
        _ => None,
    }
}

/// True for `test`, `cfg(test)` and `cfg(all(test, ...))`.
fn means_test(attribute: TokenStream) -> bool {
    let text = attribute.to_string().replace(' ', "");
    text == "test" || text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

/// Index behind the item that begins at `first`: behind its braces or its semicolon.
fn end_of_item(trees: &[TokenTree], first: usize) -> usize {
    let mut import = false;
    for (index, tree) in trees.iter().enumerate().skip(first) {
        match tree {
            TokenTree::Ident(ident) if ident == "use" => import = true,
            TokenTree::Punct(punct) if punct.as_char() == ';' => return index + 1,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && !import => {
                return index + 1;
            }
            _ => {}
        }
    }

    trees.len()
}
