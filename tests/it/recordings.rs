//! Recordings of what a user and a PLC see today: help texts, refusals with their exit codes, and
//! every message as the broker gets it. A difference is a change of behaviour. A change that is
//! meant is recorded anew: `INSTA_UPDATE=always cargo test --test it recordings`.

use crate::harness::broker::{Broker, free_port};
use crate::harness::golden::{golden, imported};
use crate::harness::line::{folder_camera, write_line};
use crate::harness::plc::Listener;
use crate::harness::plc::publish;
use crate::harness::program::Running;
use crate::harness::program::winspect;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;
use std::process::Output;

/// Names of this machine, and what stands for them.
fn without_places(text: &str, folder: &Path) -> String {
    let text = text.replace(&folder.display().to_string(), "<folder>");
    text.replace(&golden("").display().to_string(), "<golden>/")
}

/// Help of a command and of all below it.
fn record_help(command: &[&str], record: &mut String) {
    let mut program = winspect();
    program.args(command).arg("--help").env("COLUMNS", "100");
    let output = program.output().expect("the binary was built");
    assert!(output.status.success(), "{command:?}");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let title = [&["winspect"], command, &["--help"]].concat().join(" ");
    writeln!(record, "$ {title}\n{help}").expect("to memory");
    let below = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());

    for name in below.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()) {
        if !["", "help"].contains(&name) {
            record_help(&[command, &[name]].concat(), record);
        }
    }
}

#[test]
fn the_help_of_every_command_is_as_recorded() {
    let mut record = String::new();
    record_help(&[], &mut record);
    insta::assert_snapshot!("help", record);
}

/// Changes of a good line, each of which is refused.
const WRONG_LINES: &[(&str, &str)] = &[
    ("prefix = \"plant\"", "prefx = \"plant\""),
    ("prefix = \"plant\"", "prefix = \"pl+nt\""),
    ("prefix = \"plant\"\n", ""),
    ("station = \"box\"", "colour = \"red\"\nstation = \"box\""),
    ("station = \"box\"", "station = \"box\"\nstation = \"box\""),
    ("station = \"box\"", "station = \"a/b\""),
    ("station = \"box\"", "station = 7"),
    ("model = \"dinov2-tiny\"", "model = \"nothing\""),
    (
        "model = \"dinov2-tiny\"",
        "model = \"dinov2-tiny\"\nbatch = 0",
    ),
    (
        "model = \"dinov2-tiny\"",
        "model = \"dinov2-tiny\"\nrecipes = [\"none.toml\"]",
    ),
    ("threshold = \"auto\"", "threshold = nan"),
    ("threshold = \"auto\"", "threshold = -1"),
    ("threshold = \"auto\"", "threshold = \"automatic\""),
    (
        "threshold = \"auto\"",
        "threshold = \"auto\"\nauto_factor = inf",
    ),
    ("input_px = 70", "input_px = \"big\""),
    ("input_px = 70", "input_px = 71"),
    ("input_px = 70", "inptu_px = 70"),
    ("input_px = 70", "size = 70\ntiles = 480"),
    ("input_px = 70", "input_px = 70\ncrop = [0, 0, 0, 9]"),
    (
        "input_px = 70",
        "input_px = 70\nself_test = { good = \"none.png\", bad = \"words.png\" }",
    ),
    ("good_a.png", "good_z.png"),
    ("\"<golden>/open-clip-tiny/good_a.png\"", "\"words.png\""),
    (
        "[[camera]]\nname = \"top\"",
        "[[camera]]\nname = \"top/left\"",
    ),
    ("[[camera]]\nname = \"top\"", "[[camera]]"),
    ("[[camera]]\nname = \"top\"", "[camera]\nname = \"top\""),
    (
        "[[camera]]",
        "[[camera]]\nname = \"top\"\nkind = \"test\"\n[[camera]]",
    ),
    ("kind = \"folder\"", "kind = \"foldr\""),
    (
        "location = \"<golden>/open-clip-tiny\"",
        "location = \"nowhere\"",
    ),
    ("location = \"<golden>/open-clip-tiny\"\n", ""),
    (
        "[[camera]]\nname = \"top\"\nkind = \"folder\"\nlocation = \"<golden>/open-clip-tiny\"\nfps = 0\n",
        "",
    ),
    ("fps = 0", "fps = -1"),
    ("fps = 0", "fps = nan"),
    ("fps = 0", "fps = 0\ndeadline_ms = 0"),
    ("fps = 0", "fps = 0\ntrigger = \"sometimes\""),
    ("fps = 0", "fps = 0\ntrigger = \"every_n\""),
    ("port = 1", "port = 70000"),
    ("port = 1", "port = 1\nhost = \"broker.plant.example\""),
    ("port = 1", "port = 1\npassword_file = \"none\""),
    ("port = 1", "port = 1\ntls = { ca = \"words.png\" }"),
    ("heatmaps = \"all\"", "heatmaps = \"some\""),
    ("[mqtt]", "[store]\nsync = \"maybe\"\n[mqtt]"),
    ("[mqtt]", "[store]\nfile = \"words.png/line.db\"\n[mqtt]"),
    ("[mqtt]", "[[recipe.region]]\nname = \"a\"\n[mqtt]"),
    ("[mqtt]", "[mqtt"),
];

/// Commands that are refused, in a folder with `line.toml`, a model `dinov2-tiny`, `good.png`,
/// `words.png` (no picture) and `empty` (a folder).
const WRONG_COMMANDS: &[&str] = &[
    "",
    "isnpect",
    "--versoin",
    "run",
    "run none.toml",
    "run empty",
    "run line.toml line.toml",
    "run words.png",
    "check none.toml",
    "check --seconds 0 line.toml",
    "check --seconds soon line.toml",
    "inspect words.png",
    "inspect --model dinov2-tiny",
    "inspect --model none --reference good.png good.png",
    "inspect --model empty --reference good.png good.png",
    "inspect --model dinov2-tiny good.png",
    "inspect --model dinov2-tiny --reference good.png none.png words.png empty",
    "inspect --model dinov2-tiny --reference words.png good.png",
    "inspect --model dinov2-tiny --reference good.png --input-px 71 --block 9 good.png",
    "inspect --model dinov2-tiny --reference good.png --size 70 good.png",
    "inspect --model dinov2-tiny --reference good.png --tiles 70 good.png",
    "inspect --model dinov2-tiny --reference good.png --crop 0,0,0,9 good.png",
    "inspect --model dinov2-tiny --reference good.png --crop 0,0,900,900 good.png",
    "inspect --model dinov2-tiny --reference good.png --maps patch,six good.png",
    "inspect --model dinov2-tiny --reference good.png --overlay words.png good.png",
    "inspect --model dinov2-tiny --reference good.png --onnxruntime none.so good.png",
    "eval none --model dinov2-tiny",
    "eval empty --model dinov2-tiny",
    "eval empty --model dinov2-tiny --shots many",
    "eval empty --model dinov2-tiny --seeds 0",
    "model",
    "model import none out",
    "model import empty out",
    "model import dinov2-tiny",
    "model info none",
    "model info empty",
    "model fetch nothing out",
    "model fetch dinov2-small out --base-url ftp://hub.example",
    "model fetch dinov2-small out --catalogue none.toml",
    "bench",
    "bench --model none",
    "bench --model dinov2-tiny --runs 0",
    "bench --model dinov2-tiny --without-network",
    "bench cameras --cameras 0",
    "bench parts --rate 0",
    "bench parts --folder words.png/inside",
    "bench parts --sync maybe",
    "engine",
    "engine build none",
    "engine build dinov2-tiny --precision fp64",
    "doctor --model none",
    "doctor none",
    "doctor empty",
    "doctor --jsn",
];

/// The exit code and what was said; the log, which has times, is left out.
fn record_refusal(title: &str, output: &Output, folder: &Path, record: &mut String) {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("20"));

    let said: String = said
        .map(|line| format!("  {}\n", without_places(line, folder)))
        .collect();

    let code = output.status.code().expect("it ends by itself");
    assert_ne!(code, 0, "{title} is not refused");
    writeln!(record, "{title}\n  exit {code}\n{said}").expect("to memory");
}

#[test]
fn every_refusal_is_as_recorded() {
    let (folder, _model) = imported("dinov2-tiny");
    let folder = folder.path();
    let golden = golden("").display().to_string();
    std::fs::create_dir(folder.join("empty")).expect("made");
    std::fs::write(folder.join("words.png"), "hello").expect("written");
    std::fs::copy(
        format!("{golden}open-clip-tiny/good_a.png"),
        folder.join("good.png"),
    )
    .expect("copied");

    write_line(folder, 1, &folder_camera());
    let good = std::fs::read_to_string(folder.join("line.toml")).expect("just written");
    let run = |arguments: &[&str]| {
        let mut command = winspect();
        command
            .args(arguments)
            .current_dir(folder)
            .env_remove("WINSPECT_LOG")
            .env("COLUMNS", "100");

        command.output().expect("the binary was built")
    };

    let mut record = String::new();
    for (words, others) in WRONG_LINES {
        let place = words.replace("<golden>/", &golden);
        assert!(good.contains(&place), "{place:?} is not in {good}");
        std::fs::write(folder.join("line.toml"), good.replacen(&place, others, 1))
            .expect("written");

        let title = format!("$ winspect run line.toml # {words:?} is {others:?}");
        record_refusal(&title, &run(&["run", "line.toml"]), folder, &mut record);
    }

    std::fs::write(folder.join("line.toml"), good).expect("written");
    for command in WRONG_COMMANDS {
        let arguments: Vec<&str> = command.split_whitespace().collect();
        record_refusal(
            &format!("$ winspect {command}"),
            &run(&arguments),
            folder,
            &mut record,
        );
    }

    insta::assert_snapshot!("refusals", record);
}

/// Keys whose values differ from run to run.
const MEASURED: [&str; 9] = [
    "run",
    "t0",
    "s",
    "rin",
    "version",
    "u8",
    "beat",
    "clock_synchronised",
    "frame_offset_ms",
];

/// A message with what differs from run to run taken out: times, run ids, and measured numbers.
fn settled(key: &str, value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key.clone(), settled(&key, value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(list) => list
            .into_iter()
            .filter(|value| !is_passing(value))
            .map(|value| settled(key, value))
            .collect(),
        Value::Null => Value::Null,
        _ if MEASURED.contains(&key) => format!("<{key}>").into(),
        Value::Number(number)
            if number.is_f64() && !["reject_in_ms", "position"].contains(&key) =>
        {
            "<measured>".into()
        }
        Value::String(text) => settled_words(&text).into(),
        other => other,
    }
}

/// True for a cause that goes by itself some seconds later, before or after the next message.
fn is_passing(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.starts_with("triggers of ")
}

fn settled_words(text: &str) -> String {
    let is_run_id = text.len() == 26
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());

    if is_run_id {
        return "<run>".to_owned();
    }

    if text.parse::<jiff::Timestamp>().is_ok() {
        return "<time>".to_owned();
    }

    let is_measured = |word: &str| word.contains('.') && word.parse::<f64>().is_ok();
    let words = text.split(' ').map(|word| {
        let number = word.trim_end_matches([';', ',']);
        if is_measured(number) {
            word.replace(number, "<measured>")
        } else {
            word.to_owned()
        }
    });

    words.collect::<Vec<_>>().join(" ")
}

/// A listener whose messages are written down.
struct Recorder {
    port: u16,
    listener: Listener,
    pictures: Listener,
    record: String,
}

impl Recorder {
    fn start(port: u16) -> Self {
        let others = [
            "-t",
            "plant/box/camera/#",
            "-t",
            "plant/box/ack/#",
            "-t",
            "plant/box/result/#",
        ];

        let listener = Listener::with(port, "plant/box/+", &others);
        let as_digits = ["-t", "plant/box/snapshot/+", "-V", "5", "-F", "%t %x %P"];
        let pictures = Listener::with(port, "plant/box/heatmap/+", &as_digits);
        Recorder {
            port,
            listener,
            pictures,
            record: String::new(),
        }
    }

    fn write(&mut self, title: &str, text: &str) {
        writeln!(self.record, "## {title}\n{text}\n").expect("to memory");
    }

    #[track_caller]
    fn hear(&self, topic: &str) -> Value {
        serde_json::from_str(&self.listener.answer(&format!("box/{topic}"))).expect("JSON")
    }

    fn write_json(&mut self, title: &str, message: Value) {
        self.write(title, &format!("{:#}", settled("", message)));
    }

    /// The next message of a topic.
    #[track_caller]
    fn next(&mut self, topic: &str, note: &str) {
        let message = self.hear(topic);
        self.write_json(&format!("{topic}{note}"), message);
    }

    /// The next message of a topic with this value.
    #[track_caller]
    fn until(&mut self, topic: &str, key: &str, value: &str) {
        let words = format!("{key} = {value}");
        self.until_fits(topic, &words, |message| message[key] == value);
    }

    /// The next message of a topic that fits, which these words describe.
    #[track_caller]
    fn until_fits(&mut self, topic: &str, words: &str, fits: impl Fn(&Value) -> bool) {
        let message = loop {
            let message = self.hear(topic);
            if fits(&message) {
                break message;
            }
        };

        self.write_json(&format!("{topic}, {words}"), message);
    }

    /// A command and its answer.
    #[track_caller]
    fn tell(&mut self, command: &str, payload: &str) {
        self.tell_as(command, payload, command, &[]);
    }

    /// Sends a command whose payload differs from run to run, and is `shown` otherwise.
    #[track_caller]
    fn tell_shown(&mut self, command: &str, payload: &str, shown: &str) {
        publish(self.port, &format!("cmd/{command}"), payload, &[]);
        self.next(
            &format!("ack/{command}"),
            &format!(", for cmd/{command} {shown}"),
        );
    }

    #[track_caller]
    fn tell_as(&mut self, command: &str, payload: &str, answer: &str, arguments: &[&str]) {
        publish(self.port, &format!("cmd/{command}"), payload, arguments);
        let shown = if payload.len() > 200 {
            "(too long)"
        } else {
            payload
        };

        self.next(
            &format!("ack/{answer}"),
            &format!(", for cmd/{command} {shown}"),
        );
    }

    /// The size and the text chunks of the next picture, and what its message says beside it.
    #[track_caller]
    fn picture(&mut self, topic: &str) {
        let message = self.pictures.answer(&format!("box/{topic}"));
        let (digits, properties) = message.split_once(' ').expect("digits and properties");
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
        let png: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png))
            .read_info()
            .expect("a PNG");

        reader.finish().expect("a whole PNG");
        let info = reader.info();
        let mut text = format!(
            "PNG, {} x {}, {:?}",
            info.width, info.height, info.color_type
        );

        for chunk in &info.uncompressed_latin1_text {
            write!(
                text,
                "\ntEXt {}: {}",
                chunk.keyword,
                settled_words(&chunk.text)
            )
            .expect("to memory");
        }

        write!(text, "\nuser properties: {}", properties.trim_end()).expect("to memory");
        self.write(topic, &text);
    }
}

/// Two cameras that wait for commands: the second one's pictures are black. And a second recipe.
fn write_line_of_two(folder: &Path, port: u16) {
    let camera = "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120\ntrigger = \"command\"\n\
                  deadline_ms = 5000";

    let cameras = format!(
        "{camera}\npattern = \"checkers-8\"\nreject_after_ms = 5000\nreject_counts = 100\n\
         [[camera]]\nname = \"dark\"\n{camera}\npattern = \"black\"\n\
         [recipe.bad_image]\nfrozen_frames = 0\nsaturated = 0"
    );

    write_line(folder, port, &cameras);
    let file = folder.join("line.toml");
    let line = std::fs::read_to_string(&file).expect("just written");
    let references = line
        .lines()
        .find(|line| line.starts_with("references"))
        .expect("it has some");

    let bolt =
        format!("name = \"bolt\"\nrevision = 4\ninput_px = 98\nthreshold = 1.5\n{references}\n");

    std::fs::write(folder.join("bolt.toml"), bolt).expect("written");
    let line = line.replace("[mqtt]", "[mqtt]\ntimed_reject = true\nplc = true");
    std::fs::write(&file, format!("recipes = [\"bolt.toml\"]\n{line}")).expect("written");
}

#[test]
fn every_message_is_as_recorded() {
    let (folder, _model) = imported("dinov2-tiny");
    let (folder, port) = (folder.path(), free_port());
    // What a run without a broker leaves is late.
    write_line(
        folder,
        port,
        &format!("{}\ndeadline_ms = 60000", folder_camera()),
    );

    let left = Running::line(folder).end();
    assert!(
        left.status.success(),
        "{}",
        String::from_utf8_lossy(&left.stderr)
    );

    let _broker = Broker::start(port);
    let mut recorder = Recorder::start(port);
    write_line_of_two(folder, port);
    let line = Running::line(folder);

    let online = recorder.listener.answer("box/availability");
    recorder.write("availability, of a line that begins", &online);
    recorder.next("birth", "");
    // Both cameras show pictures.
    recorder.until_fits("state", "state = Ready", |state| {
        state["state"] == "Ready" && state["ready"] == true
    });

    recorder.until("camera/top/status", "state", "online");
    recorder.until("camera/dark/status", "state", "online");
    recorder.next("result/late", "");
    recorder.next("heartbeat", "");
    let fence = recorder.listener.answer("box/fence");
    recorder.write("fence", &format!("<run>{}", &fence[26..]));

    record_parts(&mut recorder);
    record_refused_commands(&mut recorder);
    record_commands(&mut recorder);

    let metrics = recorder.hear("metrics");
    recorder.write_json("metrics", counts_taken_out(metrics));
    let mut check = winspect();
    check.arg("check").arg(folder.join("line.toml"));
    assert!(
        check
            .output()
            .expect("the binary was built")
            .status
            .success()
    );

    recorder.next("check", ", of winspect check");

    line.summary();
    recorder.until("state", "state", "Halted");
    let stopped = recorder.listener.answer("box/availability");
    recorder.write("availability, of a line that was stopped", &stopped);
    let killed = Running::line(folder);
    assert_eq!(recorder.listener.answer("box/availability"), "online");
    drop(killed);
    let offline = recorder.listener.answer("box/availability");
    recorder.write("availability, of a line that was killed", &offline);
    insta::assert_snapshot!("messages", recorder.record);
}

/// A part that passes, one that fails, and one that cannot be judged.
fn record_parts(recorder: &mut Recorder) {
    recorder.tell("set_threshold", r#"{"id":"t1","value":2}"#);
    recorder.tell(
        "trigger",
        r#"{"id":"p1","camera":"top","part_id":"A-1","count":42,"position":1.5}"#,
    );

    recorder.next("plc", ", pass");
    recorder.next("result", ", pass");
    recorder.next("result/last/top", ", pass");
    recorder.picture("heatmap/top");
    recorder.tell("set_threshold", r#"{"id":"t2","value":0.000001}"#);
    recorder.tell("trigger", r#"{"id":"p2","camera":"top","part_id":"A-2"}"#);
    recorder.next("plc", ", fail");
    recorder.next("result", ", fail");
    recorder.next("reject", "");
    recorder.tell("trigger", r#"{"id":"p3","camera":"dark"}"#);
    recorder.next("plc", ", undecided");
    recorder.next("result", ", undecided");
    recorder.until_fits("state", "health = FAILURE", |state| {
        state["causes"].to_string().contains("pictures of dark")
    });

    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(30);
    let early = format!(r#"{{"camera":"top","at":"{at}"}}"#);
    recorder.tell_shown("trigger", &early, r#"{"camera":"top","at":"<30 s ago>"}"#);
    recorder.next("result", ", of a time without a frame");
    recorder.tell(
        "trigger",
        r#"{"id":"p1","camera":"top","part_id":"A-1","count":42,"position":1.5}"#,
    );
}

fn record_refused_commands(recorder: &mut Recorder) {
    recorder.tell("trigger", "{");
    recorder.tell("trigger", r#"{"id":"r1","prat_id":"A"}"#);
    recorder.tell("trigger", r#"{"id":"r2","camera":"side"}"#);
    recorder.tell("trigger", r#"{"id":"r3","at":"2099-01-01T00:00:00Z"}"#);
    recorder.tell("trigger", r#"{"id":"r3b","at":"2020-01-01T00:00:00Z"}"#);
    recorder.tell("trigger", &format!(r#"{{"id":"{}"}}"#, "x".repeat(9000)));
    recorder.tell("set_threshold", r#"{"id":"r4","value":-1}"#);
    recorder.tell("set_threshold", r#"{"id":"r5","value":1,"region":"left"}"#);
    recorder.tell("select_recipe", r#"{"id":"r6","recipe":"screw"}"#);
    recorder.tell(
        "select_recipe",
        r#"{"id":"r7","recipe":"bolt","revision":3}"#,
    );

    recorder.tell("challenge", r#"{"id":"r8","parts":0,"expect":"fail"}"#);
    recorder.tell("challenge", r#"{"id":"r9","parts":1,"expect":"undecided"}"#);
    recorder.tell(
        "challenge",
        r#"{"id":"r10","parts":1,"expect":"fail","camera":"side"}"#,
    );

    recorder.tell("snapshot", r#"{"id":"r11"}"#);
    recorder.tell("snapshot", r#"{"id":"r12","camera":"side"}"#);
    recorder.tell("pause", "{}");
    recorder.tell_as("erase", r#"{"id":"r13"}"#, "unknown", &[]);
    recorder.tell_as("pause", r#"{"id":"r14"}"#, "pause", &["-r"]);
    publish(recorder.port, "cmd/pause", "", &["-r"]); // takes it from the broker
}

fn record_commands(recorder: &mut Recorder) {
    recorder.tell("snapshot", r#"{"id":"c1","camera":"top"}"#);
    recorder.picture("snapshot/top");
    recorder.tell(
        "challenge",
        r#"{"id":"c2","parts":1,"expect":"fail","camera":"top"}"#,
    );

    recorder.tell("trigger", r#"{"id":"c3","camera":"top"}"#);
    recorder.next("result", ", of a challenge");
    recorder.next("ack/challenge", ", of one that was met");
    recorder.tell(
        "challenge",
        r#"{"id":"c4","parts":1,"expect":"pass","camera":"top"}"#,
    );

    recorder.tell("trigger", r#"{"id":"c5","camera":"top"}"#);
    recorder.next("ack/challenge", ", of one that was missed");
    recorder.tell("reset", r#"{"id":"c6"}"#);
    recorder.tell("pause", r#"{"id":"c7"}"#);
    recorder.until("state", "state", "Initialized");
    recorder.tell("trigger", r#"{"id":"c8"}"#);
    recorder.tell("resume", r#"{"id":"c9"}"#);
    recorder.tell("select_recipe", r#"{"id":"c10","recipe":"bolt"}"#);
    recorder.next("ack/select_recipe", ", of one that is prepared");
    recorder.until("birth", "recipe", "bolt@4");
}

/// Counters are numbers; which ones depends on the moment.
fn counts_taken_out(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, counts_taken_out(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Number(_) => "<count>".into(),
        other => other,
    }
}
