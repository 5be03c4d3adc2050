//! Gathers series into batches and sends several at a time. Bounded by bytes: when samples come faster than they leave,
//! [`Writer::append`] waits.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::{Client, Error, Series, Written};

/// Series that wait to be put into a batch.
const QUEUE_MAX: usize = 1024;
/// What a series costs beside its bytes.
const SERIES_OVERHEAD_BYTES: usize = 64;

/// How a [`Writer`] gathers and sends.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Samples after which a batch is sent.
    pub batch_samples: usize,
    /// Bytes after which a batch is sent.
    pub batch_bytes: usize,
    /// Age at which a batch is sent, however small.
    pub batch_age: Duration,
    /// Batches that are under way at a time.
    pub batches_in_flight: usize,
    /// Bytes that wait or are under way; who appends more waits.
    pub buffer_bytes: usize,
    /// How long a batch is tried before it is given up.
    pub retry_for: Duration,
}

impl Default for WriterOptions {
    fn default() -> WriterOptions {
        WriterOptions {
            batch_samples: 10_000,
            batch_bytes: 1 << 20,
            batch_age: Duration::from_millis(500),
            batches_in_flight: 4,
            buffer_bytes: 32 << 20,
            retry_for: Duration::from_secs(300),
        }
    }
}

/// What a writer has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Samples that are stored, histograms too.
    pub written: u64,
    /// Samples that the cluster refused for good.
    pub refused: u64,
    /// The latest reason.
    pub refused_because: Option<String>,
    /// Samples that were given up.
    pub lost: u64,
    /// Batches sent, those that were given up included.
    pub batches: u64,
}

/// Why samples are not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriterError {
    /// One series is larger than the whole buffer.
    #[error("a series of {bytes} bytes is larger than the writer's buffer of {buffer_bytes}")]
    TooLarge {
        /// The series.
        bytes: usize,
        /// The buffer.
        buffer_bytes: usize,
    },
    /// Batches were given up since the last flush.
    #[error("{samples} samples were given up")]
    Lost {
        /// How many.
        samples: u64,
        /// Why, the first time.
        #[source]
        source: Error,
    },
    /// The runtime that the writer was made on is gone.
    #[error("the writer's runtime has ended")]
    Stopped,
}

/// See the module. When it is dropped, what it still holds is sent as long as the runtime lives; [`Writer::close`] waits
/// for that.
pub struct Writer {
    commands: mpsc::Sender<Command>,
    room: Arc<Semaphore>,
    buffer_bytes: usize,
    stats: Arc<Mutex<WriterStats>>,
}

enum Command {
    Append(Series, OwnedSemaphorePermit),
    Flush(oneshot::Sender<Result<(), WriterError>>),
}

impl Client {
    /// A writer for this client's tenant.
    pub fn writer(&self, options: WriterOptions) -> Writer {
        let buffer_bytes = options.buffer_bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let (commands, queue) = mpsc::channel(QUEUE_MAX);
        let stats = Arc::<Mutex<WriterStats>>::default();
        let gatherer = Gatherer {
            client: self.clone(),
            options,
            batch: Batch::default(),
            in_flight: JoinSet::new(),
            lost: None,
            stats: stats.clone(),
        };
        tokio::spawn(gatherer.run(queue));
        Writer { commands, room: Arc::new(Semaphore::new(buffer_bytes)), buffer_bytes, stats }
    }
}

impl Writer {
    /// Takes a series in; waits while there is no room. What becomes of it is told by [`flush`](Self::flush) and
    /// [`stats`](Self::stats).
    pub async fn append(&self, series: Series) -> Result<(), WriterError> {
        let bytes = series.encoded_len() + SERIES_OVERHEAD_BYTES;
        if bytes > self.buffer_bytes {
            return Err(WriterError::TooLarge { bytes, buffer_bytes: self.buffer_bytes });
        }
        let room = self.room.clone().acquire_many_owned(bytes as u32).await.map_err(|_| WriterError::Stopped)?;
        self.commands.send(Command::Append(series, room)).await.map_err(|_| WriterError::Stopped)
    }

    /// Waits until everything that was appended before is stored or refused. Fails if something was given up since the
    /// last flush.
    pub async fn flush(&self) -> Result<(), WriterError> {
        let (done, outcome) = oneshot::channel();
        self.commands.send(Command::Flush(done)).await.map_err(|_| WriterError::Stopped)?;
        outcome.await.map_err(|_| WriterError::Stopped)?
    }

    /// Flushes, and says what the writer has done.
    pub async fn close(self) -> Result<WriterStats, WriterError> {
        self.flush().await?;
        Ok(self.stats())
    }

    /// What the writer has done so far.
    pub fn stats(&self) -> WriterStats {
        self.stats.lock().clone()
    }
}

/// Series that leave together.
#[derive(Default)]
struct Batch {
    series: Vec<Series>,
    samples: usize,
    bytes: usize,
    /// Room that they take until their fate is known.
    room: Option<OwnedSemaphorePermit>,
    /// When it has to leave.
    due: Option<Instant>,
}

/// The writer's task.
struct Gatherer {
    client: Client,
    options: WriterOptions,
    batch: Batch,
    in_flight: JoinSet<Sent>,
    /// Since the last flush.
    lost: Option<WriterError>,
    stats: Arc<Mutex<WriterStats>>,
}

struct Sent {
    samples: u64,
    result: Result<Written, Error>,
}

impl Gatherer {
    async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        loop {
            let has_place = self.in_flight.len() < self.options.batches_in_flight.max(1);
            if has_place && self.is_full() {
                self.send();
                continue;
            }
            let due = self.batch.due.filter(|_| has_place);
            tokio::select! {
                Some(sent) = self.in_flight.join_next() => self.note(sent),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.send(),
                command = queue.recv(), if !self.is_full() => match command {
                    Some(Command::Append(series, room)) => self.append(series, room),
                    Some(Command::Flush(done)) => {
                        self.drain().await;
                        // Who asked may have gone away.
                        let _ = done.send(self.lost.take().map_or(Ok(()), Err));
                    }
                    None => {
                        self.drain().await;
                        return;
                    }
                },
            }
        }
    }

    fn is_full(&self) -> bool {
        self.batch.samples >= self.options.batch_samples.max(1) || self.batch.bytes >= self.options.batch_bytes.max(1)
    }

    fn append(&mut self, series: Series, room: OwnedSemaphorePermit) {
        let batch = &mut self.batch;
        batch.samples += series.samples.len() + series.histograms.len();
        batch.bytes += room.num_permits();
        batch.due.get_or_insert_with(|| Instant::now() + self.options.batch_age);
        match &mut batch.room {
            Some(held) => held.merge(room),
            None => batch.room = Some(room),
        }
        batch.series.push(series);
    }

    fn send(&mut self) {
        let Batch { series, samples, room, .. } = mem::take(&mut self.batch);
        if series.is_empty() {
            return;
        }
        let (client, retry_for) = (self.client.clone(), self.options.retry_for);
        self.in_flight.spawn(async move {
            let started = Instant::now();
            let result = loop {
                match client.write(series.clone()).await {
                    // The client has made its pauses.
                    Err(error) if error.is_transient() && started.elapsed() < retry_for => {}
                    result => break result,
                }
            };
            drop(room);
            Sent { samples: samples as u64, result }
        });
    }

    /// Sends what there is and waits for all that is under way.
    async fn drain(&mut self) {
        self.send();
        while let Some(sent) = self.in_flight.join_next().await {
            self.note(sent);
        }
    }

    fn note(&mut self, sent: Result<Sent, tokio::task::JoinError>) {
        // Only a runtime that ends cancels the task; nobody reads the outcome then.
        let Ok(Sent { samples, result }) = sent else { return };
        let mut stats = self.stats.lock();
        stats.batches += 1;
        match result {
            Ok(Written { samples, histograms, refused, refused_because, .. }) => {
                stats.written += samples + histograms;
                stats.refused += refused;
                if refused_because.is_some() {
                    stats.refused_because = refused_because;
                }
            }
            Err(error) => {
                stats.lost += samples;
                match &mut self.lost {
                    Some(WriterError::Lost { samples: lost, .. }) => *lost += samples,
                    _ => self.lost = Some(WriterError::Lost { samples, source: error }),
                }
            }
        }
    }
}
