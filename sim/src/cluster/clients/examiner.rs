//! The client that looks at the end: each node seals what it has, takes a write, gives everything, and computes on it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::schedule::Kind;
use super::query::{Form, Lookup};
use super::{Client, DEADLINE, EXAMINER, Phase};
use crate::cluster::history::{METRICS, Series, Write, tenant};
use crate::cluster::http::ask;
use crate::work::lock;

/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// Nothing that a client asked for is under way longer: its deadline, and the attempts of a node.
const SETTLED_AFTER: Duration = Duration::from_secs(16);
/// Computed queries to each node.
const COMPUTED: usize = 12;

impl Client {
    pub(super) async fn examine(mut self) {
        loop {
            let nodes = match self.phase.wait_for(|phase| matches!(phase, Phase::Examine(_))).await.as_deref() {
                Ok(Phase::Examine(nodes)) => nodes.clone(),
                _ => return,
            };
            sleep(SETTLED_AFTER).await;
            let mut settled = false;
            for node in nodes {
                while !lock(&self.shared.passed).contains(&node) {
                    let began = Instant::now();
                    match self.examine_node(node, &mut settled).await {
                        Ok(()) => {
                            self.event(&format!("n{node} passes within {:?}", began.elapsed()));
                            lock(&self.shared.passed).insert(node);
                        }
                        Err(reason) => {
                            *lock(&self.shared.stuck) = format!("node {node}: {reason}");
                            sleep(PAUSE).await;
                        }
                    }
                }
            }
            let _ = self.phase.wait_for(|phase| !matches!(phase, Phase::Examine(_))).await;
        }
    }

    async fn examine_node(&mut self, node: usize, settled: &mut bool) -> Result<(), String> {
        let tenants = self.shared.options.workload.tenants;
        if !*settled {
            // All is quiet: what the first node gives is what all must give.
            for tenant in 0..tenants {
                let found = self.look_up(node, &Lookup::all(tenant, Form::Samples)).await?;
                lock(&self.shared.history).settle(tenant, &found);
            }
            *settled = true;
        }
        // With a node that is dead for ever not everything can be sealed.
        let sealed = ask(node, "POST", "/api/v1/admin/seal", &tenant(0), &[], DEADLINE).await?;
        self.event(&format!("seals on n{node}: {}", sealed.status));
        if !matches!(sealed.status, 200 | 503) {
            let body = String::from_utf8_lossy(&sealed.body);
            // Found only now; another copy takes its place.
            if self.shared.options.kinds.contains(&Kind::Rot) && body.contains("corrupt") {
                return Err(body.into_owned());
            }
            self.shared
                .violated(format!("maintenance is done or put off: node {node} answers {}: {body}", sealed.status));
        }
        for tenant in 0..tenants {
            let series = (0..METRICS).map(|number| Series { tenant, writer: EXAMINER, number });
            let now = self.now();
            let writes: Vec<Write> = series.map(|series| lock(&self.shared.history).begin(series, now)).collect();
            if !self.send(node, &writes).await {
                return Err("it does not take a write".to_owned());
            }
            self.shared.acknowledged(&writes, false);
            for form in [Form::Samples, Form::Sums, Form::Names] {
                self.look_up(node, &Lookup::all(tenant, form)).await?;
            }
        }
        for _ in 0..COMPUTED {
            let query = self.computed();
            self.compute(node, &query).await?;
        }
        self.examine_alerts(node).await
    }
}
