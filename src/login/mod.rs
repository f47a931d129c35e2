//! stub
pub mod return_to;
#[derive(Debug)]
pub struct LoginError;
pub struct Logins;
