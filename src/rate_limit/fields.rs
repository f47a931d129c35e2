//! The fields `RateLimit-Policy` and `RateLimit` of an answer (draft-ietf-httpapi-ratelimit-headers-10).

use std::{fmt::Write as _, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{RateLimit, Taken};

/// What an answer says of the limits of its route. Empty where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    policy: String,
    state: String,
}

/// A limit that is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The route and its limit, for the log.
    pub rule: String,
    /// How long until there is room for one more.
    pub wait: Duration,
    /// What the answer says of it.
    pub fields: Fields,
}

impl Fields {
    /// Adds what came of one.
    pub fn add(&mut self, limit: &RateLimit, taken: &Taken) {
        if !self.policy.is_empty() {
            self.policy.push_str(", ");
            self.state.push_str(", ");
        }
        let (name, quota) = (&limit.name, limit.quota);
        let window = seconds(quota.period());
        _ = write!(self.policy, "\"{name}\";q={};w={window}", quota.count());
        // The same moment as `Retry-After` has.
        let until = seconds(taken.outcome.err().unwrap_or(taken.reset));
        _ = write!(self.state, "\"{name}\";r={};t={until}", taken.remaining);
    }

    /// With those of another route.
    pub fn and(&mut self, other: Self) {
        for (text, more) in [
            (&mut self.policy, other.policy),
            (&mut self.state, other.state),
        ] {
            if !text.is_empty() && !more.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&more);
        }
    }

    /// Adds them to an answer; nothing where the route has no limit.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in [(POLICY, &self.policy), (STATE, &self.state)] {
            // Names, and numbers.
            if let Some(value) = HeaderValue::from_str(value)
                .ok()
                .filter(|value| !value.is_empty())
            {
                headers.append(name, value);
            }
        }
    }
}

/// Whole seconds, none of them cut off.
pub fn seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

#[cfg(test)]
mod tests {
    use super::{
        super::{Per, Quota},
        *,
    };

    #[test]
    fn fields_tell_the_policy_and_what_is_left() {
        let limit = |per: Per, count, seconds| RateLimit {
            quota: Quota::new(count, Duration::from_secs(seconds)),
            per,
            name: per.name().to_owned(),
            period: format!("{seconds}s"),
        };
        let mut headers = HeaderMap::new();
        Fields::default().write(&mut headers);
        assert!(headers.is_empty());
        let mut fields = Fields::default();
        let (user, route) = (limit(Per::User, 100, 3_600), limit(Per::Route, 1, 10));
        fields.add(&user, &user.quota.take(None, 0));
        let used_up = route.quota.take(None, 0).outcome.ok();
        fields.add(&route, &route.quota.take(used_up, 500_000));
        fields.write(&mut headers);
        assert_eq!(
            headers["ratelimit-policy"],
            "\"user\";q=100;w=3600, \"route\";q=1;w=10"
        );
        assert_eq!(
            headers["ratelimit"],
            "\"user\";r=99;t=36, \"route\";r=0;t=10"
        );
    }
}
