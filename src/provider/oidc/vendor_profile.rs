//! Where vendors deviate from OpenID Connect: data and small pure functions, one table for each vendor. Everything else follows the
//! standard.

use serde_json::{Map, Value};
use url::Url;

use super::super::{
    HttpClient, ProviderError, bearer::Nameless, oauth::ClientAuthentication,
    token_info::TokenCheck,
};
use crate::{access::Allow, text::Text};
use futures_util::future::BoxFuture;

/// One vendor's OpenID Connect.
pub(super) struct VendorProfile {
    /// Whether the document of a configured issuer may call its issuer so: (configured, published).
    pub(super) publishes: fn(&str, &str) -> bool,
    /// Whether an issuer signs as this `iss`: (published, iss).
    pub(super) issues: fn(&str, &str) -> bool,
    /// The same of bearer tokens.
    pub(super) bearer_issues: fn(&str, &str) -> bool,
    /// Puts the claims of a checked ID token into the standard's words, and reports what the vendor's own
    /// allow lists may ask for.
    pub(super) read: fn(&mut Map<String, Value>) -> Result<Reported, ProviderError>,
    /// The claim that is the stable id.
    pub(super) subject: &'static str,
    /// Claims that userinfo does not have, or is not believed for.
    pub(super) not_in_userinfo: &'static [&'static str],
    /// How the client proves itself; by the document where not said.
    pub(super) authentication: Option<ClientAuthentication>,
    /// The `prompt` that offers another account; by the document where not said.
    pub(super) switch_prompt: Option<&'static str>,
    /// Whether `max_age` does nothing there, so that a fresh login has to be asked for by `prompt=login` (Core §3.1.2.1).
    pub(super) ignores_max_age: bool,
    /// Further parameters of the authorization request.
    pub(super) authorize: fn(&Allow) -> Vec<(&'static str, String)>,
    /// Where groups are listed that no claim tells.
    pub(super) groups: Option<GroupSource>,
    /// Whose an access token is that names nobody.
    pub(super) nameless: Nameless,
    /// Whether an ID token whose `aud` is our client alone counts although `azp` names another client: which names are clients of
    /// the same owner.
    pub(super) lends_audience: Option<fn(azp: &str) -> bool>,
    /// How tokens are asked about, where that is not RFC 7662.
    pub(super) token_info: Option<TokenCheck>,
}

/// Pairs of an allow list's key and what somebody has there.
pub(super) type Reported = Vec<(Text, Text)>;

/// A place that lists somebody's groups.
#[derive(Clone, Copy)]
pub(super) struct GroupSource {
    /// The scope that it asks for.
    pub(super) scope: &'static str,
    /// The key of its address.
    pub(super) endpoint: &'static str,
    /// Asks it.
    pub(super) list:
        for<'a> fn(GroupQuery<'a>) -> BoxFuture<'a, Result<Vec<String>, ProviderError>>,
}

/// Whose groups are asked for.
pub(super) struct GroupQuery<'a> {
    pub(super) http: &'a HttpClient,
    pub(super) url: &'a Url,
    pub(super) claims: &'a Map<String, Value>,
    pub(super) access_token: &'a str,
}

impl VendorProfile {
    /// The standard, to the letter: issuers are compared exactly (Discovery §4.3, Core §3.1.3.7).
    pub(super) const STANDARD: Self = Self {
        publishes: |configured, published| configured == published,
        issues: |published, iss| published == iss,
        bearer_issues: |published, iss| published == iss,
        read: |_| Ok(Vec::new()),
        subject: "sub",
        not_in_userinfo: &[],
        authentication: None,
        switch_prompt: None,
        ignores_max_age: false,
        authorize: |_| Vec::new(),
        groups: None,
        nameless: Nameless::Client,
        lends_audience: None,
        token_info: None,
    };
}
