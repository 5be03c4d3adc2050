//! Watches what takes long: an outage in between is waited for.

use std::time::Duration;

use bellwether_client::Error;
use tokio::time::sleep;

use crate::failure::Failure;

/// How often it is looked whether something has happened.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// A cluster that does not answer so often in a row is not watched any longer.
pub const FAILURES_MAX: u32 = 10;

/// Looks until `done` gives something. What it says meanwhile goes to standard error whenever it changes.
pub async fn until<T, R>(
    look: impl AsyncFn() -> Result<T, Error>,
    done: impl Fn(T) -> Result<Progress<R>, Failure>,
) -> Result<R, Failure> {
    let mut failures = 0;
    let mut said = String::new();
    loop {
        match look().await {
            Ok(seen) => {
                failures = 0;
                match done(seen)? {
                    Progress::Done(result) => return Ok(result),
                    Progress::Waiting(text) if text != said => {
                        eprintln!("{text}");
                        said = text;
                    }
                    Progress::Waiting(_) => {}
                }
            }
            Err(error) if error.is_transient() && failures < FAILURES_MAX => failures += 1,
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => {
                eprintln!("not watched any longer: what was begun goes on; the same command watches it again");
                return Err(Failure::Interrupted);
            }
            () = sleep(INTERVAL) => {}
        }
    }
}

/// How far something has come.
pub enum Progress<R> {
    /// Not there yet.
    Waiting(String),
    /// There.
    Done(R),
}
