//! Reads the query of an own endpoint. Pure.

use std::borrow::Cow;

use url::form_urlencoded;

use crate::{
    access::StepUp,
    answer::Reject,
    audience::Audience,
    clean::CleanRequest,
    login::{LoginOptions, return_to::ReturnTo},
    site::{LONGEST_RETURN, ProviderButton, Site, with_step_up, with_switch},
    snapshot::Snapshot,
};

/// What a request for a login says.
pub(super) struct LoginRequest {
    /// Where the login leads back to, checked.
    pub(super) return_to: ReturnTo,
    /// Whether somebody wants to be asked for the account anew.
    pub(super) switch: bool,
    /// Whether the address to come back to is more than a login carries.
    is_too_long: bool,
    /// The name of a provider, as it was written.
    provider: Option<String>,
    /// What is asked of the login beside.
    pub(super) step_up: StepUp,
}

impl LoginRequest {
    /// Reads the query. Only a person can log in: a script that follows a redirect here, or a browser that
    /// loads pages ahead, gets 401 and no cookie.
    pub(super) fn read(request: &CleanRequest, snapshot: &Snapshot) -> Result<Self, Reject> {
        let site = &snapshot.site;
        let rd = parameter(request.query(), "rd");
        let return_to = site.checked(rd.as_deref());
        if request.audience != Audience::Navigation {
            return Err(Reject::SignIn {
                return_to: return_to.as_str().to_owned(),
            });
        }
        let query = request.query();
        let written = StepUp::read(
            parameter(query, "max_age").as_deref(),
            parameter(query, "acr_values").as_deref(),
        );
        // A proxy in front may lead here by `rd` alone, and somebody may have come by a link.
        let step_up = if written.is_empty() {
            snapshot.step_up(&return_to).cloned().unwrap_or_default()
        } else {
            written
        };
        Ok(Self {
            step_up,
            is_too_long: rd.is_some_and(|rd| rd.len() > LONGEST_RETURN),
            return_to,
            switch: parameter(request.query(), "switch").is_some(),
            provider: parameter(request.query(), "provider").map(Cow::into_owned),
        })
    }

    /// Whether the login would come back to where it was asked to.
    ///
    /// # Errors
    /// When the address is longer than a login carries: a person is told, in the place of ending somewhere else.
    pub(super) fn check_length(&self) -> Result<(), Reject> {
        if self.is_too_long {
            return Err(Reject::AddressTooLong);
        }
        Ok(())
    }

    /// The provider where the login begins without a choice: the one named, or the only one. A name
    /// that is none's, in an old link for instance, leaves the choice to the person.
    pub(super) fn provider<'a>(&self, site: &'a Site) -> Option<&'a ProviderButton> {
        self.provider
            .as_deref()
            .and_then(|name| site.provider(name))
            .or_else(|| site.only_provider())
    }

    /// A path of the sign-in page or of a login's beginning that asks for the account anew, and for a fresh login, if this
    /// does.
    pub(super) fn with_its_options(&self, path: &str) -> String {
        let path = with_step_up(path, &self.step_up);
        if self.switch {
            with_switch(&path)
        } else {
            path
        }
    }

    /// How the login begins.
    pub(super) fn options(&self) -> LoginOptions {
        LoginOptions {
            switch_account: self.switch,
            again: 0,
            is_known: false,
            step_up: self.step_up.clone(),
            reauthenticate: false,
        }
    }
}

#[cfg(test)]
impl LoginRequest {
    pub(super) fn for_test(provider: Option<&str>, switch: bool) -> Self {
        Self {
            return_to: ReturnTo::root(),
            is_too_long: false,
            switch,
            step_up: StepUp::default(),
            provider: provider.map(str::to_owned),
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
    fn a_named_provider_goes_straight_on_and_an_unknown_one_leaves_the_choice() {
        let one = Site::for_test("/oauth2", &["corp"]);
        let two = Site::for_test("/oauth2", &["corp", "hub"]);
        for (site, name, expected) in [
            (&two, None, None),
            (&two, Some("hub"), Some("hub")),
            (&two, Some("Hub"), None),
            (&two, Some(""), None),
            (&two, Some("hub/../corp"), None),
            (&one, None, Some("corp")),
            (&one, Some("hub"), Some("corp")),
        ] {
            let found = LoginRequest::for_test(name, false).provider(site);
            assert_eq!(found.map(|face| face.name.as_str()), expected, "{name:?}");
        }
    }

    #[test]
    fn another_account_is_asked_for_all_the_way() {
        let path = |switch| {
            LoginRequest::for_test(None, switch).with_its_options("/oauth2/start/hub?rd=%2Fa")
        };
        assert_eq!(path(false), "/oauth2/start/hub?rd=%2Fa");
        assert_eq!(path(true), "/oauth2/start/hub?rd=%2Fa&switch=1");
    }

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
