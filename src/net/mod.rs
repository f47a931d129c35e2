//! Connections that the gate opens.

pub mod dial;
