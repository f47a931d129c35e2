//! STUB
pub mod return_to;
use crate::{session::Session, clock::Timestamp, text::Text};
use return_to::ReturnTo;
/// stub
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// stub
    #[error("stale")]
    Stale,
    /// stub
    #[error("unknown provider")]
    UnknownProvider,
    /// stub
    #[error("provider refused")]
    Refused,
    /// stub
    #[error("not allowed")]
    NotAllowed{
        /// x
        user: String},
    /// stub
    #[error("unavailable")]
    Unavailable,
    /// stub
    #[error("misbehaved")]
    Misbehaved,
}
/// stub
#[derive(Default)]
pub struct LoginOptions {
    /// stub
    pub switch_account: bool,
}
/// stub
pub struct Begun { 
    /// stub
    pub location: String, 
    /// stub
    pub login_cookie: String }
/// stub
pub enum Finished {
    /// stub
    SignedIn { 
    /// stub
        session: Box<Session>, 
    /// stub
        return_to: ReturnTo, 
    /// stub
        id_token: Option<Text> },
    /// stub
    AlreadySignedIn {
    /// stub
        return_to: ReturnTo },
}
/// stub
pub struct Logins;
impl Logins {
    /// stub
    pub async fn begin(&self, _provider: &str, _return_to: &ReturnTo, _options: LoginOptions, _cookie: Option<&str>, _now: Timestamp) -> Result<Begun, LoginError> { todo!() }
    /// stub
    pub async fn finish(&self, _provider: Option<&str>, _query: &str, _cookie: Option<&str>, _session: Option<&Session>, _now: Timestamp) -> Result<Finished, LoginError> { todo!() }
}
