//! A request that a client sends itself, once it is known who sends it.

use std::net::IpAddr;

use crate::{
    clock::Timestamp,
    issuer::{Issuer, client::Client, parameters::Parameters},
    snapshot::Snapshot,
};

/// What such a request has, whichever endpoint it is for.
pub(super) struct ClientRequest<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) issuer: &'a Issuer,
    /// Who sends it, proven as far as it has something to prove itself by.
    pub(super) client: Client,
    pub(super) form: Parameters,
    /// Where it comes from, as far as that is known.
    pub(super) address: Option<IpAddr>,
    pub(super) now: Timestamp,
}
