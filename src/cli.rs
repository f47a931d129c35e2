//! The command line: `run`, `check`, `explain`, `import`, `secret`, `health`, `login`, `demo`.
//!
//! The one place that writes to the terminal. Results go to stdout, problems to stderr; 0 is success, 1
//! a failure, 2 a configuration or command line that has to be changed, 3 an import that left something over.

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

use crate::{
    api_token::format,
    app::{self, ReloadFrom},
    clock,
    config::{self, Config, Environment, Loaded, Report},
    demo,
    observe::log::{self, LogGuard},
    random,
};

/// A configuration or command line that has to be changed.
const EXIT_CONFIGURATION: u8 = 2;

/// A configuration was written, and something of the old one has no equivalent in it.
const EXIT_INCOMPLETE: u8 = 3;

/// A login in front of any web app.
///
/// sidegate is a reverse proxy. It sends a browser without a session to your OpenID Connect provider,
/// keeps the session in an encrypted cookie, decides who may pass, and tells the app who the user is in
/// headers such as X-User.
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
Look at it first, with no file, no account and no network:

    sidegate demo
    sidegate demo --mcp

Then protect an app of your own. The smallest sidegate.toml:

    upstream   = \"http://127.0.0.1:8000\"
    public_url = \"https://app.example.com\"

    [providers.corp]
    type          = \"oidc\"
    issuer        = \"https://login.example.com\"
    client_id     = \"app\"
    client_secret = { env = \"CLIENT_SECRET\" }
    allow         = { domains = [\"example.com\"] }

    sidegate check      says what is wrong with it, and which callback address to
                        register at the provider
    sidegate run        serves

Every key also has an environment name: SIDEGATE_UPSTREAM, SIDEGATE_SESSION__SECRET,
SIDEGATE_PROVIDERS__CORP__CLIENT_ID. `sidegate secret` makes the session secret that
lets sessions outlive a restart. config.example.toml explains every key.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: listen, and forward what may pass.
    Run(ConfigFile),
    /// Check the configuration; print a summary, or every problem with its line.
    ///
    /// With --online also ask each provider whether it is there and takes the client's secret (with a code that
    /// nobody has, so that nothing is spent), and compare this machine's clock with its own; and sign in to Redis, where sessions need one. Exits with 1 when one cannot be reached,
    /// does not say what a login needs, does not let us in, or the clocks are more than five minutes
    /// apart.
    Check {
        #[command(flatten)]
        file: ConfigFile,
        /// Ask the providers too: their discovery documents, or where a login begins; and Redis.
        #[arg(long)]
        online: bool,
        /// Pass where secrets are not on this machine, as in CI: note which, and check all else.
        ///
        /// A secret here is what stands in `{ env = … }`, `{ file = … }` or `tls`. One that is here is checked all
        /// the same.
        #[arg(long, conflicts_with = "online")]
        without_secrets: bool,
        /// Say in words what this configuration changes of OLD, an earlier one: routes, who may pass, who is signed out,
        /// and what waits for a restart.
        #[arg(long, value_name = "OLD", conflicts_with = "online")]
        diff: Option<PathBuf>,
    },
    /// Say what would become of a request: which route, which rule, what verdict, and which headers the app would get.
    ///
    /// Nothing is asked of anybody, and the secrets need not be here. The path is taken as it is written, escapes and
    /// all. A header whose value is a secret or a token is named without it. What only a running gate knows is not
    /// judged: Fetch Metadata (`cross_site`), sessions that have ended, limits.
    Explain {
        /// The method, in upper case.
        method: String,
        /// `https://HOST/PATH`, or `/PATH` at `public_url`.
        url: String,
        #[command(flatten)]
        file: ConfigFile,
        /// Who is signed in, as user=ada,email=ada@example.com,groups=a;b,provider=corp; also name, subject, claims.PATH
        /// and the other lists of `allow`; how long ago they authenticated (`auth_age=5m`; just now without) and how (acr=…).
        /// Without, nobody is. What proves it: `credential=bearer`, `scopes=a;b`, `client=…`; a session where none is said.
        #[arg(long = "as", value_name = "WHO")]
        person: Option<String>,
        /// The client's address, for `networks`.
        #[arg(long, value_name = "IP")]
        client: Option<IpAddr>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Print another program's configuration as sidegate's, with a list of what has no equivalent.
    Import {
        #[command(subcommand)]
        from: Import,
    },
    /// Print the JSON Schema of the configuration, for editors: completion, explanations, and mistakes underlined.
    ///
    /// Save it beside the configuration as sidegate.schema.json, and begin the configuration with the line
    /// `#:schema ./sidegate.schema.json`. Editors with taplo (Even Better TOML) take it.
    Schema,
    /// Print a fresh session secret: 32 random bytes as base64url.
    Secret,
    /// Print a fresh token for a machine, and what the configuration keeps of it.
    ///
    /// The first line is the token, which the machine sends; the second is its SHA-256, for `hash` of `[[service_tokens]]`.
    Token,
    /// Ask a running gate whether it is alive; for a container's HEALTHCHECK.
    ///
    /// Asks for /ping at `admin_listen`, else for PREFIX/ping at the first `listen` address (over TLS where `tls` is set,
    /// whatever the certificate says), or at the address given. Exits with 0 when the answer is 200 within
    /// two seconds, and with 1 otherwise.
    Health {
        #[command(flatten)]
        file: ConfigFile,
        /// Ask here instead, without a look at the configuration: `http://HOST:PORT` or `unix:/PATH`; with a prefix of
        /// one's own, `http://HOST:PORT/PREFIX/ping`.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Log in at what a gate guards, from a terminal, and keep the token; with `--token`, print an access token.
    ///
    /// The browser may be anywhere: what is printed says which address to open, and which code to compare. Tokens are kept in
    /// `sidegate/tokens.json` below `XDG_CONFIG_HOME` or `~/.config`, which only you may read. docs/cli.md shows curl, git and kubectl.
    Login {
        /// The address of what is guarded, as in `https://app.example.com/api`
        url: url::Url,
        /// Print an access token of an earlier login, renewed if need be, and nothing else.
        #[arg(long)]
        token: bool,
    },
    /// Show a whole login on this machine: a demo app, a demo provider, and the gate before it.
    Demo {
        /// Where the gate listens on loopback; the first free port from 4180 on where none is named.
        #[arg(long, value_name = "N")]
        port: Option<u16>,
        /// Show how a client of the Model Context Protocol logs in: the app has a small MCP server, and the gate gives tokens for it.
        #[arg(long)]
        mcp: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Import {
    /// oauth2-proxy 7.15: its configuration file, flags, `OAUTH2_PROXY_…` variables, and alpha configuration.
    ///
    /// The configuration goes to stdout; what has no equivalent, what is left to do and what is not needed to stderr, and as
    /// comments to its top. Flags count before variables, and these before the file, as there. Secrets go through as they
    /// stand: a file stays a file, and what a variable holds stays in that variable. Exits with 0 when
    /// everything has an equivalent, with 3 when something has none, and with 2, and without a configuration, when something is
    /// no option of oauth2-proxy's.
    #[command(name = "oauth2-proxy")]
    Oauth2Proxy {
        /// The configuration file; an alpha configuration is one that ends in .yaml or .yml, and may stand beside it.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Its command line: all that follows.
        #[arg(long = "args", value_name = "FLAG", num_args = 0.., allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration; sidegate.toml in the working directory where none is named.
    #[arg(short, long = "config", value_name = "FILE", env = "SIDEGATE_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The configuration, or its report on stderr.
    /// Reads it again, in the environment of the start.
    fn source(&self, loaded: &Loaded) -> ReloadFrom {
        let (file, environment) = (self.config.clone(), environment());
        ReloadFrom {
            load: Arc::new(move || config::load(file.as_deref(), &environment)),
            files: loaded.files.clone(),
        }
    }

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
        Command::Run(file) => file.load().map(|loaded| {
            let source = file.source(&loaded);
            run(loaded, source)
        }),
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
        Command::Demo { port, mcp } => Ok(run_demo(port, mcp)),
    };
    result.unwrap_or_else(|code| code)
}

fn run(loaded: Loaded, source: ReloadFrom) -> ExitCode {
    let _log = match start_log(&loaded.config) {
        Ok(log) => log,
        Err(code) => return code,
    };
    for warning in loaded.warnings {
        tracing::warn!("{warning}");
    }
    serve(loaded.config, Some(source))
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
            complain(&format!("{why}\n"));
            Err(ExitCode::FAILURE)
        }
    }
}

fn run_demo(port: Option<u16>, mcp: bool) -> ExitCode {
    let demo = match demo::start(port, mcp) {
        Ok(demo) => demo,
        Err(error) => {
            complain(&format!("the demo cannot start: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let _log = match start_log(&demo.config) {
        Ok(log) => log,
        Err(code) => return code,
    };
    say(&demo.banner);
    let code = serve(demo.config, None);
    drop(demo.servers);
    code
}

/// Serves until a signal. The acceptor and what runs in the background share this thread.
fn serve(config: Config, source: Option<ReloadFrom>) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    match runtime.block_on(app::run(config, source)) {
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

fn runtime() -> Result<tokio::runtime::Runtime, ExitCode> {
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
                "nothing is wrong but that secrets are not here; where none should be, as in CI, use --without-secrets\n",
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
        // What stands in for a secret is another one each time.
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
        say("nothing that matters to anybody\n");
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
        // Who asks from another shell need not have the secrets.
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

/// The environment as text. What is not UTF-8 is none of ours, and a secret must not be changed to fit.
fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Writes to stdout. Whoever closed the pipe wants no more of it.
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
