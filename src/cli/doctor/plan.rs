//! Plans of a model folder, and whether they serve on this machine.

use super::library::Gpu;
use crate::base::exit::{Exit, Failure};
use crate::cli::terminal::say;
use crate::engine::tensorrt::{BuiltPlan, Key, PlanState, Plans};
use crate::model::ModelFolder;
use std::path::PathBuf;

/// A plan of the model folder.
#[derive(Debug, serde::Serialize)]
pub struct PlanReport {
    path: PathBuf,
    state: &'static str,
    precision: &'static str,
    /// Reasons why it does not serve here; empty when it does.
    unfit: Vec<String>,
}

/// Lists the plans. `library` is TensorRT's version here, `gpu` the one that would judge.
///
/// # Errors
/// When the folder cannot be read.
pub fn plans_of(
    model: &ModelFolder,
    library: Option<&str>,
    gpu: Option<&Gpu>,
) -> Result<Vec<PlanReport>, Failure> {
    // A plan that cannot be read is told at once and does not hide the others.
    let plans = Plans::of(model).list();
    let (plans, broken) = plans.map_err(|error| Failure::new(Exit::Data, error))?;
    for problem in broken {
        say(problem);
    }

    let reports = plans
        .into_iter()
        .map(|plan| PlanReport::new(plan, library, gpu));

    Ok(reports.collect())
}

impl PlanReport {
    fn new(plan: BuiltPlan, library: Option<&str>, gpu: Option<&Gpu>) -> Self {
        // All reasons are told: a plan of another version is often for another GPU too.
        let mut unfit = vec![];
        unfit.extend(unfit_for_library(&plan.key, library));
        unfit.extend(unfit_for_gpu(&plan.key, gpu));
        let state = match plan.state {
            PlanState::Accepted => "accepted",
            PlanState::Candidate => "candidate",
            PlanState::Refused(why) => {
                unfit.push(format!("it was refused: {why}"));
                "refused"
            }
        };

        PlanReport {
            path: plan.path,
            state,
            precision: plan.key.precision.name(),
            unfit,
        }
    }

    /// True for a plan that judges on this machine.
    pub fn serves(&self) -> bool {
        self.state == "accepted" && self.unfit.is_empty()
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let level = if self.serves() { "ok   " } else { "warn " };
        let mut line = format!(
            "{level} plan {}: {}, {}",
            self.path.display(),
            self.precision,
            self.state
        );

        for reason in &self.unfit {
            line.push_str("; ");
            line.push_str(reason);
        }

        line
    }
}

fn unfit_for_library(key: &Key, library: Option<&str>) -> Option<String> {
    let built_by = &key.library;
    match library {
        None => Some(format!("it needs {built_by}, and there is no TensorRT")),
        Some(library) if library != built_by => {
            Some(format!("it was built by {built_by}, not {library}"))
        }
        Some(_) => None,
    }
}

fn unfit_for_gpu(key: &Key, gpu: Option<&Gpu>) -> Option<String> {
    let Some(gpu) = gpu else {
        return Some(format!("it is for {}, and there is no GPU", key.gpus()));
    };

    // The capability decides. The product's name matters for plans of one GPU alone.
    if !key.sm.contains(&gpu.sm) {
        return Some(format!("it is for {}, not sm_{}", key.gpus(), gpu.sm));
    }

    let built_on = key.gpu.as_ref()?;
    let is_other = *built_on != gpu.name;
    is_other.then(|| format!("it was built on {built_on}, not {}", gpu.name))
}
