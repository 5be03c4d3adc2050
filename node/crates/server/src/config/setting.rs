//! How a value of each type is written in a configuration.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bellwether_model::{PatternBudget, PatternError, Tenant, WholeRegex};

/// A type that configuration values have.
pub trait Setting: Sized {
    /// What the type is called in the documentation.
    const KIND: &'static str;
    /// Reads a value; the error completes the sentence `"<value>" ...`.
    fn parse(text: &str) -> Result<Self, String>;
    /// Writes a value so that [`parse`](Self::parse) reads it back.
    fn print(&self) -> String;
}

/// A number of bytes, written `512MB`, `1GiB` or plain; KB, MB and GB are powers of 1024 too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// As an index type.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const BYTE_UNITS: [(&str, u64); 4] = [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match BYTE_UNITS.iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Setting for ByteSize {
    const KIND: &'static str = "bytes";

    fn parse(text: &str) -> Result<ByteSize, String> {
        let wrong = || "is not a number of bytes such as 512MB".to_owned();
        let upper = text.trim().to_ascii_uppercase().replace("IB", "B");
        let (digits, unit) = BYTE_UNITS
            .iter()
            .find_map(|(name, unit)| upper.strip_suffix(name).map(|digits| (digits, *unit)))
            .unwrap_or((upper.strip_suffix('B').unwrap_or(&upper), 1));
        let number: u64 = digits.trim().parse().map_err(|_| wrong())?;
        number.checked_mul(unit).map(ByteSize).ok_or_else(wrong)
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

const DURATION_UNITS: [(&str, u64); 7] = [
    ("ms", 1),
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
];

impl Setting for Duration {
    const KIND: &'static str = "duration";

    fn parse(text: &str) -> Result<Duration, String> {
        let wrong = || "is not a duration such as 30s, 1h30m or 395d".to_owned();
        let mut rest = text.trim();
        let mut total_ms: u64 = 0;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let (name, unit) = DURATION_UNITS.iter().find(|(name, _)| rest.starts_with(name)).ok_or_else(wrong)?;
            rest = &rest[name.len()..];
            total_ms = number.checked_mul(*unit).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(wrong)?;
        }
        // Times are kept as i64 milliseconds: a duration must fit with room to add.
        if total_ms > i64::MAX as u64 / 4 { Err(wrong()) } else { Ok(Duration::from_millis(total_ms)) }
    }

    fn print(&self) -> String {
        duration_text(*self)
    }
}

/// A duration as configurations write it: `395d`, `90m`.
pub fn duration_text(duration: Duration) -> String {
    const WHOLE: [(&str, u64); 4] = [("d", 24 * 3_600_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let ms = duration.as_millis() as u64;
    match WHOLE.iter().find(|(_, unit)| ms >= *unit && ms.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}

impl Setting for bool {
    const KIND: &'static str = "true or false";

    fn parse(text: &str) -> Result<bool, String> {
        text.trim().parse().map_err(|_| "is neither true nor false".to_owned())
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_number {
    ($type:ty) => {
        impl Setting for $type {
            const KIND: &'static str = "number";

            fn parse(text: &str) -> Result<$type, String> {
                text.trim()
                    .replace('_', "")
                    .parse()
                    .map_err(|_| format!("is not a whole number up to {}", <$type>::MAX))
            }

            fn print(&self) -> String {
                self.to_string()
            }
        }
    };
}
whole_number!(u32);
whole_number!(u64);

impl Setting for SocketAddr {
    const KIND: &'static str = "address";

    fn parse(text: &str) -> Result<SocketAddr, String> {
        let text = text.trim();
        let named = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        named.as_deref().unwrap_or(text).parse().map_err(|_| "is not an address such as 127.0.0.1:9480".to_owned())
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Setting for PathBuf {
    const KIND: &'static str = "path";

    fn parse(text: &str) -> Result<PathBuf, String> {
        if text.is_empty() { Err("is empty".to_owned()) } else { Ok(PathBuf::from(text)) }
    }

    fn print(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for String {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn print(&self) -> String {
        self.clone()
    }
}

impl Setting for Tenant {
    const KIND: &'static str = "tenant";

    fn parse(text: &str) -> Result<Tenant, String> {
        Tenant::new(text).map_err(|error| format!("is not a tenant: {error}"))
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

/// Addresses of other nodes, `host:port`, separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerList(pub Vec<String>);

impl Setting for PeerList {
    const KIND: &'static str = "addresses";

    fn parse(text: &str) -> Result<PeerList, String> {
        let peers: Vec<String> =
            text.split(',').map(str::trim).filter(|peer| !peer.is_empty()).map(str::to_owned).collect();
        match peers.iter().find(|peer| !is_host_and_port(peer)) {
            Some(peer) => Err(format!("has an entry that is not host:port: {peer:?}")),
            None => Ok(PeerList(peers)),
        }
    }

    fn print(&self) -> String {
        self.0.join(",")
    }
}

/// Names of hosts, without ports, separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostList(pub Vec<String>);

impl Setting for HostList {
    const KIND: &'static str = "names";

    fn parse(text: &str) -> Result<HostList, String> {
        let hosts = text.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_ascii_lowercase);
        let hosts: Vec<String> = hosts.collect();
        match hosts.iter().find(|host| host.contains(['/', ':', ' ', '*'])) {
            Some(host) => Err(format!("has an entry that is not a host's name without a port: {host:?}")),
            None => Ok(HostList(hosts)),
        }
    }

    fn print(&self) -> String {
        self.0.join(",")
    }
}

/// A regular expression that an origin (`https://grafana.example`) must match as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern(String);

impl OriginPattern {
    /// Whether pages of any origin are meant.
    pub fn is_any(&self) -> bool {
        self.0 == ".*"
    }

    /// The compiled expression.
    pub fn compile(&self) -> Result<WholeRegex, PatternError> {
        WholeRegex::new(&self.0, &mut PatternBudget::default())
    }
}

impl Default for OriginPattern {
    /// Any origin.
    fn default() -> OriginPattern {
        OriginPattern(".*".to_owned())
    }
}

impl Setting for OriginPattern {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<OriginPattern, String> {
        let pattern = OriginPattern(text.to_owned());
        pattern.compile().map_err(|error| format!("is refused: {error}"))?;
        Ok(pattern)
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// Whether a text is an address as [`PeerList`] has them.
pub fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// Something that is not to be shown: printed and formatted, it says only whether there is one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl Secret {
    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print())
    }
}

impl Setting for Secret {
    const KIND: &'static str = "secret";

    fn parse(text: &str) -> Result<Secret, String> {
        Ok(Secret(text.trim().to_owned()))
    }

    fn print(&self) -> String {
        if self.is_set() { "(hidden)".to_owned() } else { String::new() }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Setting for LogFormat {
    const KIND: &'static str = "text or json";

    fn parse(text: &str) -> Result<LogFormat, String> {
        match text.trim() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("is neither text nor json".to_owned()),
        }
    }

    fn print(&self) -> String {
        match self {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        }
    }
}
