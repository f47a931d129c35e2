//! Redis, for sessions and for everything else that is stored there.

pub mod address;
