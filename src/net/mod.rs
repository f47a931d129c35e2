//! Sockets: how the gate opens connections, and how it sends on those it has.

pub mod dial;
pub mod send_queue;
pub mod tcp_socket;
