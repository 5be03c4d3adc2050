//! Log lines on stderr, as text or JSON.

mod quota;

use anyhow::Context;
use bellwether_server::config::{LogConfig, LogFormat};
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use self::quota::Quota;

/// What a plain level leaves out: openraft tells every step of every election at `info`, and warns of every heartbeat and
/// append that a dead node does not answer; our own lines say, once, that it is gone. Its other warnings pass, each a few
/// times a minute.
const QUIET: &str = "openraft=warn,openraft::core::heartbeat=error,openraft::replication=error,\
                     openraft::engine::handler::replication_handler=error";

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
    // Who writes a filter wants to see what it lets through.
    let lines = if is_filter {
        lines.with_filter(filter).boxed()
    } else {
        lines.with_filter(filter.and(Quota::default())).boxed()
    };
    let started = tracing_subscriber::registry().with(lines).try_init();
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// The filter that a plain level stands for. One that is quieter than [`QUIET`] holds for openraft, too.
fn plain(level: &str) -> String {
    match level.to_ascii_lowercase().as_str() {
        "error" | "off" => level.to_owned(),
        _ => format!("{level},{QUIET}"),
    }
}
