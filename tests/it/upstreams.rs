//! `[upstreams]`: which app a request reaches, what it sees of it, and what becomes of a request whose app is away.

mod balance;
mod grpc;
mod http2;
mod settings;
