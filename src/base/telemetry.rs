//! Logs on standard error, for a terminal or for the journal.
//!
//! `ERROR` a person must act, `WARN` degraded but handled, `INFO` once per life event, `DEBUG` per link,
//! `TRACE` per frame. `WINSPECT_LOG` chooses (for example `winspect=debug`); the default is `info`.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Filter of a run without `WINSPECT_LOG`. rumqttc warns of each refused message; we log the first.
const FILTER: &str = "info,ort=warn,rumqttc=error";

/// Installs the log writer; a second call does nothing.
pub fn install() {
    let filter = EnvFilter::try_from_env("WINSPECT_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER));
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Else a log without a reader (a closed pipe) panics.
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());

    // The journal stamps every line itself.
    let _ = if under_systemd {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
}
