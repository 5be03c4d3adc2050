//! Sending a long answer piece by piece to a client that may be slow, or gone.
//!
//! The pieces are made by a task of their own, which holds what the answer holds: memory, permits. It lets go of that when
//! the last piece is taken, when the client is gone, or when the client takes too long, even if nobody asks for pieces any
//! more.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

/// Longest pause between two pieces that a client takes.
const STALL_WAIT: Duration = Duration::from_secs(30);
/// Pieces that are ready before they are taken.
const PIECES_READY_MAX: usize = 1;

/// The client took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client was too slow to receive the answer")]
pub struct TooSlow;

/// The receiving end of [`paced`].
pub struct Paced<T>(mpsc::Receiver<Sent<T>>);

enum Sent<T> {
    Piece(T),
    /// Without it the answer was cut off.
    End,
}

/// The pieces of a stream, which lives, together with `hold`, no longer than `timeout` from now.
pub fn paced<T: Send + 'static>(
    pieces: impl Stream<Item = T> + Send + 'static,
    hold: impl Send + 'static,
    timeout: Duration,
) -> Paced<T> {
    let (sender, receiver) = mpsc::channel(PIECES_READY_MAX);
    tokio::spawn(async move {
        let _hold = hold;
        let sending = async {
            let mut pieces = std::pin::pin!(pieces);
            loop {
                // An error means that the client stalls, or is gone: there is nobody to tell.
                let Ok(Ok(place)) = tokio::time::timeout(STALL_WAIT, sender.reserve()).await else { return };
                match pieces.next().await {
                    Some(piece) => place.send(Sent::Piece(piece)),
                    None => return place.send(Sent::End),
                }
            }
        };
        if tokio::time::timeout(timeout, sending).await.is_err() {
            tracing::debug!("a client took more than {timeout:?} to receive an answer and was cut off");
        }
    });
    Paced(receiver)
}

impl<T> Stream for Paced<T> {
    type Item = Result<T, TooSlow>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|sent| match sent {
            Some(Sent::Piece(piece)) => Some(Ok(piece)),
            Some(Sent::End) => None,
            None => Some(Err(TooSlow)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Lets the task go as far as it can.
    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_let_go_with_the_last_piece() {
        let held = Arc::new(());
        let mut pieces = paced(futures::stream::iter(0..3), held.clone(), Duration::from_secs(60));
        assert_eq!(pieces.next().await, Some(Ok(0)));
        assert_eq!(Arc::strong_count(&held), 2);
        assert_eq!(pieces.next().await, Some(Ok(1)));
        assert_eq!(pieces.next().await, Some(Ok(2)));
        assert_eq!(pieces.next().await, None);
        settle().await;
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stalls_or_dawdles_is_cut_off() {
        for (pause, timeout, taken) in [(STALL_WAIT * 2, STALL_WAIT * 100, 2), (STALL_WAIT / 2, STALL_WAIT * 2, 5)] {
            let held = Arc::new(());
            let mut pieces = paced(futures::stream::iter(0..100), held.clone(), timeout);
            let mut count = 0;
            let cut = loop {
                tokio::time::sleep(pause).await;
                match pieces.next().await {
                    Some(Ok(_)) => count += 1,
                    other => break other,
                }
            };
            assert_eq!(cut, Some(Err(TooSlow)));
            assert!(count <= taken, "{count}");
            assert_eq!(Arc::strong_count(&held), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_away_frees_what_is_held() {
        let held = Arc::new(());
        let pieces = paced(futures::stream::iter(0..100), held.clone(), Duration::from_secs(60));
        settle().await;
        drop(pieces);
        settle().await;
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
