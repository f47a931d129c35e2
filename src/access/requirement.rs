//! What a route asks of whoever may pass, beside a session. Pure.
//!
//! What one requirement names is joined by *and*; `any` joins several by *or*. A requirement that only knows the client's
//! address is judged before anybody signs in: from a network that may not pass no login helps.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    AllowList, Principal,
    allow::{self, Denied, Held},
};

/// One `allow` of a route, or one entry of its `any`: all that it names must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// As in a provider's `allow`.
    pub lists: Vec<AllowList>,
    /// One of these providers, by their tables' names.
    pub providers: Vec<String>,
    /// One of these networks.
    pub networks: Vec<IpNet>,
}

/// `allow` and `any` of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// `allow`: must fit.
    pub all: Requirement,
    /// `any`: one of these must fit, where there are any.
    pub any: Vec<Requirement>,
}

/// What requirements say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// All is as they ask.
    Fits,
    /// It hangs on who it is, and that is not known.
    NeedsPrincipal,
    /// No.
    Denied(Denied),
}

impl Requirements {
    /// Whether they ask for nothing.
    pub fn is_empty(&self) -> bool {
        self.all == Requirement::default() && self.any.is_empty()
    }

    /// Whether they ask about people, and not about addresses alone.
    pub fn asks_who(&self) -> bool {
        std::iter::once(&self.all)
            .chain(&self.any)
            .any(Requirement::asks_who)
    }

    /// The lists of all of them: what sessions have to know of people.
    pub fn lists(&self) -> impl Iterator<Item = &AllowList> {
        let each = std::iter::once(&self.all).chain(&self.any);
        each.flat_map(|requirement| &requirement.lists)
    }

    /// Judges `principal`, none where nobody is known, who comes from `client`.
    pub fn judge(&self, principal: Option<Principal<'_>>, client: Option<IpAddr>) -> Fit {
        let all = self.all.judge(principal, client);
        if self.any.is_empty() || matches!(all, Fit::Denied(_)) {
            return all;
        }
        let mut denied = None;
        let mut needs_principal = false;
        for requirement in &self.any {
            match requirement.judge(principal, client) {
                Fit::Fits => return all,
                Fit::NeedsPrincipal => needs_principal = true,
                Fit::Denied(why) => denied = denied.or(Some(why)),
            }
        }
        match denied {
            Some(denied) if !needs_principal => Fit::Denied(Denied {
                rule: format!("any: {}", denied.rule),
                ..denied
            }),
            _ => Fit::NeedsPrincipal,
        }
    }
}

impl Requirement {
    fn asks_who(&self) -> bool {
        !self.lists.is_empty() || !self.providers.is_empty()
    }

    fn judge(&self, principal: Option<Principal<'_>>, client: Option<IpAddr>) -> Fit {
        if !self.networks.is_empty() {
            let is_in = |client: IpAddr| self.networks.iter().any(|net| net.contains(&client));
            if !client.is_some_and(is_in) {
                return Fit::Denied(Denied {
                    rule: "networks".to_owned(),
                    sentence: "This cannot be reached from your network.",
                    held: client.map_or(Held::NotKept, |client| {
                        Held::names(None, [client.to_string()].iter())
                    }),
                });
            }
        }
        let Some(principal) = principal else {
            return if self.asks_who() {
                Fit::NeedsPrincipal
            } else {
                Fit::Fits
            };
        };
        let identity = principal.identity;
        let provider = identity.provider.as_str();
        if !self.providers.is_empty() && !self.providers.iter().any(|name| name == provider) {
            return Fit::Denied(Denied {
                rule: "providers".to_owned(),
                sentence: "Accounts of your provider may not use this.",
                held: Held::names(None, [provider].iter()),
            });
        }
        match self
            .lists
            .iter()
            .try_for_each(|list| allow::fits(list, identity))
        {
            Ok(()) => Fit::Fits,
            Err(denied) => Fit::Denied(denied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::Allow, identity::Identity, tokens::Tokens};

    fn identity(provider: &str, groups: &[&str]) -> Identity {
        Identity {
            groups: groups.iter().copied().map(Into::into).collect(),
            ..Identity::of(provider, "1")
        }
    }

    fn groups(names: &[&str]) -> Requirement {
        Requirement {
            lists: Allow::for_test(&[("groups", names)]).lists().to_vec(),
            ..Requirement::default()
        }
    }

    fn network(net: &str) -> Requirement {
        Requirement {
            networks: vec![net.parse().unwrap()],
            ..Requirement::default()
        }
    }

    fn judge(requirements: &Requirements, who: Option<&Identity>, client: &str) -> Fit {
        let tokens = Tokens::default();
        let principal = who.map(|identity| Principal::of_session(identity, &tokens));
        requirements.judge(principal, client.parse().ok())
    }

    fn denied_by(fit: Fit) -> String {
        match fit {
            Fit::Denied(denied) => denied.rule,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_one_names_is_joined_by_and() {
        let all = Requirement {
            providers: vec!["corp".to_owned()],
            ..groups(&["ops", "admins"])
        };
        let rules = Requirements {
            all: Requirement {
                networks: vec!["10.0.0.0/8".parse().unwrap()],
                ..all
            },
            any: Vec::new(),
        };
        let ada = identity("corp", &["admins"]);
        assert_eq!(judge(&rules, Some(&ada), "10.1.2.3"), Fit::Fits);
        assert_eq!(judge(&rules, None, "10.1.2.3"), Fit::NeedsPrincipal);
        // No login helps there.
        assert_eq!(denied_by(judge(&rules, None, "192.0.2.1")), "networks");
        assert_eq!(
            denied_by(judge(&rules, Some(&ada), "192.0.2.1")),
            "networks"
        );
        assert_eq!(
            denied_by(judge(&rules, Some(&ada), "no address")),
            "networks"
        );
        let elsewhere = identity("hub", &["admins"]);
        assert_eq!(
            denied_by(judge(&rules, Some(&elsewhere), "10.1.2.3")),
            "providers"
        );
        let bob = identity("corp", &["users"]);
        assert_eq!(denied_by(judge(&rules, Some(&bob), "10.1.2.3")), "groups");
    }

    #[test]
    fn any_joins_by_or_and_stands_beside_allow() {
        let rules = Requirements {
            all: Requirement {
                providers: vec!["corp".to_owned()],
                ..Requirement::default()
            },
            any: vec![network("10.0.0.0/8"), groups(&["admins"])],
        };
        let (ada, bob) = (identity("corp", &["admins"]), identity("corp", &[]));
        assert_eq!(judge(&rules, Some(&ada), "192.0.2.1"), Fit::Fits);
        assert_eq!(judge(&rules, Some(&bob), "10.0.0.1"), Fit::Fits);
        assert_eq!(
            denied_by(judge(&rules, Some(&bob), "192.0.2.1")),
            "any: networks"
        );
        // Whoever is an admin may pass from there: so it is worth a login.
        assert_eq!(judge(&rules, None, "192.0.2.1"), Fit::NeedsPrincipal);
        let elsewhere = identity("hub", &["admins"]);
        assert_eq!(
            denied_by(judge(&rules, Some(&elsewhere), "10.0.0.1")),
            "providers"
        );
    }

    #[test]
    fn networks_alone_need_nobody() {
        let rules = Requirements {
            all: network("10.0.0.0/8"),
            any: Vec::new(),
        };
        assert!(!rules.asks_who());
        assert_eq!(judge(&rules, None, "10.0.0.1"), Fit::Fits);
        assert_eq!(judge(&Requirements::default(), None, "10.0.0.1"), Fit::Fits);
    }
}
