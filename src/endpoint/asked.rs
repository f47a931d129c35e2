//! What the query of an own endpoint asks for. Pure.

use std::borrow::Cow;

use url::form_urlencoded;

use crate::{
    answer::{Reject, audience::Audience},
    clean::CleanRequest,
    login::{LoginOptions, return_to::ReturnTo},
    site::Site,
};

/// What a request for a login says.
pub(super) struct Asked {
    /// Where the login leads back to, checked.
    pub(super) return_to: ReturnTo,
    /// Whether somebody wants to be asked for the account anew.
    pub(super) switch: bool,
}

impl Asked {
    /// Reads the query. Only a person can log in: a script that follows a redirect here, or a browser that
    /// loads pages ahead, gets 401 and no cookie.
    pub(super) fn read(request: &CleanRequest, site: &Site) -> Result<Self, Reject> {
        let asked = parameter(request.query(), "rd");
        let return_to = site.checked(asked.as_deref());
        if request.audience() != Audience::Navigation {
            return Err(Reject::SignIn {
                return_to: return_to.as_str().to_owned(),
            });
        }
        Ok(Self {
            return_to,
            switch: parameter(request.query(), "switch").is_some(),
        })
    }

    /// How the login begins.
    pub(super) fn options(&self) -> LoginOptions {
        LoginOptions {
            switch_account: self.switch,
            again: false,
        }
    }
}

/// The decoded value of the query's first parameter `name`.
pub(super) fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    form_urlencoded::parse(query?.as_bytes())
        .find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_decoded_once_and_the_first_counts() {
        let find = |query| parameter(Some(query), "rd").map(Cow::into_owned);
        assert_eq!(
            find("rd=%2Fa%3Fb%3D1%26c%3D%252F"),
            Some("/a?b=1&c=%2F".to_owned())
        );
        assert_eq!(find("x=1&rd=/first&rd=/second"), Some("/first".to_owned()));
        assert_eq!(find("rd"), Some(String::new()));
        assert_eq!(find("RD=/a&xrd=/b"), None);
        assert_eq!(parameter(None, "rd"), None);
    }
}
