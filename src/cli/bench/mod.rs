//! `winspect bench`: what this machine can do. Tables are for people, on standard error; the JSON
//! line on standard output is for those who keep figures.
//!
//! | command | measures |
//! |---|---|
//! | `bench --model M` | every stage of a picture, beside the floor under it: `stages.rs`, on a GPU `gpu.rs` |
//! | `bench cameras` | many cameras at once, without a model: `cameras.rs` |
//! | `bench parts` | from a trigger to its result through a broker, without a model: `parts/` |

mod cameras;
mod gpu;
mod memory;
mod noise;
mod parts;
mod stages;

use crate::base::exit::{Exit, Failure};
use crate::cli::arguments::JudgingArguments;
use clap::{Args, Subcommand};
use stages::StageBench;

/// The command line of `winspect bench`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct BenchArguments {
    #[command(subcommand)]
    other: Option<OtherBench>,
    #[command(flatten)]
    judging: Option<JudgingArguments>,
    /// Patches from the b-th block, counted from 1; the model's default unless given
    #[arg(long, value_name = "B", requires = "model")]
    block: Option<usize>,
    /// References to compare with; 0 is zero-shot, for models with text
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(0..=1000))]
    references: u16,
    /// Pictures that are timed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Leave the network out on a GPU: kernels, copies and the graph alone, where TensorRT cannot run the model
    #[arg(long, requires = "model")]
    without_network: bool,
}

#[derive(Debug, Subcommand)]
enum OtherBench {
    /// Many cameras at once, without a model: what is lost, and the processor time of each stage
    Cameras(cameras::CamerasArguments),
    /// Time from a trigger to its result through a broker, without a model, and how fast stored results are delivered
    Parts(parts::PartsArguments),
}

/// Runs the bench that is asked for.
///
/// # Errors
/// A wrong command line, or a part of the machine that is not there.
pub fn run(arguments: &BenchArguments) -> Result<(), Failure> {
    // The two other benches need no model, and share nothing with the first but the name.
    match &arguments.other {
        Some(OtherBench::Cameras(cameras)) => return cameras::run(cameras),
        Some(OtherBench::Parts(parts)) => return parts::run(parts),
        None => {}
    }

    let Some(judging) = &arguments.judging else {
        let words = "give --model, or say cameras or parts";
        return Err(Failure::words(Exit::Usage, words));
    };

    let bench = StageBench {
        judging,
        block: arguments.block,
        references: arguments.references,
        runs: arguments.runs,
        without_network: arguments.without_network,
    };

    bench.run()
}
