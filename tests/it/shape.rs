//! The shape of the code in figures, beside those of six codebases that it takes as models, and
//! limits that it keeps.
//!
//! `tools/shape` prints the table, `tools/shape --list NAME` the places that stand against one
//! figure. The test reads `SHAPE_LIST` for that name and `SHAPE_SOURCE` for another source folder.

mod measures;

use crate::sources;
use measures::{Measures, Place};
use std::collections::BTreeMap;

/// Tokens a line in functions.
const TOKENS_A_LINE: f64 = 7.0;
/// Lines with code of a long function.
const LONG_FUNCTION: usize = 60;
/// Functions that may be long.
const LONG_FUNCTIONS: f64 = 6.0;
/// Percentage of type names that may be defined more than once.
const REPEATED_TYPES: f64 = 5.0;
/// Percentage of doc comments that may open with one of [`measures::OPENERS`].
const POOR_DOCS: f64 = 5.0;
/// Lines of a long file.
const LONG_FILE: usize = 600;

/// One figure of the table.
struct Figure {
    /// Name for `tools/shape --list`.
    name: &'static str,
    /// What is counted.
    title: String,
    value: f64,
    /// Largest value that the test accepts. `None` for figures that are only shown.
    limit: Option<f64>,
    /// Figures of the models.
    models: &'static str,
    /// Places that stand against the figure.
    offenders: Vec<Place>,
}

#[test]
fn the_code_keeps_its_shape() {
    let figures = measure();
    if let Ok(name) = std::env::var("SHAPE_LIST") {
        return print_list(&figures, &name);
    }

    print_table(&figures);
    let mut broken = Vec::new();
    for figure in &figures {
        let limit = figure.limit.unwrap_or(f64::INFINITY);
        if figure.value > limit {
            let name = figure.name;
            broken.push(format!(
                "{}: {:.1}, at most {limit}: tools/shape --list {name}",
                figure.title, figure.value
            ));
        }
    }

    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Prints the places that stand against one figure.
fn print_list(figures: &[Figure], name: &str) {
    let Some(figure) = figures.iter().find(|figure| figure.name == name) else {
        let names: Vec<&str> = figures.iter().map(|figure| figure.name).collect();
        panic!(
            "no figure has the name {name}; there are {}",
            names.join(", ")
        );
    };

    for place in &figure.offenders {
        println!("{}:{}: {}", place.path, place.line, place.what);
    }
}

/// Prints all figures beside their limits and those of the models.
fn print_table(figures: &[Figure]) {
    println!(
        "{:10} {:50} {:>9} {:>7}  models",
        "name", "figure", "winspect", "limit"
    );

    for figure in figures {
        let limit = figure
            .limit
            .map(|limit| limit.to_string())
            .unwrap_or_default();

        println!(
            "{:10} {:50} {:>9.1} {limit:>7}  {}",
            figure.name, figure.title, figure.value, figure.models
        );
    }
}

/// Measures the source folder.
fn measure() -> Vec<Figure> {
    let measures = Measures::of(&sources::read(&sources::folder()));
    vec![
        tokens_a_line(&measures),
        long_functions(&measures),
        median_tokens(&measures),
        repeated_types(&measures),
        poor_docs(&measures),
        in_thousand(
            "tuples",
            "let (a, b) = (x, y) in 1000 lines",
            "0 to 0.3",
            &measures.tuples,
            &measures,
        ),
        in_thousand(
            "closures",
            "closures with one use in 1000 lines",
            "0.1 to 0.7",
            &measures.closures,
            &measures,
        ),
        undocumented(&measures),
        comment_share(&measures),
        long_files(&measures),
        lines_in_functions(&measures),
    ]
}

/// Tokens of all functions by their lines, comments and blank lines included. Packed functions are listed, with the most tokens above
/// the limit first.
fn tokens_a_line(measures: &Measures) -> Figure {
    let mut packed = Vec::new();
    for function in &measures.functions {
        let tokens = function.tokens as f64;
        let ratio = tokens / function.all_lines as f64;
        if ratio > TOKENS_A_LINE {
            let what = format!(
                "{}: {ratio:.1} ({tokens} in {} lines)",
                function.place.what, function.all_lines
            );

            packed.push((
                tokens - TOKENS_A_LINE * function.all_lines as f64,
                Place {
                    what,
                    ..function.place.clone()
                },
            ));
        }
    }

    packed.sort_by(|left, right| right.0.total_cmp(&left.0));
    let tokens: usize = measures
        .functions
        .iter()
        .map(|function| function.tokens)
        .sum();

    Figure {
        name: "tokens",
        title: "tokens a line in functions".to_owned(),
        value: tokens as f64 / function_lines(measures),
        limit: Some(TOKENS_A_LINE),
        models: "4.9 to 6.6",
        offenders: packed.into_iter().map(|(_, place)| place).collect(),
    }
}

fn function_lines(measures: &Measures) -> f64 {
    measures
        .functions
        .iter()
        .map(|function| function.all_lines as f64)
        .sum()
}

/// Functions with more than [`LONG_FUNCTION`] lines, the longest first.
fn long_functions(measures: &Measures) -> Figure {
    let mut long = Vec::new();
    for function in &measures.functions {
        if function.lines > LONG_FUNCTION {
            let what = format!("{}: {} lines", function.place.what, function.lines);
            long.push((
                function.lines,
                Place {
                    what,
                    ..function.place.clone()
                },
            ));
        }
    }

    long.sort_by_key(|(lines, _)| std::cmp::Reverse(*lines));
    Figure {
        name: "long",
        title: format!("functions over {LONG_FUNCTION} lines"),
        value: long.len() as f64,
        limit: Some(LONG_FUNCTIONS),
        models: "",
        offenders: long.into_iter().map(|(_, place)| place).collect(),
    }
}

/// Tokens of the median function. The upper half is listed, the largest first.
fn median_tokens(measures: &Measures) -> Figure {
    let mut functions: Vec<_> = measures.functions.iter().collect();
    functions.sort_by_key(|function| std::cmp::Reverse(function.tokens));
    let median = functions
        .get(functions.len() / 2)
        .map_or(0, |function| function.tokens);

    functions.truncate(functions.len() / 2);
    let mut offenders = Vec::new();
    for function in functions {
        let what = format!("{}: {} tokens", function.place.what, function.tokens);
        offenders.push(Place {
            what,
            ..function.place.clone()
        });
    }

    Figure {
        name: "median",
        title: "tokens of the median function".to_owned(),
        value: median as f64,
        limit: None,
        models: "28 to 82",
        offenders,
    }
}

/// Share of type names that are defined more than once.
fn repeated_types(measures: &Measures) -> Figure {
    let mut by_name: BTreeMap<&str, Vec<&Place>> = BTreeMap::new();
    for place in &measures.types {
        by_name.entry(&place.what).or_default().push(place);
    }

    let names = by_name.len();
    by_name.retain(|_, places| places.len() > 1);
    let mut offenders = Vec::new();
    for (name, places) in &by_name {
        for place in places {
            let what = format!("{name}: {} definitions", places.len());
            offenders.push(Place {
                what,
                ..Place::clone(place)
            });
        }
    }

    Figure {
        name: "types",
        title: format!("% of {names} type names defined more than once"),
        value: percentage(by_name.len(), names),
        limit: Some(REPEATED_TYPES),
        models: "propolis 3 to 5, rten 4 to 6, vector-buffers 3, ripgrep 8",
        offenders,
    }
}

/// Share of doc comments that open with one of [`measures::OPENERS`].
fn poor_docs(measures: &Measures) -> Figure {
    let poor = measures.docs.iter().filter(|doc| doc.poor);
    let offenders: Vec<Place> = poor.map(|doc| doc.place.clone()).collect();
    Figure {
        name: "docs",
        title: format!(
            "% of {} doc comments with a poor opening",
            measures.docs.len()
        ),
        value: percentage(offenders.len(), measures.docs.len()),
        limit: Some(POOR_DOCS),
        models: "0 to 4",
        offenders,
    }
}

fn in_thousand(
    name: &'static str,
    title: &str,
    models: &'static str,
    offenders: &[Place],
    measures: &Measures,
) -> Figure {
    Figure {
        name,
        title: title.to_owned(),
        value: 1000.0 * offenders.len() as f64 / measures.code_lines as f64,
        limit: None,
        models,
        offenders: offenders.to_vec(),
    }
}

/// Files without `//!`.
fn undocumented(measures: &Measures) -> Figure {
    Figure {
        name: "modules",
        title: "modules without module docs".to_owned(),
        value: measures.undocumented.len() as f64,
        limit: Some(0.0),
        models: "",
        offenders: measures.undocumented.clone(),
    }
}

/// Lines of code for one line of comment.
fn comment_share(measures: &Measures) -> Figure {
    Figure {
        name: "comments",
        title: "lines of code for one of comment".to_owned(),
        value: measures.code_lines as f64 / measures.comment_lines as f64,
        limit: None,
        models: "5 to 9",
        offenders: Vec::new(),
    }
}

/// Files with more than [`LONG_FILE`] lines.
fn long_files(measures: &Measures) -> Figure {
    let mut offenders = Vec::new();
    for (place, lines) in &measures.files {
        if *lines > LONG_FILE {
            offenders.push(Place {
                what: format!("{lines} lines"),
                ..place.clone()
            });
        }
    }

    Figure {
        name: "files",
        title: format!("files over {LONG_FILE} lines"),
        value: offenders.len() as f64,
        limit: Some(0.0),
        models: "",
        offenders,
    }
}

/// Lines in functions, for the sense of scale, and one line for each file.
fn lines_in_functions(measures: &Measures) -> Figure {
    let mut by_file: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for function in &measures.functions {
        let sums = by_file.entry(&function.place.path).or_default();
        sums.0 += function.all_lines;
        sums.1 += function.tokens;
    }

    let mut offenders = Vec::new();
    for (path, (lines, tokens)) in by_file {
        let what = format!(
            "{:.1} tokens a line, {lines} lines in functions",
            tokens as f64 / lines as f64
        );

        offenders.push(Place {
            path: path.to_owned(),
            line: 1,
            what,
        });
    }

    Figure {
        name: "by-file",
        title: "lines in functions".to_owned(),
        value: function_lines(measures),
        limit: None,
        models: "",
        offenders,
    }
}

fn percentage(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
