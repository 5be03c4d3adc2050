//! Alert groups, command by command.

#![allow(clippy::unwrap_used)] // tests may stop where they fail, their helpers included

mod acknowledgements;
mod codec;
mod draw;
mod escalations;
mod evaluations;
mod notifications;
mod play;
mod random;
mod rules;
mod set_back;
mod silences;
mod storms;
mod thresholds;
