//! sidegate: a login in front of any web app.
//!
//! It is a reverse proxy. It sends a browser without a session to an identity provider, keeps the session in an encrypted
//! cookie, decides who may pass, and sends the user to the app in headers.
//!
//! # The path of a request
//!
//! 1. [`listen`]: sockets, TLS and workers; HTTP/1.1 or HTTP/2.
//! 2. [`clean`]: find the client's address, make one canonical path, and remove headers that only the gate may write.
//! 3. [`route`]: find the gate's own [`endpoint`], or the first route that matches.
//! 4. [`visitor`]: turn a [`session`] cookie or another [`credential`] into an [`access::Principal`], or nobody.
//! 5. [`decide`]: a pure function of route, principal and client. Its "yes" is a [`decide::Permit`].
//! 6. [`forward`]: take the permit, stream to the upstream that it names, and send the user in headers. One of them is signed
//!    ([`assertion`]).
//! 7. [`answer`]: turn a refusal into what the client can use.
//!
//! A proxy that serves the app itself asks only for the verdict: at an own endpoint, or at [`ext_authz`].
//!
//! [`gate`] has this path on one screen. [`login`] gives a browser a session, at any [`provider`].
//!
//! # Lifetimes
//!
//! - The process: the services in [`app`] (stores, revocations, running refreshes, throttles, counters).
//! - A configuration: a [`snapshot`], complete and immutable. [`config`] reads it. [`app`] builds it, and replaces it while the
//!   gate runs.
//! - A request: a [`clean::CleanRequest`], its record ([`observe`]) and its [`timer`].
//!
//! # Glossary
//!
//! - *gate*: in the code, one worker's request handling under one configuration. In documents, the running program.
//! - *own endpoint*: an address that the gate answers itself, below `prefix`.
//! - *door*: an endpoint at which another proxy asks whether a request may pass (forward-auth).
//! - *deny*: the rules refuse, with the reason ([`decide::Deny`]). *reject*: what the client gets ([`answer::Reject`]).
//! - *standing*: what the current configuration says about the user of a session ([`decide::Standing`]).
//! - *facts*: what a session stores about its user because an allow list needs it, and nothing else.
//! - *refresh*: new tokens for a session from its provider, and a new answer to who the user is (RFC 6749, section 6). The audit event
//!   and the metric are called `renewal`, and its good outcome `renewed`.
//! - *seal*: encrypt and authenticate under `session.secret` ([`session::seal`]).
//!
//! Imports run one way, from the roots ([`cli`], [`app`]) to the leaves. `tests/layers.txt` is the list.

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
mod hex;
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
mod lru_map;
pub mod mcp;
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
pub mod stopping;
pub mod text;
pub mod timer;
pub mod token_cache;
pub mod token_exchange;
pub mod tokens;
pub mod tool_calls;
pub mod trust;
pub mod users;
pub mod visitor;
pub mod when;
