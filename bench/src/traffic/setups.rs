//! What is compared: nginx and sidegates with different configurations, all of which stay up.

use std::{
    error::Error,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::{programs, tls::Certificate};
use crate::{
    machine::Cores,
    process::Process,
    setup::{Gate, Nginx, NginxKind, Setup, Workplace, free_address, responder},
    upstream::Role,
};

/// All of them, and the apps behind.
pub struct Setups {
    /// Of one of the sidegates: all open the same sessions.
    pub configuration: PathBuf,
    /// Of the one for programs.
    pub for_programs: PathBuf,
    pub each: Each,
    pub nginx: Setup,
    pub gate: Setup,
    _apps: [Process; 3],
}

/// Those of rows.
pub struct Each {
    pub nginx: Setup,
    pub gate: Setup,
    /// Behind a trusted proxy.
    pub trusting: Setup,
    /// With rules for [`RULED_PATH`].
    pub ruling: Setup,
    /// With 200 routes, the last of which is [`LAST_PATH`]'s.
    pub routing: Setup,
    /// For programs with tokens.
    pub programs: Setup,
    /// nginx that asks the cheapest endpoint about each request, and nginx that asks sidegate.
    pub asking_endpoint: Setup,
    pub asking_gate: Setup,
    /// Before the app of long bodies.
    pub bulk_nginx: Setup,
    pub bulk_gate: Setup,
    /// With TLS.
    pub tls_nginx: Setup,
    pub tls_gate: Setup,
    pub bulk_tls_nginx: Setup,
    pub bulk_tls_gate: Setup,
    pub certificate: Certificate,
}

impl Setups {
    /// Starts them.
    pub fn start(sidegate: &Path, workplace: &Workplace) -> Result<Self, Box<dyn Error>> {
        let cores = Cores::choose()?;
        let (app, bulk, provider) = (free_address()?, free_address()?, free_address()?);
        let respond =
            |address, role, log| responder(address, role, cores.load, &workplace.path(log));
        let apps = [
            respond(app, Role::App, "app.log")?,
            respond(bulk, Role::Bulk, "bulk.log")?,
            respond(provider, Role::Provider, "provider.log")?,
        ];
        let certificate = Certificate::new(workplace)?;
        let files = (
            text(&certificate.chain)?.to_owned(),
            text(&certificate.key)?.to_owned(),
        );
        let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}", files.0, files.1);
        let nginx = |file, app, is_tls: bool| {
            let nginx = Nginx::of(NginxKind::Plain).in_file(file);
            let nginx = if is_tls {
                nginx.with_tls(&files.0, &files.1)
            } else {
                nginx
            };
            nginx.start(app, cores, workplace)
        };
        let gate = |file, keys, tables, app| {
            let gate = Gate {
                name: "sidegate",
                file,
                keys,
                tables,
                log: "off",
            };
            gate.start(sidegate, app, cores, workplace)
        };
        let routes = routes();
        let (state, tokens) = (programs::keys(workplace), programs::tables(provider));
        let trusting = "trusted_proxies = [\"127.0.0.0/8\"]";
        let asking = Nginx::of(NginxKind::AuthRequest);
        let asked = gate("asked", ASKED, "", app)?;
        let asking_gate = asking
            .in_file("asking-gate")
            .asking(asked.address)
            .start(app, cores, workplace)?
            .with_helper("nginx auth_request + sidegate", asked);
        let each = Each {
            asking_endpoint: asking
                .in_file("asking-endpoint")
                .start(app, cores, workplace)?,
            asking_gate,
            nginx: nginx("plain", app, false)?,
            gate: gate("plain", "", "", app)?,
            trusting: gate("trusting", trusting, "", app)?,
            ruling: gate("ruling", "", RULES, app)?,
            routing: gate("routing", "", &routes, app)?,
            programs: gate("programs", &state, &tokens, app)?,
            bulk_nginx: nginx("bulk", bulk, false)?,
            bulk_gate: gate("bulk", "", "", bulk)?,
            tls_nginx: nginx("tls", app, true)?,
            tls_gate: gate("tls", &tls, "", app)?,
            bulk_tls_nginx: nginx("bulk-tls", bulk, true)?,
            bulk_tls_gate: gate("bulk-tls", &tls, "", bulk)?,
            certificate,
        };
        Ok(Self {
            configuration: workplace.path("sidegate-plain.toml"),
            for_programs: workplace.path("sidegate-programs.toml"),
            each,
            // Fresh ones, for whose memory nothing has happened yet.
            nginx: nginx("idle", app, false)?,
            gate: gate("idle", "", "", app)?,
            _apps: apps,
        })
    }
}

fn text(path: &Path) -> Result<&str, &'static str> {
    path.to_str().ok_or("a path that is not UTF-8")
}

/// 199 routes of other paths, some with methods and rules, and one.
fn routes() -> String {
    let mut routes = String::new();
    for number in 0..199 {
        let methods = ["", "methods = [\"GET\", \"POST\"]\n"][number % 2];
        // A vector takes whatever is written.
        _ = writeln!(
            routes,
            "[[routes]]\npath = \"/area-{number}/**\"\n{methods}allow = {{ groups = [\"group-{number}\"] }}"
        );
    }
    routes + "[[routes]]\npath = \"/last/**\"\nallow = { groups = [\"engineering\"] }\n"
}

/// For a sidegate that nginx asks.
const ASKED: &str = "trusted_proxies = [\"127.0.0.0/8\"]\nforward_auth = \"nginx\"";
/// Asks for a group, one of two providers, and a network.
const RULES: &str = "[[routes]]\npath = \"/admin/**\"\nmethods = [\"GET\"]\n\
    allow = { groups = [\"operations\", \"engineering\"], networks = [\"10.0.0.0/8\", \"127.0.0.0/8\"] }\n\
    any = [{ emails = [\"bob@example.com\"] }, { domains = [\"example.com\"] }]\n";
/// A path with rules.
pub const RULED_PATH: &str = "/admin/7?tab=open";
/// The path of the last of many routes.
pub const LAST_PATH: &str = "/last/7?tab=open";
