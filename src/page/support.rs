//! A bundle for people who help from afar: what the line is, how it is, and what was done, in one ZIP file. It holds no
//! secret, no user's password and no picture.
//!
//! Bounds: [`TEXT_MAX`] bytes of each text, [`AUDIT_MAX`] lines of the audit log, [`FILES_MAX`] files that are counted,
//! and one file at a time until it has been sent.

use super::access::{Right, Viewer};
use super::board::EventWords;
use super::download::{Archive, Download, Refused, not_made, place};
use super::form_page::refusal;
use super::metrics;
use super::search;
use super::state::Page;
use crate::data::history::{AuditLine, AuditQuery};
use crate::data::history_rows::{RowFormat, RowPrinter};
use crate::store::{Search, SearchPage};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Address of the bundle.
pub const ADDRESS: &str = "/health/support.zip";
/// Bytes of one text at most.
const TEXT_MAX: usize = 2 << 20;
/// Lines of the audit log at most.
const AUDIT_MAX: usize = 500;
/// Files of the evidence that are counted at most.
const FILES_MAX: usize = 1_000_000;

/// What the bundle is, for a person who opens it.
const README: &str = "A bundle for support, made by winspect.\n\n\
    version.txt        the program and the machine\n\
    configuration.txt  the configuration in force, one key a line; *** stands for what is secret\n\
    status.json        state, health with causes, cameras, store\n\
    events.txt         the last events that the page was told, the newest first\n\
    metrics.txt        the figures of /metrics\n\
    audit.csv          the last lines of the audit log, the newest first\n\
    shift-checks.json  the last shift checks, the newest first\n\
    sizes.txt          sizes of the store, of the evidence and of the disk\n\
    threads.txt        the threads of the process\n\n\
    The log is not here: the program writes it to standard error, and the service manager keeps it. Add it by\n\
    journalctl -u UNIT --since -1h > log.txt\n";

/// `GET /health/support.zip`.
pub async fn bundle(State(page): State<Page>, viewer: Viewer) -> Response {
    // It tells more of the machine than any screen.
    let who = match (viewer.hindrance(Right::SetUp), &viewer.actor) {
        (None, Some(actor)) => actor.who(),
        (words, _) => {
            let words = words.unwrap_or_default();

            return refusal(&page, viewer, StatusCode::FORBIDDEN, words);
        }
    };

    match made(&page).await {
        Ok(bundle) => {
            page.access
                .note(format!("bundle for support made for {who}"));
            let day = Timestamp::now().strftime("%Y-%m-%d");

            bundle.sent("application/zip", &format!("winspect-support-{day}.zip"))
        }
        Err((status, words)) => refusal(&page, viewer, status, words),
    }
}

async fn made(page: &Page) -> Result<Download, Refused> {
    let place = place(page)?;
    let mut texts = vec![
        ("README.txt", README.to_owned()),
        ("version.txt", version(page)),
        ("configuration.txt", configuration(page)),
        ("status.json", (page.facts.status)()),
        ("events.txt", events(&page.events())),
        (
            "metrics.txt",
            metrics::encode(page.readings()).map_err(not_made)?,
        ),
        ("audit.csv", audit(page).await),
        ("shift-checks.json", checks(page)),
    ];

    texts.push(("sizes.txt", sizes(page).await));

    // Files of /proc never hang; packing takes its time beside this thread.
    let packed = tokio::task::spawn_blocking(move || {
        texts.push(("threads.txt", threads(Path::new("/proc/self/task"))));
        packed(&texts)
    });

    let bytes = packed.await.map_err(not_made)?.map_err(not_made)?;
    Ok(Download::new(bytes, place))
}

fn packed(texts: &[(&str, String)]) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = Archive::new();

    for (name, text) in texts {
        archive.add(name, cut(text).as_bytes())?;
    }

    archive.finish()
}

/// A text, or its beginning with a word on the rest.
fn cut(text: &str) -> String {
    if text.len() <= TEXT_MAX {
        return text.to_owned();
    }

    let end = text.floor_char_boundary(TEXT_MAX);
    format!(
        "{}\n... cut here: {} bytes in all\n",
        &text[..end],
        text.len()
    )
}

fn version(page: &Page) -> String {
    let now = page.now();
    let identity = &now.identity;
    let gstreamer = if cfg!(feature = "gstreamer") {
        "yes"
    } else {
        "no"
    };

    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");

    let lines = [
        ("winspect", identity.version.to_owned()),
        ("GStreamer", gstreamer.to_owned()),
        ("processor", std::env::consts::ARCH.to_owned()),
        ("line", format!("{}/{}", identity.prefix, identity.station)),
        ("run", identity.run_id.clone()),
        ("recipe", identity.recipe.clone()),
        ("model", identity.model.clone()),
        (
            "backend",
            format!("{} on {}", identity.backend, identity.device),
        ),
        ("made at", Timestamp::now().to_string()),
        ("kernel", read("/proc/version").trim().to_owned()),
        (
            "memory",
            memory.lines().next().unwrap_or_default().to_owned(),
        ),
        ("cores", cores()),
    ];

    let lines = lines.map(|(name, value)| format!("{name}: {value}\n"));
    lines.concat()
}

fn cores() -> String {
    let cores = std::thread::available_parallelism();
    cores.map_or("not known".to_owned(), |cores| cores.to_string())
}

fn configuration(page: &Page) -> String {
    let mut text = format!("# {}\n", page.facts.line.display());

    for line in (page.facts.configuration)() {
        text += &line;
        text.push('\n');
    }

    text
}

fn events(events: &[EventWords]) -> String {
    let mut text = String::new();

    for event in events {
        let EventWords { at, mark, words } = event;
        writeln!(text, "{at:.3} {} {words}", mark.word).expect("to memory");
    }

    text
}

fn checks(page: &Page) -> String {
    let checks = page.checks(20);
    serde_json::to_string_pretty(&checks).expect("plain values")
}

/// The last lines of the audit log; the reason in their place where the store does not answer.
async fn audit(page: &Page) -> String {
    let mut query = AuditQuery::default();
    let mut lines: Vec<AuditLine> = vec![];

    while lines.len() < AUDIT_MAX {
        let found = match search::step(&page.store, Search::Audit(query.clone())).await {
            Ok(SearchPage::Audit(found)) => found,
            Ok(_) => return "the store answers another question\n".to_owned(),
            Err(words) => return format!("{words}\n"),
        };

        lines.extend(found.lines);
        query.before = found.next;

        if found.next.is_none() {
            break;
        }
    }

    lines.truncate(AUDIT_MAX);
    RowPrinter::new(RowFormat::Csv).audit(&lines)
}

/// Sizes of the files; the reason in their place where a disk does not answer.
async fn sizes(page: &Page) -> String {
    let room = page.readings().disk;
    let room = room.map_or("disk of the store: it does not say\n".to_owned(), |room| {
        format!(
            "disk of the store: {} bytes free of {}\n",
            room.free, room.size
        )
    });

    let store = page.facts.store.clone();
    let store = page.sizes.run(move || store_sizes(&store)).await;
    let store = store.unwrap_or("store: its disk does not answer\n".to_owned());

    let evidence = page.evidence.look(folder_size).await;
    let evidence = match evidence {
        Ok(words) => words,
        Err(why) => format!("evidence: {why}\n"),
    };

    room + &store + &evidence
}

fn store_sizes(store: &Path) -> String {
    let mut text = String::new();

    for end in ["", "-wal", "-shm"] {
        let mut name = store.as_os_str().to_owned();
        name.push(end);
        let file = PathBuf::from(name);
        let bytes = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
        writeln!(text, "{}: {bytes} bytes", file.display()).expect("to memory");
    }

    text
}

fn folder_size(folder: &Path) -> String {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return format!("evidence: {}: {error}\n", folder.display()),
    };

    let (mut files, mut bytes) = (0, 0);

    for entry in entries.flatten().take(FILES_MAX) {
        files += 1;
        bytes += entry.metadata().map_or(0, |metadata| metadata.len());
    }

    format!(
        "evidence: {}: {files} files, {bytes} bytes\n",
        folder.display()
    )
}

/// Names and states of the threads, with the processor time of each in ticks.
fn threads(folder: &Path) -> String {
    let mut text = String::from("id name state user-ticks system-ticks\n");
    let Ok(entries) = std::fs::read_dir(folder) else {
        return text;
    };

    for entry in entries.flatten() {
        // A thread may end meanwhile.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((id, rest)) = stat.split_once(" (") else {
            continue;
        };

        // The name may hold anything; the last bracket ends it.
        let Some((name, rest)) = rest.rsplit_once(") ") else {
            continue;
        };

        let fields: Vec<&str> = rest.split(' ').collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or("?");
        writeln!(text, "{id} {name} {} {} {}", field(0), field(11), field(12)).expect("to memory");
    }

    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let long = "ä".repeat(TEXT_MAX);
        let short = cut(&long);
        assert!(short.len() < TEXT_MAX + 100);
        assert!(short.ends_with(&format!("{} bytes in all\n", long.len())));
        assert_eq!(cut("a"), "a");
    }

    #[test]
    fn threads_are_named_with_their_times() {
        std::thread::Builder::new()
            .name("a (b) c".to_owned())
            .spawn(|| {
                let told = threads(Path::new("/proc/self/task"));
                assert!(told.contains(" a (b) c R "), "{told}");
            })
            .expect("a thread")
            .join()
            .expect("no panic");
    }
}
