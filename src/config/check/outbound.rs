//! How providers are reached: `proxy_url` or the environment's proxies, `insecure_http`, and extra CAs.

use std::fs;

use rustls::pki_types::CertificateDer;

use super::{
    super::{
        problem::{Origin, Problem},
        schema::Kind,
    },
    Reader, Table,
};
use crate::{
    provider::{
        bearer::SERVICE_ACCOUNT_CA,
        http::{BadVariable, Proxies, Proxy},
    },
    trust,
};

impl Reader<'_> {
    /// `proxy_url` goes before what the environment says. No message repeats either: they may hold a password.
    pub(super) fn proxies(&mut self, root: &Table<'_>) -> Option<Proxies> {
        let environment = self.environment;
        let variable = |name: &str| environment.get(name).cloned();
        let Some(node) = root.get("proxy_url", Kind::Address) else {
            return match Proxies::of_environment(variable) {
                Ok(proxies) => Some(proxies),
                Err(BadVariable(name)) => {
                    let origin = Origin::Variable(name.to_owned());
                    self.problem(not_a_proxy(&origin, name));
                    None
                }
            };
        };
        let text = self.sourced(node, root, "proxy_url", EXAMPLE)?;
        if self.stands_in(&text) {
            return Some(Proxies::default());
        }
        let Some(proxy) = Proxy::parse(text.expose()) else {
            self.problem(not_a_proxy(&node.origin, "proxy_url"));
            return None;
        };
        Some(Proxies::one(proxy, variable))
    }

    pub(super) fn insecure_http(&mut self, name: &str, table: &Table<'_>) -> Option<bool> {
        let insecure = self.flag(table, "insecure_http", false)?;
        if insecure {
            self.warnings.push(format!(
                "providers.{name} has insecure_http: anybody between here and that provider can sign in \
                 as anybody and read the client secret"
            ));
        }
        Some(insecure)
    }

    /// The certificates of `ca`; none where there is no such key.
    pub(super) fn authorities(
        &mut self,
        table: &Table<'_>,
        is_cluster: bool,
    ) -> Option<Vec<CertificateDer<'static>>> {
        let Some(node) = table.get("ca", Kind::Text) else {
            // A pod outside of the cluster's own reach has none, and says so by its issuer.
            let of_cluster = is_cluster
                .then(|| fs::read(SERVICE_ACCOUNT_CA).ok())
                .flatten();
            let certificates = of_cluster.map(|pem| trust::authorities(&pem).unwrap_or_default());
            return Some(certificates.unwrap_or_default());
        };
        let path = self.text(node, "ca")?;
        let path = self.resolve(path, &node.origin);
        let pem = match fs::read(&path) {
            Ok(pem) => pem,
            Err(error) => {
                self.unreadable(node, &table.whole("ca"), &path, &error);
                return self.stand_in.map(|_| Vec::new());
            }
        };
        match trust::authorities(&pem) {
            Ok(certificates) => Some(certificates),
            Err(flaw) => {
                let message = format!("`ca` names no authority: {flaw}");
                self.problem(Problem::new(&node.origin, message).hint(
                    "a PEM file, -----BEGIN CERTIFICATE-----, with the CA of the provider's certificate",
                ));
                None
            }
        }
    }
}

const EXAMPLE: &str = "write proxy_url = \"http://proxy.example.com:3128\"";

fn not_a_proxy(origin: &Origin, name: &str) -> Problem {
    Problem::new(origin, format!("`{name}` is no proxy that can be asked")).hint(
        "http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with what is no letter or digit there written as %XX",
    )
}
