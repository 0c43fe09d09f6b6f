//! `winspect bench` where a GPU judges: a frame from the host's memory to its result there, and what stands between.
//!
//! Method: as the other bench, but 100 pictures at least to warm up. A frame is timed by the host's clock, from its bytes
//! in memory to its pieces of a score in memory: one copy, one launch, one wait. StageTimings are timed by the device's clock, one
//! after the other instead of as a graph, in the same process; their sum is more than the graph takes.

use crate::base::exit::{Exit, Failure};
use crate::cli::terminal::print;
use crate::data::picture::Picture;
use crate::engine::EncodePlan;
use crate::engine::device_scorer::StageTimings;
use crate::engine::flops::{Flop, flop};
use crate::model::ModelFolder;
use crate::winclip::Inspector;
use serde_json::json;
use std::time::Instant;

/// StageTimings that are the network's; the others are our kernels and copies.
const NETWORK: [&str; 2] = ["trunk", "windows"];
const COPIES: [&str; 2] = ["copy in", "copy out"];

/// The bench, and the setting that its figures are told with.
pub struct GpuBench<'a> {
    /// The model that judges.
    pub model: &'a ModelFolder,
    /// The outputs that the recipe needs.
    pub plan: &'a EncodePlan,
    /// Number of references.
    pub references: u16,
    /// Frames that are timed.
    pub runs: usize,
    /// False where a stand-in of the network takes no time: then no figure is the network's.
    pub with_network: bool,
}

impl GpuBench<'_> {
    /// Measures and tells.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn run(&self, inspector: &mut Inspector, picture: &Picture) -> Result<(), Failure> {
        // Clocks of a GPU rise under load: at least a hundred frames bring it to the speed of a
        // running line.
        for _ in 0..self.runs.max(100) {
            frame_ms(inspector, picture)?;
        }

        // Whole frames are timed first, as one graph; the stages follow apart, which is slower.
        let mut frames = vec![];
        for _ in 0..self.runs {
            frames.push(frame_ms(inspector, picture)?);
        }

        let stages = inspector
            .time_stages(picture, self.runs)
            .map_err(|error| Failure::words(Exit::Software, error.to_string()))?;

        self.tell(
            inspector.backend(),
            Percentiles::of(&frames),
            &stages.unwrap_or_default(),
        )
    }

    fn tell(
        &self,
        backend: &str,
        frame: Percentiles,
        stages: &StageTimings,
    ) -> Result<(), Failure> {
        // GFLOP are of the plan's operations, a multiplication and an addition counted as two.
        let work = flop(self.plan, &self.model.spec);
        let gflop = work.total() / 1e9;
        eprintln!(
            "{} on {backend}, {} references, {} frames",
            self.model.label(),
            self.references,
            self.runs
        );

        eprintln!(
            "a frame, memory to result: p50 {:.3} ms, p99 {:.3} ms, {gflop:.0} GFLOP",
            frame.p50, frame.p99
        );

        // A stand-in for the network takes no time, so that nothing is divided by its figures.
        let rows = self.tell_stages(stages, &work);
        let kernels_ms = sum_of_medians(stages, is_kernel);
        let network_ms = self
            .with_network
            .then(|| sum_of_medians(stages, |name| NETWORK.contains(&name)));

        let percent = network_ms.map(|network| 100.0 * kernels_ms / (kernels_ms + network));
        if let Some(percent) = percent {
            eprintln!(
                "our kernels together {kernels_ms:.3} ms, {percent:.1} % of them and the network"
            );
        } else {
            eprintln!(
                "our kernels together {kernels_ms:.3} ms; the network was not run, and its time is in no figure"
            );
        }

        let line = json!({
            "model": self.model.label(),
            "backend": backend,
            "with_network": self.with_network,
            "references": self.references,
            "runs": self.runs,
            "frame_p50_ms": frame.p50,
            "frame_p99_ms": frame.p99,
            "gflop": gflop,
            "stages": rows,
            "kernels_ms": kernels_ms,
            "network_ms": network_ms,
            "kernels_percent": percent,
        });

        print(line)?;
        Ok(())
    }

    /// Prints the table for people and returns its rows as JSON.
    fn tell_stages(
        &self,
        stages: &StageTimings,
        work: &Flop,
    ) -> serde_json::Map<String, serde_json::Value> {
        eprintln!(
            "{:<10} {:>9} {:>9} {:>9}",
            "stage", "p50 ms", "p99 ms", "TFLOP/s"
        );

        // A stage that was not run says so: a 0 would read as a very fast network.
        let mut rows = serde_json::Map::new();
        for (name, times) in stages {
            let row = if !self.with_network && NETWORK.contains(name) {
                eprintln!("{name:<10}   not run");
                json!("not run")
            } else {
                let took = Percentiles::of(times);
                let speed = tflops(name, work, took.p50);
                tell_stage(name, took, speed);
                json!({
                    "p50_ms": took.p50,
                    "p99_ms": took.p99,
                    "tflops": speed,
                })
            };

            rows.insert((*name).to_owned(), row);
        }

        rows
    }
}

/// The host's milliseconds from a picture's bytes to its score.
fn frame_ms(inspector: &mut Inspector, picture: &Picture) -> Result<f64, Failure> {
    let started = Instant::now();
    inspector
        .inspect(picture)
        .map_err(|error| Failure::words(Exit::Software, error.to_string()))?;

    Ok(started.elapsed().as_secs_f64() * 1e3)
}

fn tell_stage(name: &str, took: Percentiles, tflops: Option<f64>) {
    let Percentiles { p50, p99 } = took;
    match tflops {
        Some(speed) => eprintln!("{name:<10} {p50:>9.3} {p99:>9.3} {speed:>9.1}"),
        None => eprintln!("{name:<10} {p50:>9.3} {p99:>9.3}"),
    }
}

/// Speed of a stage of the network; `None` for the others, and where no time was measured.
fn tflops(name: &str, work: &Flop, ms: f64) -> Option<f64> {
    // Speed has a meaning for matrix products alone.
    let flop = match name {
        "trunk" => work.trunk,
        "windows" => work.windows.iter().sum(),
        _ => return None,
    };

    Some(flop / ms / 1e9).filter(|speed| speed.is_finite())
}

fn is_kernel(name: &str) -> bool {
    !NETWORK.contains(&name) && !COPIES.contains(&name)
}

fn sum_of_medians(stages: &StageTimings, is_asked: fn(&str) -> bool) -> f64 {
    stages
        .iter()
        .filter(|(name, _)| is_asked(name))
        .map(|(_, times)| Percentiles::of(times).p50)
        .sum()
}

/// Milliseconds that half, and all but one in a hundred, of the frames stay below; NaN of none.
#[derive(Clone, Copy)]
struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Percentiles {
    fn of(times: &[f64]) -> Self {
        // The times may be empty where the engine has no stages to tell.
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        Percentiles {
            p50: quantile(&sorted, 0.5),
            p99: quantile(&sorted, 0.99),
        }
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    // The nearest rank is the smallest value that so large a share of the times does not exceed.
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}
