//! stub
pub struct Providers;
