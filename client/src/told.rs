//! What a node tells bit by bit.

use std::time::Duration;

use tokio::time::timeout;
use tonic::Streaming;

use crate::Error;
use crate::error::Failure;

/// What a node tells bit by bit, until it has no more to tell or breaks off.
pub struct Told<T> {
    parts: Streaming<T>,
    address: String,
    silence_max: Duration,
}

impl<T> Told<T> {
    pub(crate) fn new(parts: Streaming<T>, address: String) -> Told<T> {
        Told { parts, address, silence_max: Duration::MAX }
    }

    /// Of a node that tells something now and then: one that is silent for longer counts as gone.
    pub(crate) fn within(self, silence_max: Duration) -> Told<T> {
        Told { silence_max, ..self }
    }

    /// The next; none when there is no more.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        let failure = match timeout(self.silence_max, self.parts.message()).await {
            Ok(Ok(next)) => return Ok(next),
            Ok(Err(status)) => Failure::from(status),
            Err(_) => Failure::Late(format!("nothing was told for {:?}", self.silence_max)),
        };
        Err(failure.of_stream(&self.address))
    }
}
