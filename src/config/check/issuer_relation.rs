//! What `[issuer]` and routes for its tokens have to do with upstreams.

use super::{super::problem::Problem, Reader, Table};
use crate::{
    forward::settings::UpstreamSettings,
    identity_headers::{HeaderSettings, HeaderSource},
    issuer::settings::IssuerSettings,
    route::{Access, Resource, Route},
};

impl Reader<'_> {
    /// An app that verifies assertions by `iss` and `aud` alone would take an ID token of a client of its name for one.
    pub(super) fn check_audiences(
        &mut self,
        root: &Table<'_>,
        issuer: &IssuerSettings,
        upstreams: &[UpstreamSettings],
        headers: &HeaderSettings,
    ) {
        let mut sources = headers.identity.iter().map(|(_, source)| source);
        if !sources.any(|source| *source == HeaderSource::Assertion) {
            return;
        }
        for upstream in upstreams {
            let mut clients = issuer.clients.iter();
            if !clients.any(|client| client.id == upstream.audience) {
                continue;
            }
            let audience = &upstream.audience;
            let message = format!(
                "\"{audience}\" is a client's id and the audience of an upstream's assertions: its app could take an ID token for an assertion"
            );
            self.problem(Problem::new(&root.origin("issuer"), message).hint(
                "give the upstream another `audience`, or the client another id; or write headers.assertion = false",
            ));
        }
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
