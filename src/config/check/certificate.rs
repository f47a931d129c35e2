//! `tls.client_ca` and `tls.client_name`: client certificates.

use std::fs;

use super::{
    super::{
        problem::{Origin, Problem},
        schema::Kind,
    },
    Reader, Reported, Table,
};
use crate::{
    certificate::{CERTIFICATE, ClientCertificates, Naming},
    listen::settings::TlsFiles,
    provider::settings::ProviderSettings,
};

impl Reader<'_> {
    /// None where clients are not asked for one.
    pub(super) fn client_certificates(
        &mut self,
        table: &Table<'_>,
    ) -> Result<Option<ClientCertificates>, Reported> {
        let file = table.get("client_ca", Kind::Text);
        let name = self.read(table, "client_name", Naming::Subject.name(), naming);
        let Some(node) = file else {
            return name.map(|_| None).ok_or(Reported);
        };
        let path = self.text(node, "client_ca").ok_or(Reported)?;
        let path = self.resolve(path, &node.origin);
        let authorities = match fs::read(&path) {
            Ok(pem) => pem,
            Err(error) => {
                self.unreadable(node, &table.whole("client_ca"), &path, &error);
                self.stand_in.ok_or(Reported)?;
                return Ok(None);
            }
        };
        Ok(Some(ClientCertificates {
            authorities: authorities.into(),
            name: name.ok_or(Reported)?,
        }))
    }

    /// Whoever comes with a certificate is of no provider, and is named `certificate` where providers are.
    pub(super) fn check_certificate_name(
        &mut self,
        root: &Table<'_>,
        tls: Option<&TlsFiles>,
        providers: Option<&[ProviderSettings]>,
    ) {
        let mut providers = providers.unwrap_or_default().iter();
        if tls.is_some_and(|tls| tls.clients.is_some())
            && providers.any(|provider| provider.name == CERTIFICATE)
        {
            let message = "a provider is named as clients with a certificate are: \"certificate\"";
            self.problem(
                Problem::new(&root.origin("tls"), message)
                    .hint("give [providers.certificate] another name"),
            );
        }
    }
}

fn naming(text: &str, origin: &Origin) -> Result<Naming, Problem> {
    let mut all = Naming::ALL.into_iter();
    all.find(|naming| naming.name() == text).ok_or_else(|| {
        let names = Naming::ALL.map(Naming::name).join("\", \"");
        Problem::new(origin, format!("\"{text}\" is no client_name"))
            .hint(format!("write one of \"{names}\""))
    })
}
