//! What waits for a link, and what waits for its answers. Plain state: nothing here waits.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bellwether_model::Timestamp;
use bellwether_proto::peer::v1::raft_answer::Result as Outcome;
use bellwether_proto::peer::v1::{RaftAnswer, RaftBatch, RaftRequest};
use bellwether_raft::{Peer, TransportError};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::peers::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, ECHOES_MAX, LINK_MESSAGES_MAX};

type Answer = Result<Bytes, TransportError>;

/// Requests in the order in which they came.
#[derive(Default)]
pub struct Queue {
    next: u64,
    waiting: VecDeque<RaftRequest>,
    /// Of each request that somebody waits for, whether it was sent or not, by its number.
    answers: BTreeMap<u64, oneshot::Sender<Answer>>,
    /// Why there is no stream. Before the first attempt to connect there is no reason to refuse anything.
    down: Option<String>,
}

impl Queue {
    /// Whether a request would be taken.
    pub fn check(&self) -> Result<(), String> {
        if let Some(reason) = &self.down {
            return Err(reason.clone());
        }
        if self.answers.len() >= LINK_MESSAGES_MAX {
            return Err(format!("{LINK_MESSAGES_MAX} requests are under way to its node"));
        }
        Ok(())
    }

    /// Adds a request; returns its number and where its answer will come.
    pub fn push(&mut self, to: Peer, message: Bytes) -> Result<(u64, oneshot::Receiver<Answer>), String> {
        self.check()?;
        self.next += 1;
        let (sender, receiver) = oneshot::channel();
        self.answers.insert(self.next, sender);
        let request = RaftRequest { id: self.next, group: to.group.0, replica: to.replica.0, message };
        self.waiting.push_back(request);
        Ok((self.next, receiver))
    }

    /// Nobody waits for a request any more.
    pub fn forget(&mut self, id: u64) {
        self.answers.remove(&id);
        // What leads the queue and nobody waits for would look like work; the rest is skipped when its turn comes.
        while self.waiting.front().is_some_and(|request| !self.answers.contains_key(&request.id)) {
            self.waiting.pop_front();
        }
    }

    /// Whether somebody waits for something to be sent.
    pub fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Everything that waits, as far as one batch goes.
    pub fn take(&mut self, tally: &mut Tally, now_ms: Timestamp, now: Instant) -> RaftBatch {
        let mut requests = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            let fits = requests.is_empty()
                || (bytes + next.message.len() <= BATCH_BYTES_MAX && requests.len() < BATCH_MESSAGES_MAX);
            if !fits {
                break;
            }
            let Some(next) = self.waiting.pop_front() else { break };
            // Its caller may have given up.
            if self.answers.contains_key(&next.id) {
                bytes += next.message.len();
                requests.push(next);
            }
        }
        let sequence = tally.sent(now);
        RaftBatch { sequence, sent_ms: now_ms, requests, ..RaftBatch::default() }
    }

    /// Takes an answer to whom it is for, and says how large it is.
    pub fn answered(&mut self, answer: RaftAnswer) -> usize {
        let answer_of = self.answers.remove(&answer.id);
        let (bytes, result) = match answer.result {
            Some(Outcome::Answer(answer)) => (answer.len(), Ok(answer)),
            Some(Outcome::Refused(reason)) => (0, Err(TransportError::Unreachable(reason))),
            None => (0, Err(TransportError::Unreachable("its node answered nothing".to_owned()))),
        };
        if let Some(waiting) = answer_of {
            // Its caller may give up at this moment.
            let _ = waiting.send(result);
        }
        bytes
    }

    /// There is a stream.
    pub fn open(&mut self) {
        self.down = None;
    }

    /// There is no stream: ends everything. Whether this is news.
    pub fn fail(&mut self, reason: &str) -> bool {
        self.waiting.clear();
        for (_, waiting) in std::mem::take(&mut self.answers) {
            let _ = waiting.send(Err(TransportError::Unreachable(reason.to_owned())));
        }
        self.down.replace(reason.to_owned()).is_none()
    }
}

/// When the last batches of a stream were sent.
#[derive(Default)]
pub struct Tally {
    sequence: u64,
    sent: VecDeque<(u64, Instant)>,
}

impl Tally {
    fn sent(&mut self, now: Instant) -> u64 {
        self.sequence += 1;
        if self.sent.len() == ECHOES_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((self.sequence, now));
        self.sequence
    }

    /// How long a batch was under way that was echoed after the other side had held it so long. `None` if it is not known
    /// any more, or was echoed before.
    pub fn echoed(&mut self, sequence: u64, held: Duration, now: Instant) -> Option<Duration> {
        while let Some((oldest, sent)) = self.sent.front().copied() {
            if oldest > sequence {
                return None;
            }
            self.sent.pop_front();
            if oldest == sequence {
                return Some(now.saturating_duration_since(sent).saturating_sub(held));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use bellwether_raft::{GroupId, ReplicaId};

    use super::*;

    fn to(group: u32) -> Peer {
        Peer { group: GroupId(group), replica: ReplicaId(1), node: 1 }
    }

    fn message(bytes: usize) -> Bytes {
        Bytes::from(vec![7; bytes])
    }

    fn taken(queue: &mut Queue) -> Vec<u32> {
        let batch = queue.take(&mut Tally::default(), 0, Instant::now());
        batch.requests.iter().map(|request| request.group).collect()
    }

    #[tokio::test]
    async fn what_waits_leaves_together_and_in_order_up_to_the_limit_of_a_batch() {
        let mut queue = Queue::default();
        let _kept: Vec<_> = (0..250).map(|group| queue.push(to(group), message(60)).unwrap()).collect();
        assert_eq!(taken(&mut queue), (0..250).collect::<Vec<_>>());
        assert!(!queue.has_work());
        let half = BATCH_BYTES_MAX / 2;
        let _kept: Vec<_> = [half, half, 1, 2 * BATCH_BYTES_MAX, 1]
            .into_iter()
            .enumerate()
            .map(|(group, bytes)| queue.push(to(group as u32), message(bytes)).unwrap())
            .collect();
        assert_eq!(taken(&mut queue), [0, 1]);
        assert_eq!(taken(&mut queue), [2]);
        assert_eq!(taken(&mut queue), [3], "larger than a batch: alone");
        assert_eq!(taken(&mut queue), [4]);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_sent() {
        let mut queue = Queue::default();
        let tickets: Vec<_> = (0..4).map(|group| queue.push(to(group), message(10)).unwrap()).collect();
        queue.forget(tickets[0].0);
        queue.forget(tickets[2].0);
        assert_eq!(taken(&mut queue), [1, 3]);
        let (ticket, _answer) = queue.push(to(9), message(10)).unwrap();
        queue.forget(ticket);
        assert!(!queue.has_work());
    }

    #[tokio::test]
    async fn answers_find_their_requests_in_any_order_and_strange_ones_find_nothing() {
        let mut queue = Queue::default();
        let (first, mut first_answer) = queue.push(to(1), message(1)).unwrap();
        let (second, mut second_answer) = queue.push(to(2), message(1)).unwrap();
        let answer = |id, text: &'static str| RaftAnswer { id, result: Some(Outcome::Answer(Bytes::from(text))) };
        assert_eq!(queue.answered(answer(second, "two")), 3);
        assert_eq!(queue.answered(answer(second, "again")), 5);
        assert_eq!(queue.answered(answer(77, "strange")), 7);
        queue.answered(RaftAnswer { id: first, result: None });
        assert_eq!(second_answer.try_recv().unwrap(), Ok(Bytes::from("two")));
        assert!(matches!(first_answer.try_recv().unwrap(), Err(TransportError::Unreachable(_))));
    }

    #[tokio::test]
    async fn a_dead_stream_ends_everything_and_refuses_until_there_is_another() {
        let mut queue = Queue::default();
        let (_, mut answer) = queue.push(to(1), message(1)).unwrap();
        assert!(queue.fail("cut"));
        assert!(!queue.fail("cut"), "no news");
        assert_eq!(answer.try_recv().unwrap(), Err(TransportError::Unreachable("cut".to_owned())));
        assert_eq!(queue.push(to(1), message(1)).unwrap_err(), "cut");
        queue.open();
        assert!(queue.push(to(1), message(1)).is_ok());
    }

    #[tokio::test]
    async fn requests_beyond_the_limit_are_refused() {
        let mut queue = Queue::default();
        let _kept: Vec<_> = (0..LINK_MESSAGES_MAX).map(|_| queue.push(to(1), Bytes::new()).unwrap()).collect();
        assert!(queue.push(to(1), Bytes::new()).unwrap_err().contains("65536 requests"));
    }

    #[tokio::test(start_paused = true)]
    async fn round_trips_leave_out_what_the_other_side_held() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        let ms = Duration::from_millis;
        assert_eq!([tally.sent(start), tally.sent(start + ms(1)), tally.sent(start + ms(2))], [1, 2, 3]);
        assert_eq!(tally.echoed(2, ms(4), start + ms(10)), Some(ms(5)));
        assert_eq!(tally.echoed(2, ms(4), start + ms(10)), None, "echoed before");
        assert_eq!(tally.echoed(1, ms(0), start + ms(10)), None);
        assert_eq!(tally.echoed(99, ms(0), start + ms(10)), None);
        for _ in 0..3 * ECHOES_MAX {
            tally.sent(start);
        }
        assert!(tally.sent.len() <= ECHOES_MAX);
    }
}
