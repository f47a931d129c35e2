//! The result as Markdown, and what it says about the bars.

use std::fmt::{self, Display};

use crate::{
    compare::{Comparison, Effort, Place, Sample},
    machine,
    process::Memory,
    syscalls::Calls,
};

/// Everything that was found out.
pub struct Report {
    /// What was asked for.
    pub effort: Effort,
    /// The bytes of a request's head: with the usual session cookie, with the long one.
    pub request_lengths: (usize, usize),
    /// nginx against itself.
    pub control: Comparison,
    /// The setups between their references.
    pub comparisons: Vec<Comparison>,
    /// Of each proxy.
    pub footprints: Vec<Footprint>,
}

/// What a proxy uses beside CPU time.
pub struct Footprint {
    /// The setup's name.
    pub name: &'static str,
    /// Before the first request.
    pub at_start: Memory,
    /// After the last.
    pub at_end: Memory,
    /// System calls, or why they were not counted.
    pub calls: Result<Calls, String>,
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.preamble(out)?;
        self.speed(out)?;
        self.footprint(out)?;
        self.verdict(out)
    }
}

impl Report {
    fn preamble(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Effort {
            requests,
            connections,
            ..
        } = self.effort;
        let (usual, long) = self.request_lengths;
        writeln!(
            out,
            "{}. {connections} keep-alive connections, {requests} requests a run, heads of {usual} \
             bytes ({long} with the long cookie). Median (quartiles); CPU of all processes of a \
             setup; ratios within a triple of runs.\n",
            machine::description()
        )
    }

    fn speed(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "| setup | CPU µs/request | CPU / nginx | CPU / auth_request | requests/s | / nginx | \
             p50 µs | p99 µs | rounds | others' CPU |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        )?;
        row(out, self.control.name, &self.control, Place::Target)?;
        row(out, AUTH_REQUEST_NAME, &self.control, Place::AuthRequest)?;
        for comparison in &self.comparisons {
            row(out, comparison.name, comparison, Place::Target)?;
        }
        Ok(())
    }

    fn footprint(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "\n| proxy (without endpoint) | RSS at start MiB | after | PSS at start MiB | after | \
             socket calls/request | all calls/request |\n|---|---|---|---|---|---|---|\n",
        )?;
        for footprint in &self.footprints {
            let Footprint {
                name,
                at_start,
                at_end,
                calls,
            } = footprint;
            let (sockets, each) = match calls {
                Ok(calls) => (format!("{:.2}", calls.socket), listed(calls)),
                Err(reason) => ("–".to_owned(), format!("not counted: {reason}")),
            };
            writeln!(
                out,
                "| {name} | {:.1} | {:.1} | {:.1} | {:.1} | {sockets} | {each} |",
                at_start.resident_mebibytes(),
                at_end.resident_mebibytes(),
                at_start.proportional_mebibytes(),
                at_end.proportional_mebibytes(),
            )?;
        }
        Ok(())
    }

    fn verdict(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let control = self.control.ratio(Place::Target, Place::Plain, CPU);
        writeln!(out, "\nControl: nginx costs {control} of itself.")?;
        if !(0.95..=1.05).contains(&control.median) {
            return writeln!(out, "Too noisy to judge.");
        }
        if let Some(judged) = self.comparisons.iter().find(|one| one.name == JUDGED) {
            let to_plain = judged.ratio(Place::Target, Place::Plain, CPU);
            let to_auth_request = judged.ratio(Place::Target, Place::AuthRequest, CPU);
            bar(out, "CPU / nginx", to_plain.median, 1.10)?;
            bar(
                out,
                "CPU / nginx auth_request",
                to_auth_request.median,
                0.60,
            )?;
        }
        if let Some(judged) = self.footprints.iter().find(|one| one.name == JUDGED) {
            let idle = judged.at_start.resident_mebibytes();
            bar(out, "resident MiB at start", idle, 12.0)?;
            if let Ok(calls) = &judged.calls {
                // A connection that opens meanwhile adds a hundredth.
                bar(out, "socket calls per request", calls.socket, 4.05)?;
            }
        }
        Ok(())
    }
}

fn row(
    out: &mut fmt::Formatter<'_>,
    name: &str,
    comparison: &Comparison,
    place: Place,
) -> fmt::Result {
    if comparison.rounds() == 0 {
        return writeln!(out, "| {name} | not measured |");
    }
    writeln!(
        out,
        "| {name} | {:.1} | {} | {} | {:.0} | {:.2} | {:.0} | {:.0} | {} | {:.0} % |",
        comparison.figure(place, CPU).median,
        comparison.ratio(place, Place::Plain, CPU),
        comparison.ratio(place, Place::AuthRequest, CPU),
        comparison.figure(place, RATE).median,
        comparison.ratio(place, Place::Plain, RATE).median,
        comparison.figure(place, P50).median,
        comparison.figure(place, P99).median,
        comparison.rounds(),
        comparison.foreign() * 100.0,
    )
}

fn listed(calls: &Calls) -> String {
    calls
        .each
        .iter()
        .map(|(name, count)| format!("{name} {count:.2}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn bar(out: &mut fmt::Formatter<'_>, what: &str, value: f64, limit: f64) -> fmt::Result {
    let verdict = if value <= limit { "met" } else { "MISSED" };
    writeln!(out, "- {what}: {value:.2}, at most {limit:.2}: {verdict}")
}

/// The setup that the bars are about.
pub const JUDGED: &str = "sidegate";
const AUTH_REQUEST_NAME: &str = "nginx auth_request + endpoint";

type Figure = fn(&Sample) -> f64;
const CPU: Figure = |sample| sample.cpu;
const RATE: Figure = |sample| sample.rate;
const P50: Figure = |sample| sample.p50;
const P99: Figure = |sample| sample.p99;
