//! nginx, as one would write it for this job, with a kept-alive pool to the app and no limit on the
//! requests of a connection.

use std::{error::Error, fmt::Write, net::SocketAddr};

use super::{Setup, Workplace, free_address, responder};
use crate::{machine::Cores, process::Process, upstream::Role};

/// How much nginx does.
#[derive(Clone, Copy)]
pub enum NginxKind {
    /// `proxy_pass` and nothing else: whoever comes, passes.
    Plain,
    /// The same with its access log.
    AccessLog,
    /// Asks an endpoint about each request with `auth_request`. The endpoint is the cheapest
    /// possible and counts as part of the setup.
    AuthRequest,
}

/// An nginx.
#[derive(Clone, Copy)]
pub struct Nginx<'a> {
    name: &'static str,
    /// Of its files.
    file: &'a str,
    kind: NginxKind,
    /// The files of a certificate and its key, where it speaks TLS, and HTTP/2.
    tls: Option<(&'a str, &'a str)>,
    /// Whom it asks with `auth_request` in the place of the cheapest endpoint.
    gate: Option<SocketAddr>,
}

impl<'a> Nginx<'a> {
    /// Without TLS.
    pub fn of(kind: NginxKind) -> Self {
        let (name, file) = match kind {
            NginxKind::Plain => ("nginx", "nginx"),
            NginxKind::AccessLog => ("nginx, access log", "nginx-log"),
            NginxKind::AuthRequest => ("nginx auth_request + endpoint", "nginx-auth"),
        };
        Self {
            name,
            file,
            kind,
            tls: None,
            gate: None,
        }
    }

    /// Another, with files of its own.
    pub fn in_file(self, file: &'a str) -> Self {
        Self { file, ..self }
    }

    /// The same with TLS and HTTP/2.
    pub fn with_tls(self, certificate: &'a str, key: &'a str) -> Self {
        let tls = Some((certificate, key));
        Self { tls, ..self }
    }

    /// The same, asking the sidegate at `gate`.
    pub fn asking(self, gate: SocketAddr) -> Self {
        let gate = Some(gate);
        Self { gate, ..self }
    }

    /// Starts it with one worker before `app`.
    pub fn start(
        self,
        app: SocketAddr,
        cores: Cores,
        workplace: &Workplace,
    ) -> Result<Setup, Box<dyn Error>> {
        start(self, app, cores, workplace)
    }
}

fn start(
    Nginx {
        name,
        file,
        kind,
        tls,
        gate,
    }: Nginx<'_>,
    app: SocketAddr,
    cores: Cores,
    workplace: &Workplace,
) -> Result<Setup, Box<dyn Error>> {
    let address = free_address()?;
    let directory = workplace.path(file);
    std::fs::create_dir(&directory)?;
    let directory = directory.to_str().ok_or("a path that is not UTF-8")?;
    let log = workplace.path(&format!("{file}.log"));

    let mut helpers = Vec::new();
    let mut pools = format!("upstream app {{ server {app}; {POOL} }}\n");
    let mut site = format!("location / {{ {PROXY_PASS} }}");
    if let NginxKind::AuthRequest = kind {
        let endpoint = if let Some(gate) = gate {
            site = auth_request_site("/oauth2/auth", OF_GATE);
            gate
        } else {
            let endpoint = free_address()?;
            let log = workplace.path(&format!("{file}-endpoint.log"));
            helpers.push(responder(endpoint, Role::Auth, cores.setup, &log)?);
            site = auth_request_site("", OF_ENDPOINT);
            endpoint
        };
        writeln!(pools, "upstream auth {{ server {endpoint}; {POOL} }}")?;
    }
    let access_log = match kind {
        NginxKind::AccessLog => format!("access_log {directory}/access.log;"),
        _ => "access_log off;".to_owned(),
    };
    let (over, certificate) = match tls {
        None => ("", String::new()),
        Some((certificate, key)) => (
            "ssl http2",
            format!("ssl_certificate {certificate}; ssl_certificate_key {key};"),
        ),
    };
    let configuration = format!(
        "daemon off;\nworker_processes 1;\npid {directory}/pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 19000; }}\n\
         http {{\n{access_log}\n{}\n\
         keepalive_requests 1000000000;\nkeepalive_timeout 300s;\n\
         {pools}\
         server {{\nlisten {address} {over};\n{certificate}\n{LONG_BODIES}\n{site}\n}}\n}}\n",
        temporary_paths(directory),
    );
    let configuration = workplace.write(&format!("{file}.conf"), &configuration)?;
    let configuration = configuration.to_str().ok_or("a path that is not UTF-8")?;
    let command = [
        "nginx",
        "-e",
        "stderr",
        "-p",
        directory,
        "-c",
        configuration,
    ];
    let mut processes = vec![Process::start(&command, cores.setup, &log)?];
    processes.append(&mut helpers);
    Setup::when_ready(name, address, processes, &log)
}

/// Asks at `path` about each request, and tells the app what comes back in the headers of `names` (nginx's spelling, then
/// the app's).
fn auth_request_site(path: &str, names: &[(&str, &str)]) -> String {
    let mut told = String::new();
    for (variable, header) in names {
        // A string takes whatever is written.
        _ = writeln!(
            told,
            "auth_request_set $told_{variable} $upstream_http_{variable};\nproxy_set_header {header} $told_{variable};"
        );
    }
    format!(
        "location / {{\nauth_request /_auth;\n{told}{PROXY_PASS}\n}}\n\
         location = /_auth {{\n\
         internal;\n\
         proxy_pass http://auth{path};\n\
         proxy_http_version 1.1;\n\
         proxy_pass_request_body off;\n\
         proxy_set_header Connection \"\";\n\
         proxy_set_header Content-Length \"\";\n\
         proxy_set_header Host $http_host;\n\
         proxy_set_header X-Forwarded-For $remote_addr;\n\
         proxy_set_header X-Original-URI $request_uri;\n\
         proxy_set_header X-Original-Method $request_method;\n\
         }}"
    )
}

/// What the cheapest endpoint says.
const OF_ENDPOINT: &[(&str, &str)] = &[
    ("x_auth_request_user", "X-User"),
    ("x_auth_request_email", "X-User-Email"),
    ("x_auth_request_groups", "X-User-Groups"),
];
/// What sidegate says, and the cookies that are left.
const OF_GATE: &[(&str, &str)] = &[
    ("x_user", "X-User"),
    ("x_user_id", "X-User-Id"),
    ("x_user_email", "X-User-Email"),
    ("x_user_name", "X-User-Name"),
    ("x_user_groups", "X-User-Groups"),
    ("x_user_provider", "X-User-Provider"),
    ("x_user_auth", "X-User-Auth"),
    ("x_user_assertion", "X-User-Assertion"),
    ("cookie", "Cookie"),
];

/// So that nginx needs no directory of the system's.
fn temporary_paths(directory: &str) -> String {
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {directory}/{kind};"))
        .join("\n")
}

const POOL: &str = "keepalive 512; keepalive_requests 1000000000; keepalive_timeout 300s;";
/// Long bodies are passed on as they come, and not kept in files.
const LONG_BODIES: &str =
    "client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;";
const PROXY_PASS: &str = "proxy_pass http://app; proxy_http_version 1.1; \
    proxy_set_header Connection \"\"; proxy_set_header Host $http_host; \
    proxy_set_header X-Forwarded-For $remote_addr; \
    proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;";
