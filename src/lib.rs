//! sidegate: a login in front of any web app.
//!
//! A reverse proxy that sends a browser without a session to an identity provider, keeps the session in
//! a sealed cookie, decides who may pass, and tells the app who the user is in headers.
//!
//! # The road of a request
//!
//! 1. [`listen`]: sockets, TLS and workers; HTTP/1.1 or HTTP/2.
//! 2. [`clean`]: who is calling, one canonical path, no header that only the gate may write.
//! 3. [`route`]: an own [`endpoint`], or the first matching rule.
//! 4. [`session`]: the cookie becomes an identity, or nobody.
//! 5. [`decide`]: a pure function of rule and identity; its "yes" is a [`decide::Permit`].
//! 6. [`forward`]: takes the permit and streams to the upstream.
//! 7. [`answer`]: a refusal becomes what the client can use.
//!
//! [`gate`] tells this road in one screen. [`login`] turns a browser without a session into one with,
//! at any [`provider`]. [`config`] is what an operator decides, [`app`] builds the gate from it, [`cli`]
//! is the command line, [`demo`] a login to try.

pub mod access;
pub mod admin;
pub mod answer;
pub mod app;
pub mod body;
pub mod clean;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decide;
pub mod demo;
pub mod door;
pub mod endpoint;
pub mod forward;
pub mod gate;
pub mod identity;
pub mod identity_headers;
pub mod limits;
pub mod listen;
pub mod login;
pub mod net;
pub mod observe;
pub mod provider;
pub mod public_url;
pub mod random;
pub mod redis;
pub mod route;
pub mod secret;
pub mod session;
pub mod site;
pub mod snapshot;
mod spelling;
pub mod text;
pub mod timer;
pub mod tokens;
pub mod trust;
