//! What it costs to keep sessions elsewhere than in the cookie: CPU of hot sessions beside cookie mode, and
//! memory of many sessions at rest.
//!
//! A store also works between requests, and not in each short run: it is told what sessions were used. So beside the ratios of
//! pairs of runs stands that of all CPU from the first run to the last, pauses included.

use std::{
    error::Error,
    fmt, fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use sidegate::{
    clock,
    identity::Identity,
    session::{
        Lifetimes, Session, codec,
        store::{Memory, Record, Store},
        ticket::Ticket,
    },
    tokens::Tokens,
};

use crate::{
    compare::{Effort, Sample},
    machine::{self, Cores, as_f64},
    process::Process,
    request::Requests,
    setup::{Kept, Setup, Workplace, free_address, gate_keeping, responder},
    signed_in,
    statistics::Spread,
    upstream::Role,
};

/// Compares and prints Markdown.
pub fn compare(sidegate: &Path, effort: Effort) -> Result<(), Box<dyn Error>> {
    let cores = Cores::choose()?;
    let workplace = Workplace::new()?;
    let (app_address, provider_address) = (free_address()?, free_address()?);
    let app = responder(
        app_address,
        Role::App,
        cores.load,
        &workplace.path("app.log"),
    )?;
    let _provider = responder(
        provider_address,
        Role::Provider,
        cores.load,
        &workplace.path("provider.log"),
    )?;
    let start = |kept, name| {
        gate_keeping(
            kept,
            name,
            sidegate,
            app_address,
            provider_address,
            cores,
            &workplace,
        )
    };
    let cookie = start(Kept::Cookie, "cookie")?;
    let others = [
        start(Kept::Cookie, "cookie, again (control)")?,
        start(Kept::Memory, "memory")?,
        start(Kept::Redis, "Redis")?,
    ];
    println!(
        "{}. {SESSIONS} hot sessions, {} keep-alive connections, {} requests a run. Median (quartiles); CPU of all \
         processes of a setup, Redis included.\n",
        machine::description(),
        effort.connections,
        effort.requests
    );
    println!(
        "| store | CPU µs/request | / cookie, pairs of runs | / cookie, pauses included | head of a request |\n\
         |---|---|---|---|---|"
    );
    for other in &others {
        println!("{}", Row::measure(&cookie, other, &app, effort)?);
    }
    println!("\n| {AT_REST} sessions at rest in memory | resident bytes each |\n|---|---|");
    println!("| identity only | {:.0} |", at_rest(false)?);
    println!(
        "| with tokens (1 KiB access, 1 KiB ID, 200 B refresh) | {:.0} |",
        at_rest(true)?
    );
    Ok(())
}

/// A setup beside cookie mode.
struct Row {
    name: &'static str,
    costs: Vec<f64>,
    ratios: Vec<f64>,
    /// CPU of both, cookie mode's first, while sessions were hot: runs, warm-ups, and what is done between them.
    whole: [u64; 2],
    head: usize,
}

impl Row {
    fn measure(
        cookie: &Setup,
        other: &Setup,
        app: &Process,
        effort: Effort,
    ) -> Result<Self, Box<dyn Error>> {
        let mut row = Self {
            name: other.name,
            costs: Vec::new(),
            ratios: Vec::new(),
            whole: [0; 2],
            head: 0,
        };
        let both = [cookie, other];
        let mut rounds = 0..effort.rounds;
        while !rounds.is_empty() && Instant::now() < effort.deadline {
            let hot = [Hot::sign_in(cookie)?, Hot::sign_in(other)?];
            row.head = hot[1].requests.length();
            let (begun, until) = (both.map(Setup::cpu_time), Instant::now() + FRESH);
            for round in rounds.by_ref() {
                machine::wait_for_quiet();
                let mut samples = [None; 2];
                for place in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                    let Hot { setup, requests } = &hot[place];
                    let first = round * effort.requests;
                    let sample = Sample::take(setup, app, effort, requests, first)?;
                    samples[place] = Some(sample.cpu);
                }
                let [Some(base), Some(cost)] = samples else {
                    unreachable!("both were taken")
                };
                row.ratios.push(cost / base);
                row.costs.push(cost);
                if Instant::now() > until.min(effort.deadline) {
                    break;
                }
            }
            let ended = both.map(Setup::cpu_time);
            for place in 0..2 {
                row.whole[place] += ended[place] - begun[place];
            }
        }
        Ok(row)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ratios.is_empty() {
            return write!(formatter, "| {} | not measured: out of time |", self.name);
        }
        let [cookie, whole] = self.whole.map(as_f64);
        write!(
            formatter,
            "| {} | {} | {} | {:.2} | {} B |",
            self.name,
            Spread::of(self.costs.iter().copied()),
            Spread::of(self.ratios.iter().copied()),
            whole / cookie,
            self.head,
        )
    }
}

/// A setup and requests of sessions that have just begun.
struct Hot<'a> {
    setup: &'a Setup,
    requests: Requests,
}

impl<'a> Hot<'a> {
    fn sign_in(setup: &'a Setup) -> Result<Self, Box<dyn Error>> {
        let cookies = signed_in::cookies(setup.address, SESSIONS)?;
        let requests = Requests::new("/projects/7?tab=open", &cookies);
        Ok(Self { setup, requests })
    }
}

/// Resident bytes of this process for each of many sessions in the store that sidegate has.
fn at_rest(with_tokens: bool) -> Result<f64, Box<dyn Error>> {
    let day = Duration::from_hours(24);
    let lifetimes = Lifetimes {
        lifetime: day,
        idle_timeout: day,
    };
    let store: Arc<dyn Store> = Arc::new(Memory::new(2 * u64::from(AT_REST), lifetimes));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let now = clock::now();
    let before = resident()?;
    for number in 0..AT_REST {
        let session = session(number, with_tokens);
        let ticket = Ticket::new(session.id, session.id);
        let record = Record {
            generation: 0,
            sealed: ticket.seal(&codec::encode(&session), [7; 16]),
        };
        runtime.block_on(store.create(&session.id, record, now.after(day), now))?;
    }
    let after = resident()?;
    // Not before it was weighed.
    drop(store);
    Ok(as_f64(after - before) / f64::from(AT_REST))
}

fn session(number: u32, with_tokens: bool) -> Session {
    let mut id = [0; 16];
    // Spread, as random ids are.
    id[..8].copy_from_slice(
        &u64::from(number)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_be_bytes(),
    );
    id[8..12].copy_from_slice(&number.to_be_bytes());
    let identity = Identity {
        login: Some("ada.lovelace".into()),
        email: Some("ada.lovelace@example.com".into()),
        name: Some("Ada Lovelace".into()),
        groups: vec!["engineering".into(), "operations".into(), "everyone".into()],
        ..Identity::of("corp", &format!("{number:08x}-6d0e-4f0b-9c55-0a2f4b1f7d11"))
    };
    let mut session = Session::begin(id, id, clock::now(), identity);
    if with_tokens {
        let token = |length: usize| Some(format!("{number:08x}").repeat(length / 8).into());
        session.tokens = Tokens {
            access: token(1_024),
            id: token(1_024),
            refresh: token(200),
            ..Tokens::default()
        };
    }
    session
}

/// This process's resident set, in bytes.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .ok_or("no VmRSS")?
        .parse()?;
    Ok(kibibytes * 1024)
}

/// Hot sessions: as many as one worker of a busy app sees in a minute.
const SESSIONS: usize = 1_000;
const AT_REST: u32 = 100_000;
/// How long sessions are asked for. After a minute cookie mode writes the cookie anew: once to a browser, but to every request
/// of a load generator that does not take it.
const FRESH: Duration = Duration::from_secs(45);
