//! How settings are chosen and read. A node shows what it knows itself, also where nobody leads: an operator must be able to look. So what is
//! claimed is what a node can promise alone, of itself: see [`chosen`](crate::invariants::chosen).

use bellwether_client::v1::Setting;
use bellwether_client::{Client, Error};
use bellwether_server::meta::settings::SettingKey;
use tokio::time::{Instant, sleep};

use super::choices::{Moment, Process};
use super::work::{Done, INSIST_MAX, NotDone, Operator, PAUSE, otherwise};
use crate::cluster::coverage::Mark;
use crate::cluster::library;
use crate::work::lock;

impl Operator {
    /// Asks one node; if that does not answer, any. Who acknowledged is asked at once, and another node after it.
    pub(super) async fn choose(&self, name: &str, value: Option<&str>) -> Done {
        let Some(key) = SettingKey::named(name) else { return otherwise("no setting has this name") };
        let chosen = match value.map(|value| key.info().parse(value)).transpose() {
            Ok(chosen) => chosen,
            Err(reason) => return otherwise(reason),
        };
        let nodes = self.operators.options.nodes as u64;
        let (machine, other) = (1 + (self.drawn % nodes) as usize, 1 + ((self.drawn >> 32) % nodes) as usize);
        let (client, process) = (self.client_of(machine)?, self.operators.process(machine));
        let number = lock(&self.operators.choices).begin(key, chosen);
        let set = match client.cluster().set_setting(name, value).await {
            Ok(set) => {
                let by = process.filter(|_| self.operators.process(machine) == process);
                let asked = {
                    let mut choices = lock(&self.operators.choices);
                    choices.acknowledge(key, number, by, false);
                    choices.moment()
                };
                self.judge_shown(&set, by, asked);
                self.read_back(machine, name).await?;
                self.read_back(other, name).await?;
                set
            }
            Err(error) if error.is_transient() => self.choose_anywhere(key, chosen, value).await?,
            Err(error) => return Err(error.into()),
        };
        self.operators.reach(Mark::SettingChosen);
        Ok(format!("it is {}", set.value))
    }

    /// Asks any node, until one answers.
    async fn choose_anywhere(
        &self,
        key: SettingKey,
        chosen: Option<u64>,
        value: Option<&str>,
    ) -> Result<Setting, Error> {
        let number = lock(&self.operators.choices).begin(key, chosen);
        let set = self.client.cluster().set_setting(key.info().name, value).await?;
        lock(&self.operators.choices).acknowledge(key, number, None, true);
        Ok(set)
    }

    /// Insists, and looks again once whoever chose otherwise before has been answered or never will be.
    pub(super) async fn reset(&self, name: &str) -> Done {
        let Some(key) = SettingKey::named(name) else { return otherwise("no setting has this name") };
        let deadline = Instant::now() + INSIST_MAX;
        loop {
            let reset = async {
                self.choose_anywhere(key, None, None).await?;
                sleep(library::CALL_MAX).await;
                let found = self.read_anywhere(&[name.to_owned()]).await?;
                Ok::<bool, NotDone>(found.iter().all(|setting| !setting.chosen))
            };
            match reset.await {
                Ok(true) if !self.operators.is_choosing(name) => return Ok(format!("{name} is as it was")),
                Ok(_) => {}
                Err(NotDone::Call(error)) if error.is_transient() && Instant::now() < deadline => sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads settings on any node.
    pub(super) async fn read_anywhere(&self, names: &[String]) -> Result<Vec<Setting>, Error> {
        let asked = lock(&self.operators.choices).moment();
        let found = self.client.cluster().settings(names).await?;
        found.iter().for_each(|setting| self.judge_shown(setting, None, asked));
        Ok(found)
    }

    /// Reads a setting on a machine's node, if that answers.
    async fn read_back(&self, machine: usize, name: &str) -> Result<(), NotDone> {
        let (client, process) = (self.client_of(machine)?, self.operators.process(machine));
        let asked = lock(&self.operators.choices).moment();
        if let Ok(found) = client.cluster().settings(&[name.to_owned()]).await {
            let by = process.filter(|_| self.operators.process(machine) == process);
            found.iter().for_each(|setting| self.judge_shown(setting, by, asked));
        }
        Ok(())
    }

    fn judge_shown(&self, setting: &Setting, by: Option<Process>, asked: Moment) {
        let Some(key) = SettingKey::named(&setting.name) else { return };
        let shown = key.info().parse(&setting.value);
        let judged = shown.and_then(|shown| lock(&self.operators.choices).shown(key, shown, by, asked));
        if let Err(wrong) = judged {
            self.operators.violated(format!("{wrong}, by {by:?}"));
        }
    }

    /// A client of one machine's node, which asks once.
    fn client_of(&self, machine: usize) -> Result<Client, NotDone> {
        Ok(library::of_machine(machine, self.drawn, &self.operators.trace).build()?)
    }
}
