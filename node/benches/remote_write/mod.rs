//! Series of many hosts, and the way in: remote write 1.0.

#[allow(dead_code, reason = "each bench uses a part")]
pub mod live;

use std::time::Duration;

use prost::Message;
use tokio::time::sleep;

pub const METRICS_PER_HOST: usize = 50;
pub const SAMPLES_PER_BODY: usize = 5_000;

/// One series of remote write 1.0.
#[derive(Clone, PartialEq, Message)]
pub struct Series {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<Series>,
}

pub fn metric(number: usize) -> String {
    format!("bench_metric_{number}_total")
}

/// One series of one host with samples at some times: a counter with a rate of its own.
pub fn series(host: usize, number: usize, times: impl Iterator<Item = i64>) -> Series {
    let label = |name: &str, value: String| Label { name: name.to_owned(), value };
    let labels = vec![
        label("__name__", metric(number)),
        label("host", format!("host-{host:05}")),
        label("job", "bench".to_owned()),
        label("region", format!("region-{}", host % 5)),
    ];
    let rate = (1 + (host * 7 + number) % 97) as f64;
    let samples = times.map(|timestamp| Sample { value: (timestamp as f64 / 1e3 * rate).floor(), timestamp }).collect();
    Series { labels, samples }
}

/// A node.
pub struct Target {
    pub client: reqwest::Client,
    pub address: String,
}

impl Target {
    /// Has series stored, however often that takes.
    pub async fn write(&self, timeseries: Vec<Series>) {
        let body = WriteRequest { timeseries }.encode_to_vec();
        let body = snap::raw::Encoder::new().compress_vec(&body).expect("it is short");
        loop {
            let request = self.client.post(format!("http://{}/api/v1/write", self.address)).body(body.clone());
            let answer = request.header("content-encoding", "snappy").header("content-type", "application/x-protobuf");
            let answer = answer.send().await.expect("the node answers");
            match answer.status().as_u16() {
                200..300 => return,
                429 | 503 => sleep(Duration::from_millis(100)).await,
                status => panic!("{status}: {}", answer.text().await.unwrap_or_default()),
            }
        }
    }
}
