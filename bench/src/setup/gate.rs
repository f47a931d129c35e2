//! sidegate, with sessions in cookies and one worker.

use std::{
    error::Error,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{Setup, Workplace, free_address};
use crate::{machine::Cores, process::Process, request::HOST};

/// A sidegate: what is its own in the configuration.
#[derive(Clone, Copy, Default)]
pub struct Gate<'a> {
    /// For the report.
    pub name: &'static str,
    /// Of its file; none is another's.
    pub file: &'a str,
    /// The log's filter; off where it is empty.
    pub log: &'a str,
    /// Further keys of the beginning.
    pub keys: &'a str,
    /// Further tables, before the route of the public path.
    pub tables: &'a str,
}

impl Gate<'_> {
    /// Starts it before `app`.
    pub fn start(
        &self,
        binary: &Path,
        app: SocketAddr,
        cores: Cores,
        workplace: &Workplace,
    ) -> Result<Setup, Box<dyn Error>> {
        let address = free_address()?;
        let Self { keys, tables, .. } = self;
        let log = if self.log.is_empty() { "off" } else { self.log };
        // Nobody signs in here, so that the provider need not be there.
        let configuration = format!(
            "listen = \"{address}\"\npublic_url = \"https://{HOST}\"\nupstream = \"http://{app}\"\n\
             workers = 1\nlog = \"{log}\"\n{keys}\n\
             [session]\nsecret = \"{SECRET}\"\n\
             [providers.corp]\ntype = \"oidc\"\nissuer = \"http://127.0.0.1:9/\"\n\
             client_id = \"bench\"\nclient_secret = \"bench\"\n\
             allow = {{ domains = [\"example.com\"] }}\n{tables}\n\
             [[routes]]\npath = \"/public/**\"\naccess = \"public\"\n"
        );
        let file = self.configuration(workplace);
        fs::write(&file, configuration)?;
        let configuration = file.to_str().ok_or("a path that is not UTF-8")?;
        let binary = binary.to_str().ok_or("a path that is not UTF-8")?;
        let log = file.with_extension("log");
        let command = [binary, "run", "--config", configuration];
        let process = Process::start(&command, cores.setup, &log)?;
        Setup::when_ready(self.name, address, vec![process], &log)
    }

    /// The file that configures it.
    pub fn configuration(&self, workplace: &Workplace) -> PathBuf {
        workplace.path(&format!("sidegate-{}.toml", self.file))
    }
}

/// Seals the sessions of this benchmark. It protects nothing.
const SECRET: &str = "c2lkZWdhdGUtYmVuY2htYXJrLW5vdC1hLXNlY3JldCE";
