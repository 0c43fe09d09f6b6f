//! `winspect bench parts`: from a PLC's trigger to its result, with nothing to encode, and how fast what waited in the
//! store is delivered. The table is for people, on standard error; the JSON line on standard output for those who keep
//! figures.
//!
//! Method: the line's own foreman, ring, intake, store and publisher; a desk that passes every part at once; frames of a
//! few bytes every 5 ms (`--frame-ms`). A client on the same broker sends triggers at a steady rate and hears the
//! results. A part's time is told twice: from handing the trigger to the client until the result has come back to it,
//! and by its stages until the broker's PUBACK ([`stages`]), with the wait for the frame apart. Before them, in the same
//! rhythm, what the disk alone takes for a part's two commits ([`disk`]). Two rounds: triggers
//! alone; then with `--backlog` results of an earlier run in the store, until they are delivered. A broker must be there,
//! on loopback to compare.

mod disk;
mod stages;

use self::disk::Disk;
use self::stages::{Sample, Stages};
use crate::base::exit::{Exit, Failure};
use crate::base::health::{Diagnostics, LineCondition};
use crate::base::stop::stop_pair;
use crate::base::systemd::Heartbeat;
use crate::cli::terminal::print;
use crate::data::counters::{Outcome, Tally};
use crate::data::frame::{CapturedBy, Frame};
use crate::data::map::Map;
use crate::data::part::{Part, PartTiming};
use crate::data::picture::Picture;
use crate::data::report::{DecisionPolicy, Report};
use crate::data::verdict::{OnUndecided, Reason, Verdict};
use crate::line::Opening;
use crate::line::admission::{Admission, PartSource};
use crate::line::commands::{AnswerCache, CameraGroup, CommandHandler, RateLimit};
use crate::line::control::{LineControl, RecipePolicy};
use crate::line::policy::LinePolicy;
use crate::line::queue::{FrameReceiver, QueuedFrame, intake};
use crate::mqtt::publisher;
use crate::mqtt::publisher::{ORDERS, Wiring};
use crate::mqtt::{self, Heatmaps};
use crate::protocol::birth::Identity;
use crate::protocol::metrics::Metrics;
use crate::store::{self, Store, StoreCount, StoreWriter, Sync};
use crate::trigger::Overflow;
use crate::trigger::{RingSettings, Trigger};
use clap::Args;
use crossbeam::channel::bounded;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Connection, Event, MqttOptions};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

#[derive(Debug, Args)]
pub struct PartsArguments {
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    #[arg(long, default_value_t = 1883)]
    port: u16,
    /// Triggers a second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=5000))]
    rate: u16,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Results that an earlier run left
    #[arg(long, default_value_t = 100_000)]
    backlog: usize,
    /// Milliseconds between two frames of the camera
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    frame_ms: u64,
    /// A folder on the disk that is measured; the store is made in it, and taken away
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Survive a power cut (fsync), or kill -9 only
    #[arg(long, default_value = "full", value_parser = ["full", "normal"])]
    sync: String,
}

const DEADLINE: Duration = Duration::from_millis(1000);
/// Parts that the backlog is made of at once.
const TOGETHER: usize = 250;
/// A round ends when nothing has come for so long.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn run(arguments: &PartsArguments) -> Result<(), Failure> {
    let folder = arguments
        .folder
        .join(format!("winspect-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| Failure::new(Exit::Unavailable, error))?;
    let disk = floor(arguments, &folder).map_err(|error| Failure::new(Exit::Unavailable, error));
    let measured = disk.and_then(|disk| Ok((disk, measure(arguments, &folder)?)));
    let removed = std::fs::remove_dir_all(&folder);
    let (disk, (alone, beside, drain)) = measured?;
    removed.map_err(|error| Failure::new(Exit::Unavailable, error))?;
    eprintln!(
        "{} triggers/s for {} s, sync = {}",
        arguments.rate, arguments.seconds, arguments.sync
    );
    let times = if arguments.sync == "full" {
        "a part waits for that"
    } else {
        "sync = normal does not wait for it"
    };
    eprintln!(
        "the disk alone ({}), two writes and two syncs: {}; {times}",
        disk.name,
        disk.two_commits.words()
    );
    alone.tell("triggers alone");
    let rate = drain.map(|(count, took)| count as f64 / took.as_secs_f64());
    if let Some(rate) = rate {
        beside.tell("beside the backlog");
        eprintln!(
            "{} results of an earlier run delivered at {rate:.0}/s",
            arguments.backlog
        );
    }
    print(json!({
        "rate": arguments.rate, "seconds": arguments.seconds, "sync": arguments.sync, "backlog": arguments.backlog,
        "disk": disk.name, "disk_two_commits": disk.two_commits.json(),
        "alone": alone.json(), "beside_backlog": rate.map(|_| beside.json()), "backlog_per_s": rate,
    }))
    .map(|_| ())
}

/// At most for 5 s.
fn floor(arguments: &PartsArguments, folder: &std::path::Path) -> std::io::Result<Disk> {
    let gap = Duration::from_secs(1) / u32::from(arguments.rate);
    Disk::measure(
        folder,
        usize::from(arguments.rate) * usize::from(arguments.seconds.min(5)),
        gap,
    )
}

/// The latencies of triggers alone, those beside a backlog, and how long which backlog took.
type Measured = (Latencies, Latencies, Option<(usize, Duration)>);

fn measure(arguments: &PartsArguments, folder: &std::path::Path) -> Result<Measured, Failure> {
    let alone = round(arguments, &folder.join("alone.db"), 0)?.0;
    if arguments.backlog == 0 {
        return Ok((alone, Latencies::default(), None));
    }
    eprintln!("making {} results of an earlier run", arguments.backlog);
    let file = folder.join("backlog.db");
    fill(&file, arguments.backlog)?;
    let (beside, drained) = round(arguments, &file, arguments.backlog)?;
    Ok((alone, beside, drained.map(|took| (arguments.backlog, took))))
}

#[derive(Default)]
struct Latencies {
    /// Until the store was open, with what an earlier run left in it.
    opened: Duration,
    sent: usize,
    /// Until the result has come back to the PLC.
    back: Sample,
    undecided: usize,
    stages: Stages,
}

impl Latencies {
    fn tell(&self, what: &str) {
        let (sent, came, undecided) = (self.sent, self.back.count(), self.undecided);
        eprintln!(
            "{what}: the store was open after {:.0} ms",
            self.opened.as_secs_f64() * 1e3
        );
        eprintln!(
            "{what}: {sent} sent, {came} results, {undecided} undecided; back at the PLC {}",
            self.back.words()
        );
        self.stages.tell();
    }

    fn json(&self) -> Value {
        let mut json = self.back.json();
        json["opened_ms"] = (self.opened.as_secs_f64() * 1e3).into();
        json["sent"] = self.sent.into();
        json["results"] = self.back.count().into();
        json["undecided"] = self.undecided.into();
        json["stages"] = self.stages.json();
        json
    }
}

fn settings(file: PathBuf, sync: Sync) -> store::StoreSettings {
    let day = Duration::from_secs(86_400);
    store::StoreSettings {
        file,
        sync,
        waiting_max: 10_000_000,
        keep: day,
        keep_bytes: 10 << 30,
        reject_window: Duration::from_secs(1),
    }
}

fn judge() -> DecisionPolicy {
    DecisionPolicy {
        recipe: "bench@1".into(),
        threshold: Some(0.5),
        on_undecided: OnUndecided::Fail,
    }
}

fn identity(run_id: &str) -> Identity {
    Identity {
        prefix: "winspect-bench".to_owned(),
        station: std::process::id().to_string(),
        run_id: run_id.to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        cameras: vec![],
        recipe: "bench@1".to_owned(),
        model: "none".to_owned(),
        backend: "none".to_owned(),
        device: "cpu".to_owned(),
        references: 0,
        gallery: None,
        threshold: Some(0.5),
        regions: BTreeMap::new(),
        previous: vec![],
    }
}

fn policy(run_id: &str, control: LineControl) -> LinePolicy {
    LinePolicy {
        control,
        views: Arc::default(),
        identity: identity(run_id),
        timed_reject: false,
    }
}

/// A passing verdict with a map of the usual size.
fn pass(part: Part) -> Report {
    let mut report = Report::undecided(part, Reason::NotReady, &judge());
    (report.verdict, report.reason, report.score) = (Verdict::Pass, None, Some(0.1));
    report.map = Some(Map::new(16, vec![0.1; 256]));
    report
}

/// An earlier run that judged so many parts and reached no broker.
fn fill(file: &std::path::Path, count: usize) -> Result<(), Failure> {
    let opening = Opening::open(settings(file.to_owned(), Sync::Normal), "01BACKLOG")?;
    let store = opening.store;
    let policy = policy("01BACKLOG", rules(&Diagnostics::default()));
    let clerk = StoreWriter::new(opening.opened, policy);
    let clerk = thread::spawn(move || clerk.run(&Heartbeat::default()));
    let asking = asking(rules(&Diagnostics::default()));
    for start in (0..count).step_by(TOGETHER) {
        let ask = asking.ask(Instant::now(), jiff::Timestamp::now());
        let asks = (start..(start + TOGETHER).min(count))
            .map(|_| ask.clone())
            .collect();
        let parts = store
            .accept_durable(asks)
            .map_err(|error| Failure::new(Exit::Software, error))?;
        store.submit(parts.into_iter().map(pass).collect());
    }
    drop(store);
    clerk.join().expect("the clerk does not panic");
    Ok(())
}

fn asking(rules: LineControl) -> PartSource {
    let terms = PartTiming {
        deadline: DEADLINE,
        ..PartTiming::default()
    };
    PartSource {
        camera: "bench".into(),
        terms,
        rules,
    }
}

fn rules(causes: &Diagnostics) -> LineControl {
    let judging = RecipePolicy {
        judges: vec![(None, judge())],
        ..RecipePolicy::default()
    };
    LineControl::new(judging, &BTreeMap::new(), causes.clone())
}

/// Triggers at the rate, and how long `backlog` results took beside them.
fn round(
    arguments: &PartsArguments,
    file: &std::path::Path,
    backlog: usize,
) -> Result<(Latencies, Option<Duration>), Failure> {
    let run_id = ulid::Ulid::generate().to_string();
    let sync = if arguments.sync == "full" {
        Sync::Full
    } else {
        Sync::Normal
    };
    let began = Instant::now();
    let Opening {
        store,
        opened,
        found,
        causes,
    } = Opening::open(settings(file.to_owned(), sync), &run_id)?;
    let took = began.elapsed();
    let (stopper, stop) = stop_pair();
    let rules = rules(&causes);
    let policy = policy(&run_id, rules.clone());
    let (intake, mut places) = intake(&[Overflow::Queue(1000)]);
    let tally = Arc::new(Tally::default());
    let ring = Trigger::Command(RingSettings {
        bytes: 1 << 10,
        window: Duration::from_secs(1),
    });
    let place = places.remove(0);
    let asking = asking(rules.clone());
    let entrance = Admission::new(
        asking.clone(),
        &ring,
        place,
        tally,
        Arc::default(),
        store.clone(),
    );
    let entrance = Arc::new(entrance);
    let (side, side_end) = mpsc::channel(8);
    let (answers, answers_end) = mpsc::channel(2 * ORDERS as usize);
    let (orders, orders_end) = bounded(ORDERS.into());
    let foreman = CommandHandler {
        orders: orders_end,
        answers,
        side,
        snapshots: bounded(1).0,
        store: store.clone(),
        rules,
        entrances: BTreeMap::new(),
        stations: vec![CameraGroup {
            asking,
            cameras: vec![entrance.clone()],
        }],
        identity: Arc::new(Mutex::new(identity(&run_id))),
        known: AnswerCache::new(found.answers, Instant::now()),
        pace: RateLimit::default(),
        recipes: vec![],
        wanted: bounded(1).0,
    };
    let outbox = store.outbox().clone();
    let condition = move || {
        let (health, causes) = causes.all();
        LineCondition {
            state: crate::base::health::LineState::Ready,
            health,
            causes,
            clock_synchronised: None,
        }
    };
    let metrics = || Metrics {
        cameras: BTreeMap::new(),
        store: StoreCount::default(),
        heatmaps_dropped: 0,
    };
    let wiring = Wiring {
        store: store.clone(),
        side: side_end,
        orders,
        answers: answers_end,
        condition: Box::new(condition),
        metrics: Box::new(metrics),
        pulse: Heartbeat::default(),
    };
    let settings = mqtt::MqttSettings {
        host: arguments.host.clone(),
        port: arguments.port,
        client_id: format!("winspect-bench-{}", std::process::id()),
        user: None,
        password: None,
        tls: None,
        heatmaps: Heatmaps::None,
        timed_reject: false,
    };
    let plc = Plc::connect(arguments)?;
    let (judged, between) = (Judged::default(), Duration::from_millis(arguments.frame_ms));
    let clerk = StoreWriter::new(opened, policy);
    let (desk_store, told) = (store, identity(&run_id));
    let threads = [
        thread::spawn(move || clerk.run(&Heartbeat::default())),
        {
            let judged = judged.clone();
            thread::spawn(move || desk(&intake, &desk_store, &judged))
        },
        {
            let stop = stop.clone();
            thread::spawn(move || foreman.work(&stop, &Heartbeat::default()))
        },
        thread::spawn(move || frames(&entrance, &stop, between)),
    ];
    let linked = thread::spawn(move || publisher::run(settings, told, wiring));
    let measured = plc.measure(arguments, backlog, &outbox);
    drop(stopper);
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("no stage panics"));
    let linked = linked.join().expect("the publisher does not panic");
    linked.map_err(|error| Failure::new(Exit::Software, error))?;
    let Heard {
        mut latencies,
        drained,
        sent,
    } = measured;
    let judged = std::mem::take(&mut *judged.lock().expect("the desk does not panic"));
    let sent_at = |part: &Part| sent.get(part.ask.part_id.as_deref()?).copied();
    let with_time = |part: Part| sent_at(&part).map(|sent| (part, sent));
    latencies.opened = took;
    latencies.stages = Stages::of(&judged.into_iter().filter_map(with_time).collect::<Vec<_>>());
    Ok((latencies, drained))
}

/// Parts as the desk had them: their marks go on being made.
type Judged = Arc<Mutex<Vec<Part>>>;

/// Passes every part at once.
fn desk(intake: &FrameReceiver, store: &Store, judged: &Judged) {
    loop {
        let batch = intake.take(64, &Heartbeat::default(), &mut || ());
        if batch.is_empty() {
            return store.close();
        }
        for QueuedFrame { ticket, parts, .. } in batch {
            ticket
                .into_iter()
                .for_each(|ticket| ticket.settle(Outcome::Judged));
            judged
                .lock()
                .expect("nobody panics with it")
                .extend(parts.iter().cloned());
            store.submit(parts.into_iter().map(pass).collect());
        }
    }
}

/// A camera with so much time between two frames.
fn frames(entrance: &Admission, stop: &crate::base::stop::Stop, between: Duration) {
    let picture = Arc::new(Picture::new(1, 1, vec![0; 3]).expect("three bytes"));
    while !stop.stopped_within(between) {
        entrance.show(Frame {
            camera: "bench".into(),
            picture: picture.clone(),
            captured_at: jiff::Timestamp::now(),
            captured_by: CapturedBy::Arrival,
            arrived: Instant::now(),
            corrupt: false,
            decode: None,
            part_id: None,
        });
    }
}

/// What the PLC heard, and when it sent which trigger.
struct Heard {
    latencies: Latencies,
    /// How long the backlog took.
    drained: Option<Duration>,
    sent: HashMap<String, Instant>,
}

/// The other side: triggers out, results in.
struct Plc {
    client: Client,
    connection: Connection,
    topics: String,
}

impl Plc {
    fn connect(arguments: &PartsArguments) -> Result<Self, Failure> {
        let mut options = MqttOptions::new(
            format!("winspect-bench-plc-{}", std::process::id()),
            &arguments.host,
            arguments.port,
        );
        options.set_keep_alive(Duration::from_secs(30));
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let (client, mut connection) = Client::new(options, 10_000);
        let topics = format!("winspect-bench/{}", std::process::id());
        for topic in ["result", "result/late", "birth"] {
            let subscribed = client.try_subscribe(format!("{topics}/{topic}"), QoS::AtMostOnce);
            subscribed.map_err(|error| Failure::new(Exit::Unavailable, error))?;
        }
        let mut subscribed = 0;
        while subscribed < 3 {
            match connection.recv_timeout(PATIENCE) {
                Ok(Ok(Event::Incoming(Packet::SubAck(_)))) => subscribed += 1,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Failure::new(Exit::Unavailable, error)),
                Err(_) => {
                    return Err(Failure::words(
                        Exit::Unavailable,
                        "the broker does not answer",
                    ));
                }
            }
        }
        Ok(Plc {
            client,
            connection,
            topics,
        })
    }

    fn measure(
        mut self,
        arguments: &PartsArguments,
        backlog: usize,
        outbox: &store::Outbox,
    ) -> Heard {
        let count = usize::from(arguments.rate) * usize::from(arguments.seconds);
        let gap = Duration::from_secs(1) / u32::from(arguments.rate);
        let sent: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
        let (mut took, mut undecided) = (vec![], 0);
        let (mut late, mut began, mut drained) = (0, None, None);
        let mut sender = None;
        while took.len() < count || late < backlog {
            let event = self.connection.recv_timeout(PATIENCE);
            let Ok(Ok(event)) = event else { break };
            let Event::Incoming(Packet::Publish(publish)) = event else {
                continue;
            };
            if publish.topic.ends_with(b"/birth") {
                // It hears commands soon after.
                began = Some(Instant::now());
                sender = Some(self.send(count, gap, sent.clone()));
            } else if publish.topic.ends_with(b"/late") {
                late += 1;
                if late == backlog {
                    drained = began.map(|began: Instant| began.elapsed());
                }
            } else {
                let now = Instant::now();
                let result: Value = serde_json::from_slice(&publish.payload).unwrap_or_default();
                undecided += usize::from(result["verdict"] == "undecided");
                let part = result["part_id"].as_str().unwrap_or_default();
                let sent = sent
                    .lock()
                    .expect("the sender does not panic")
                    .get(part)
                    .copied();
                took.extend(sent.map(|sent| now.duration_since(sent)));
            }
        }
        if let Some(sender) = sender {
            sender.join().expect("the sender does not panic");
        }
        tracing::debug!("{:?}", outbox.count());
        let latencies = Latencies {
            sent: count,
            back: Sample::new(took),
            undecided,
            ..Latencies::default()
        };
        let sent = std::mem::take(&mut *sent.lock().expect("the sender does not panic"));
        Heard {
            latencies,
            drained,
            sent,
        }
    }

    fn send(
        &self,
        count: usize,
        gap: Duration,
        sent: Arc<Mutex<HashMap<String, Instant>>>,
    ) -> thread::JoinHandle<()> {
        let (client, topic) = (self.client.clone(), format!("{}/cmd/trigger", self.topics));
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(500)); // until it has subscribed
            let start = Instant::now();
            for number in 0..count {
                thread::sleep(
                    (start + gap * number as u32).saturating_duration_since(Instant::now()),
                );
                let part = number.to_string();
                let trigger = json!({ "id": part, "part_id": part }).to_string();
                sent.lock()
                    .expect("nobody panics with it")
                    .insert(part, Instant::now());
                let _ = client.publish(&topic, QoS::AtLeastOnce, false, trigger); // its connection is ours
            }
        })
    }
}
