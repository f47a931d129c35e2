//! What `[issuer]` and routes for its tokens have to do with upstreams.

use super::{super::problem::Problem, Reader, Table};
use crate::{
    forward::settings::UpstreamSettings,
    identity_headers::{HeaderSettings, HeaderSource},
    issuer::{
        resource,
        settings::{ClientSettings, IssuerSettings, TokenFormat},
    },
    route::{Access, Resource, Route, Routes},
};

impl Reader<'_> {
    /// An app that verifies assertions by `iss` and `aud` alone would take an ID token of a client of its name for one, or a signed access
    /// token for an address that is its audience.
    pub(super) fn check_audiences(
        &mut self,
        root: &Table<'_>,
        issuer: &IssuerSettings,
        upstreams: &[UpstreamSettings],
        headers: &HeaderSettings,
        (routes, own): (&[Route], &str),
    ) {
        if headers.name_of(&HeaderSource::Assertion).is_none() {
            return;
        }
        let routes = Routes::new(routes.to_vec());
        let is_resource = |audience: &str| {
            resource::Resource::parse(audience).is_some_and(|resource| {
                let guard = routes.guard_of(own, resource.origin(), resource.path());
                guard.is_some() && resource.to_text() == audience
            })
        };
        for upstream in upstreams {
            let audience = &upstream.audience;
            if issuer.token_format == TokenFormat::Jwt && is_resource(audience) {
                self.warnings.push(format!(
                    "\"{audience}\" is the audience of an upstream's assertions, and access tokens may be for that address \
                     (issuer.token_format = \"jwt\"): its app could take an access token for an assertion. Give the upstream \
                     another audience, or make sure that the app checks `typ`"
                ));
            }
            let mut clients = issuer.clients.iter();
            if !clients.any(|client| client.id == *audience) {
                continue;
            }
            let message = format!(
                "\"{audience}\" is a client's id and the audience of an upstream's assertions: its app could take an ID token for an assertion"
            );
            self.problem(Problem::new(&root.origin("issuer"), message).hint(
                "give the upstream another `audience`, or the client another id; or write headers.assertion = false",
            ));
        }
    }

    /// Whoever has a token of the gate's client at a provider can exchange it by a client that anybody can be.
    pub(super) fn warn_of_exchangeable_tokens(
        &mut self,
        issuer: &IssuerSettings,
        has_app: bool,
        (routes, headers): (&[Route], &HeaderSettings),
    ) {
        let is_open = |client: &&ClientSettings| {
            client.token_exchange && client.secrets.is_empty() && client.keys.is_none()
        };
        let Some(client) = issuer.clients.iter().find(is_open) else {
            return;
        };
        let mut ways: Vec<String> = Vec::new();
        if has_app {
            ways.push("[app]".to_owned());
        }
        let mut exchanging = routes.iter().filter(|route| route.token_exchange.is_some());
        ways.extend(
            exchanging
                .next()
                .map(|route| format!("{}.token_exchange", route.name)),
        );
        for source in [HeaderSource::AccessToken, HeaderSource::IdToken] {
            let name = headers.name_of(&source);
            ways.extend(name.map(|name| format!("the header {name}")));
        }
        if ways.is_empty() {
            return;
        }
        self.warnings.push(format!(
            "the client \"{}\" has token_exchange = true and no secret, and apps get tokens of their users by {}: with such \
             a token an app can act as its user wherever the gate gives tokens. Give the client a secret_hash or jwks_file, \
             unless the apps may do that",
            client.id,
            ways.join(", ")
        ));
    }

    /// Rules for tools bind a route, and not the server that it leads to.
    pub(super) fn warn_of_ways_around_tools(&mut self, routes: &[Route]) {
        let has_rules = |upstream| {
            let mut routes = routes.iter();
            routes.any(|route| route.tools.is_some() && route.upstream == upstream)
        };
        for route in routes {
            // An app that is an MCP server beside all else has other paths.
            let may_be_one = route.resource == Some(Resource::Mcp) || route.upstream != 0;
            if route.tools.is_none()
                && route.access != Access::Deny
                && may_be_one
                && has_rules(route.upstream)
            {
                self.warnings.push(format!(
                    "{} has no `tools`, and leads to the upstream of a route that has: if the MCP server answers there, too, the rules can be \
                     passed by",
                    route.name
                ));
            }
        }
    }
}
