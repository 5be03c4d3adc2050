//! A client that writes and deletes, one after the other, in series that nobody else writes.

use std::time::Duration;

use tokio::time::sleep;

use super::writer::{ATTEMPTS_MAX, BACK_MS, LATE_MS};
use super::{Client, DEADLINE, Phase};
use crate::cluster::coverage::Mark;
use crate::cluster::history::{Erasure, tenant};
use crate::cluster::http::{Answer, ask, encoded};
use crate::work::lock;

impl Client {
    pub(super) async fn erase_on(mut self) {
        loop {
            self.work().await;
            self.pause().await;
            if self.random.percent(70) {
                let writes = self.draw();
                self.write(&writes).await;
            } else {
                let erasure = self.erasure();
                self.erase(&erasure).await;
            }
        }
    }

    fn erasure(&mut self) -> Erasure {
        let back = |client: &mut Client, most: u64| client.now() - client.random.below(most) as i64;
        let most = if self.random.percent(20) { LATE_MS } else { BACK_MS };
        let (one, other) = (back(self, most), back(self, most));
        Erasure {
            tenant: self.tenant(),
            writer: self.number,
            number: self.random.percent(60).then(|| self.below(16)),
            times: one.min(other)..=one.max(other),
        }
    }

    /// Asks for a deletion until it is acknowledged or given up.
    async fn erase(&mut self, erasure: &Erasure) {
        lock(&self.shared.history).begin_erasure(erasure);
        for attempt in 0..ATTEMPTS_MAX {
            let node = self.node();
            if self.ask_to_erase(node, erasure).await {
                lock(&self.shared.history).acknowledge_erasure(erasure, attempt > 0);
                self.shared.count(|counts| counts.deletions += 1);
                self.shared.reach(Mark::Deleted);
                return;
            }
            if self.random.percent(15) || *self.phase.borrow() != Phase::Work {
                return;
            }
            sleep(Duration::from_millis(100 + self.random.below(1000))).await;
        }
    }

    async fn ask_to_erase(&mut self, node: usize, erasure: &Erasure) -> bool {
        let number = erasure.number.map(|number| format!(",n=\"{number}\"")).unwrap_or_default();
        let selector = encoded(&format!("{{writer=\"{}\"{number}}}", erasure.writer));
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let (start, end) = (seconds(*erasure.times.start()), seconds(*erasure.times.end()));
        let path = format!("/api/v1/admin/tsdb/delete_series?match[]={selector}&start={start}&end={end}");
        let answer = ask(node, "POST", &path, &tenant(erasure.tenant), &[], DEADLINE).await;
        let said = match &answer {
            Ok(answer) => answer.status.to_string(),
            Err(reason) => reason.clone(),
        };
        self.event(&format!("deletes {erasure:?} on n{node}: {said}"));
        match answer {
            Ok(Answer { status: 204, .. }) => true,
            Ok(Answer { status: 503, .. }) | Err(_) => false,
            Ok(Answer { status, body }) => {
                let body = String::from_utf8_lossy(&body).into_owned();
                self.shared.violated(format!("legal deletions are carried out: node {node} answers {status}: {body}"));
                false
            }
        }
    }
}
