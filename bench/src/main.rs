//! What a request through sidegate costs, beside nginx.
//!
//! `compare` starts nginx, nginx with `auth_request`, and sidegate before one app, sends each the
//! same requests in turns, and prints what they cost. `respond` is the app and the endpoint that
//! nginx asks. See README.md for how to read the result.

mod compare;
mod inspect;
mod load;
mod machine;
mod process;
mod registrations;
mod report;
mod request;
mod session;
mod setup;
mod signed_in;
mod statistics;
mod stores;
mod syscalls;
mod traffic;
mod upstream;

use std::{
    error::Error,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Parser};

use crate::{
    compare::{Bench, Effort},
    load::Load,
    machine::Cores,
    report::{Footprint, JUDGED, Report},
    request::Requests,
    session::{Mint, Size, USER},
    setup::{Gate, Nginx, NginxKind, Setup, Workplace, free_address, responder},
    upstream::Role,
};

#[derive(Parser)]
enum Command {
    /// Compares sidegate with nginx and prints Markdown.
    Compare(Options),
    /// Compares sidegate's session stores with each other, and weighs sessions in memory.
    Stores(Options),
    /// Compares sidegate with nginx in other kinds of traffic: TLS, HTTP/2, long bodies, idle connections, many routes.
    Traffic(Options),
    /// Registers OAuth clients at a steady rate, and weighs what they leave behind.
    Registrations(registrations::Options),
    /// Sends requests to a sidegate that runs already, for a profiler to watch.
    Load {
        /// Where it listens.
        address: SocketAddr,
        /// Its configuration: the sessions are sealed with its secret.
        #[arg(long)]
        config: PathBuf,
        /// Signs in at its provider `corp` instead, wherever it keeps sessions.
        #[arg(long)]
        sign_in: bool,
        /// How many requests.
        #[arg(long, default_value_t = 100_000)]
        requests: usize,
        /// Kept-alive connections.
        #[arg(long, default_value_t = 64)]
        connections: usize,
    },
    /// Answers every request on ADDRESS with the same bytes.
    Respond {
        /// Where to listen.
        address: SocketAddr,
        /// What to answer.
        role: Role,
    },
}

#[derive(Args)]
struct Options {
    /// The sidegate to measure: a release build.
    #[arg(long)]
    sidegate: PathBuf,
    /// Triples for each target.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Requests in each run.
    #[arg(long, default_value_t = 10_000)]
    requests: usize,
    /// Kept-alive connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// After how many seconds no new run begins.
    #[arg(long, default_value_t = 240)]
    seconds: u64,
}

impl Options {
    fn effort(&self) -> Effort {
        Effort {
            rounds: self.rounds,
            requests: self.requests,
            connections: self.connections,
            deadline: Instant::now() + Duration::from_secs(self.seconds),
        }
    }
}

/// sidegate's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Compare(options) => compare(&options),
        Command::Stores(options) => stores::compare(&options.sidegate, options.effort()),
        Command::Traffic(options) => traffic::compare(&options.sidegate, options.effort()),
        Command::Registrations(options) => registrations::weigh(&options),
        Command::Load {
            address,
            config,
            sign_in,
            requests,
            connections,
        } => cookies(address, &config, sign_in)
            .and_then(|cookies| send(address, &cookies, requests, connections)),
        Command::Respond {
            address,
            role: Role::Bulk,
        } => traffic::bulk::serve(address).map_err(Into::into),
        Command::Respond { address, role } => upstream::serve(address, role).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn cookies(
    address: SocketAddr,
    config: &Path,
    sign_in: bool,
) -> Result<Vec<String>, Box<dyn Error>> {
    if sign_in {
        signed_in::cookies(address, WATCHED_SESSIONS)
    } else {
        Mint::new(config)?.cookies(Size::Usual)
    }
}

fn send(
    address: SocketAddr,
    cookies: &[String],
    requests: usize,
    connections: usize,
) -> Result<(), Box<dyn Error>> {
    let requests_to_send = Requests::new(PATH, cookies);
    let mut load = Load::connect(address, connections)?;
    let run = load.run(&requests_to_send, 0, requests)?;
    println!(
        "{:.1} s, p50 {} µs, p99 {} µs",
        run.wall.as_secs_f64(),
        run.percentile(50).as_micros(),
        run.percentile(99).as_micros(),
    );
    Ok(())
}

fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    let effort = options.effort();
    let cores = Cores::choose()?;
    let workplace = Workplace::new()?;
    let app_address = free_address()?;
    let app = responder(
        app_address,
        Role::App,
        cores.load,
        &workplace.path("app.log"),
    )?;
    let setups = Setups::start(&options.sidegate, app_address, cores, &workplace)?;

    let mint = Mint::new(&GATE.configuration(&workplace))?;
    setups.inspect(&mint.cookies(Size::Usual)?[0])?;
    let bench = Bench {
        plain: &setups.plain,
        auth_request: &setups.auth_request,
        app: &app,
        effort,
    };
    let report = measure(&bench, &setups, &mint, &workplace)?;
    println!("{report}");
    Ok(())
}

/// Everything that is compared. All of it stays up; only the requests change their target.
struct Setups {
    plain: Setup,
    logging: Setup,
    auth_request: Setup,
    gate: Setup,
    logging_gate: Setup,
}

impl Setups {
    fn start(
        sidegate: &Path,
        app: SocketAddr,
        cores: Cores,
        workplace: &Workplace,
    ) -> Result<Self, Box<dyn Error>> {
        let nginx = |kind| Nginx::of(kind).start(app, cores, workplace);
        let gate = |gate: Gate<'_>| gate.start(sidegate, app, cores, workplace);
        let logging_gate = Gate {
            name: "sidegate, access log",
            file: "log",
            log: "info",
            ..Gate::default()
        };
        Ok(Self {
            plain: nginx(NginxKind::Plain)?,
            logging: nginx(NginxKind::AccessLog)?,
            auth_request: nginx(NginxKind::AuthRequest)?,
            gate: gate(GATE)?,
            logging_gate: gate(logging_gate)?,
        })
    }

    fn all(&self) -> [&Setup; 5] {
        [
            &self.plain,
            &self.logging,
            &self.auth_request,
            &self.gate,
            &self.logging_gate,
        ]
    }

    fn inspect(&self, session_cookie: &str) -> Result<(), Box<dyn Error>> {
        for setup in self.all() {
            inspect::forwards(setup, session_cookie)?;
        }
        inspect::identifies(&self.auth_request, session_cookie, USER)?;
        for gate in [&self.gate, &self.logging_gate] {
            inspect::identifies(gate, session_cookie, USER)?;
            inspect::guards(gate, session_cookie)?;
        }
        Ok(())
    }
}

fn measure(
    bench: &Bench<'_>,
    setups: &Setups,
    mint: &Mint,
    workplace: &Workplace,
) -> Result<Report, Box<dyn Error>> {
    let requests = |path, size| Ok(Requests::new(path, &mint.cookies(size)?));
    // With a session cookie as most users have it, and as somebody in many groups has it.
    let usual = || requests(PATH, Size::Usual);
    let long = || requests(PATH, Size::Long);
    // A path that asks for no session.
    let public = || requests("/public/7?tab=open", Size::Usual);
    let control = bench.compare("nginx, again (control)", &setups.plain, usual)?;
    let comparisons = vec![
        bench.compare(JUDGED, &setups.gate, usual)?,
        bench.compare("sidegate, long cookie", &setups.gate, long)?,
        bench.compare("sidegate, public path", &setups.gate, public)?,
        bench.compare("nginx, access log", &setups.logging, usual)?,
        bench.compare("sidegate, access log", &setups.logging_gate, usual)?,
    ];
    let counted = usual()?;
    let footprints = setups
        .all()
        .into_iter()
        .map(|setup| Footprint {
            name: setup.name,
            at_start: setup.memory_at_start,
            at_end: setup.memory(),
            calls: syscalls::count(setup, &counted, bench.effort.connections, workplace)
                .map_err(|error| error.to_string()),
        })
        .collect();
    Ok(Report {
        effort: bench.effort,
        request_lengths: (counted.length(), long()?.length()),
        control,
        comparisons,
        footprints,
    })
}

/// What is asked for.
const PATH: &str = "/projects/7?tab=open";
/// Logins are slow where a profiler watches.
const WATCHED_SESSIONS: usize = 50;
/// The sidegate that is judged. It writes no access log, nor does nginx.
const GATE: Gate<'_> = Gate {
    name: JUDGED,
    file: "judged",
    log: "off",
    keys: "",
    tables: "",
};
