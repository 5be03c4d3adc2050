//! Where in the body parts of a series lie that are read once the series is known.

use crate::protobuf::{Message, WireError};

/// Places of messages of one kind.
#[derive(Debug, Default)]
pub(crate) struct Places(Vec<(usize, usize)>);

impl Places {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[(usize, usize)] {
        &self.0
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<(usize, usize)>()
    }

    /// Notes a field that holds a message, if the request may have another: it counts as `samples` samples.
    pub(crate) fn push(
        &mut self,
        series: &mut Message<'_>,
        samples: usize,
        samples_left: &mut usize,
    ) -> Result<(), WireError> {
        let Some(left) = samples_left.checked_sub(samples) else {
            return Err(series.error("the request has too many samples"));
        };
        *samples_left = left;
        let message = series.message()?;
        self.0.push((message.offset(), message.offset() + message.rest().len()));
        Ok(())
    }

    /// The messages, of which `body` is any part of their body.
    pub(crate) fn messages<'a>(&self, body: Message<'a>) -> impl Iterator<Item = Message<'a>> {
        self.0.iter().map(move |(start, end)| body.part(*start, *end))
    }
}
