//! `[app]`: the app may have the access tokens of sessions.

use super::{
    super::{
        problem::{Origin, Problem},
        schema::Kind,
    },
    Reader, Reported, Table,
    address::{collide, listen_address},
    header::header_name,
    secret::weakness,
};
use crate::{
    identity_headers::{HeaderSettings, HeaderSource, missing_name},
    listen::settings::{AppSettings, ListenAddress},
    provider::settings::ProviderSettings,
};

impl Reader<'_> {
    /// None where it may not. Its header is one of `headers` from here on.
    pub(super) fn app(
        &mut self,
        root: &Table<'_>,
        headers: Option<&mut HeaderSettings>,
    ) -> Result<Option<AppSettings>, Reported> {
        let table = &root.table("app");
        let secret = table.get("secret", Kind::Secrets);
        let header = table.get("header", Kind::Text.or("X-User-Session"));
        let listen = self.optional(table, "listen", listen_address);
        if root.node.get("app").is_none() {
            return Ok(None);
        }
        let header = match header {
            None => self.found(header_name("x-user-session", table.node)),
            Some(node) => {
                let text = self.text(node, "header");
                text.and_then(|text| self.found(header_name(text, node)))
            }
        };
        let Some(node) = secret else {
            self.missing(table, "secret", "secret = { env = \"APP_SECRET\" }");
            return Err(Reported);
        };
        let secret = self.secret(node, table, "secret").ok_or(Reported)?;
        if let Some(weakness) = weakness(secret.expose())
            && !self.stands_in(&secret)
        {
            self.problem(
                Problem::new(
                    &node.origin,
                    format!("the app's secret is weak: {weakness}"),
                )
                .hint("`sidegate secret` prints a fresh one"),
            );
            return Err(Reported);
        }
        let header = header.ok_or(Reported)?;
        if let Some(headers) = headers {
            let names = headers.names();
            let counts = missing_name(&header);
            if names.contains(&header) || counts.is_some_and(|count| names.contains(&count)) {
                self.problem(
                    Problem::new(
                        &table.origin("header"),
                        format!("the header {header} says something else already"),
                    )
                    .hint("write another name, as in header = \"X-User-Session\""),
                );
                return Err(Reported);
            }
            let source = HeaderSource::SessionHandle;
            headers.identity.push((header.clone(), source));
        }
        let listen = listen?;
        Ok(Some(AppSettings {
            secret,
            header,
            listen,
        }))
    }

    /// What `[app]` needs of the rest.
    pub(super) fn check_app(
        &mut self,
        root: &Table<'_>,
        app: &AppSettings,
        others: &[(&'static str, &ListenAddress)],
        providers: Option<&[ProviderSettings]>,
    ) {
        let origin = root.origin("app");
        if let Some(listen) = &app.listen {
            let taken = others.iter().find(|(_, other)| collide(listen, other));
            if let Some((key, _)) = taken {
                let table = root.node.get("app");
                let node = table.and_then(|table| table.get("listen"));
                let origin = node.map_or(Origin::Nowhere, |node| node.origin.clone());
                self.problem(
                    Problem::new(&origin, format!("`app.listen` is also in `{key}`"))
                        .hint("give it a port of its own, such as \"127.0.0.1:4183\""),
                );
            }
            if matches!(listen, ListenAddress::Tcp(address) if !address.ip().is_loopback()) {
                self.warnings.push(
                    "app.listen is open to other machines, and what is said there is not encrypted: let nobody but the app reach it"
                        .to_owned(),
                );
            }
        }
        if let Some(providers) = providers
            && !providers.iter().any(|provider| provider.login)
        {
            self.problem(
                Problem::new(
                    &origin,
                    "there are no tokens for the app: nobody signs in at a provider",
                )
                .hint("add a provider without login = false, or take [app] out"),
            );
        }
    }
}
