//! skeleton
pub mod clean;
pub mod cli;
pub mod clock;
pub mod config;
pub mod login;
pub mod random;
pub mod route;
pub mod session;
pub mod text;
