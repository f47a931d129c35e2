//! What stays the same for every request: the public address, the prefix, what pages show.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    config::PublicUrl,
    login::return_to::{ReturnRules, ReturnTo},
};

/// The gate as users see it.
#[derive(Debug)]
pub struct Site {
    /// The origin users see.
    pub public_url: PublicUrl,
    /// Where own endpoints live.
    pub prefix: String,
    /// What a return address is checked against.
    pub return_rules: ReturnRules,
    /// The providers' names and labels, in the file's order.
    pub providers: Vec<(String, String)>,
}

impl Site {
    /// Path of an own endpoint: `/oauth2/sign_in` for `sign_in`.
    pub fn path(&self, endpoint: &str) -> String {
        format!("{}/{endpoint}", self.prefix)
    }

    /// Absolute address of an own endpoint, as registered at a provider.
    pub fn url(&self, endpoint: &str) -> String {
        format!("{}{}/{endpoint}", self.origin(), self.prefix)
    }

    /// The public origin as browsers write it in `Origin` (RFC 6454 §6.2).
    pub fn origin(&self) -> String {
        self.public_url.url.origin().ascii_serialization()
    }

    /// The sign-in page's path, with the way back to `return_to` (as asked for, not yet checked).
    pub fn sign_in(&self, return_to: &str) -> String {
        with_return(self.path("sign_in"), return_to)
    }

    /// The path that ends the session, and leads on to `return_to` if there is one.
    pub fn sign_out(&self, return_to: Option<&str>) -> String {
        let path = self.path("sign_out");
        match return_to {
            Some(return_to) => format!("{path}?rd={}", utf8_percent_encode(return_to, ESCAPED)),
            None => path,
        }
    }

    /// The path that begins a login at `provider`.
    pub fn start(&self, provider: &str, return_to: &str) -> String {
        let provider = utf8_percent_encode(provider, ESCAPED);
        with_return(self.path(&format!("start/{provider}")), return_to)
    }

    /// The path to signing in as somebody else: the sign-in page does not lead back at once although
    /// somebody is signed in, and the provider is told to ask for the account.
    pub fn switch_account(&self, return_to: &str) -> String {
        match self.providers.as_slice() {
            [(provider, _)] => with_switch(&self.start(provider, return_to)),
            _ => with_switch(&self.sign_in(return_to)),
        }
    }

    /// `return_to`, if it may be returned to; the root otherwise. Never an error: the address may be old
    /// or cut, and its owner still wants to get in.
    pub fn checked(&self, return_to: Option<&str>) -> ReturnTo {
        return_to
            .and_then(|address| self.return_rules.check(address))
            .unwrap_or_else(ReturnTo::root)
    }
}

/// Adds `rd`, unless it is the root, which is where a login leads without it, or longer than any that is
/// accepted back.
fn with_return(path: String, return_to: &str) -> String {
    if return_to == "/" || return_to.len() > LONGEST_RETURN {
        return path;
    }
    format!("{path}?rd={}", utf8_percent_encode(return_to, ESCAPED))
}

/// Adds the flag that asks for another account to a path of the sign-in page or of a login's beginning.
pub fn with_switch(path: &str) -> String {
    let joint = if path.contains('?') { '&' } else { '?' };
    format!("{path}{joint}switch=1")
}

/// The bytes of the longest return address that [`ReturnRules`] accept.
const LONGEST_RETURN: usize = 2_048;

/// All but RFC 3986's unreserved characters, so that a decoded query value is the same bytes again
/// whether or not the reader takes `+` for a space.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
