//! Memory that registered clients leave behind in an authorization server which stores none of them.
//!
//! They come at a steady rate, each from another address, as a flood would: an address that registers often is held up. What the
//! first of them fill once for all is not counted.

use std::{error::Error, path::PathBuf, thread, time::Duration};

use clap::Args;

use crate::{
    load::{Answer, Load},
    machine::{self, Cores, as_f64},
    request::Requests,
    setup::{Gate, Setup, Workplace, free_address},
};

#[derive(Args)]
pub struct Options {
    /// The sidegate to measure: a release build.
    #[arg(long)]
    sidegate: PathBuf,
    /// Registrations a second.
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// For how many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Kept-alive connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
}

/// Registers and prints Markdown.
pub fn weigh(options: &Options) -> Result<(), Box<dyn Error>> {
    let workplace = Workplace::new()?;
    // Nobody asks for the app.
    let gate = GATE.start(
        &options.sidegate,
        free_address()?,
        Cores::choose()?,
        &workplace,
    )?;
    println!(
        "{}. {} registrations a second, each from another address, over {} keep-alive connections.\n",
        machine::description(),
        options.rate,
        options.connections
    );
    println!("| registrations | in, s | p50, ms | p99, ms | RSS, MiB |\n|---|---|---|---|---|");
    let mut first = 0;
    let mut register = |seconds: u32| -> Result<(), Box<dyn Error>> {
        let count = options.rate * seconds;
        let requests = Requests::registrations(first, count);
        let mut load =
            Load::connect(gate.address, options.connections)?.expecting(Answer::Registered);
        let interval = Duration::from_secs(1) / options.rate;
        let run = load.run_paced(&requests, usize::try_from(count)?, interval)?;
        first += count;
        let milliseconds = |percent| run.percentile(percent).as_secs_f64() * 1_000.0;
        let (p50, p99) = (milliseconds(50), milliseconds(99));
        let wall = run.wall.as_secs_f64();
        let resident = gate.memory().resident_mebibytes();
        println!("| {count} | {wall:.1} | {p50:.2} | {p99:.2} | {resident:.1} |");
        Ok(())
    };
    println!("| 0 | | | | {:.1} |", resident(&gate));
    register(WARM_UP)?;
    thread::sleep(SETTLE);
    let before = resident(&gate);
    println!("| none, {} s | | | | {before:.1} |", SETTLE.as_secs());
    let mut left = options.seconds;
    while left > 0 {
        let seconds = left.min(STEP);
        register(seconds)?;
        left -= seconds;
    }
    thread::sleep(SETTLE);
    let after = resident(&gate);
    println!("| none, {} s | | | | {after:.1} |", SETTLE.as_secs());
    let registered = as_f64(u64::from(options.rate) * u64::from(options.seconds));
    let each = (after - before) * 1024.0 * 1024.0 / registered;
    println!("\nLeft by each registration: {each:.0} bytes.");
    Ok(())
}

fn resident(gate: &Setup) -> f64 {
    gate.memory().resident_mebibytes()
}

/// It believes who a request is from.
const GATE: Gate<'_> = Gate {
    name: "sidegate",
    file: "issuer",
    log: "off",
    keys: "trusted_proxies = [\"127.0.0.1/32\"]",
    tables: "[issuer]\n[[routes]]\npath = \"/mcp/**\"\nmcp = true\n",
};
/// Seconds, until what is filled once is full: the buckets of addresses among it.
const WARM_UP: u32 = 20;
/// Seconds between two looks at the memory.
const STEP: u32 = 10;
/// Longer than a connection keeps what serves a busy one.
const SETTLE: Duration = Duration::from_secs(5);
