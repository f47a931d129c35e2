//! `[app]`: the app may have the access tokens of sessions.

use super::{
    super::{problem::Problem, schema::Kind},
    Reader, Reported, Table,
    header::header_name,
    secret::weakness,
};
use crate::{
    app_secret::AppSettings,
    identity_headers::{HeaderSettings, HeaderSource, missing_name},
    provider::settings::ProviderSettings,
    session::settings::{SessionSettings, StoreSettings},
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
        let header = table.get("header", Kind::Text);
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
        Ok(Some(AppSettings { secret, header }))
    }

    /// What `[app]` needs of the rest.
    pub(super) fn check_app(
        &mut self,
        root: &Table<'_>,
        session: &SessionSettings,
        providers: Option<&[ProviderSettings]>,
    ) {
        let origin = root.origin("app");
        if matches!(session.store, StoreSettings::Cookie) {
            self.warnings.push(
                "the app gets no tokens of users: sessions are in cookies, where no token that is refreshed for the app would \
                 arrive; write session.store = \"memory\" or an address of Redis, or take [app] out"
                    .to_owned(),
            );
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
