//! The addresses of a provider: from a key of its own, from `base_url`, or from its kind.

use std::collections::BTreeMap;

use url::Url;

use super::{
    super::{problem::Problem, schema::Kind as Form, tree::Node},
    Reader, Reported, Table,
    address::{is_loopback, web_address, web_url},
    provider_type::foreign,
};
use crate::provider::{
    catalog::KINDS,
    kind::{Endpoint, Kind},
};

impl Reader<'_> {
    /// The addresses by their keys, each kept as it is written: an issuer is compared letter by letter
    /// with what the provider says (OpenID Connect Discovery §4.3).
    pub(super) fn endpoints(
        &mut self,
        table: &Table<'_>,
        kind: Option<&'static Kind>,
        insecure_http: bool,
        is_cluster: bool,
    ) -> Option<BTreeMap<&'static str, String>> {
        let every = KINDS.iter().flat_map(|kind| kind.endpoints);
        let written = every.map(|endpoint| (endpoint.key, table.get(endpoint.key, Form::Text)));
        let written: BTreeMap<&str, Option<&Node>> = written.collect();
        let base = table.get("base_url", Form::Text);
        let kind = kind?;
        let own = |kind: &Kind, key: &str| kind.endpoints.iter().any(|known| known.key == key);
        for (key, node) in &written {
            if let Some(node) = node
                && !own(kind, key)
            {
                self.problem(foreign(key, node, kind, |kind| own(kind, key)));
            }
        }
        let base = self.base_url(base, kind, insecure_http);
        let mut endpoints = if is_cluster {
            self.cluster_endpoints(table, written["issuer"])?
        } else {
            BTreeMap::new()
        };
        let mut missing = Vec::new();
        let mut complete = base.is_ok();
        for endpoint in kind.endpoints {
            if let Some(node) = written[endpoint.key] {
                match self.endpoint(node, endpoint.key, insecure_http) {
                    Some(address) => _ = endpoints.insert(endpoint.key, address),
                    None => complete = false,
                }
                continue;
            }
            let moved = base
                .as_ref()
                .ok()
                .and_then(|base| below(base.as_deref()?, endpoint));
            match moved.or_else(|| endpoint.default.map(str::to_owned)) {
                Some(address) => _ = endpoints.insert(endpoint.key, address),
                None if endpoint.optional || base.is_err() => {}
                None if endpoints.contains_key(endpoint.key) => {}
                None => {
                    complete = false;
                    missing.push(endpoint.key);
                }
            }
        }
        missing.retain(|key| !self.is_mistyped(table, key));
        if !missing.is_empty() {
            self.problem(missing_endpoints(table, &missing));
        }
        complete.then_some(endpoints)
    }

    fn base_url(
        &mut self,
        node: Option<&Node>,
        kind: &Kind,
        insecure_http: bool,
    ) -> Result<Option<String>, Reported> {
        let Some(node) = node else {
            return Ok(None);
        };
        let is_moved = |kind: &Kind| {
            let mut endpoints = kind.endpoints.iter();
            endpoints.any(|endpoint| endpoint.below_base.is_some())
        };
        if !is_moved(kind) {
            self.problem(foreign("base_url", node, kind, is_moved));
            return Err(Reported);
        }
        self.endpoint(node, "base_url", insecure_http)
            .map(Some)
            .ok_or(Reported)
    }

    /// Where the gate reaches the issuer by another address than browsers do.
    pub(super) fn internal_url(
        &mut self,
        table: &Table<'_>,
        kind: Option<&'static Kind>,
        insecure_http: bool,
    ) -> Result<Option<Url>, Reported> {
        let Some(node) = table.get("internal_url", Form::Text) else {
            return Ok(None);
        };
        let has_issuer = |kind: &Kind| kind.endpoints.iter().any(|known| known.key == "issuer");
        if let Some(kind) = kind.filter(|kind| !has_issuer(kind)) {
            self.problem(foreign("internal_url", node, kind, has_issuer));
            return Err(Reported);
        }
        let text = self.endpoint(node, "internal_url", insecure_http);
        let url = text.and_then(|text| Url::parse(&text).ok());
        url.map(Some).ok_or(Reported)
    }

    fn endpoint(&mut self, node: &Node, key: &str, insecure_http: bool) -> Option<String> {
        let text = self.text(node, key)?;
        // What is not an endpoint itself is a beginning, which nothing may stand behind.
        let is_beginning = matches!(key, "issuer" | "base_url" | "internal_url");
        let url = if is_beginning {
            web_url(text, &node.origin, key)
        } else {
            web_address(text, &node.origin, key)
        };
        let url = self.found(url)?;
        let is_open = url.scheme() == "http" && !is_loopback(url.host().as_ref());
        let problem = if is_open && !insecure_http {
            Problem::new(&node.origin, format!("`{key}` must begin with https://")).hint(
                "somebody on the way could sign in as anybody; http is for localhost only, or with \
                 `insecure_http = true` in a network that is yours alone, as in compose",
            )
        } else if let Some((issuer, _)) = text.split_once("/.well-known/").filter(|_| is_beginning)
        {
            let message = format!("`{key}` is the address before /.well-known");
            Problem::new(&node.origin, message).hint(format!(
                "write {key} = \"{issuer}\", or with a slash at its end"
            ))
        } else {
            return Some(text.to_owned());
        };
        self.problem(problem);
        None
    }
}

/// Where an endpoint is below `base`. What is the base itself keeps a slash at its end; before a path
/// there is one slash, not two.
fn below(base: &str, endpoint: &Endpoint) -> Option<String> {
    match endpoint.below_base? {
        "" => Some(base.to_owned()),
        path => Some(format!("{}{path}", base.trim_end_matches('/'))),
    }
}

fn missing_endpoints(table: &Table<'_>, missing: &[&str]) -> Problem {
    let names: Vec<String> = missing.iter().map(|key| format!("`{key}`")).collect();
    let (verb, example) = match missing {
        [key] => ("is", format!("write {key} = \"https://…\"")),
        _ => ("are", "write each as an address, https://…".to_owned()),
    };
    Problem::new(
        &table.node.key_origin,
        format!("{} {verb} missing", names.join(", ")),
    )
    .hint(format!("{example}, as the provider's documentation has it"))
}
