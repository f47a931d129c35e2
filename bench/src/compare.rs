//! The comparison: triples (nginx, X, nginx with `auth_request`) a fraction of a second apart. On a shared
//! machine the same work costs up to twice as much from one minute to the next, so only ratios
//! within a triple are compared.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use crate::{
    load::Load,
    machine::{self, Usage, as_f64},
    process::{self, Process},
    request::Requests,
    setup::Setup,
    statistics::Spread,
};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Triples for each target.
    pub rounds: usize,
    /// Requests in each run of a triple.
    pub requests: usize,
    /// Kept-alive connections, each with one request in flight.
    pub connections: usize,
    /// When measuring ends, finished or not.
    pub deadline: Instant,
}

/// What stands still while targets change.
pub struct Bench<'a> {
    /// The first reference.
    pub plain: &'a Setup,
    /// The second reference.
    pub auth_request: &'a Setup,
    /// The app, whose CPU is nobody's.
    pub app: &'a Process,
    /// How much is measured.
    pub effort: Effort,
}

/// One setup in one run.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// CPU of all its processes per request, in microseconds.
    pub cpu: f64,
    /// Requests per second.
    pub rate: f64,
    /// Median latency in microseconds.
    pub p50: f64,
    /// Latency in microseconds that one request in a hundred exceeds.
    pub p99: f64,
    /// The share of the machine that others used.
    foreign: f64,
}

/// A place in a triple.
#[derive(Clone, Copy)]
pub enum Place {
    /// nginx.
    Plain,
    /// The setup that is measured.
    Target,
    /// nginx with `auth_request`.
    AuthRequest,
}

/// The runs of one target between its references.
pub struct Comparison {
    /// For the report.
    pub name: &'static str,
    /// By [`Place`], whichever ran first.
    triples: Vec<[Sample; 3]>,
}

impl Bench<'_> {
    /// Measures `target` in triples. `requests` gives new ones for each: a cookie that is older than a minute is written
    /// anew, once to a browser, but to every request of a load generator that does not take it.
    pub fn compare(
        &self,
        name: &'static str,
        target: &Setup,
        requests: impl Fn() -> Result<Requests, Box<dyn Error>>,
    ) -> Result<Comparison, Box<dyn Error>> {
        eprint!("{name} ");
        let mut triples = Vec::new();
        for round in 0..self.effort.rounds {
            if Instant::now() > self.effort.deadline {
                eprint!("(out of time) ");
                break;
            }
            machine::wait_for_quiet();
            let mut order = [self.plain, target, self.auth_request];
            if round % 2 == 1 {
                order.reverse();
            }
            let requests = requests()?;
            let mut triple = Vec::with_capacity(3);
            for setup in order {
                let first = round * self.effort.requests;
                let sample = self.measure(setup, &requests, first);
                triple.push(sample.map_err(|error| format!("{name}, {}: {error}", setup.name))?);
            }
            let [first, middle, last] = triple[..] else {
                unreachable!("three runs were made")
            };
            triples.push(if round % 2 == 1 {
                [last, middle, first]
            } else {
                [first, middle, last]
            });
            eprint!(".");
        }
        eprintln!();
        Ok(Comparison { name, triples })
    }

    fn measure(
        &self,
        setup: &Setup,
        requests: &Requests,
        first: usize,
    ) -> Result<Sample, Box<dyn Error>> {
        Sample::take(setup, self.app, self.effort, requests, first)
    }
}

impl Sample {
    /// One run on connections of its own, after a warm-up.
    pub fn take(
        setup: &Setup,
        app: &Process,
        effort: Effort,
        requests: &Requests,
        first: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let count = effort.requests;
        let mut load = Load::connect(setup.address, effort.connections)?;
        load.run(requests, first, WARM_UP * effort.connections)?;

        let usage = Usage::now();
        let surroundings = app.cpu_time() + process::own_cpu_time();
        let cpu = setup.cpu_time();
        let run = load.run(requests, first, count)?;
        let cpu = setup.cpu_time() - cpu;
        let surroundings = app.cpu_time() + process::own_cpu_time() - surroundings;
        let foreign = Usage::now().foreign_since(usage, cpu + surroundings);

        let wall = run.wall.as_secs_f64();
        Ok(Self {
            cpu: as_f64(cpu) / 1e3 / as_f64(count as u64),
            rate: as_f64(count as u64) / wall,
            p50: microseconds(run.percentile(50)),
            p99: microseconds(run.percentile(99)),
            foreign,
        })
    }
}

impl Comparison {
    /// A figure of the setup in `place`.
    pub fn figure(&self, place: Place, figure: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.runs(place).map(figure))
    }

    /// A figure of the setup in `over`, divided by that of the setup in `under` in the same triple.
    pub fn ratio(&self, over: Place, under: Place, figure: impl Fn(&Sample) -> f64) -> Spread {
        let pairs = self.runs(over).zip(self.runs(under));
        Spread::of(pairs.map(|(over, under)| figure(over) / figure(under)))
    }

    /// How many triples were measured.
    pub fn rounds(&self) -> usize {
        self.triples.len()
    }

    /// The median share of the machine that others used.
    pub fn foreign(&self) -> f64 {
        Spread::of(self.triples.iter().flatten().map(|sample| sample.foreign)).median
    }

    fn runs(&self, place: Place) -> impl Iterator<Item = &Sample> {
        self.triples
            .iter()
            .map(move |triple| &triple[place as usize])
    }
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Requests on each connection before the run that counts: buffers grown, pools filled.
const WARM_UP: usize = 20;
