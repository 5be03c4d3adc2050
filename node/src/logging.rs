//! Log lines on stderr, as text or JSON.

use anyhow::Context;
use bellwether_server::config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

/// What a plain level leaves out: openraft tells every step of every election at `info`, and warns of every heartbeat that a
/// dead node does not answer; our own lines say what became of it.
const QUIET: &str = "openraft=error";

/// Starts logging; once per process.
pub fn start(config: &LogConfig) -> anyhow::Result<()> {
    let is_filter = config.level.contains(['=', ',']);
    let filter = if is_filter { config.level.clone() } else { format!("{},{QUIET}", config.level) };
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("configuration key \"log.level\": {:?} is not a level or filter", config.level))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
