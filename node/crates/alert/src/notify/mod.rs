//! Whom alerts are told to, and when: Alertmanager's configuration and the model behind it, pure.
//!
//! Reading order: [`config`] reads a file into values, with the place of everything that is wrong; [`route`] says which receivers
//! an alert goes to and how alerts are grouped, [`interval`] when nobody is told, [`inhibition`] which alerts keep others quiet;
//! [`matchers`] is how all of them choose alerts, [`throttle`] how much a receiver is told, [`on_call`] who is on call, [`escalation`] who is told if nobody takes care. [`dispatch`] puts them together: groups, and when whom is told what of them;
//! [`timeline`] plays alerts that somebody wrote down, and [`templates`] make texts of messages, [`summary`] a line of many alerts. What time it is comes in as an argument. **Must never know** how a message
//! is sent.

pub mod config;
pub mod dispatch;
pub mod escalation;
pub mod fingerprint;
mod go_duration;
pub mod inhibition;
pub mod interval;
pub mod matchers;
mod message_data;
pub mod on_call;
pub mod route;
pub mod silence;
pub mod summary;
pub mod templates;
pub mod throttle;
pub mod timeline;

pub use bellwether_model::Labels;
pub use config::Config;
pub use message_data::Extras;
