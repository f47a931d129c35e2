//! `forward_auth`: the proxy that asks.

use ipnet::IpNet;

use super::{
    super::problem::{Origin, Problem},
    Reader, Reported, Table,
};
use crate::{door::Proxy, route::Route, spelling};

impl Reader<'_> {
    pub(super) fn forward_auth(
        &mut self,
        root: &Table<'_>,
        trusted_proxies: Option<&[IpNet]>,
    ) -> Result<Option<Proxy>, Reported> {
        let proxy = self.optional(root, "forward_auth", proxy)?;
        if proxy.is_some() && trusted_proxies.is_some_and(<[_]>::is_empty) {
            let origin = root.origin("forward_auth");
            self.problem(
                Problem::new(&origin, "`forward_auth` is set, and no proxy is trusted")
                    .hint("name the proxy that asks in trusted_proxies: what others say of a request is not believed"),
            );
            return Err(Reported);
        }
        Ok(proxy)
    }

    /// Routes by host need a proxy that tells the host that it serves.
    pub(super) fn check_hosts(
        &mut self,
        root: &Table<'_>,
        proxy: Option<&Proxy>,
        routes: Option<&[Route]>,
    ) {
        let names_hosts =
            routes.is_some_and(|routes| routes.iter().any(|route| route.host.is_some()));
        if names_hosts && proxy.is_some_and(|proxy| !proxy.tells_the_host()) {
            let origin = root.origin("forward_auth");
            self.problem(
                Problem::new(
                    &origin,
                    "routes go by host, and ingress-nginx tells the host that the client wrote, not the one that it serves",
                )
                .hint("give each host a gate of its own, and leave `host` out of the routes"),
            );
        }
    }
}

fn proxy(text: &str, origin: &Origin) -> Result<Proxy, Problem> {
    Proxy::named(text).ok_or_else(|| {
        let names = Proxy::ALL.map(Proxy::name);
        let hint = match spelling::nearest(text, names) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => format!(
                "one of {}; leave the key out for any other",
                names.join(", ")
            ),
        };
        Problem::new(origin, format!("`{text}` is no proxy that is known here")).hint(hint)
    })
}
