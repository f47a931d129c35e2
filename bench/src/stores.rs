//! What it costs to keep sessions elsewhere than in the cookie: CPU of hot sessions beside cookie mode, and
//! memory of many sessions at rest.

use std::{
    error::Error,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use sidegate::{
    clock,
    session::{
        Identity, Lifetimes, Session, Tokens, codec,
        store::{Memory, Record, Store},
        ticket::Ticket,
    },
};

use crate::{
    compare::{Effort, Sample},
    machine::{self, Cores, as_f64},
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
    let start = |kept, name| -> Result<Hot, Box<dyn Error>> {
        let setup = gate_keeping(
            kept,
            name,
            sidegate,
            app_address,
            provider_address,
            cores,
            &workplace,
        )?;
        let cookies = signed_in::cookies(setup.address, SESSIONS)?;
        let requests = Requests::new("/projects/7?tab=open", &cookies);
        Ok(Hot { setup, requests })
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
    println!("| store | CPU µs/request | / cookie | head of a request |\n|---|---|---|---|");
    for other in &others {
        let mut ratios = Vec::new();
        let mut costs = Vec::new();
        for round in 0..effort.rounds {
            if Instant::now() > effort.deadline {
                break;
            }
            machine::wait_for_quiet();
            let take = |hot: &Hot| {
                let first = round * effort.requests;
                Sample::take(&hot.setup, &app, effort, &hot.requests, first)
            };
            let (base, sample) = if round % 2 == 0 {
                let base = take(&cookie)?;
                (base, take(other)?)
            } else {
                let sample = take(other)?;
                (take(&cookie)?, sample)
            };
            ratios.push(sample.cpu / base.cpu);
            costs.push(sample.cpu);
        }
        println!(
            "| {} | {} | {} | {} B |",
            other.setup.name,
            Spread::of(costs),
            Spread::of(ratios),
            other.requests.length(),
        );
    }
    println!("\n| {AT_REST} sessions at rest in memory | resident bytes each |\n|---|---|");
    println!("| identity only | {:.0} |", at_rest(false)?);
    println!(
        "| with tokens (1 KiB access, 1 KiB ID, 200 B refresh) | {:.0} |",
        at_rest(true)?
    );
    Ok(())
}

/// A setup and requests of its own sessions.
struct Hot {
    setup: Setup,
    requests: Requests,
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
            sealed: ticket.seal(&codec::encode(&session), [7; 12]),
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
