//! What a request says, made safe to believe: where it comes from, one canonical path, and no header
//! that only the gate may write.

pub mod client;
pub mod forwarding;
pub mod identity;
mod names;
pub mod path;
