//! What a route requires beside a session. Pure.
//!
//! The parts of one requirement are joined by *and*; `any` joins several requirements by *or*. A requirement that only needs the
//! client's address is judged before the login: a login cannot help a client from the wrong network.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    AllowList, Principal,
    allow::{self, Denied, Held},
};
use crate::credential::Proof;

/// One `allow` of a route, or one entry of its `any`: all that it names must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// As in a provider's `allow`.
    pub lists: Vec<AllowList>,
    /// One of these providers, by their tables' names.
    pub providers: Vec<String>,
    /// One of these networks.
    pub networks: Vec<IpNet>,
    /// One of these ways of proving who it is.
    pub credentials: Vec<Proof>,
    /// All of these scopes. Who comes with a session has none: scopes are what somebody gave to a program.
    pub scopes: Vec<String>,
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

    /// What they ask of whoever comes from a network that they name: all that can be judged before it is known where a request comes from.
    #[must_use]
    pub fn from_any_network(&self) -> Self {
        let without = |requirement: &Requirement| Requirement {
            networks: Vec::new(),
            ..requirement.clone()
        };
        Self {
            all: without(&self.all),
            any: self.any.iter().map(without).collect(),
        }
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
        let mut denied = Vec::new();
        let mut needs_principal = false;
        for requirement in &self.any {
            match requirement.judge(principal, client) {
                Fit::Fits => return all,
                Fit::NeedsPrincipal => needs_principal = true,
                Fit::Denied(why) => denied.push(why),
            }
        }
        if needs_principal {
            return Fit::NeedsPrincipal;
        }
        let rules: Vec<&str> = denied.iter().map(|one| one.rule.as_str()).collect();
        let rule = format!("any: {}", rules.join(", "));
        Fit::Denied(match <[Denied; 1]>::try_from(denied) {
            Ok([only]) => Denied { rule, ..only },
            Err(ways) => Denied {
                rule,
                sentence: "None of the ways in is open to you.",
                held: Held::NoneOf(ways),
            },
        })
    }

    /// The scopes that a token needs here, so that its client asks for them at once. Of several ways in it is the first that is one for
    /// tokens.
    pub fn scopes(&self) -> Vec<&str> {
        let ways = self.any.iter();
        let mut ways = ways.filter(|way| !way.scopes.is_empty());
        let all = self.all.scopes.iter();
        let all = all.chain(ways.next().into_iter().flat_map(|way| &way.scopes));
        all.map(String::as_str).collect()
    }
}

impl Requirement {
    fn asks_who(&self) -> bool {
        let Self {
            lists,
            providers,
            networks: _,
            credentials,
            scopes,
        } = self;
        !(lists.is_empty() && providers.is_empty() && credentials.is_empty() && scopes.is_empty())
    }

    fn judge(&self, principal: Option<Principal<'_>>, client: Option<IpAddr>) -> Fit {
        if !self.networks.is_empty() {
            let is_in = |client: IpAddr| self.networks.iter().any(|net| net.contains(&client));
            if !client.is_some_and(is_in) {
                return Fit::Denied(Denied {
                    rule: "networks".to_owned(),
                    sentence: "This cannot be reached from your network.",
                    held: Held::Shown {
                        what: "network address",
                        name: client
                            .map_or_else(|| "unknown".to_owned(), |client| client.to_string()),
                    },
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
        let provider = &identity.provider;
        if !self.providers.is_empty() && !self.providers.iter().any(|name| provider.is(name)) {
            return Fit::Denied(Denied {
                rule: "providers".to_owned(),
                sentence: "Accounts of your provider may not use this.",
                held: Held::Shown {
                    what: "provider",
                    name: provider.as_str().to_owned(),
                },
            });
        }
        if !self.credentials.is_empty() && !self.credentials.contains(&principal.proof) {
            return Fit::Denied(Denied {
                rule: "credentials".to_owned(),
                sentence: "This cannot be used with what your request came with.",
                held: Held::Shown {
                    what: "kind of credential",
                    name: principal.proof.name().to_owned(),
                },
            });
        }
        let mut lists = self.lists.iter();
        if let Err(denied) = lists.try_for_each(|list| allow::fits(list, identity)) {
            return Fit::Denied(denied);
        }
        // Last: whoever gets a token with more scopes may then pass.
        if !self.has_scopes(principal) {
            return Fit::Denied(Denied {
                rule: "scopes".to_owned(),
                sentence: "This is for programs whose token has the scopes for it.",
                held: Held::Scopes {
                    needed: self.scopes.clone(),
                },
            });
        }
        Fit::Fits
    }

    fn has_scopes(&self, principal: Principal<'_>) -> bool {
        let has = |needed: &String| {
            let mut scopes = principal.scopes.into_iter().flatten();
            scopes.any(|scope| scope.as_str() == needed)
        };
        self.scopes.iter().all(has)
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
            "any: networks, groups"
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
    fn all_scopes_are_needed_and_a_session_has_none() {
        let rules = |scopes: &[&str], credentials: &[Proof]| Requirement {
            scopes: scopes.iter().map(ToString::to_string).collect(),
            credentials: credentials.to_vec(),
            ..Requirement::default()
        };
        let identity = identity("corp", &[]);
        let tokens = Tokens::default();
        let held: Vec<crate::text::Text> = vec!["read".into(), "write".into()];
        let session = Principal::of_session(&identity, &tokens);
        let bearer = |scopes| Principal {
            proof: Proof::Bearer,
            scopes,
            ..session
        };
        let judge = |rule: Requirement, principal| {
            let all = Requirements {
                all: rule,
                any: Vec::new(),
            };
            assert!(all.asks_who());
            all.judge(Some(principal), None)
        };
        let full = bearer(Some(&held[..]));
        assert_eq!(judge(rules(&["read"], &[]), full), Fit::Fits);
        assert_eq!(judge(rules(&["read", "write"], &[]), full), Fit::Fits);
        for (needed, principal) in [
            (&["read", "admin"][..], full),
            (&["READ"], full),
            (&["read"], bearer(Some(&[]))),
            (&["read"], bearer(None)),
            (&["read"], session),
        ] {
            let Fit::Denied(denied) = judge(rules(needed, &[]), principal) else {
                panic!("{needed:?}");
            };
            assert_eq!(denied.rule, "scopes");
            let needed = needed.iter().map(ToString::to_string).collect();
            assert_eq!(denied.held, Held::Scopes { needed });
        }
        let people = rules(&[], &[Proof::Session]);
        assert_eq!(judge(people.clone(), session), Fit::Fits);
        assert_eq!(denied_by(judge(people.clone(), full)), "credentials");
        // Either: a person, or a program whose token is for it.
        let either = Requirements {
            all: Requirement::default(),
            any: vec![rules(&["admin"], &[]), people],
        };
        assert_eq!(either.judge(Some(session), None), Fit::Fits);
        let Fit::Denied(denied) = either.judge(Some(full), None) else {
            panic!("it passes");
        };
        assert_eq!(denied.rule, "any: scopes, credentials");
        assert_eq!(denied.held.needed_scopes(), Some(&["admin".to_owned()][..]));
        assert_eq!(
            denied.held.to_string(),
            "scopes: the credential lacks one of admin; credentials: the kind of credential is bearer"
        );
        assert_eq!(either.scopes(), ["admin"]);
    }

    #[test]
    fn from_any_network_all_else_is_asked_for() {
        let rules = Requirements {
            all: Requirement {
                networks: vec!["10.0.0.0/8".parse().unwrap()],
                ..groups(&["admins"])
            },
            any: Vec::new(),
        };
        let (ada, bob) = (identity("corp", &["admins"]), identity("corp", &[]));
        let anywhere = rules.from_any_network();
        assert_eq!(judge(&anywhere, Some(&ada), "no address"), Fit::Fits);
        let denied = denied_by(judge(&anywhere, Some(&bob), "no address"));
        assert_eq!(denied, "groups");
        let either = Requirements {
            all: Requirement::default(),
            any: vec![network("10.0.0.0/8"), groups(&["admins"])],
        };
        // Somebody from that network would pass.
        let anywhere = either.from_any_network();
        assert_eq!(judge(&anywhere, Some(&bob), "192.0.2.1"), Fit::Fits);
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
