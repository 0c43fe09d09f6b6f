//! `winspect bench` where a GPU judges: a frame from the host's memory to its result there, and what stands between.
//!
//! Method: as the other bench, but 100 pictures at least to warm up. A frame is timed by the host's clock, from its bytes
//! in memory to its pieces of a score in memory: one copy, one launch, one wait. Stages are timed by the device's clock, one
//! after the other instead of as a graph, in the same process; their sum is more than the graph takes.

use crate::base::exit::{Exit, Failure};
use crate::cli::terminal::print;
use crate::data::picture::Picture;
use crate::engine::EncodePlan;
use crate::engine::device_scorer::StageTimings;
use crate::engine::flops::flop;
use crate::model::ModelFolder;
use crate::winclip::Inspector;
use serde_json::json;
use std::time::{Duration, Instant};

/// Stages that are the network's; the others are our kernels and copies.
const NETWORK: [&str; 2] = ["trunk", "windows"];
const COPIES: [&str; 2] = ["copy in", "copy out"];

/// What is measured, and of what it is told.
pub struct GpuBench<'a> {
    pub model: &'a ModelFolder,
    pub plan: &'a EncodePlan,
    pub references: u16,
    pub runs: usize,
    /// Without: what stands for it takes no time, and no figure is the network's.
    pub with_network: bool,
}

impl GpuBench<'_> {
    /// # Errors
    /// When the engine fails.
    pub fn run(&self, inspector: &mut Inspector, picture: &Picture) -> Result<(), Failure> {
        let failed =
            |error: &dyn std::error::Error| Failure::words(Exit::Software, error.to_string());
        let mut frame = || -> Result<Duration, Failure> {
            let started = Instant::now();
            inspector.inspect(picture).map_err(|error| failed(&error))?;
            Ok(started.elapsed())
        };
        for _ in 0..self.runs.max(100) {
            frame()?;
        }
        let mut frames = (0..self.runs)
            .map(|_| Ok(frame()?.as_secs_f64() * 1e3))
            .collect::<Result<Vec<f64>, Failure>>()?;
        frames.sort_by(f64::total_cmp);
        let stages = inspector
            .time_stages(picture, self.runs)
            .map_err(|error| failed(&error))?;
        self.tell(inspector.backend(), &frames, &stages.unwrap_or_default())
    }

    /// `frames` are sorted.
    fn tell(&self, backend: &str, frames: &[f64], stages: &StageTimings) -> Result<(), Failure> {
        let work = flop(self.plan, &self.model.spec);
        let (p50, p99) = (quantile(frames, 0.5), quantile(frames, 0.99));
        eprintln!(
            "{} on {backend}, {} references, {} frames",
            self.model.label(),
            self.references,
            frames.len()
        );
        eprintln!(
            "a frame, memory to result: p50 {p50:.3} ms, p99 {p99:.3} ms, {:.0} GFLOP",
            work.total() / 1e9
        );
        eprintln!(
            "{:<10} {:>9} {:>9} {:>9}",
            "stage", "p50 ms", "p99 ms", "TFLOP/s"
        );
        let (mut rows, mut ours, mut network) = (serde_json::Map::new(), 0.0, 0.0);
        for (name, times) in stages {
            if !self.with_network && NETWORK.contains(name) {
                eprintln!("{name:<10}   not run");
                rows.insert((*name).to_owned(), json!("not run"));
                continue;
            }
            let mut sorted = times.clone();
            sorted.sort_by(f64::total_cmp);
            let (p50, p99) = (quantile(&sorted, 0.5), quantile(&sorted, 0.99));
            let flop = match *name {
                "trunk" => Some(work.trunk),
                "windows" => Some(work.windows.iter().sum()),
                _ => None,
            };
            let speed = flop
                .map(|flop| flop / p50 / 1e9)
                .filter(|speed| speed.is_finite());
            match speed {
                Some(speed) => eprintln!("{name:<10} {p50:>9.3} {p99:>9.3} {speed:>9.1}"),
                None => eprintln!("{name:<10} {p50:>9.3} {p99:>9.3}"),
            }
            if NETWORK.contains(name) {
                network += p50;
            } else if !COPIES.contains(name) {
                ours += p50;
            }
            rows.insert(
                (*name).to_owned(),
                json!({"p50_ms": p50, "p99_ms": p99, "tflops": speed}),
            );
        }
        let network = self.with_network.then_some(network);
        let share = network.map(|network| 100.0 * ours / (ours + network));
        match share {
            Some(share) => {
                eprintln!("our kernels together {ours:.3} ms, {share:.1} % of them and the network")
            }
            None => {
                eprintln!(
                    "our kernels together {ours:.3} ms; the network was not run, and its time is in no figure"
                )
            }
        }
        let line = json!({
            "model": self.model.label(), "backend": backend, "with_network": self.with_network,
            "references": self.references, "runs": frames.len(),
            "frame_p50_ms": p50, "frame_p99_ms": p99, "gflop": work.total() / 1e9, "stages": rows,
            "kernels_ms": ours, "network_ms": network, "kernels_percent": share,
        });
        print(line.to_string()).map(|_| ())
    }
}

/// Of sorted values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(at.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}
