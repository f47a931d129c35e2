//! `token_exchange` of a route: for what its app gets a token in the user's name.

use http::header::AUTHORIZATION;
use url::Url;

use super::{
    super::problem::{Origin, Problem},
    Reader, Reported, Table,
    route::scope,
};
use crate::{
    identity_headers::{HeaderSettings, HeaderSource},
    provider::settings::ProviderSettings,
    route::{Access, Resource, Route, TokenExchange},
};

impl Reader<'_> {
    pub(super) fn token_exchange(
        &mut self,
        route: &Table<'_>,
        access: Option<Access>,
        resource: &Result<Option<Resource>, Reported>,
    ) -> Result<Option<TokenExchange>, Reported> {
        let table = &route.table("token_exchange");
        let audience = self.texts(table, "audience", audience);
        let address = self.texts(table, "resource", address);
        let scopes = self.texts(table, "scopes", scope);
        let Some(node) = route
            .node
            .get("token_exchange")
            .filter(|_| table.is_written())
        else {
            return Ok(None);
        };
        let (Some(audience), Some(resources), Some(scopes)) = (audience, address, scopes) else {
            return Err(Reported);
        };
        let problem = if audience.is_empty() && resources.is_empty() {
            Some((
                "`token_exchange` does not say for what",
                "as in token_exchange = { audience = \"orders\" }, by the name that the provider knows the service by; or \
                 resource = \"https://orders.example.com/\"",
            ))
        } else {
            match access {
                None => return Err(Reported),
                Some(Access::Public | Access::Deny) => Some((
                    "`token_exchange` is in the user's name, and this route asks for none",
                    "write access = \"login\", \"api\" or \"optional\"",
                )),
                _ if matches!(resource, Ok(Some(Resource::Mcp))) => Some((
                    "with mcp = true only tokens of the gate come, which no provider exchanges",
                    "take token_exchange out",
                )),
                _ => None,
            }
        };
        if let Some((message, hint)) = problem {
            self.problem(Problem::new(&node.origin, message).hint(hint));
            return Err(Reported);
        }
        Ok(Some(TokenExchange {
            audience,
            resource: resources,
            scopes,
        }))
    }

    /// Where another header says the same, and where nobody could exchange anything.
    pub(super) fn check_token_exchange(
        &mut self,
        root: &Table<'_>,
        routes: &[Route],
        headers: Option<&HeaderSettings>,
        providers: Option<&[ProviderSettings]>,
    ) {
        let mut exchanging = routes.iter().filter(|route| route.token_exchange.is_some());
        let Some(first) = exchanging.next().map(|route| &route.name) else {
            return;
        };
        let origin = root.origin("routes");
        if headers.is_some_and(|headers| headers.names().contains(&AUTHORIZATION)) {
            let message =
                format!("{first}.token_exchange writes Authorization, and [headers] does so, too");
            self.problem(
                Problem::new(&origin, message)
                    .hint("give the header another name, or take one of both out"),
            );
        }
        if let Some(name) = headers.and_then(|headers| headers.name_of(&HeaderSource::AccessToken))
        {
            self.warnings.push(format!(
                "{first}.token_exchange keeps the user's own access token from the app, and {name} of [headers] tells it"
            ));
        }
        let Some(providers) = providers else { return };
        let unable = providers
            .iter()
            .filter(|provider| !provider.may_exchange_tokens());
        let unable: Vec<&str> = unable.map(|provider| provider.name.as_str()).collect();
        if unable.is_empty() {
            return;
        }
        if unable.len() == providers.len() {
            let message = format!("{first}.token_exchange lets nobody pass");
            self.problem(Problem::new(&origin, message).hint(
                "no provider here exchanges tokens (RFC 8693): only those of type \"oidc\" and \"oauth2\" can, with a client_id",
            ));
        } else {
            self.warnings.push(format!(
                "{first}.token_exchange lets nobody pass of {}: only providers of type \"oidc\" and \"oauth2\" exchange tokens, \
                 with a client_id",
                unable.join(", ")
            ));
        }
    }
}

/// A logical name (RFC 8693 §2.1).
fn audience(text: &str, origin: &Origin) -> Result<String, Problem> {
    let is_plain = !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control);
    is_plain.then(|| text.to_owned()).ok_or_else(|| {
        Problem::new(origin, "an audience is the name of a service")
            .hint("as the provider knows it, as in \"orders\"")
    })
}

/// An absolute URI without a fragment (RFC 8707 §2).
fn address(text: &str, origin: &Origin) -> Result<String, Problem> {
    let is_address =
        text.len() <= LONGEST && Url::parse(text).is_ok_and(|url| url.fragment().is_none());
    is_address.then(|| text.to_owned()).ok_or_else(|| {
        Problem::new(origin, format!("`{text}` is no address of a service"))
            .hint("as in \"https://orders.example.com/\", without a fragment")
    })
}

/// Bytes of an audience or a resource.
const LONGEST: usize = 2_048;
