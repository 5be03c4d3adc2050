//! What happened, as a stream: from the node's own copy of the cluster's state.

use std::collections::VecDeque;
use std::sync::Arc;

use bellwether_proto::v1::{self, EventsRequest};
use futures::{Stream, stream};
use tokio::sync::watch;
use tonic::Status;

use crate::meta::{Event, EventKind, MetaState};

/// Where a stream has come.
struct Follower {
    state: watch::Receiver<Arc<MetaState>>,
    ready: watch::Receiver<bool>,
    follow: bool,
    /// The last event that was seen.
    last: u64,
    waiting: VecDeque<v1::Event>,
}

/// The events that a request asks for. With `follow` the stream ends when the node stops.
pub fn stream(
    mut state: watch::Receiver<Arc<MetaState>>,
    ready: watch::Receiver<bool>,
    request: EventsRequest,
) -> impl Stream<Item = Result<v1::Event, Status>> + Send {
    let now = state.borrow_and_update().clone();
    let mut waiting: VecDeque<v1::Event> = after(&now, request.after).collect();
    if request.limit > 0 {
        let surplus = waiting.len().saturating_sub(request.limit as usize);
        waiting.drain(..surplus);
    }
    let last = now.events.back().map_or(0, |event| event.number).max(request.after);
    let follower = Follower { state, ready, follow: request.follow, last, waiting };
    stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    })
}

impl Follower {
    async fn next(&mut self) -> Option<v1::Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if !self.follow {
                return None;
            }
            tokio::select! {
                biased;
                _ = self.ready.wait_for(|ready| !ready) => return None,
                changed = self.state.changed() => changed.ok()?,
            }
            let now = self.state.borrow_and_update().clone();
            self.waiting.extend(after(&now, self.last));
            self.last = self.waiting.back().map_or(self.last, |event| event.number);
        }
    }
}

fn after(state: &MetaState, number: u64) -> impl Iterator<Item = v1::Event> {
    state.events.iter().filter(move |event| event.number > number).map(message)
}

fn message(event: &Event) -> v1::Event {
    let kind = match event.kind {
        EventKind::Cluster => v1::EventKind::Cluster,
        EventKind::Node => v1::EventKind::Node,
        EventKind::Placement => v1::EventKind::Placement,
        EventKind::Setting => v1::EventKind::Setting,
        EventKind::Token => v1::EventKind::Token,
        EventKind::Trouble => v1::EventKind::Trouble,
    };
    v1::Event { number: event.number, at_ms: event.at_ms, kind: kind.into(), text: event.text.clone() }
}
