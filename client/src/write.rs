//! Storing samples, one request at a time.

use crate::call::{Client, Repeat};
use crate::v1::write_client::WriteClient;
use crate::v1::{WriteRequest, WriteResponse};
use crate::{Error, Series};

/// What became of a request's samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Stored, those that were there already included: on the disks of a quorum, and readable.
    pub samples: u64,
    /// Native histograms stored, likewise.
    pub histograms: u64,
    /// Exemplars stored, likewise.
    pub exemplars: u64,
    /// Samples, histograms and exemplars refused for good: sending them again does not change it.
    pub refused: u64,
    /// Why, with an example.
    pub refused_because: Option<String>,
}

impl Client {
    /// Stores samples. What is not possible for the moment is tried again until the deadline: a sample that is sent twice is
    /// stored once. One request is bounded by the nodes' configuration (64 MiB, if not set); [`Writer`](crate::Writer)
    /// makes batches.
    pub async fn write(&self, series: Vec<Series>) -> Result<Written, Error> {
        let (answer, _) = self
            .call(Repeat::Always, &WriteRequest { series }, |channel, request| {
                let mut client = WriteClient::new(channel);
                if let Some(encoding) = self.options().compression.encoding() {
                    client = client.send_compressed(encoding);
                }
                async move { client.write(request).await }
            })
            .await?;
        Ok(answer.into())
    }
}

impl From<WriteResponse> for Written {
    fn from(answer: WriteResponse) -> Written {
        let WriteResponse { samples, refused, refused_because, histograms, exemplars } = answer;
        let refused_because = Some(refused_because).filter(|text| !text.is_empty());
        Written { samples, histograms, exemplars, refused, refused_because }
    }
}
