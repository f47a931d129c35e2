//! sidegate, with sessions in cookies and one worker.

use std::{
    error::Error,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{Setup, Workplace, free_address};
use crate::{machine::Cores, process::Process, request::HOST};

/// Starts sidegate before `app`, with `log` as its filter.
pub fn gate(
    name: &'static str,
    log: &str,
    binary: &Path,
    app: SocketAddr,
    cores: Cores,
    workplace: &Workplace,
) -> Result<Setup, Box<dyn Error>> {
    let address = free_address()?;
    // Nobody signs in here, so that the provider need not be there.
    let configuration = format!(
        "listen = \"{address}\"\npublic_url = \"https://{HOST}\"\nupstream = \"http://{app}\"\n\
         workers = 1\nlog = \"{log}\"\n\
         [session]\nsecret = \"{SECRET}\"\n\
         [providers.corp]\ntype = \"oidc\"\nissuer = \"http://127.0.0.1:9/\"\n\
         client_id = \"bench\"\nclient_secret = \"bench\"\n\
         allow = {{ domains = [\"example.com\"] }}\n\
         [[routes]]\npath = \"/public/**\"\naccess = \"public\"\n"
    );
    let file = gate_configuration(log, workplace);
    fs::write(&file, configuration)?;
    let configuration = file.to_str().ok_or("a path that is not UTF-8")?;
    let binary = binary.to_str().ok_or("a path that is not UTF-8")?;
    let log = file.with_extension("log");
    let command = [binary, "run", "--config", configuration];
    let process = Process::start(&command, cores.setup, &log)?;
    Setup::when_ready(name, address, vec![process], &log)
}

/// The file that configures the sidegate with this filter.
pub fn gate_configuration(log: &str, workplace: &Workplace) -> PathBuf {
    workplace.path(&format!("sidegate-{log}.toml"))
}

/// Seals the sessions of this benchmark. It protects nothing.
const SECRET: &str = "c2lkZWdhdGUtYmVuY2htYXJrLW5vdC1hLXNlY3JldCE";
