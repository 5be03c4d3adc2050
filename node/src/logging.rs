//! Log lines on stderr, as text or JSON.

use anyhow::Context;
use bellwether_server::config::{LogConfig, LogFormat};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// What a plain level leaves out: openraft tells every step of every election at `info`, and warns of every vote, heartbeat and
/// append that a dead node does not answer; our own lines say, once, that it is gone. That a change of members met a
/// newer one it calls an error; whoever wanted the change says so where it matters.
const QUIET: &str = "openraft=error,openraft::raft::api::management=off";

/// Starts logging; once per process.
pub fn start(config: &LogConfig) -> anyhow::Result<()> {
    let is_filter = config.level.contains(['=', ',']);
    let filter = if is_filter { config.level.clone() } else { plain(&config.level) };
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("configuration key \"log.level\": {:?} is not a level or filter", config.level))?;
    let lines = tracing_subscriber::fmt::layer::<Registry>().with_writer(std::io::stderr);
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let started = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// The filter that a plain level stands for. One that is quieter than [`QUIET`] holds for openraft, too.
fn plain(level: &str) -> String {
    match level.to_ascii_lowercase().as_str() {
        "error" | "off" => level.to_owned(),
        _ => format!("{level},{QUIET}"),
    }
}
