//! The client of a Bellwether cluster: writes samples, asks PromQL, administers.
//!
//! ```no_run
//! # async fn run() -> Result<(), bellwether_client::Error> {
//! use bellwether_client::{Client, series};
//!
//! let client = Client::builder().addresses(["127.0.0.1:9481"]).build()?;
//! client.write(vec![series([("__name__", "room_celsius"), ("room", "attic")], [(1_795_161_600_000, 21.5)])]).await?;
//! let answer = client.instant("max by (room) (room_celsius)", None).await?;
//! println!("{:?}", answer.value);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] is given some addresses, learns the others from the cluster, and takes whichever node answers: any node
//! takes any request. What failed for the moment is tried again, elsewhere first, with growing pauses and jitter, until the
//! call's deadline; writes too, since storing a sample twice changes nothing. [`Writer`] gathers samples into batches and
//! pushes back when they come faster than they leave.
//!
//! The library reads no clock but tokio's, and no entropy where a [seed](ClientBuilder::seed) is given; with a
//! [connector](ClientBuilder::connector) of its own it runs in a simulation. Must be used inside a tokio runtime.
//!
//! Nodes that other machines reach speak TLS: see [`ClientBuilder::tls`] and [`ClientBuilder::token`].
//!
//! Reading order: [`ClientBuilder`], `connect`, [`Tls`], `nodes` (which node to take), `call` (deadlines and repetition), [`Error`];
//! then what it is for: `write`, [`Writer`], `query`, [`Cluster`], [`Alerting`].

mod alerting;
mod backoff;
mod builder;
mod call;
mod cluster;
mod connect;
mod error;
mod nodes;
mod operations;
mod plain;
mod query;
mod tls;
mod told;
mod write;
mod writer;

pub use alerting::Alerting;
pub use bellwether_proto::v1;
pub use bellwether_proto::v1::{
    Bucket, Exemplar, Explanation, Histogram, HistogramSample, HistogramValue, Label, PlanStep, Read, ResultSeries,
    Sample, Series,
};
pub use builder::{ClientBuilder, Compression, is_loopback};
pub use call::Client;
pub use cluster::{Cluster, EventStream};
pub use connect::{Connect, Stream};
pub use error::{Attempt, Error, RefusalKind};
pub use operations::{OperationStream, Operations};
pub use query::{Answer, QueryOptions, Value};
pub use tls::{Identity, Tls};
pub use told::Told;
pub use write::Written;
pub use writer::{Writer, WriterError, WriterOptions, WriterStats};

/// A series out of names and values of labels, and timestamps (milliseconds since the Unix epoch) and values of samples.
pub fn series<'a>(
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    samples: impl IntoIterator<Item = (i64, f64)>,
) -> Series {
    let label = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
    let sample = |(timestamp_ms, value)| Sample { timestamp_ms, value };
    let (labels, samples) = (labels.into_iter().map(label).collect(), samples.into_iter().map(sample).collect());
    Series { labels, samples, ..Series::default() }
}
