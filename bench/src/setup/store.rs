//! sidegate with one of its session stores, and a provider to sign in at.

use std::{error::Error, fs, net::SocketAddr, path::Path};

use super::{Setup, Workplace, free_address};
use crate::{machine::Cores, process::Process, request::HOST};

/// Where sessions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the cookie.
    Cookie,
    /// In sidegate's memory.
    Memory,
    /// In a Redis of its own.
    Redis,
}

/// Starts sidegate before `app`, signing in at `provider`.
pub fn gate_keeping(
    kept: Kept,
    name: &'static str,
    binary: &Path,
    app: SocketAddr,
    provider: SocketAddr,
    cores: Cores,
    workplace: &Workplace,
) -> Result<Setup, Box<dyn Error>> {
    let address = free_address()?;
    let mut helpers = Vec::new();
    let store = match kept {
        Kept::Cookie => "cookie".to_owned(),
        Kept::Memory => "memory".to_owned(),
        Kept::Redis => {
            let redis = free_address()?;
            let port = redis.port().to_string();
            let command = [
                "redis-server",
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ];
            helpers.push(Process::start(
                &command,
                cores.setup,
                &workplace.path("redis.log"),
            )?);
            format!("redis://{redis}")
        }
    };
    let configuration = format!(
        "listen = \"{address}\"\npublic_url = \"https://{HOST}\"\nupstream = \"http://{app}\"\n\
         workers = 1\nlog = \"off\"\n\
         [session]\nstore = \"{store}\"\nsecret = \"c2lkZWdhdGUtYmVuY2htYXJrLW5vdC1hLXNlY3JldCE\"\n\
         [providers.corp]\ntype = \"oauth2\"\nauthorize_url = \"http://{provider}/authorize\"\n\
         token_url = \"http://{provider}/token\"\nuserinfo_url = \"http://{provider}/me\"\n\
         client_id = \"bench\"\nclient_secret = \"bench\"\n\
         claims = {{ subject = \"sub\", user = \"login\", email = \"email\", email_verified = \"email_verified\", \
         name = \"name\", groups = \"groups\" }}\n\
         allow = {{ domains = [\"example.com\"] }}\n"
    );
    let file = workplace.path(&format!("{kept:?}.toml"));
    fs::write(&file, configuration)?;
    let configuration = file.to_str().ok_or("a path that is not UTF-8")?;
    let binary = binary.to_str().ok_or("a path that is not UTF-8")?;
    let log = file.with_extension("log");
    let command = [binary, "run", "--config", configuration];
    let mut processes = vec![Process::start(&command, cores.setup, &log)?];
    processes.append(&mut helpers);
    Setup::when_ready(name, address, processes, &log)
}
