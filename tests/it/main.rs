//! The tests of the whole: the real `sidegate` binary, spoken to over real sockets. Written from what a user is
//! promised, not from the code.

#![expect(unreachable_pub, reason = "the support modules are written as a library")]

mod support;
mod support_works;
mod endpoints;
mod proxy_bodies;
mod proxy_protocols;
mod redirects;
mod deploy;
mod answers;
mod headers;
mod paths;
mod allow_lists;
mod login;
mod misbehaviour;
mod session;
