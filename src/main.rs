//! `sidegate`: a login in front of any web app. Everything is in the library; this starts it.

use std::process::ExitCode;

/// One allocator whatever the C library is.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    sidegate::cli::main()
}
