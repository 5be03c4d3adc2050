//! Rules are evaluated here.

mod answers;
mod body;
mod dependencies;
mod ticks;
