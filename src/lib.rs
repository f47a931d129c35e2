//! sidegate: a login in front of any web app.
//!
//! A reverse proxy that sends a browser without a session to an identity provider, keeps the session in
//! a sealed cookie, decides who may pass, and tells the app who the user is in headers.
//!
//! # The road of a request
//!
//! 1. [`listen`]: sockets, TLS and workers; HTTP/1.1 or HTTP/2.
//! 2. [`clean`]: who is calling, one canonical path, no header that only the gate may write.
//! 3. [`route`]: an own [`endpoint`], or the first matching route.
//! 4. [`visitor`]: a [`session`]'s cookie, or a [`credential`], becomes an [`access::Principal`], or nobody.
//! 5. [`decide`]: a pure function of route, principal and client; its "yes" is a [`decide::Permit`].
//! 6. [`forward`]: takes the permit and streams to the upstream that it names, which is told who it is in headers, one of
//!    them signed ([`assertion`]).
//! 7. [`answer`]: a refusal becomes what the client can use.
//!
//! A proxy that serves the app itself asks for the verdict alone: at an own endpoint, or at [`ext_authz`].
//!
//! [`gate`] tells this road in one screen. [`login`] turns a browser without a session into one with, at any [`provider`].
//!
//! # What lives how long
//!
//! - The process: the services in [`app`] (stores, revocations, renewals, throttles, counters).
//! - A configuration: a [`snapshot`], complete and immutable. [`config`] reads it, [`app`] builds it and puts another in its
//!   place while the gate runs.
//! - A request: a [`clean::CleanRequest`], its record ([`observe`]) and its [`timer`].
//!
//! # Words of our own
//!
//! - *gate*: one worker's road under one configuration; also the program as a whole, to users.
//! - *own endpoint*: an address that the gate answers itself, below `prefix`.
//! - *deny*: the rules say no, and why ([`decide::Deny`]). *reject*: what a client gets ([`answer::Reject`]).
//! - *standing*: what today's configuration makes of whoever a session is of ([`decide::Standing`]).
//! - *facts*: what has to be known of people because a list asks for it; a session keeps these and no others.
//!
//! Imports run one way, from the roots ([`cli`], [`app`]) to the leaves: `tests/layers.txt` is the list.

pub mod access;
pub mod admin;
pub mod answer;
pub mod api_token;
pub mod app;
pub mod app_secret;
pub mod assertion;
pub mod audience;
pub mod bearer;
pub mod body_error;
pub mod canonical_path;
pub mod certificate;
pub mod clean;
pub mod cli;
pub mod clock;
pub mod config;
pub mod credential;
pub mod decide;
pub mod demo;
pub mod door;
pub mod endpoint;
pub mod ext_authz;
pub mod forward;
pub mod gate;
pub mod hop_by_hop;
pub mod identity;
pub mod identity_headers;
pub mod issuer;
pub mod jose;
pub mod kv;
pub mod limiter;
pub mod limits;
pub mod listen;
pub mod login;
pub mod net;
pub mod observe;
pub mod origin;
pub mod owner_records;
pub mod provider;
pub mod public_url;
pub mod random;
pub mod rate_limit;
pub mod redis;
pub mod response;
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
pub mod users;
pub mod visitor;
pub mod when;
