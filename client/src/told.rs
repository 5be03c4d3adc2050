//! What a node tells bit by bit.

use tonic::Streaming;

use crate::Error;
use crate::error::Failure;

/// What a node tells bit by bit, until it has no more to tell or breaks off.
pub struct Told<T> {
    parts: Streaming<T>,
    address: String,
}

impl<T> Told<T> {
    pub(crate) fn new(parts: Streaming<T>, address: String) -> Told<T> {
        Told { parts, address }
    }

    /// The next; none when there is no more.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        self.parts.message().await.map_err(|status| Failure::from(status).of_stream(&self.address))
    }
}
