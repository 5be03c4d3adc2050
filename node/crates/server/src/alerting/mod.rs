//! Alerting on a node. So far: telling receivers ([`send`]).

pub mod send;
