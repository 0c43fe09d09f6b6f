//! Flags of 0.1 that have another name now: the error names the new one, as it does for keys of a file.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// Old and new names, without the dashes.
const RENAMED: [(&str, &str); 2] = [("size", "input-px"), ("tiles", "tile-px")];

/// Words for an unknown flag that the same command knows by another name; `None` for every other error.
pub fn words(
    error: &clap::Error,
    program: clap::Command,
    line: impl IntoIterator<Item = OsString>,
) -> Option<String> {
    // Only a flag that clap does not know can be an old one.
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }

    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };

    // clap gives the flag without its value, also for --size=70.
    let (old, new) = RENAMED
        .into_iter()
        .find(|(old, _)| given.strip_prefix("--") == Some(old))?;

    has_flag(program, line, new).then(|| format!("--{old}: renamed to --{new} in 0.2"))
}

/// True when the command that a line names, the last of its words that are commands, has a flag.
fn has_flag(program: clap::Command, line: impl IntoIterator<Item = OsString>, flag: &str) -> bool {
    // Words that are no command, such as a file's name, leave the command as it is.
    let mut command = &program;
    for word in line {
        command = command.find_subcommand(word).unwrap_or(command);
    }

    command
        .get_arguments()
        .any(|argument| argument.get_long() == Some(flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Arguments;
    use clap::{CommandFactory, Parser};

    fn refusal(line: &str) -> Option<String> {
        let words_of_line = line.split(' ').map(OsString::from);
        let error = Arguments::try_parse_from(line.split(' ')).expect_err("a wrong line");
        words(&error, Arguments::command(), words_of_line)
    }

    #[test]
    fn a_renamed_flag_is_refused_by_its_new_name() {
        let size = Some("--size: renamed to --input-px in 0.2".to_owned());
        let tiles = Some("--tiles: renamed to --tile-px in 0.2".to_owned());
        let cases = [
            ("winspect inspect --model m --size 70 a.png", &size),
            ("winspect inspect --model m --size=70 a.png", &size),
            ("winspect inspect --model m --tiles 70 a.png", &tiles),
            ("winspect eval --model m --size 70 set", &size),
            ("winspect bench --model m --size 70", &size),
            ("winspect bench cameras --size 70", &size),
            ("winspect engine build --size 70 m", &size),
            ("winspect run --size 70 line.toml", &None),
            ("winspect eval --model m --tiles 70 set", &None),
            ("winspect inspect --model m --sise 70 a.png", &None),
        ];

        for (line, expected) in cases {
            assert_eq!(&refusal(line), expected, "{line}");
        }
    }
}
