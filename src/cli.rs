//! The command line: `run`, `check`, `explain`, `import`, `secret`, `health`, `login`, `demo`.
//!
//! Only this module writes to the terminal. Results go to stdout, problems to stderr. The exit status is 0 for success, 1 for a
//! failure, 2 for a configuration or command line that has to be changed, and 3 for an import that could not translate everything.

mod diff;
mod explain;
mod health;
mod import;
mod login;
mod online;
mod summary;

use std::{
    fs,
    io::{self, IsTerminal, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::{
    api_token::format,
    app::{self, ReloadFrom, Signals},
    clock,
    config::{self, Config, Environment, Loaded, Report},
    demo,
    observe::log::{self, LogGuard},
    random,
};

/// A configuration or command line that has to be changed.
const EXIT_CONFIGURATION: u8 = 2;

/// A configuration was written, but parts of the old one have no equivalent.
const EXIT_INCOMPLETE: u8 = 3;

/// A login in front of any web app.
///
/// sidegate is a reverse proxy. It sends a browser without a session to your identity provider, keeps the session in an
/// encrypted cookie, decides who may pass, and sends the user to the app in headers such as X-User.
#[derive(Debug, Parser)]
#[command(
    name = "sidegate",
    version,
    after_help = AFTER_HELP,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Try it without a file, an account or a network:

    sidegate demo
    sidegate demo --mcp

Then protect your own app. The smallest sidegate.toml:

    upstream   = \"http://127.0.0.1:8000\"
    public_url = \"https://app.example.com\"

    [providers.corp]
    type          = \"oidc\"
    issuer        = \"https://login.example.com\"
    client_id     = \"app\"
    client_secret = { env = \"CLIENT_SECRET\" }
    allow         = { domains = [\"example.com\"] }

    sidegate check      lists every mistake in it, and the callback address to
                        register at the provider
    sidegate run        serves

Every key also has an environment name: SIDEGATE_UPSTREAM, SIDEGATE_SESSION__SECRET,
SIDEGATE_PROVIDERS__CORP__CLIENT_ID. Set session.secret, so that sessions survive a
restart: `sidegate secret` prints one. config.example.toml explains every key.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gate: listen, and forward requests that may pass.
    Run(ConfigFile),
    /// Check the configuration. Print a summary, or every problem with its line.
    ///
    /// --online also asks each provider whether it answers and accepts the client secret, compares its clock with this machine's,
    /// and signs in to Redis if sessions need it. To test the secret it sends a code that does not exist, so that nothing is used
    /// up. The exit status is 1 if one of them cannot be reached, refuses the secret, or lacks what a login needs, or if the clocks
    /// differ by more than five minutes.
    Check {
        #[command(flatten)]
        file: ConfigFile,
        /// Also ask the providers (their discovery documents, or the address where a login begins) and Redis.
        #[arg(long)]
        online: bool,
        /// Accept that secrets are missing, as in CI: note which, and check everything else.
        ///
        /// Secrets are `{ env = … }`, `{ file = … }` and the files of `tls`. Those that are present are checked.
        #[arg(long, conflicts_with = "online")]
        without_secrets: bool,
        /// Describe the changes since OLD, an earlier configuration: routes, who may pass, who is signed out, and what needs a
        /// restart.
        #[arg(long, value_name = "OLD", conflicts_with = "online")]
        diff: Option<PathBuf>,
    },
    /// Show what would happen to a request: the route, the rule, the verdict, and the headers that the app would get.
    ///
    /// It uses no network and needs no secrets. The path is taken as it is written, with its escapes. Values that are secrets or
    /// tokens are not shown. It does not judge what only a running gate knows: Fetch Metadata (`cross_site`), ended sessions,
    /// and limits.
    Explain {
        /// The method, in upper case.
        method: String,
        /// `https://HOST/PATH`, or `/PATH` at `public_url`.
        url: String,
        #[command(flatten)]
        file: ConfigFile,
        /// The signed-in user, as in user=ada,email=ada@example.com,groups=a;b,provider=corp. Also name, subject, claims.PATH
        /// and the other lists of `allow`, the age of the login (`auth_age=5m`; default: just now) and its class (acr=…). For
        /// a program also `credential=bearer` (default: session), `scopes=a;b` and `client=…`. Without --as nobody is signed
        /// in.
        #[arg(long = "as", value_name = "WHO")]
        person: Option<String>,
        /// The client's address, for `networks`.
        #[arg(long, value_name = "IP")]
        client: Option<IpAddr>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Translate the configuration of another program, and list what has no equivalent.
    Import {
        #[command(subcommand)]
        from: Import,
    },
    /// Print the JSON Schema of the configuration, for completion and explanations in editors.
    ///
    /// Save it beside the configuration as sidegate.schema.json, and begin the configuration with the line
    /// `#:schema ./sidegate.schema.json`. Editors with taplo (Even Better TOML) use it.
    Schema,
    /// Print a fresh session secret: 32 random bytes as base64url.
    Secret,
    /// Print a fresh token for a machine, and its hash for the configuration.
    ///
    /// The first line is the token, for the machine. The second is its SHA-256, for `hash` of `[[service_tokens]]`.
    Token,
    /// Ask a running gate whether it is alive, for a container's HEALTHCHECK.
    ///
    /// It requests /ping at `admin_listen`, or else PREFIX/ping at the first `listen` address. If `tls` is set it uses TLS, and does
    /// not check the certificate. The exit status is 0 if the answer is 200 within two seconds, and 1 otherwise.
    Health {
        #[command(flatten)]
        file: ConfigFile,
        /// Ask at this address, without reading the configuration: `http://HOST:PORT` or `unix:/PATH`. With another prefix:
        /// `http://HOST:PORT/PREFIX/ping`.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Log in from a terminal to an app behind a gate. With `--token`, print an access token.
    ///
    /// It prints an address to open in any browser, and a code to compare. Tokens are stored in `sidegate/tokens.json` below
    /// `XDG_CONFIG_HOME` or `~/.config`; only you can read the file. docs/cli.md shows curl, git and kubectl.
    Login {
        /// The address behind the gate, as in `https://app.example.com/api`
        #[arg(value_parser = login::address)]
        url: url::Url,
        /// Print only an access token of an earlier login, refreshed if necessary.
        #[arg(long)]
        token: bool,
    },
    /// Show a whole login on this machine, with a demo app and a demo provider.
    Demo {
        /// The port on loopback. Default: the first free port from 4180 on.
        #[arg(long, value_name = "N")]
        port: Option<u16>,
        /// Show the login of an MCP client: the app has a small MCP server, and the gate issues tokens for it.
        #[arg(long)]
        mcp: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Import {
    /// oauth2-proxy 7.15: its configuration file, flags, `OAUTH2_PROXY_…` variables, and alpha configuration.
    ///
    /// The configuration goes to stdout. What has no equivalent, what is left to do and what is not needed goes to stderr, and into
    /// comments at its top. Flags override variables, and variables override the file. Secrets stay where they are: a file stays a
    /// file, and a variable stays a variable. The exit status is 0 if everything has an equivalent, and 3 if something has none. It
    /// is 2, without a configuration, if something is not an option of oauth2-proxy.
    #[command(name = "oauth2-proxy")]
    Oauth2Proxy {
        /// The configuration file, and an alpha configuration: its name ends in .yaml or .yml.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The command line of oauth2-proxy: everything after --args.
        #[arg(long = "args", value_name = "FLAG", num_args = 0.., allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file. Default: sidegate.toml in the working directory.
    #[arg(short, long = "config", value_name = "FILE", env = "SIDEGATE_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// Reads the configuration whenever it is called, with the environment of the start.
    fn loader(&self) -> Loader {
        let (file, environment) = (self.config.clone(), environment());
        Arc::new(move || config::load(file.as_deref(), &environment))
    }

    /// The configuration, or its report on stderr.
    fn load(&self) -> Result<Loaded, ExitCode> {
        config::load(self.config.as_deref(), &environment()).map_err(|report| refuse(&report))
    }

    fn load_without_secrets(&self) -> Result<Loaded, Report> {
        config::load_without_secrets(self.config.as_deref(), &environment())
    }

    fn name(&self) -> String {
        match &self.config {
            Some(path) => path.display().to_string(),
            None if PathBuf::from(config::DEFAULT_FILE).exists() => config::DEFAULT_FILE.to_owned(),
            None => "the environment".to_owned(),
        }
    }
}

fn refuse(report: &Report) -> ExitCode {
    let stderr = io::stderr();
    let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    complain(&report.render(colour));
    ExitCode::from(EXIT_CONFIGURATION)
}

/// Does what the command line asks.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(file) => run(&file),
        Command::Check {
            file,
            without_secrets,
            diff: Some(old),
            ..
        } => check_diff(&file, &old, without_secrets),
        Command::Check {
            file,
            without_secrets: true,
            ..
        } => check_without_secrets(&file),
        Command::Check { file, online, .. } => check(&file, online),
        Command::Explain {
            method,
            url,
            file,
            person,
            client,
            json,
        } => {
            let question = explain::Question {
                method: &method,
                url: &url,
                person: person.as_deref(),
                client,
                now: clock::now(),
            };
            explain(&file, &question, json)
        }
        Command::Import {
            from: Import::Oauth2Proxy { files, arguments },
        } => Ok(import_oauth2_proxy(&files, &arguments)),
        Command::Schema => {
            say(&format!("{:#}\n", config::json_schema()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Secret => {
            say(&format!("{}\n", fresh_secret()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Token => {
            let token = format::generate(random::bytes());
            let hash = format::write_hash(&format::hash(&token));
            say(&format!("{}\n{hash}\n", &*token));
            Ok(ExitCode::SUCCESS)
        }
        Command::Health { file, url } => health(&file, url.as_deref()),
        Command::Login { url, token } => log_in(&url, token),
        Command::Demo { port, mcp } => run_demo(port, mcp),
    };
    result.unwrap_or_else(|code| code)
}

/// Reads a configuration.
type Loader = Arc<dyn Fn() -> Result<Loaded, Report> + Send + Sync>;

fn run(file: &ConfigFile) -> Result<ExitCode, ExitCode> {
    let runtime = runtime()?;
    let code = run_on(&runtime, file);
    // What is being read may never come.
    runtime.shutdown_background();
    code
}

fn run_on(runtime: &Runtime, file: &ConfigFile) -> Result<ExitCode, ExitCode> {
    let signals = take_signals(runtime)?;
    let load = file.loader();
    let Some(loaded) = load_unless_stopped(runtime, &load, &signals) else {
        return Ok(ExitCode::SUCCESS);
    };
    let loaded = loaded.map_err(|report| refuse(&report))?;
    let _log = start_log(&loaded.config)?;
    for warning in loaded.warnings {
        tracing::warn!("{warning}");
    }
    let files = loaded.files;
    let source = ReloadFrom { load, files };
    let gate = app::run(loaded.config, Some(source), signals);
    Ok(serve(runtime, gate))
}

/// The configuration; none where the process is to stop before it is read.
fn load_unless_stopped(
    runtime: &Runtime,
    load: &Loader,
    signals: &Signals,
) -> Option<Result<Loaded, Report>> {
    let (load, stop) = (Arc::clone(load), signals.stop());
    runtime.block_on(async move {
        tokio::select! {
            loaded = tokio::task::spawn_blocking(move || load()) => match loaded {
                Ok(loaded) => Some(loaded),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            () = stop.cancelled() => None,
        }
    })
}

/// The signals of this process. Until they are taken each ends it.
fn take_signals(runtime: &Runtime) -> Result<Signals, ExitCode> {
    let _inside = runtime.enter();
    Signals::take().map_err(|error| cannot_start(&error))
}

fn log_in(url: &url::Url, wants_token: bool) -> Result<ExitCode, ExitCode> {
    let runtime = runtime()?;
    let done = if wants_token {
        let token = runtime.block_on(login::token(url));
        token.map(|token| say(&format!("{token}\n")))
    } else {
        let logged_in = runtime.block_on(login::log_in(url, say));
        logged_in.map(|()| {
            say(&format!(
                "Logged in. `sidegate login {url} --token` prints a token.\n"
            ));
        })
    };
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(why) => {
            complain(&format!("{}\n", login::plain(&why)));
            Err(ExitCode::FAILURE)
        }
    }
}

fn run_demo(port: Option<u16>, mcp: bool) -> Result<ExitCode, ExitCode> {
    let runtime = runtime()?;
    let (of_gate, of_provider) = (take_signals(&runtime)?, take_signals(&runtime)?);
    let demo = match demo::start(port, mcp) {
        Ok(demo) => demo,
        Err(error) => {
            complain(&format!("the demo cannot start: {error}\n"));
            return Err(ExitCode::FAILURE);
        }
    };
    let _log = start_log(&demo.config)?;
    say(&demo.banner);
    let gate = app::run(demo.config, None, of_gate);
    let provider = app::run(demo.provider, None, of_provider);
    let both = async { tokio::try_join!(gate, provider).map(|_| ()) };
    let code = serve(&runtime, both);
    drop(demo.servers);
    Ok(code)
}

/// Serves until a signal. Acceptors and what runs in the background share this thread.
fn serve(runtime: &Runtime, gates: impl Future<Output = io::Result<()>>) -> ExitCode {
    match runtime.block_on(gates) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn start_log(config: &Config) -> Result<LogGuard, ExitCode> {
    log::start(&config.log).map_err(|error| cannot_start(&error))
}

fn runtime() -> Result<Runtime, ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| cannot_start(&error))
}

fn cannot_start(error: &io::Error) -> ExitCode {
    complain(&format!("cannot start: {error}\n"));
    ExitCode::FAILURE
}

fn check(file: &ConfigFile, online: bool) -> Result<ExitCode, ExitCode> {
    let loaded = file.load().inspect_err(|_| {
        if file.load_without_secrets().is_ok() {
            complain(
                "only secrets are missing; to check a file without them, as in CI, use --without-secrets\n",
            );
        }
    })?;
    sum_up(file, &loaded);
    if !online {
        return Ok(ExitCode::SUCCESS);
    }
    let findings = runtime()?.block_on(online::ask(&loaded.config));
    say("online:\n");
    for finding in &findings {
        say(&format!("  {finding}\n"));
    }
    Ok(if findings.iter().any(online::Finding::is_failure) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn explain(
    file: &ConfigFile,
    question: &explain::Question<'_>,
    as_json: bool,
) -> Result<ExitCode, ExitCode> {
    let loaded = file
        .load_without_secrets()
        .map_err(|report| refuse(&report))?;
    let explanation = explain::explain(&loaded.config, question).map_err(|why| {
        complain(&format!("{why}\n"));
        ExitCode::from(EXIT_CONFIGURATION)
    })?;
    say(&if as_json {
        format!("{:#}\n", explanation.json())
    } else {
        explanation.text()
    });
    Ok(ExitCode::SUCCESS)
}

fn fresh_secret() -> String {
    URL_SAFE_NO_PAD.encode(random::bytes::<32>())
}

fn import_oauth2_proxy(files: &[PathBuf], arguments: &[String]) -> ExitCode {
    let question = import::Question {
        files,
        arguments,
        environment: &environment(),
        fresh_secret: &fresh_secret(),
    };
    match import::oauth2_proxy(&question, &|file| fs::read_to_string(file)) {
        Ok(translation) => {
            say(&translation.toml);
            for (title, sentences) in translation.notes.lists() {
                for sentence in sentences {
                    complain(&format!("{title}: {sentence}\n"));
                }
            }
            if translation.notes.is_complete() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(EXIT_INCOMPLETE)
            }
        }
        Err(errors) => {
            for error in errors {
                complain(&format!("error: {error}\n"));
            }
            ExitCode::from(EXIT_CONFIGURATION)
        }
    }
}

fn check_without_secrets(file: &ConfigFile) -> Result<ExitCode, ExitCode> {
    let loaded = file
        .load_without_secrets()
        .map_err(|report| refuse(&report))?;
    sum_up(file, &loaded);
    Ok(ExitCode::SUCCESS)
}

fn check_diff(file: &ConfigFile, old: &Path, without_secrets: bool) -> Result<ExitCode, ExitCode> {
    let load = if without_secrets {
        config::load_without_secrets
    } else {
        config::load
    };
    let load = |path: Option<&Path>| {
        let loaded = load(path, &environment()).map_err(|report| refuse(&report))?;
        Ok::<_, ExitCode>(loaded.config)
    };
    let (old_file, new_file) = (Some(old), file.config.as_deref());
    let (old, mut new) = (load(old_file)?, load(new_file)?);
    if without_secrets {
        // The stand-in for a missing secret differs each time.
        new.session.secrets.clone_from(&old.session.secrets);
    }
    let mut said = diff::changes(&old, &new);
    let waiting = app::keep_until_restart(&mut new, &old);
    if !waiting.is_empty() {
        said.push(format!(
            "these keys wait for a restart: {}",
            waiting.join(", ")
        ));
    }
    let mut others = diff::unsaid(config::differing_keys(old_file, new_file, &environment()));
    others.retain(|key| !waiting.contains(&key.as_str()));
    if !others.is_empty() {
        said.push(format!("other keys that differ: {}", others.join(", ")));
    }
    if said.is_empty() {
        say("no change in behaviour\n");
    }
    for sentence in said {
        say(&format!("- {sentence}\n"));
    }
    Ok(ExitCode::SUCCESS)
}

fn sum_up(file: &ConfigFile, loaded: &Loaded) {
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning}\n"));
    }
    for absent in &loaded.absent {
        complain(&format!("note: {absent}\n"));
    }
    say(&summary::summary(&file.name(), &loaded.config));
}

fn health(file: &ConfigFile, url: Option<&str>) -> Result<ExitCode, ExitCode> {
    let target = match url {
        Some(url) => health::Target::parse(url),
        // Another shell may lack the secrets.
        None => match file.load_without_secrets() {
            Ok(loaded) => health::Target::of(&loaded.config),
            Err(report) => {
                refuse(&report);
                // Docker reserves every status of a HEALTHCHECK but 0 and 1.
                return Err(ExitCode::FAILURE);
            }
        },
    };
    match target.and_then(health::Target::ask) {
        Ok(()) => {
            say("ok\n");
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => {
            complain(&format!("not healthy: {why}\n"));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The environment as text. Variables that are not UTF-8 are left out: a secret must not be changed to fit.
fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Writes to stdout. A closed pipe is no error.
fn say(text: &str) {
    _ = io::stdout().write_all(text.as_bytes());
}

/// Writes to stderr.
fn complain(text: &str) {
    _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_shows_a_file_that_passes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sidegate.toml");
        let from = AFTER_HELP.find("upstream ").unwrap();
        let to = AFTER_HELP.find("    sidegate check ").unwrap();
        fs::write(&file, &AFTER_HELP[from..to]).unwrap();
        let environment = [("CLIENT_SECRET".to_owned(), "s".to_owned())].into();
        let loaded = config::load(Some(&file), &environment).unwrap();
        let text = summary::summary("sidegate.toml", &loaded.config);
        assert!(text.starts_with("ok: sidegate.toml\n"), "{text}");
        assert!(
            text.contains("https://app.example.com/oauth2/callback/corp\n"),
            "{text}"
        );
    }

    #[test]
    fn a_path_goes_with_each_command_that_loads() {
        for arguments in [
            ["sidegate", "run", "-c", "a.toml"],
            ["sidegate", "check", "--config", "a.toml"],
            ["sidegate", "health", "-c", "a.toml"],
        ] {
            let (Command::Run(file) | Command::Check { file, .. } | Command::Health { file, .. }) =
                Cli::try_parse_from(arguments).unwrap().command
            else {
                panic!("another command");
            };
            assert_eq!(file.config.as_deref(), Some(Path::new("a.toml")));
        }
    }
}
