//! The architecture that `src/ARCHITECTURE.md` draws, against the imports: layers, circles of
//! files, and which files start threads. Only code that is compiled without tests counts.
//!
//! An import means the file that defines the imported item: a name that a `mod.rs` re-exports leads
//! on to the child. So a `mod.rs` may hold what its children share, or use them, but not both.

use crate::sources::{self, Source, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Heading in ARCHITECTURE.md above the layers.
const HEADING: &str = "## Layers";

/// Imports upwards that are accepted: file, imported file, reason.
const UPWARDS: &[(&str, &str, &str)] = &[];

/// Imports that are no part of a circle: file, imported file, reason.
const BACKWARDS: &[(&str, &str, &str)] = &[];

/// Files that start threads or processes: file, reason.
const THREADS: &[(&str, &str)] = &[
    (
        "src/line/stage.rs",
        "starts the threads of a line, for line/mod.rs alone",
    ),
    (
        "src/control/server.rs",
        "one task a connection, all of them on its own thread",
    ),
    (
        "src/page/server.rs",
        "one task a connection, all of them on its own thread",
    ),
    (
        "src/camera/gst/closing.rs",
        "changes the state of a pipeline that may hang",
    ),
    (
        "src/camera/lookup.rs",
        "asks a resolver that may hang for a camera's address",
    ),
    ("src/cli/bench/cameras.rs", "a bench without a line"),
    ("src/cli/bench/parts/line.rs", "a line without an inspector"),
    (
        "src/cli/bench/parts/plc.rs",
        "sends triggers while it hears results",
    ),
    (
        "src/cli/check.rs",
        "probes cameras side by side, within one scope",
    ),
    (
        "src/cli/doctor/mod.rs",
        "asks for versions side by side, within one scope",
    ),
    (
        "src/cli/doctor/ask.rs",
        "starts a child process and reads its output",
    ),
    (
        "src/store/disk.rs",
        "sits in fsync while the store's thread keeps deadlines",
    ),
    (
        "src/recipe/progress.rs",
        "says that a start is slow while the main thread works",
    ),
];

/// One file that names an item of another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    /// Index of the naming file.
    from: usize,
    /// Index of the file that defines the item.
    to: usize,
    /// Line of the name.
    line: usize,
    /// The path as it was resolved, such as `crate::store::Store`.
    path: String,
}

/// All files and their imports.
struct Graph {
    sources: Vec<Source>,
    imports: BTreeSet<Import>,
}

#[test]
fn no_import_points_upwards() {
    let graph = Graph::read();
    let layers = layers();
    let mut accepted = BTreeSet::new();
    let mut upwards = Vec::new();
    let mut pairs = BTreeSet::new();
    for import in &graph.imports {
        let from = folder(&graph.sources[import.from]);
        let to = folder(&graph.sources[import.to]);
        if from.is_empty() || from == to {
            continue;
        }

        // A file of the root, such as lib.rs, is above all layers.
        let above = layers.get(to).copied().unwrap_or(usize::MAX);
        let own = layers
            .get(from)
            .unwrap_or_else(|| panic!("src/{from} is in no layer"));

        if above < *own {
            continue;
        }

        let names = graph.names(import);
        match UPWARDS
            .iter()
            .position(|(from, to, _)| (*from, *to) == names)
        {
            Some(entry) => {
                accepted.insert(entry);
            }
            None => {
                upwards.push(graph.describe(import));
                pairs.insert(names);
            }
        }
    }

    println!("{}", upwards.join("\n"));
    let count = pairs.len();
    println!("{count} pairs of files with imports upwards");
    assert_eq!(count, 0, "pairs of files with imports upwards");

    assert_eq!(
        accepted.len(),
        UPWARDS.len(),
        "an entry of UPWARDS is no longer needed; needed are {accepted:?}"
    );
}

#[test]
fn no_circle_among_files() {
    let mut graph = Graph::read();
    for (from, to, reason) in BACKWARDS {
        let before = graph.imports.len();
        let names = (*from, *to);
        let imports = std::mem::take(&mut graph.imports);
        graph.imports = imports
            .into_iter()
            .filter(|import| graph.names(import) != names)
            .collect();

        assert!(
            graph.imports.len() < before,
            "{from} no longer imports {to}, which BACKWARDS accepts: {reason}"
        );
    }

    let circles = graph.circles();
    let mut text = String::new();
    for circle in &circles {
        text.push_str("\n\n");
        for import in &graph.imports {
            if circle.contains(&import.from) && circle.contains(&import.to) {
                text.push_str(&graph.describe(import));
                text.push('\n');
            }
        }
    }

    println!("{} circles of files:{text}", circles.len());
    assert!(circles.is_empty(), "{} circles of files", circles.len());
}

#[test]
fn threads_are_started_where_they_may_be() {
    let mut starting = BTreeSet::new();
    for source in sources::read(&sources::folder()) {
        if starts_threads(&source) {
            starting.insert(source.path);
        }
    }

    let allowed: BTreeSet<String> = THREADS.iter().map(|(path, _)| (*path).to_owned()).collect();
    let new: Vec<_> = starting.difference(&allowed).collect();
    assert!(
        new.is_empty(),
        "files that start threads, not listed in THREADS: {new:?}"
    );

    let old: Vec<_> = allowed.difference(&starting).collect();
    assert!(
        old.is_empty(),
        "files of THREADS that start no thread: {old:?}"
    );
}

#[test]
fn each_file_says_what_it_is_for() {
    let mut silent = Vec::new();
    for source in sources::read(&sources::folder()) {
        if !source
            .syntax
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("doc"))
        {
            silent.push(source.path);
        }
    }

    assert!(
        silent.is_empty(),
        "files that do not open with //!: {silent:?}"
    );
}

/// Layer of each folder, from the fenced block below [`HEADING`]: `<number> <folder> <folder> ...`
/// a line.
fn layers() -> BTreeMap<String, usize> {
    let path = sources::folder().join("ARCHITECTURE.md");
    let text = sources::read_text(&path);
    let (_, section) = text
        .split_once(HEADING)
        .expect("ARCHITECTURE.md has the heading of the layers");

    let block = section
        .split("```")
        .nth(1)
        .expect("a fenced block follows the heading");

    let mut layers = BTreeMap::new();
    for line in block.lines().skip(1) {
        let mut words = line.split_whitespace();
        let number = words.next().and_then(|word| word.parse().ok());
        let number = number.unwrap_or_else(|| panic!("no number begins the layer {line:?}"));
        for folder in words {
            let before = layers.insert(folder.to_owned(), number);
            assert_eq!(before, None, "{folder} is in two layers");
        }
    }

    layers
}

/// Top folder of a file, or the file's own name if it lies loose in `src/`. Empty for lib.rs and
/// main.rs.
fn folder(source: &Source) -> &str {
    source.modules.first().map_or("", String::as_str)
}

/// True for `thread::spawn`, `thread::scope`, `thread::Builder` and the method `.spawn(`.
fn starts_threads(source: &Source) -> bool {
    let texts: Vec<&str> = source
        .tokens
        .iter()
        .map(|token| source.text_of(token))
        .collect();

    texts.windows(3).any(starts_thread)
}

fn starts_thread(words: &[&str]) -> bool {
    matches!(
        words,
        ["thread", "::", "spawn" | "scope" | "Builder"] | [".", "spawn", "("]
    )
}

impl Graph {
    fn read() -> Self {
        let sources = sources::read(&sources::folder());
        let names = Names::of(&sources);
        let mut imports = BTreeSet::new();
        for (from, source) in sources.iter().enumerate() {
            for (path, line) in paths(source) {
                let Some(to) = names.resolve(&path) else {
                    continue;
                };

                if to != from {
                    imports.insert(Import {
                        from,
                        to,
                        line,
                        path: format!("crate::{}", path.join("::")),
                    });
                }
            }
        }

        Self { sources, imports }
    }

    /// Paths of the naming and the defining file.
    fn names(&self, import: &Import) -> (&str, &str) {
        (
            &self.sources[import.from].path,
            &self.sources[import.to].path,
        )
    }

    fn describe(&self, import: &Import) -> String {
        let (from, to) = self.names(import);
        format!("{from}:{}: {} in {to}", import.line, import.path)
    }

    /// Groups of at least two files that all reach each other.
    fn circles(&self) -> Vec<BTreeSet<usize>> {
        let reached: Vec<BTreeSet<usize>> = (0..self.sources.len())
            .map(|from| self.reach(from))
            .collect();

        let mut circles = BTreeSet::new();
        for (from, targets) in reached.iter().enumerate() {
            if targets.contains(&from) {
                circles.insert(
                    targets
                        .iter()
                        .copied()
                        .filter(|to| reached[*to].contains(&from))
                        .collect(),
                );
            }
        }

        circles.into_iter().collect()
    }

    /// Files that a file needs, directly or through others. The file itself is among them if it is
    /// in a circle.
    fn reach(&self, from: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut next = vec![from];
        while let Some(file) = next.pop() {
            for import in self.imports.iter().filter(|import| import.from == file) {
                if reached.insert(import.to) {
                    next.push(import.to);
                }
            }
        }

        reached
    }
}

/// Files by module, and where re-exported names lead.
struct Names {
    files: BTreeMap<Vec<String>, usize>,
    /// Module and name of an import, which children may use too, and the path that it stands for.
    exports: BTreeMap<Vec<String>, Vec<String>>,
}

impl Names {
    fn of(sources: &[Source]) -> Self {
        let mut names = Self {
            files: BTreeMap::new(),
            exports: BTreeMap::new(),
        };

        for (index, source) in sources.iter().enumerate() {
            // lib.rs comes before main.rs, which stands for the same module.
            names.files.entry(source.modules.clone()).or_insert(index);
            for leaf in Uses::of(source).leaves {
                let name = [source.modules.as_slice(), &[leaf.name]].concat();
                names.exports.insert(name, leaf.path);
            }
        }

        names
    }

    /// File that defines the item of a path from the crate's root. `None` for a module that is only
    /// named.
    fn resolve(&self, path: &[String]) -> Option<usize> {
        if self.files.contains_key(path) {
            return None;
        }

        for length in (0..path.len()).rev() {
            let (module, item) = path.split_at(length);
            let Some(file) = self.files.get(module) else {
                continue;
            };

            let export = self.exports.get(&path[..length + 1]);
            return match export.filter(|export| export.as_slice() != path) {
                Some(export) => self.resolve(&[export.as_slice(), &item[1..]].concat()),
                None => Some(*file),
            };
        }

        None
    }
}

/// One name that a `use` brings in.
struct Leaf {
    /// The name in the file.
    name: String,
    /// Path from the crate's root.
    path: Vec<String>,
    line: usize,
    /// True for a re-export.
    public: bool,
}

/// The `use` items of one file that name items of this crate.
struct Uses<'a> {
    source: &'a Source,
    leaves: Vec<Leaf>,
    /// Bytes that the items cover.
    items: Vec<Range<usize>>,
}

impl<'a> Uses<'a> {
    fn of(source: &'a Source) -> Self {
        let mut uses = Self {
            source,
            leaves: Vec::new(),
            items: Vec::new(),
        };

        uses.visit_file(&source.syntax);
        uses
    }

    fn add(&mut self, tree: &syn::UseTree, mut path: Vec<String>, public: bool) {
        match tree {
            syn::UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.add(&part.tree, path, public);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add(tree, path.clone(), public);
                }
            }
            syn::UseTree::Name(leaf) => {
                self.add_leaf(&leaf.ident, leaf.ident.to_string(), path, public)
            }
            syn::UseTree::Rename(leaf) => {
                self.add_leaf(&leaf.ident, leaf.rename.to_string(), path, public)
            }
            syn::UseTree::Glob(_) => {}
        }
    }

    fn add_leaf(&mut self, ident: &syn::Ident, name: String, mut path: Vec<String>, public: bool) {
        if ident == "self" {
            let module = path.last().cloned().unwrap_or_default();
            let name = if name == "self" { module } else { name };
            return self.add_path(ident, name, path, public);
        }

        path.push(ident.to_string());
        self.add_path(ident, name, path, public);
    }

    fn add_path(&mut self, ident: &syn::Ident, name: String, path: Vec<String>, public: bool) {
        let line = ident.span().start().line;
        if let Some(path) = absolute(self.source, &path) {
            self.leaves.push(Leaf {
                name,
                path,
                line,
                public,
            });
        }
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let bytes = item.span().byte_range();
        if !self.source.is_test(bytes.start) {
            self.add(
                &item.tree,
                Vec::new(),
                !matches!(item.vis, syn::Visibility::Inherited),
            );
        }

        self.items.push(bytes);
        visit::visit_item_use(self, item);
    }
}

/// Path from the crate's root, if the path begins with `crate`, `self`, `super` or a child's name.
fn absolute(source: &Source, path: &[String]) -> Option<Vec<String>> {
    let first = path.first()?;
    let mut modules = source.modules.clone();
    let mut rest = path;
    match first.as_str() {
        "crate" => {
            modules.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                modules.pop();
                rest = &rest[1..];
            }
        }
        name if children(source).any(|child| child == name) => {}
        _ => return None,
    }

    modules.extend_from_slice(rest);
    Some(modules)
}

/// Names of the modules that a file declares.
fn children(source: &Source) -> impl Iterator<Item = String> {
    source.syntax.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.content.is_none() => Some(module.ident.to_string()),
        _ => None,
    })
}

/// All paths of a file that name something of this crate, from the crate's root, with their lines.
fn paths(source: &Source) -> Vec<(Vec<String>, usize)> {
    let uses = Uses::of(source);
    let body: Vec<&Token> = source
        .tokens
        .iter()
        .filter(|token| !within(&uses.items, token))
        .collect();

    let mut paths = written_paths(source, &body, &uses);
    for leaf in &uses.leaves {
        // A re-export alone needs nothing; one whose name is also used here does.
        if !leaf.public || mentions(source, &body, &leaf.name) {
            paths.push((leaf.path.clone(), leaf.line));
        }
    }

    paths
}

fn within(items: &[Range<usize>], token: &Token) -> bool {
    items.iter().any(|item| item.contains(&token.bytes.start))
}

/// True for a name that stands in the code as the beginning of a path.
fn mentions(source: &Source, body: &[&Token], name: &str) -> bool {
    (0..body.len()).any(|at| source.text_of(body[at]) == name && begins_path(source, body, at))
}

/// Paths in the code itself, such as `crate::store::Store::open` or `ledger::Entry` below `use
/// super::ledger`.
fn written_paths(source: &Source, body: &[&Token], uses: &Uses) -> Vec<(Vec<String>, usize)> {
    let mut paths = Vec::new();
    for at in 0..body.len() {
        if !begins_path(source, body, at) {
            continue;
        }

        let path = path_at(source, body, at);
        if path.len() < 2 {
            continue;
        }

        let imported = uses.leaves.iter().find(|leaf| leaf.name == path[0]);
        let whole = match imported {
            Some(leaf) => Some([leaf.path.as_slice(), &path[1..]].concat()),
            None => absolute(source, &path),
        };

        if let Some(whole) = whole {
            paths.push((whole, body[at].lines.start));
        }
    }

    paths
}

/// True for a token that is neither a field nor a later part of a path.
fn begins_path(source: &Source, body: &[&Token], at: usize) -> bool {
    at == 0 || !matches!(source.text_of(body[at - 1]), "::" | ".")
}

/// Names from a token on that `::` joins.
fn path_at(source: &Source, body: &[&Token], at: usize) -> Vec<String> {
    let mut path = Vec::new();
    let mut next = at;
    while let Some(token) = body.get(next) {
        let text = source.text_of(token);
        if !text.starts_with(|first: char| first.is_alphabetic() || first == '_') {
            break;
        }

        path.push(text.to_owned());
        if body
            .get(next + 1)
            .is_none_or(|token| source.text_of(token) != "::")
        {
            break;
        }

        next += 2;
    }

    path
}
