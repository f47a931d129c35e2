//! The tokens of a session: which ones are stored, and when they must be refreshed. Pure.

use std::{fmt, time::Duration};

use crate::{clock::Timestamp, text::Text};

/// The tokens of one answer.
pub struct GrantTokens {
    /// The access token.
    pub access: Text,
    /// The refresh token, where one was given.
    pub refresh: Option<Text>,
    /// The ID token as signed, checked.
    pub id: Option<Text>,
    /// When the access token ends, where the provider says so.
    pub expires: Option<Timestamp>,
}

/// Tokens kept because something in the configuration needs them; none otherwise.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// For the upstream, when a header carries it.
    pub access: Option<Text>,
    /// For the upstream, when a header carries it.
    pub id: Option<Text>,
    /// Refreshes the others and asks the provider whether the user still stands (RFC 6749 §6).
    pub refresh: Option<Text>,
    /// When the access token ends. Kept beside a refresh token, and beside the access token where the provider says it.
    pub expires_at: Option<Timestamp>,
    /// When a refresh is due: some time before.
    pub refresh_at: Option<Timestamp>,
    /// Whether there was an ID token for the upstream, and no header can carry it.
    pub id_omitted: bool,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tokens(…)")
    }
}

/// The tokens that a session must keep; every other would only make its cookie larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepTokens {
    /// Whether anybody needs the access token. An app acts with it: where it is too long, a login that says so is better than one without.
    pub access: bool,
    /// Bytes of the longest ID token that is of use: what a header can carry. It only tells of the user, and grows with their groups.
    /// None where nobody needs any.
    pub id: Option<usize>,
    /// The app may ask for the access token for a while after a request, and nothing can refresh it for the app: what a request comes
    /// with has to last.
    pub lasting: bool,
}

impl KeepTokens {
    /// What is kept of `granted`, and until when; the refresh token only where the provider's table wants
    /// sessions refreshed. `jitter` is a random byte: sessions that began together are not refreshed together.
    pub fn of_grant(
        self,
        granted: GrantTokens,
        refresh: bool,
        now: Timestamp,
        jitter: u8,
    ) -> Tokens {
        let id = granted.id.filter(|_| self.id.is_some());
        let is_too_long = |token: &Text| Some(token.len()) > self.id;
        let mut tokens = Tokens {
            access: self.access.then_some(granted.access),
            id_omitted: id.as_ref().is_some_and(is_too_long),
            id: id.filter(|token| !is_too_long(token)),
            refresh: granted.refresh.filter(|_| refresh),
            ..Tokens::default()
        };
        if tokens.refresh.is_some() {
            // RFC 6749 §5.1 lets a provider keep the lifetime to itself; some write none as 0.
            let ends = granted.expires.filter(|ends| *ends > now);
            let ends = ends.unwrap_or_else(|| now.after(ASSUMED_LIFETIME));
            let early = self.early(ends.since(now), jitter);
            let due = Timestamp(ends.0.saturating_sub(early.as_secs()));
            tokens.refresh_at = Some(due.max(now.after(LEAST_AGE)).min(ends));
            tokens.expires_at = Some(ends);
        } else if tokens.access.is_some() {
            tokens.expires_at = granted.expires.filter(|ends| *ends > now);
        }
        tokens
    }

    /// How long before its end a token that lasts `lifetime` is refreshed: a fifth of it or a minute, whichever is shorter, and up to
    /// as much again. One that has to last: half of its life, or as long as an app may ask for it.
    fn early(self, lifetime: Duration, jitter: u8) -> Duration {
        let spread = (lifetime / 5).min(Duration::from_mins(1));
        let least = if self.lasting {
            (lifetime / 2).min(APP_ASKS)
        } else {
            spread
        };
        least + spread * u32::from(jitter) / 255
    }

    /// With less than this left of its access token, a request waits for the refresh.
    pub fn margin(self) -> Duration {
        if self.lasting {
            LEAST_LEFT
        } else {
            Duration::ZERO
        }
    }
}

/// How long an app may ask for the access token of the session that a request came with.
pub const APP_ASKS: Duration = Duration::from_mins(10);
/// A request to an app that may ask for the token waits for a refresh if less than this is left.
const LEAST_LEFT: Duration = Duration::from_secs(30);
/// No token is refreshed that is younger, unless it has ended: who asks for one every second asks too often.
const LEAST_AGE: Duration = Duration::from_secs(5);
/// How long a token is taken to last whose provider does not say.
const ASSUMED_LIFETIME: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn granted(refresh: bool, expires: Option<u64>) -> GrantTokens {
        GrantTokens {
            access: "access".into(),
            refresh: refresh.then(|| "refresh".into()),
            id: Some("id".into()),
            expires: expires.map(Timestamp),
        }
    }

    #[test]
    fn only_what_is_needed_is_kept() {
        let keep = KeepTokens {
            access: true,
            ..KeepTokens::default()
        };
        let tokens = keep.of_grant(granted(true, Some(3_600)), true, Timestamp(0), 0);
        assert_eq!(tokens.access.as_deref(), Some("access"));
        assert_eq!(
            (tokens.id, tokens.refresh.as_deref()),
            (None, Some("refresh"))
        );
        assert_eq!(tokens.expires_at, Some(Timestamp(3_600)));
        assert_eq!(tokens.refresh_at, Some(Timestamp(3_540)));
        for (refresh, wanted) in [(true, false), (false, true)] {
            let tokens =
                KeepTokens::default().of_grant(granted(refresh, Some(9)), wanted, Timestamp(0), 0);
            assert!(tokens == Tokens::default());
        }
    }

    #[test]
    fn what_no_header_can_carry_is_not_kept_but_told_of() {
        for (longest, kept) in [(1, false), (2, true)] {
            let keep = KeepTokens {
                id: Some(longest),
                ..KeepTokens::default()
            };
            let tokens = keep.of_grant(granted(false, None), true, Timestamp(0), 0);
            assert_eq!((tokens.id.is_some(), tokens.id_omitted), (kept, !kept));
        }
        let none = KeepTokens::default().of_grant(granted(false, None), true, Timestamp(0), 0);
        assert!(none.id.is_none() && !none.id_omitted);
    }

    #[test]
    fn a_provider_need_not_say_how_long_a_token_lasts() {
        let tokens = KeepTokens::default().of_grant(granted(true, None), true, Timestamp(5), 255);
        assert_eq!(tokens.expires_at, Some(Timestamp(3_605)));
        assert_eq!(tokens.refresh_at, Some(Timestamp(3_485)));
        // Nor to say it in so many words.
        let none = KeepTokens::default().of_grant(granted(true, Some(5)), true, Timestamp(5), 255);
        assert!(none == tokens);
    }

    #[test]
    fn what_lasts_no_time_is_refreshed_when_it_has_ended() {
        for (lifetime, due) in [(1, 1), (2, 2), (5, 5), (6, 5), (7, 6), (100, 80)] {
            let granted = granted(true, Some(1_000 + lifetime));
            let tokens = KeepTokens::default().of_grant(granted, true, Timestamp(1_000), 0);
            assert_eq!(
                tokens.refresh_at,
                Some(Timestamp(1_000 + due)),
                "{lifetime}"
            );
        }
    }

    #[test]
    fn the_end_of_an_access_token_is_kept_beside_it() {
        let keep = KeepTokens {
            access: true,
            ..KeepTokens::default()
        };
        for (told, kept) in [(Some(9), Some(9)), (Some(5), None), (None, None)] {
            let tokens = keep.of_grant(granted(false, told), true, Timestamp(5), 0);
            assert_eq!(tokens.expires_at, kept.map(Timestamp), "{told:?}");
            assert_eq!(tokens.refresh_at, None);
        }
    }

    #[test]
    fn what_an_app_may_ask_for_is_refreshed_while_it_lasts_as_long() {
        let keep = KeepTokens {
            lasting: true,
            ..KeepTokens::default()
        };
        for (lifetime, due) in [(3_600, 3_000), (1_200, 600), (300, 150), (60, 30), (5, 5)] {
            let tokens = keep.of_grant(granted(true, Some(lifetime)), true, Timestamp(0), 0);
            assert_eq!(tokens.refresh_at, Some(Timestamp(due)), "{lifetime}");
        }
    }

    proptest! {
        #[test]
        fn a_refresh_is_due_before_the_end_and_not_at_once(lifetime in 1..1_000_000_u64, jitter: u8) {
            let keep = KeepTokens::default();
            let early = keep.early(Duration::from_secs(lifetime), jitter);
            prop_assert!(early <= Duration::from_mins(2));
            prop_assert!(early.as_secs() * 2 < lifetime);
            let lasting = KeepTokens { lasting: true, ..keep };
            let early = lasting.early(Duration::from_secs(lifetime), jitter);
            prop_assert!(early <= Duration::from_mins(11));
            prop_assert!(early.as_secs() * 4 < lifetime * 3);
        }
    }
}
