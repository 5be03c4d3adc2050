//! Telling receivers: one attempt to bring one message to one of a receiver's ways. When it is made and whether it is made
//! again is decided by whoever calls ([`Sender::send`]).
//!
//! Reading order: [`failure`] (why a receiver was not told), `given` (settings, the files that they name, what their templates
//! make), `kinds` (what each service is sent: pure), `request` (what answers mean); `http_config`, `tls` and `http` for how
//! that goes over HTTP, `email` for the rest. [`refusal`] says beforehand what cannot be sent, [`metrics`] counts.
//!
//! Nothing here logs, and no error holds an address of a webhook, a token or a password. Each attempt has a deadline, and of an
//! answer a bounded part is read.

mod email;
pub mod failure;
pub mod files;
mod given;
mod http;
mod http_config;
mod kinds;
pub mod metrics;
pub mod refusal;
mod request;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::notify::Extras;
use bellwether_alert::notify::config::Integration;
use bellwether_alert::notify::config::kinds::Kind;
use bellwether_alert::notify::dispatch::Message;
use bellwether_alert::notify::templates::Library;
use bellwether_model::Timestamp;
use prometheus::Registry;
use tokio::time::{Instant, timeout};

pub use failure::{Failure, Reason};
use files::SettingFiles;
use given::Given;
use http::HttpClient;
use http_config::HttpSetup;
use metrics::SendMetrics;
use request::Request;
use tls::TlsClients;

use crate::env::{Env, Net};

/// The longest time that an attempt takes; an integration's `timeout` can make it shorter.
pub const ATTEMPT_DEADLINE: Duration = Duration::from_secs(30);

/// Brings messages to receivers.
pub struct Sender {
    net: Arc<dyn Net>,
    http: HttpClient,
    tls: TlsClients,
    files: SettingFiles,
    metrics: SendMetrics,
}

/// What is to be told, by which way.
pub struct Notification<'a> {
    /// The way.
    pub integration: &'a Integration,
    /// The message.
    pub message: &'a Message,
    /// What is known beside it.
    pub extras: &'a Extras,
    /// The tenant's templates.
    pub library: &'a Library,
    /// Where people reach the cluster.
    pub external_url: &'a str,
    /// How often its group is looked at.
    pub interval_ms: i64,
    /// When the message was made. Attempts that follow each other say the same.
    pub at: Timestamp,
    /// The same whenever this message is sent, and no other's.
    pub dedup_key: &'a str,
}

impl Sender {
    /// `net` is the way out of the cluster; files that settings name are read from `files_dir` alone.
    pub fn new(
        net: Arc<dyn Net>,
        files_dir: Option<PathBuf>,
        env: &Env,
        registry: &Registry,
    ) -> Result<Sender, prometheus::Error> {
        Ok(Sender {
            http: HttpClient::new(net.clone()),
            net,
            tls: TlsClients::new(env),
            files: SettingFiles::new(env.files.clone(), env.executors.background.clone(), files_dir),
            metrics: SendMetrics::new(registry)?,
        })
    }

    /// Tries once. That it was sent means that the receiver took it.
    pub async fn send(&self, notification: &Notification<'_>) -> Result<(), Failure> {
        let kind = notification.integration.kind;
        let begun = Instant::now();
        let deadline = deadline(notification.integration);
        let sent = timeout(deadline, self.attempt(notification)).await.unwrap_or_else(|_| Err(Failure::late(deadline)));
        self.metrics.count(kind, begun.elapsed(), sent.as_ref().err());
        let Notification { message, .. } = notification;
        let who = || format!("receiver {:?}, {}", message.receiver, message.integration);
        sent.map_err(|failure| failure.while_doing(&who()))
    }

    async fn attempt(&self, notification: &Notification<'_>) -> Result<(), Failure> {
        let Notification { integration, at, dedup_key, .. } = *notification;
        let given = Given::read(notification, &self.files).await?;
        if integration.kind == Kind::Email {
            return email::send(&given, (at, dedup_key), &self.net, (&self.tls, &self.files)).await;
        }
        let mut setup = HttpSetup::read(integration.settings.one("http_config"), &self.tls, &self.files).await?;
        setup.headers.extend(http_config::idempotency_key(dedup_key));
        if integration.kind == Kind::Wechat {
            let request = kinds::wechat::token_request(&given)?;
            let answer = self.http.exchange(&request, &setup).await?;
            answer.check_status(&request)?;
            let token = kinds::wechat::token(&answer)?;
            return self.exchange(integration.kind, &kinds::wechat::request(&given, &token)?, &setup).await;
        }
        for request in kinds::requests(integration.kind, &given)? {
            self.exchange(integration.kind, &request, &setup).await?;
        }
        Ok(())
    }

    async fn exchange(&self, kind: Kind, request: &Request, setup: &HttpSetup) -> Result<(), Failure> {
        let answer = self.http.exchange(request, setup).await?;
        kinds::check(kind, request, &answer)
    }
}

fn deadline(integration: &Integration) -> Duration {
    let own = integration.settings.ms("timeout").and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0);
    own.map_or(ATTEMPT_DEADLINE, |ms| Duration::from_millis(ms).min(ATTEMPT_DEADLINE))
}
