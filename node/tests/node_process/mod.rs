//! Starts the real binary in a directory of its own and talks to it as a sender and a reader would.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing on a loaded machine takes longer.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between looks at something that is about to happen.
const POLL: Duration = Duration::from_millis(50);

/// A node that runs. Killed when dropped.
pub struct Node {
    process: Child,
    address: String,
    log: Option<JoinHandle<String>>,
}

/// What a process that did not become ready left.
#[derive(Debug)]
pub struct Refused {
    pub success: bool,
    pub log: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A sample that was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sent {
    pub timestamp: i64,
    pub value: f64,
}

impl Node {
    /// Starts a node on free ports and waits until it is ready.
    pub fn start(data_dir: &Path, more: &[&str]) -> Node {
        Node::try_start(data_dir, more).unwrap_or_else(|refused| panic!("the node did not start:\n{}", refused.log))
    }

    /// As [`start`](Self::start); a node that ends before it is ready says why.
    pub fn try_start(data_dir: &Path, more: &[&str]) -> Result<Node, Refused> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        command.arg("--data-dir").arg(data_dir);
        command.args(["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--no-self-collect"]).args(more);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = process.stderr.take().unwrap();
        let log = std::thread::Builder::new();
        let log = log.spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        let log = log.unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.split("http=http://").nth(1).and_then(|rest| rest.split_whitespace().next()) else {
            let success = process.wait().unwrap().success();
            return Err(Refused { success, log: log.join().unwrap() });
        };
        Ok(Node { process, address: address.to_owned(), log: Some(log) })
    }

    /// Ends the process without a farewell.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks the process to stop, and returns its log once it has.
    pub fn stop(mut self) -> String {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let status = self.process.wait().unwrap();
        let log = self.log.take().unwrap().join().unwrap();
        assert!(status.success(), "it ended badly:\n{log}");
        log
    }

    /// What it has used of the CPU.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let after_name = stat.rsplit_once(") ").unwrap().1;
        let ticks: u64 = after_name.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Writes samples of one series.
    pub fn write(&self, metric: &str, samples: &[Sent]) -> Answer {
        write_to(&self.address, metric, samples).unwrap()
    }

    /// Writes and expects to be acknowledged.
    pub fn write_acknowledged(&self, metric: &str, samples: &[Sent]) {
        let answer = self.write(metric, samples);
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    /// All samples of a metric that were written up to an hour ago.
    pub fn read(&self, metric: &str) -> Vec<Sent> {
        let answer = self.get(&format!("/api/v1/query?query={metric}%5B2h%5D"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let json: Value = serde_json::from_str(&answer.body).unwrap();
        let Some(series) = json["data"]["result"].get(0) else { return Vec::new() };
        let pairs = series["values"].as_array().unwrap().iter();
        pairs
            .map(|pair| Sent {
                timestamp: (pair[0].as_f64().unwrap() * 1000.0).round() as i64,
                value: pair[1].as_str().unwrap().parse().unwrap(),
            })
            .collect()
    }

    /// `GET path`
    pub fn get(&self, path: &str) -> Answer {
        request(&self.address, "GET", path, &[], &[]).unwrap()
    }

    /// `POST path`, without a body.
    pub fn post(&self, path: &str) -> Answer {
        request(&self.address, "POST", path, &[], &[]).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Writes samples of one series to a node that may go away at any time.
pub fn write_to(address: &str, metric: &str, samples: &[Sent]) -> std::io::Result<Answer> {
    let body = remote_write(metric, samples);
    let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
    request(address, "POST", "/api/v1/write", &headers, &body)
}

/// Milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "the process under test reads the same clock")]
pub fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Looks again and again until something is true.
#[expect(clippy::disallowed_methods, reason = "the process under test runs in real time")]
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_true() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// Files below a directory, largest first.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { waiting.push(path) } else { found.push(path) }
        }
    }
    found.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    found
}

/// Changes one bit of a file.
pub fn flip_bit(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[offset] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).map_err(|_| std::io::ErrorKind::InvalidData)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(body) } else { body.to_owned() };
    Ok(Answer { status, head: head.to_owned(), body })
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        whole += &rest[..size];
        body = rest[size..].strip_prefix("\r\n").unwrap_or_default();
    }
    whole
}

/// A compressed remote-write 1.0 body with one series, without labels beside its name.
fn remote_write(metric: &str, samples: &[Sent]) -> Vec<u8> {
    let mut label = Vec::new();
    put_bytes(&mut label, 1, b"__name__");
    put_bytes(&mut label, 2, metric.as_bytes());
    let mut series = Vec::new();
    put_bytes(&mut series, 1, &label);
    for sample in samples {
        let mut message = vec![1 << 3 | 1];
        message.extend_from_slice(&sample.value.to_le_bytes());
        message.push(2 << 3);
        put_varint(&mut message, sample.timestamp as u64);
        put_bytes(&mut series, 2, &message);
    }
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &series);
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
