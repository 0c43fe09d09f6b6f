//! Layer 7: the command line.

mod arguments;
mod bench;
mod camera_times;
mod check;
mod choose;
mod cleaned;
mod doctor;
mod engine;
mod eval;
mod flags;
mod held_recipe;
mod history;
mod inspect;
mod label;
mod live_command;
mod model;
mod probe_topics;
mod recipe;
mod reload;
mod renamed;
mod replay;
mod run;
mod running_line;
mod shift_check;
mod sight;
mod status;
mod suggest;
mod support;
mod teach;
mod tensors;
mod terminal;
mod threshold;
mod trigger;
mod user;
mod watch;

use crate::base::exit::{Exit, Failure};
use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Line inspection: camera streams in, one verdict for every part out over MQTT.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Fetch and import models, tell what they are
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Try everything that a line needs, and say what to mend
    Check(check::CheckArguments),
    /// Say what this machine can judge with, and what is missing
    Doctor(doctor::DoctorArguments),
    /// Run a line: cameras in, verdicts out over MQTT
    Run(run::RunArguments),
    /// Say how a running line is
    Status(status::StatusArguments),
    /// Tell a running line that a part has come
    Trigger(trigger::TriggerArguments),
    /// Prove that a running line sees: known bad and good parts, the gate, a signature; list and print checks
    ShiftCheck(Box<shift_check::ShiftCheckArguments>),
    /// Say that a camera's lens was cleaned: its drift is forgotten, and before and after are told
    Cleaned(cleaned::CleanedArguments),
    /// Let a running line read its file again: what can change without a restart does, the rest is named
    Reload(reload::ReloadArguments),
    /// Write a bundle for people who help: version, configuration without secrets, status, audit log
    Support(support::SupportArguments),
    /// Say what each threshold costs, by pictures of good and bad parts and the line's last ones
    Threshold(Box<threshold::ThresholdArguments>),
    /// Show the parts that a line has judged, count them, or show who changed what
    History(Box<history::HistoryArguments>),
    /// Judge the stored pictures of a line's parts again, and say what would change
    Replay(Box<replay::ReplayArguments>),
    /// Watch a running line: a row a part
    Watch(watch::WatchArguments),
    /// Measure this machine: every stage of a picture, the floor under it, and the memory
    Bench(bench::BenchArguments),
    /// Measure how well good and bad parts are told apart, on a labelled data set
    Eval(eval::EvalArguments),
    /// Build what TensorRT runs on a GPU, tell what there is
    #[command(subcommand)]
    Engine(engine::EngineCommand),
    /// The revisions of a line's recipes: list, show, add, export, import, rollback, shadow
    #[command(subcommand)]
    Recipe(recipe::RecipeCommand),
    /// Say what a part is that a running line has judged: its recipe learns it
    Label(label::LabelArguments),
    /// Group the doubtful parts of a running line by what is odd on them: near passes, and overruled rejects
    Suggest(suggest::SuggestArguments),
    /// Make the next revision of a recipe: with pictures of good or bad parts, or parts of a running line
    Teach(teach::TeachArguments),
    /// Who may sign in at a line's page: add, list, remove, role, password
    #[command(subcommand)]
    User(user::UserCommand),
    /// Judge picture files
    Inspect(Box<inspect::InspectArguments>),
}

/// Parses, runs, reports: the whole of `main`.
pub fn main() -> ExitCode {
    // The runtime library would write telemetry and log lines of its own to standard error.
    crate::engine::onnx::report_nothing();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };

    // The log starts after parsing: help and refusals are plain text.
    crate::base::telemetry::install();

    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::say(&failure);

            failure.exit.into()
        }
    }
}

/// Tells a wrong command line, or the help that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    // A flag of an earlier version is answered by its new name before clap says "unexpected
    // argument".
    if let Some(words) = renamed::words(error, Arguments::command(), std::env::args_os()) {
        terminal::say(words);
        return Exit::Usage.into();
    }

    // Help and version are asked for, and no error.
    let _ = error.print(); // the reader may have left
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        ExitCode::SUCCESS
    }
}

fn run(command: CliCommand) -> Result<(), Failure> {
    match command {
        // Before a line runs.
        CliCommand::Model(command) => model::run(command),
        CliCommand::Check(arguments) => check::run(&arguments),
        CliCommand::Doctor(arguments) => doctor::run(&arguments),
        CliCommand::Run(arguments) => run::run(&arguments),

        // Beside a running line.
        CliCommand::Status(arguments) => status::run(&arguments),
        CliCommand::Trigger(arguments) => trigger::run(&arguments),
        CliCommand::Cleaned(arguments) => cleaned::run(&arguments),
        CliCommand::Support(arguments) => support::run(&arguments),
        CliCommand::Reload(arguments) => reload::run(&arguments),
        CliCommand::ShiftCheck(arguments) => shift_check::run(&arguments),
        CliCommand::Threshold(arguments) => threshold::run(&arguments),
        CliCommand::History(arguments) => history::run(&arguments),
        CliCommand::Replay(arguments) => replay::run(&arguments),
        CliCommand::Watch(arguments) => watch::run(&arguments),

        // Measurements, and the engines that they measure.
        CliCommand::Bench(arguments) => bench::run(&arguments),
        CliCommand::Eval(arguments) => eval::run(&arguments),
        CliCommand::Engine(command) => engine::run(command),

        // Recipes, and pictures without a line.
        CliCommand::Recipe(command) => recipe::run(command),
        CliCommand::Label(arguments) => label::run(&arguments),
        CliCommand::Suggest(arguments) => suggest::run(&arguments),
        CliCommand::Teach(arguments) => teach::run(&arguments),
        CliCommand::User(command) => user::run(command),
        CliCommand::Inspect(arguments) => inspect::run(*arguments),
    }
}
