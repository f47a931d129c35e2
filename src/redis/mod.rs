//! Redis, whatever is kept in it.

pub mod address;
