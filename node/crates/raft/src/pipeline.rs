//! Several appends on their way to a follower at a time, so that the next one does not wait for the answer to the last.
//!
//! Answers are given on in the order of the requests, and the first that is no success ends the pipeline: what was sent
//! behind it is of no use to the follower, and openraft begins anew from what it then knows.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bellwether_probe::{Bug, planted};
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, Stream};
use openraft::errors::{NetworkError, RPCError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult};

use crate::limits;
use crate::network::{Connection, Window, confused};
use crate::types::{LogId, Types};

type Outcome = Result<StreamAppendResult<Types>, RPCError<Types>>;

/// The bytes of one append, until it is answered or given up.
struct Counted {
    bytes: usize,
    window: Window,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.window.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The stream of answers to a stream of requests.
pub(crate) struct Pipeline<S> {
    connection: Connection,
    /// `None` when nothing more is to be sent.
    requests: Option<S>,
    unanswered: FuturesOrdered<BoxFuture<'static, (Outcome, usize)>>,
    unanswered_bytes: usize,
    /// Whether nothing was sent yet.
    is_first: bool,
    /// Ends when the log has more than what was sent, or when a notice of what is committed is due. Until then no request is
    /// taken: it could only say that what was just sent is committed, and the next entries say that on the way.
    holding: Option<BoxFuture<'static, ()>>,
}

impl<S: Stream<Item = AppendEntriesRequest<Types>> + Unpin> Pipeline<S> {
    pub fn new(connection: Connection, requests: S) -> Self {
        let unanswered = FuturesOrdered::new();
        Self { connection, requests: Some(requests), unanswered, unanswered_bytes: 0, is_first: true, holding: None }
    }

    /// Whether one more may be sent. One is always on its way, whatever the others take.
    fn has_room(&self) -> bool {
        self.unanswered.is_empty()
            || (self.unanswered.len() < limits::APPENDS_ON_THE_WAY_MAX
                && self.unanswered_bytes < limits::APPEND_BYTES_ON_THE_WAY
                && self.connection.window().load(Ordering::Relaxed) < limits::PEER_APPEND_BYTES_ON_THE_WAY)
    }

    /// Whether to wait with the next request.
    fn holds(&mut self, context: &mut Context<'_>) -> bool {
        let holds = self.holding.as_mut().is_some_and(|holding| holding.poll_unpin(context).is_pending());
        if !holds {
            self.holding = None;
        }
        holds
    }

    fn send(&mut self, request: AppendEntriesRequest<Types>) {
        let prev = request.prev_log_id;
        let last_entry = request.entries.last().map(|entry| entry.log_id);
        self.holding = last_entry.and_then(|sent| Some(self.connection.more_than(sent.index)?.boxed()));
        let last = last_entry.or(prev);
        let is_first = std::mem::take(&mut self.is_first);
        let message = self.connection.encode(request);
        let bytes = message.len();
        let window = self.connection.window().clone();
        window.fetch_add(bytes, Ordering::Relaxed);
        let counted = Counted { bytes, window };
        // Called now, not when it is first polled: the order of the calls is the order of the messages.
        let answer = self.connection.append(message);
        self.unanswered_bytes += bytes;
        self.unanswered.push_back(
            async move {
                let outcome = outcome(answer.await, prev, last, is_first);
                drop(counted);
                (outcome, bytes)
            }
            .boxed(),
        );
    }
}

/// What an answer means for the entries behind `prev` up to and with `last`.
fn outcome(
    answer: Result<AppendEntriesResponse<Types>, RPCError<Types>>,
    prev: Option<LogId>,
    last: Option<LogId>,
    is_first: bool,
) -> Outcome {
    Ok(match answer? {
        AppendEntriesResponse::Success => Ok(last),
        AppendEntriesResponse::PartialSuccess(upto) if (prev..=last).contains(&upto) => Ok(upto),
        AppendEntriesResponse::HigherVote(_) if planted(Bug::SkipTermCheck) => Ok(last),
        AppendEntriesResponse::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
        AppendEntriesResponse::Conflict if is_first && let Some(prev) = prev => Err(StreamAppendError::Conflict(prev)),
        // The one before was appended, so this one came too early. openraft must not see it: it would conclude that the
        // follower has lost what it had acknowledged.
        AppendEntriesResponse::Conflict if !is_first => {
            return Err(NetworkError::from_string("appends have overtaken each other").into());
        }
        other @ (AppendEntriesResponse::PartialSuccess(_) | AppendEntriesResponse::Conflict) => {
            return Err(confused(other));
        }
    })
}

impl<S: Stream<Item = AppendEntriesRequest<Types>> + Unpin> Stream for Pipeline<S> {
    type Item = Outcome;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let this = &mut *self;
        while this.has_room()
            && !this.holds(context)
            && let Some(requests) = &mut this.requests
        {
            match Pin::new(requests).poll_next(context) {
                Poll::Ready(Some(request)) => this.send(request),
                Poll::Ready(None) => this.requests = None,
                Poll::Pending => break,
            }
        }
        match Pin::new(&mut this.unanswered).poll_next(context) {
            Poll::Ready(Some((outcome, bytes))) => {
                this.unanswered_bytes -= bytes;
                if !matches!(outcome, Ok(Ok(_))) {
                    this.requests = None;
                    this.unanswered = FuturesOrdered::new();
                }
                Poll::Ready(Some(outcome))
            }
            Poll::Ready(None) if this.requests.is_none() => Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
