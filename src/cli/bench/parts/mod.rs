//! `winspect bench parts`: from a PLC's trigger to its result, with nothing to encode, and the rate at which a
//! backlog in the store is delivered. The table is for people, on standard error; the JSON line on standard
//! output is for those who keep figures.
//!
//! Method: the line's own command handler, trigger, queue, store and publisher ([`line`]); a stage in the
//! inspector's place that passes every part at once; frames of a few bytes every 5 ms (`--frame-ms`). A client
//! on the same broker sends triggers at a steady rate and hears the results ([`plc`]). A part's time is told
//! twice: from handing the trigger to the client until the result has come back to it, and by its stages until
//! the broker's PUBACK ([`stages`]), with the wait for the frame apart. Before them, in the same rhythm, the
//! disk alone is measured, with a part's two commits ([`disk`]). Two rounds: triggers alone; then with
//! `--backlog` results of an earlier run in the store, until they are delivered. A broker must be there, on
//! loopback to compare.

mod arguments;
mod disk;
mod latencies;
mod line;
mod plc;
mod stages;

pub use self::arguments::PartsArguments;

use self::disk::Disk;
use self::latencies::Latencies;
use self::line::{BenchLine, fill};
use self::plc::Plc;
use self::stages::StageSamples;
use crate::base::exit::{Exit, Failure};
use crate::cli::terminal::print;
use crate::data::part::Part;
use crate::store::Sync;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// Measures the disk and both rounds, and tells them.
///
/// # Errors
/// When the folder cannot be written, or the broker is away.
pub fn run(arguments: &PartsArguments) -> Result<(), Failure> {
    // The folder is this process's own, so that two benches do not share a store.
    let unavailable = |error| Failure::new(Exit::Unavailable, error);
    let name = format!("winspect-bench-{}", std::process::id());
    let folder = arguments.folder.join(name);
    std::fs::create_dir_all(&folder).map_err(unavailable)?;

    // The folder is removed on every way out; a failure to measure is told before one to remove.
    let disk = floor(arguments, &folder).map_err(unavailable);
    let measured = disk.and_then(|disk| Ok((disk, measure(arguments, &folder)?)));
    let removed = std::fs::remove_dir_all(&folder);
    let (disk, rounds) = measured?;
    removed.map_err(unavailable)?;
    tell(arguments, &disk, &rounds);

    // Without a backlog that was delivered there is no second round to tell.
    let beside = rounds.backlog_per_s.map(|_| rounds.beside.json());
    print(json!({
        "rate": arguments.rate,
        "seconds": arguments.seconds,
        "sync": arguments.sync,
        "backlog": arguments.backlog,
        "disk": disk.name,
        "disk_two_commits": disk.two_commits.json(),
        "alone": rounds.alone.json(),
        "beside_backlog": beside,
        "backlog_per_s": rounds.backlog_per_s,
    }))
    .map(|_| ())
}

/// Prints the table for people.
fn tell(arguments: &PartsArguments, disk: &Disk, rounds: &Rounds) {
    eprintln!(
        "{} triggers/s for {} s, sync = {}",
        arguments.rate, arguments.seconds, arguments.sync
    );

    // The words say what the disk's figure means for this setting.
    let times = match arguments.sync() {
        Sync::Full => "a part waits for that",
        Sync::Normal => "sync = normal does not wait for it",
    };

    eprintln!(
        "the disk alone ({}), two writes and two syncs: {}; {times}",
        disk.name,
        disk.two_commits.words()
    );

    // The second round is told with the rate at which the backlog went out beside the triggers.
    rounds.alone.tell("triggers alone");
    if let Some(rate) = rounds.backlog_per_s {
        rounds.beside.tell("beside the backlog");
        eprintln!(
            "{} results of an earlier run delivered at {rate:.0}/s",
            arguments.backlog
        );
    }
}

/// Measures the disk alone, for 5 s at most.
fn floor(arguments: &PartsArguments, folder: &Path) -> std::io::Result<Disk> {
    // The rhythm is that of the triggers.
    let gap = Duration::from_secs(1) / u32::from(arguments.rate);
    Disk::measure(
        folder,
        usize::from(arguments.rate) * usize::from(arguments.seconds.min(5)),
        gap,
    )
}

/// Both rounds.
struct Rounds {
    /// Latencies of triggers alone.
    alone: Latencies,
    /// Latencies of triggers beside a backlog.
    beside: Latencies,
    /// Results of the backlog delivered in a second; `None` without a backlog that was delivered.
    backlog_per_s: Option<f64>,
}

fn measure(arguments: &PartsArguments, folder: &Path) -> Result<Rounds, Failure> {
    // Each round has a store of its own: the second begins with a backlog.
    let (alone, _) = round(arguments, &folder.join("alone.db"), 0)?;
    if arguments.backlog == 0 {
        return Ok(Rounds {
            alone,
            beside: Latencies::default(),
            backlog_per_s: None,
        });
    }

    // The backlog is made without a broker; it takes a while and is in no figure.
    eprintln!("making {} results of an earlier run", arguments.backlog);
    let file = folder.join("backlog.db");
    fill(&file, arguments.backlog)?;
    let (beside, drained) = round(arguments, &file, arguments.backlog)?;
    Ok(Rounds {
        alone,
        beside,
        backlog_per_s: drained.map(|took| arguments.backlog as f64 / took.as_secs_f64()),
    })
}

/// Sends triggers at the rate. Returns their latencies, and how long `backlog` results took beside
/// them.
fn round(
    arguments: &PartsArguments,
    file: &Path,
    backlog: usize,
) -> Result<(Latencies, Option<Duration>), Failure> {
    // The PLC is subscribed before the line starts, so that it hears the birth.
    let plc = Plc::connect(arguments)?;
    let line = BenchLine::start(arguments, file)?;
    let opened_in = line.opened_in;
    let heard = plc.measure(arguments, backlog);
    tracing::debug!("{:?}", line.outbox.count());

    // The store's parts and the PLC's times are joined by the part's id. Parts of the backlog were
    // not sent in this round.
    let mut with_times: Vec<(Part, Instant)> = vec![];
    for part in line.finish()? {
        let part_id = part.request.part_id.as_deref().unwrap_or_default();
        if let Some(sent) = heard.sent.get(part_id) {
            with_times.push((part, *sent));
        }
    }

    let latencies = Latencies {
        opened: opened_in,
        stages: StageSamples::of(&with_times),
        ..heard.latencies
    };

    Ok((latencies, heard.drained))
}
