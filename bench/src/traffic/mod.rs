//! Other traffic than small requests over plain HTTP/1.1: what it costs beside nginx, which passes everybody.
//!
//! Pairs of runs, nginx's and sidegate's, in turning order; the ratio within a pair counts.

pub mod bulk;
mod http2;
mod idle;
mod programs;
mod setups;
mod tls;

use std::{
    error::Error,
    fmt::{self, Display},
    path::Path,
    time::{Duration, Instant},
};

use self::{
    bulk::Direction,
    http2::Http2Load,
    idle::Idle,
    programs::Tokens,
    setups::{Each, LAST_PATH, RULED_PATH, Setups},
};
use crate::{
    compare::Effort,
    load::{Load, Run},
    machine::{self, as_f64},
    request::Requests,
    session::{Mint, Size},
    setup::{Setup, Workplace},
    statistics::Spread,
};

/// Compares and prints Markdown.
pub fn compare(sidegate: &Path, effort: Effort) -> Result<(), Box<dyn Error>> {
    let workplace = Workplace::new()?;
    let setups = Setups::start(sidegate, &workplace)?;
    let mint = Mint::new(&setups.configuration)?;
    let bench = Bench {
        setups: &setups,
        mint: &mint,
        effort,
    };
    println!(
        "{}. Medians (quartiles) of pairs of runs. CPU of all processes of a setup.\n",
        machine::description()
    );
    println!(
        "| traffic | CPU of nginx | CPU of sidegate | CPU / nginx | time / nginx | p99 of nginx | p99 of sidegate | pairs |\n\
         |---|---|---|---|---|---|---|---|"
    );
    for row in bench.rows()? {
        println!("{row}");
    }
    println!(
        "\n| idle connections | RSS before, MiB | {} | 30 s after, MiB |\n|---|---|{}---|",
        COUNTS
            .map(|count| format!("bytes each of {count}"))
            .join(" | "),
        "---|".repeat(COUNTS.len())
    );
    let requests = Requests::new(PATH, &mint.cookies(Size::Usual)?);
    for setup in [&setups.nginx, &setups.gate] {
        let Idle {
            before,
            each,
            after,
        } = idle::weigh(setup, &requests, &COUNTS)?;
        let each: Vec<_> = each.iter().map(|(_, each)| format!("{each:.0}")).collect();
        let each = each.join(" | ");
        println!("| {} | {before:.1} | {each} | {after:.1} |", setup.name);
    }
    Ok(())
}

/// What stands still while rows change.
struct Bench<'a> {
    setups: &'a Setups,
    mint: &'a Mint,
    effort: Effort,
}

/// One run.
struct Sample {
    /// Nanoseconds.
    cpu: u64,
    time: Duration,
    p99: Option<Duration>,
}

/// Pairs of runs.
struct Row {
    name: &'static str,
    unit: Unit,
    /// nginx's and sidegate's.
    pairs: Vec<[Sample; 2]>,
}

/// Of what the CPU is told.
#[derive(Clone, Copy)]
enum Unit {
    /// Microseconds for one of so many.
    Each(usize),
    /// Seconds for all.
    All,
}

impl Bench<'_> {
    fn rows(&self) -> Result<Vec<Row>, Box<dyn Error>> {
        let Each {
            nginx,
            gate,
            trusting,
            ruling,
            routing,
            programs,
            asking_endpoint,
            asking_gate,
            bulk_nginx,
            bulk_gate,
            tls_nginx,
            tls_gate,
            bulk_tls_nginx,
            bulk_tls_gate,
            certificate,
        } = &self.setups.each;
        let small = |name, gate, path| self.small(name, [nginx, gate], || self.with_sessions(path));
        let long = |name, pair, direction| {
            let is_tls = std::ptr::eq::<Setup>(pair, bulk_tls_nginx);
            let tls = is_tls.then(|| certificate.client(&[]));
            let pair = if is_tls {
                [bulk_tls_nginx, bulk_tls_gate]
            } else {
                [bulk_nginx, bulk_gate]
            };
            self.row(name, Unit::All, pair, |setup| {
                let cookie = self.cookie()?;
                timed(setup, || {
                    bulk::transfer(setup.address, tls.as_ref(), &cookie, direction, GIBIBYTE)?;
                    Ok(None)
                })
            })
        };
        let both_tls = [tls_nginx, tls_gate];
        let tokens = Tokens::of(programs.address, &self.setups.for_programs)?;
        let both = [nginx, programs];
        Ok(vec![
            small("a login's route", gate, PATH)?,
            self.small("behind a trusted proxy", [nginx, trusting], || {
                Ok(self.with_sessions(PATH)?.forwarded())
            })?,
            small("a public route", gate, "/public/7?tab=open")?,
            small("a route with rules", ruling, RULED_PATH)?,
            small("the last of 200 routes", routing, LAST_PATH)?,
            self.small(
                "nginx auth_request: a fixed answer, sidegate",
                [asking_endpoint, asking_gate],
                || self.with_sessions(PATH),
            )?,
            self.small("a bearer JWT that is known", both, || Ok(tokens.jwt()))?,
            self.small("10,000 of them in turn", both, || Ok(tokens.jwts()))?,
            self.small("an API token", both, || Ok(tokens.api_token()))?,
            self.small("a token of the gate's own", both, || {
                Ok(tokens.access_token())
            })?,
            self.paced([nginx, gate])?,
            self.http2(both_tls)?,
            self.handshakes(both_tls)?,
            long("1 GiB down", bulk_nginx, Direction::Down)?,
            long("1 GiB up", bulk_nginx, Direction::Up)?,
            long("1 GiB down, TLS", bulk_tls_nginx, Direction::Down)?,
            long("1 GiB up, TLS", bulk_tls_nginx, Direction::Up)?,
        ])
    }

    /// Small requests, each connection one at a time. All that differ have come once before it counts.
    fn small(
        &self,
        name: &'static str,
        pair: [&Setup; 2],
        requests: impl Fn() -> Result<Requests, Box<dyn Error>>,
    ) -> Result<Row, Box<dyn Error>> {
        let Effort {
            requests: count,
            connections,
            ..
        } = self.effort;
        self.row(name, Unit::Each(count), pair, |setup| {
            let requests = requests()?;
            let mut load = Load::connect(setup.address, connections)?;
            load.run(&requests, 0, requests.count().max(WARM_UP * connections))?;
            timed(setup, || load.run(&requests, 0, count).map(|run| p99(&run)))
        })
    }

    /// What browsers send with a session. Its cookie is written anew once it is a minute old, so each run has others.
    fn with_sessions(&self, path: &str) -> Result<Requests, Box<dyn Error>> {
        Ok(Requests::new(path, &self.mint.cookies(Size::Usual)?))
    }

    fn paced(&self, pair: [&Setup; 2]) -> Result<Row, Box<dyn Error>> {
        let (count, connections) = (self.effort.requests, self.effort.connections);
        self.row("2,000 requests/s", Unit::Each(count), pair, |setup| {
            let requests = Requests::new(PATH, &self.mint.cookies(Size::Usual)?);
            let mut load = Load::connect(setup.address, connections)?;
            load.run(&requests, 0, WARM_UP * connections)?;
            timed(setup, || {
                load.run_paced(&requests, count, Duration::from_micros(500))
                    .map(|run| p99(&run))
            })
        })
    }

    fn http2(&self, pair: [&Setup; 2]) -> Result<Row, Box<dyn Error>> {
        let client = self.setups.each.certificate.client(&[b"h2"]);
        let count = self.effort.requests / CONNECTIONS;
        let unit = Unit::Each(count * CONNECTIONS);
        self.row("HTTP/2, 8 streams on each of 8", unit, pair, |setup| {
            let cookies = self.mint.cookies(Size::Usual)?;
            let load = Http2Load::connect(setup.address, &client, CONNECTIONS)?;
            load.run(&cookies, STREAMS, WARM_UP * STREAMS)?;
            timed(setup, || load.run(&cookies, STREAMS, count).map(|()| None))
        })
    }

    fn handshakes(&self, pair: [&Setup; 2]) -> Result<Row, Box<dyn Error>> {
        let client = self.setups.each.certificate.client(&[]);
        let name = "TLS handshake and one request";
        self.row(name, Unit::Each(HANDSHAKES), pair, |setup| {
            let cookie = self.cookie()?;
            timed(setup, || {
                tls::connect_often(setup.address, &client, &cookie, HANDSHAKES)?;
                Ok(None)
            })
        })
    }

    fn cookie(&self) -> Result<String, Box<dyn Error>> {
        let cookies = self.mint.cookies(Size::Usual)?;
        cookies.into_iter().next().ok_or_else(|| "no cookie".into())
    }

    fn row(
        &self,
        name: &'static str,
        unit: Unit,
        pair: [&Setup; 2],
        measure: impl Fn(&Setup) -> Result<Sample, Box<dyn Error>>,
    ) -> Result<Row, Box<dyn Error>> {
        eprint!("{name} ");
        let mut pairs = Vec::new();
        for round in 0..self.effort.rounds {
            if Instant::now() > self.effort.deadline {
                eprint!("(out of time) ");
                break;
            }
            machine::wait_for_quiet();
            let one = |place: usize| {
                let setup: &Setup = pair[place];
                measure(setup).map_err(|error| format!("{name}, {}: {error}", setup.name))
            };
            pairs.push(if round % 2 == 0 {
                [one(0)?, one(1)?]
            } else {
                let second = one(1)?;
                [one(0)?, second]
            });
            eprint!(".");
        }
        eprintln!();
        Ok(Row { name, unit, pairs })
    }
}

impl Row {
    fn spread(&self, figure: impl Fn(&[Sample; 2]) -> f64) -> Spread {
        Spread::of(self.pairs.iter().map(figure))
    }

    fn p99(&self, place: usize) -> String {
        let all = self.pairs.iter().filter_map(|pair| pair[place].p99);
        let all: Vec<f64> = all.map(|p99| p99.as_secs_f64() * 1e6).collect();
        if all.is_empty() {
            "–".to_owned()
        } else {
            format!("{:.0} µs", Spread::of(all).median)
        }
    }
}

impl Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, unit, pairs } = self;
        if pairs.is_empty() {
            return write!(out, "| {name} | not measured: out of time |");
        }
        let cpu = |place: usize| {
            let cpu = self.spread(|pair| as_f64(pair[place].cpu)).median;
            match unit {
                Unit::Each(count) => format!("{:.1} µs", cpu / 1e3 / as_f64(*count as u64)),
                Unit::All => format!("{:.2} s", cpu / 1e9),
            }
        };
        write!(
            out,
            "| {name} | {} | {} | {} | {:.2} | {} | {} | {} |",
            cpu(0),
            cpu(1),
            self.spread(|[nginx, gate]| as_f64(gate.cpu) / as_f64(nginx.cpu)),
            self.spread(|[nginx, gate]| gate.time.as_secs_f64() / nginx.time.as_secs_f64())
                .median,
            self.p99(0),
            self.p99(1),
            pairs.len(),
        )
    }
}

fn timed(
    setup: &Setup,
    work: impl FnOnce() -> Result<Option<Duration>, Box<dyn Error>>,
) -> Result<Sample, Box<dyn Error>> {
    let (cpu, began) = (setup.cpu_time(), Instant::now());
    let p99 = work()?;
    Ok(Sample {
        time: began.elapsed(),
        cpu: setup.cpu_time() - cpu,
        p99,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "other runs have none")]
fn p99(run: &Run) -> Option<Duration> {
    Some(run.percentile(99))
}

/// What is asked for.
const PATH: &str = "/projects/7?tab=open";
const GIBIBYTE: u64 = 1 << 30;
/// Idle connections.
const COUNTS: [usize; 2] = [1_000, 9_000];
/// Of HTTP/2: connections, and requests at a time on each.
const CONNECTIONS: usize = 8;
const STREAMS: usize = 8;
const HANDSHAKES: usize = 300;
/// Requests on each connection, or stream, before those that count.
const WARM_UP: usize = 20;
