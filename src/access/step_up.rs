//! Step-up: a route may require a fresh or stronger login. Pure.
//!
//! The provider gets it as `max_age` and `acr_values` (OpenID Connect Core §3.1.2.1), and programs get a challenge (RFC 9470). A provider
//! may ignore both (§3.1.2.1, §5.5.1.1). So the result is read from its ID token, and what the token does not say counts as not done.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    identity::{Authentication, CLOCK_SKEW},
};

/// `max_age` and `acr_values` of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepUp {
    /// How long ago somebody may have authenticated at most.
    pub max_age: Option<Duration>,
    /// The classes of authentication of which one is needed; any where there are none.
    pub acr_values: Vec<String>,
}

/// Why a login is not what a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shortfall {
    /// Nobody has said when they authenticated.
    #[error("when they authenticated is not known: the provider told no auth_time")]
    AgeUnknown,
    /// They are said to authenticate later, which would stay young for as long.
    #[error("the provider told an auth_time that is yet to come")]
    AheadOfTime,
    /// They authenticated too long ago.
    #[error("they authenticated {} seconds ago", .0.as_secs())]
    TooOld(Duration),
    /// They did not authenticate in one of the ways asked for.
    #[error("the provider told another acr, or none")]
    OtherClass,
}

impl StepUp {
    /// What a query says: seconds, and classes joined by spaces. What cannot be read asks for nothing: the route that a
    /// login leads back to judges by its own.
    pub fn read(max_age: Option<&str>, acr_values: Option<&str>) -> Self {
        let max_age = max_age.and_then(|text| text.parse().ok());
        let max_age = max_age.filter(|seconds| (1..=LONGEST_AGE.as_secs()).contains(seconds));
        let acr_values = acr_values.filter(|text| text.len() <= LONGEST_ACR_VALUES);
        let classes = acr_values.unwrap_or_default().split(' ');
        Self {
            max_age: max_age.map(Duration::from_secs),
            acr_values: classes
                .filter(|class| is_acr(class))
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.max_age.is_none() && self.acr_values.is_empty()
    }

    /// The classes as one parameter (Core §3.1.2.1); none where any will do.
    pub fn acr_parameter(&self) -> Option<String> {
        (!self.acr_values.is_empty()).then(|| self.acr_values.join(" "))
    }

    /// The age as one parameter: seconds.
    pub fn max_age_parameter(&self) -> Option<String> {
        self.max_age.map(|age| age.as_secs().to_string())
    }

    /// Whether who has authenticated so is who it asks for, at `now`.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self, authentication: &Authentication, now: Timestamp) -> Result<(), Shortfall> {
        if !self.acr_values.is_empty() {
            let acr = authentication.acr.as_deref();
            if !self.acr_values.iter().any(|class| Some(&**class) == acr) {
                return Err(Shortfall::OtherClass);
            }
        }
        if let Some(max_age) = self.max_age {
            let at = authentication.at.ok_or(Shortfall::AgeUnknown)?;
            if at > now.after(CLOCK_SKEW) {
                return Err(Shortfall::AheadOfTime);
            }
            let age = now.since(at);
            if age > max_age {
                return Err(Shortfall::TooOld(age));
            }
        }
        Ok(())
    }
}

/// Whether `text` is one class: printable ASCII, without what would end it in a query, a header or a quoted string.
pub fn is_acr(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    !text.is_empty() && text.bytes().all(is_plain)
}

/// The bytes of all classes of one route, spaces between them included: they ride in `state`, beside a long address.
pub const LONGEST_ACR_VALUES: usize = 512;

/// No session lasts longer.
pub const LONGEST_AGE: Duration = Duration::from_hours(365 * 24);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(10_000);

    fn authenticated(at: Option<u64>, acr: Option<&str>) -> Authentication {
        Authentication {
            at: at.map(Timestamp),
            acr: acr.map(Into::into),
        }
    }

    fn step_up(max_age: Option<u64>, acr_values: &[&str]) -> StepUp {
        StepUp {
            max_age: max_age.map(Duration::from_secs),
            acr_values: acr_values.iter().map(|&class| class.to_owned()).collect(),
        }
    }

    #[test]
    fn what_asks_for_nothing_takes_everybody() {
        let nothing = StepUp::default();
        assert!(nothing.is_empty());
        assert_eq!(nothing.check(&authenticated(None, None), NOW), Ok(()));
    }

    #[test]
    fn a_login_may_be_so_old_and_no_older() {
        let wanted = step_up(Some(600), &[]);
        for (at, expected) in [
            (Some(9_400), Ok(())),
            (Some(10_000), Ok(())),
            (
                Some(9_399),
                Err(Shortfall::TooOld(Duration::from_secs(601))),
            ),
            (None, Err(Shortfall::AgeUnknown)),
            (Some(10_060), Ok(())),
            (Some(10_061), Err(Shortfall::AheadOfTime)),
            // Milliseconds.
            (Some(10_000_000), Err(Shortfall::AheadOfTime)),
            (Some(u64::MAX), Err(Shortfall::AheadOfTime)),
        ] {
            assert_eq!(
                wanted.check(&authenticated(at, None), NOW),
                expected,
                "{at:?}"
            );
        }
    }

    #[test]
    fn one_of_the_classes_is_enough_and_no_other() {
        let wanted = step_up(None, &["gold", "urn:silver"]);
        for (acr, expected) in [
            (Some("gold"), Ok(())),
            (Some("urn:silver"), Ok(())),
            (Some("Gold"), Err(Shortfall::OtherClass)),
            (Some("gold urn:silver"), Err(Shortfall::OtherClass)),
            (Some(""), Err(Shortfall::OtherClass)),
            (None, Err(Shortfall::OtherClass)),
        ] {
            let authentication = authenticated(Some(9_999), acr);
            assert_eq!(wanted.check(&authentication, NOW), expected, "{acr:?}");
        }
    }

    #[test]
    fn both_must_hold() {
        let wanted = step_up(Some(60), &["gold"]);
        let check = |at, acr: &str| {
            wanted
                .check(&authenticated(Some(at), Some(acr)), NOW)
                .is_ok()
        };
        assert!(check(9_990, "gold"));
        assert!(!check(9_000, "gold"));
        assert!(!check(9_990, "tin"));
    }

    #[test]
    fn a_query_says_what_a_route_asks() {
        let wanted = step_up(Some(600), &["a", "b:c"]);
        let (max_age, acr_values) = (wanted.max_age_parameter(), wanted.acr_parameter());
        assert_eq!(
            (max_age.as_deref(), acr_values.as_deref()),
            (Some("600"), Some("a b:c"))
        );
        assert_eq!(
            StepUp::read(max_age.as_deref(), acr_values.as_deref()),
            wanted
        );
        for (max_age, acr_values) in [
            (None, None),
            (Some("0"), Some("")),
            (Some("-1"), Some(" ")),
            (Some("1e3"), Some("\"")),
            (Some("99999999999"), Some("é \\ \r\n")),
        ] {
            assert!(StepUp::read(max_age, acr_values).is_empty(), "{max_age:?}");
        }
        let long = "a".repeat(LONGEST_ACR_VALUES + 1);
        assert!(StepUp::read(None, Some(&long)).is_empty());
    }

    proptest! {
        /// Whatever a query says is nothing that could end a header's quoted string or add a parameter.
        #[test]
        fn whatever_is_read_is_plain(max_age in "\\PC{0,12}", acr_values in ".{0,80}") {
            let wanted = StepUp::read(Some(&max_age), Some(&acr_values));
            prop_assert!(wanted.acr_values.iter().all(|class| is_acr(class)));
        }
    }
}
