//! Decides whether a request may pass: one pure function. Its "yes" is a [`Permit`], and forwarding needs one.

use std::net::IpAddr;

use crate::{
    access::{
        Allow, Fit, Principal, Shortfall, StepUp,
        allow::{self, Denied, Held},
    },
    clock::Timestamp,
    credential::Proof,
    route::{Access, Route},
    text::Text,
};

/// The proof that a request may pass, as whom, and by which route. Only [`decide`] makes one, and only
/// [`forward`](crate::forward::Forwarder::send) takes it, so nothing reaches an upstream without a decision, or another
/// than the one that the route names.
#[derive(Clone, Debug)]
pub struct Permit<'a> {
    principal: Option<Principal<'a>>,
    route: &'a Route,
    /// Boxed: nearly always there is none.
    passed_over: Option<Box<PassedOver>>,
}

/// What would have refused a request, if its route were no dry run.
#[derive(Clone, Debug)]
enum PassedOver {
    Denied(Denied),
    StepUp(Insufficient),
}

impl<'a> Permit<'a> {
    /// Whom the upstream is told of; nobody on a public route.
    pub fn principal(&self) -> Option<Principal<'a>> {
        self.principal
    }

    /// The same, once it is spent.
    pub fn spend(self) -> Option<Principal<'a>> {
        self.principal
    }

    /// What would have refused it, if the route were no dry run, as the log says it.
    pub fn dry_run(&self) -> Option<String> {
        let name = &self.route.name;
        Some(match self.passed_over.as_deref()? {
            PassedOver::Denied(Denied { rule, held, .. }) => {
                format!("{name}: allow.{rule}: {held}")
            }
            PassedOver::StepUp(insufficient) => format!("{name}: {}", insufficient.shortfall),
        })
    }

    /// By which route.
    pub fn route(&self) -> &'a Route {
        self.route
    }
}

/// What today's configuration makes of who is there.
#[derive(Debug, Clone)]
pub enum Standing<'a> {
    /// Nobody, or somebody whose provider is no longer configured.
    Nobody,
    /// Somebody whom the provider's allow lists admit.
    Admitted(Principal<'a>),
    /// Somebody whom they no longer admit: lists may become stricter while sessions live.
    Barred(Box<Barred>),
}

impl<'a> Standing<'a> {
    /// Of `principal`, whose provider has these lists.
    pub fn under(allow: &Allow, principal: Principal<'a>) -> Self {
        let identity = principal.identity;
        match allow::check(allow, identity) {
            Ok(()) => Self::Admitted(principal),
            Err(denied) => Self::Barred(Box::new(Barred {
                user: identity.user().clone(),
                provider: identity.provider.clone(),
                subject: identity.subject.clone(),
                proof: principal.proof,
                denied: denied.of_proof(principal.proof),
                route: None,
            })),
        }
    }
}

/// Somebody who is signed in and may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barred {
    /// The name they know themselves by.
    pub user: Text,
    /// The provider's name in the configuration.
    pub provider: Text,
    /// Who they are there.
    pub subject: Text,
    /// How that was proven.
    pub proof: Proof,
    /// The rule and the sentence.
    pub denied: Denied,
    /// The route that says no; none where it is the provider's own `allow`.
    pub route: Option<RouteDenial>,
}

/// A route that says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDenial {
    /// How operators know it.
    pub name: String,
    /// What people read, in the operator's words.
    pub message: Option<String>,
}

/// Why a request may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deny {
    /// The route asks for somebody, and nobody is signed in.
    NotSignedIn,
    /// The route is closed to everybody.
    Closed,
    /// The route is closed to where the request comes from, whoever it is.
    Elsewhere(Box<(RouteDenial, Denied)>),
    /// Whoever is signed in may not pass.
    Barred(Box<Barred>),
    /// Whoever is signed in may pass after a fresh login, or one of another class.
    StepUp(Box<Insufficient>),
}

/// Whether the credential was made for this route. No dry run tries that out: it is the owner's word.
fn is_for(principal: &Principal<'_>, route: &Route) -> bool {
    let mut routes = principal.routes.into_iter().flatten();
    principal.routes.is_none() || routes.any(|name| name.as_str() == route.name)
}

fn not_for(principal: Principal<'_>, route: &Route) -> Barred {
    Barred {
        user: principal.identity.user().clone(),
        provider: principal.identity.provider.clone(),
        subject: principal.identity.subject.clone(),
        proof: principal.proof,
        denied: Denied {
            rule: "routes of the token".to_owned(),
            sentence: "This token was made for other places.",
            held: Held::NotKept,
        },
        route: Some(RouteDenial {
            name: route.name.clone(),
            message: None,
        }),
    }
}

/// A login that is not what a route asks for (RFC 9470).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insufficient {
    /// How operators know the route.
    pub route: String,
    /// What the route asks for.
    pub step_up: StepUp,
    /// What the login lacks.
    pub shortfall: Shortfall,
    /// What proved who it is: a login makes a session fresh, and no other credential.
    pub proof: Proof,
}

/// Judges a request by its route, by who is there, by where they come from, and by how long ago they authenticated.
///
/// # Errors
/// Why it may not pass.
pub fn decide<'a>(
    route: &'a Route,
    standing: Standing<'a>,
    client: Option<IpAddr>,
    now: Timestamp,
) -> Result<Permit<'a>, Deny> {
    if route.access == Access::Deny {
        return Err(Deny::Closed);
    }
    let principal = match standing {
        Standing::Admitted(principal) => Some(principal),
        Standing::Nobody => None,
        Standing::Barred(barred) => match route.access {
            // Nobody in particular may pass there.
            Access::Public | Access::Optional => None,
            Access::Login | Access::Api | Access::Deny => return Err(Deny::Barred(barred)),
        },
    };
    let principal = principal.filter(|_| route.access.asks_who());
    if let Some(principal) = principal.filter(|principal| !is_for(principal, route)) {
        return Err(Deny::Barred(Box::new(not_for(principal, route))));
    }
    // Only what the route's own lists say is tried out there: whoever has to sign in still has to.
    let fit = match (route.requirements.judge(principal, client), principal) {
        (Fit::Denied(denied), Some(principal)) => Fit::Denied(denied.of_proof(principal.proof)),
        (fit, _) => fit,
    };
    let (fit, passed_over) = match fit {
        Fit::Denied(denied) if route.dry_run => {
            (Fit::Fits, Some(Box::new(PassedOver::Denied(denied))))
        }
        fit => (fit, None),
    };
    let permit = |principal, passed_over| {
        Ok(Permit {
            principal,
            route,
            passed_over,
        })
    };
    match (fit, principal) {
        // Last: nobody types a password for nothing.
        (Fit::Fits, Some(principal)) => match step_up(route, principal, now) {
            None => permit(Some(principal), passed_over),
            Some(insufficient) if route.dry_run => permit(
                Some(principal),
                passed_over.or_else(|| Some(Box::new(PassedOver::StepUp(*insufficient)))),
            ),
            Some(insufficient) => Err(Deny::StepUp(insufficient)),
        },
        (Fit::Fits | Fit::NeedsPrincipal, None) => match route.access {
            // What they ask of people they ask of whoever is told.
            Access::Public | Access::Optional => permit(None, passed_over),
            Access::Login | Access::Api | Access::Deny => Err(Deny::NotSignedIn),
        },
        (Fit::Denied(_), Some(_))
            if route.access == Access::Optional && !is_elsewhere(route, client) =>
        {
            permit(None, passed_over)
        }
        (Fit::Denied(denied), Some(principal)) => Err(Deny::Barred(Box::new(Barred {
            user: principal.identity.user().clone(),
            provider: principal.identity.provider.clone(),
            subject: principal.identity.subject.clone(),
            proof: principal.proof,
            denied,
            route: Some(denial(route)),
        }))),
        (Fit::Denied(denied), None) => Err(Deny::Elsewhere(Box::new((denial(route), denied)))),
        // Who is there is known.
        (Fit::NeedsPrincipal, Some(_)) => Err(Deny::NotSignedIn),
    }
}

/// What the principal's login lacks of what the route asks for.
fn step_up(route: &Route, principal: Principal<'_>, now: Timestamp) -> Option<Box<Insufficient>> {
    let step_up = route.step_up.as_deref()?;
    let shortfall = step_up
        .check(&principal.identity.authentication, now)
        .err()?;
    Some(Box::new(Insufficient {
        route: route.name.clone(),
        step_up: step_up.clone(),
        shortfall,
        proof: principal.proof,
    }))
}

/// Whether nobody at all passes from there.
fn is_elsewhere(route: &Route, client: Option<IpAddr>) -> bool {
    matches!(route.requirements.judge(None, client), Fit::Denied(_))
}

fn denial(route: &Route) -> RouteDenial {
    RouteDenial {
        name: route.name.clone(),
        message: route.deny_message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        access::{Requirement, Requirements},
        identity::{Authentication, Identity},
        session::Session,
        tokens::Tokens,
    };

    const NOW: Timestamp = Timestamp(1_000);

    fn route(access: Access) -> Route {
        Route::for_test("/**", &[], access)
    }

    fn session() -> Session {
        Session::begin([1; 16], [2; 16], Timestamp(0), Identity::of("corp", "1"))
    }

    fn barred() -> Barred {
        Barred {
            user: "ada".into(),
            provider: "corp".into(),
            subject: "1".into(),
            proof: Proof::Session,
            denied: Denied {
                rule: "groups".to_owned(),
                sentence: "Your groups may not pass.",
                held: Held::NotKept,
            },
            route: None,
        }
    }

    #[test]
    fn a_closed_route_is_closed_to_everybody() {
        let session = session();
        for standing in [
            Standing::Nobody,
            Standing::Barred(Box::new(barred())),
            Standing::Admitted(session.principal()),
        ] {
            assert_eq!(
                decide(&route(Access::Deny), standing, None, NOW).unwrap_err(),
                Deny::Closed
            );
        }
    }

    #[test]
    fn no_login_is_offered_to_a_credential_without_a_session() {
        let mut identity = Identity::of("corp", "1");
        identity.notes.omitted_groups = 5;
        let tokens = Tokens::default();
        let mut staff = route(Access::Login);
        staff.requirements.all.lists = Allow::for_test(&[("groups", &["staff"])]).lists().to_vec();
        for (proof, may_be_more) in [
            (Proof::Session, true),
            (Proof::ApiToken, true),
            (Proof::AccessToken, true),
            (Proof::Bearer, false),
        ] {
            let principal = Principal {
                proof,
                ..Principal::of_session(&identity, &tokens)
            };
            let standing = Standing::Admitted(principal);
            let Err(Deny::Barred(barred)) = decide(&staff, standing, None, NOW) else {
                panic!("{proof:?} passes");
            };
            assert_eq!(barred.denied.held.may_be_more(), may_be_more, "{proof:?}");
            let allow = Allow::for_test(&[("groups", &["staff"])]);
            let Standing::Barred(barred) = Standing::under(&allow, principal) else {
                panic!("{proof:?} is admitted");
            };
            assert_eq!(barred.denied.held.may_be_more(), may_be_more, "{proof:?}");
        }
    }

    #[test]
    fn a_login_route_asks_for_somebody_admitted_and_tells_who_it_is() {
        let route = route(Access::Login);
        let refused = |standing| decide(&route, standing, None, NOW).unwrap_err();
        assert_eq!(refused(Standing::Nobody), Deny::NotSignedIn);
        assert_eq!(
            refused(Standing::Barred(Box::new(barred()))),
            Deny::Barred(Box::new(barred()))
        );
        let session = session();
        let permit = decide(&route, Standing::Admitted(session.principal()), None, NOW).unwrap();
        assert_eq!(permit.principal().unwrap().identity.subject.as_str(), "1");
    }

    #[test]
    fn a_dry_run_passes_over_the_routes_lists_and_nothing_else() {
        let lists = Requirements {
            all: Requirement {
                providers: vec!["elsewhere".to_owned()],
                ..Requirement::default()
            },
            any: Vec::new(),
        };
        let of = |access, dry_run| Route {
            requirements: lists.clone(),
            dry_run,
            ..route(access)
        };
        let (strict, dry) = (of(Access::Login, false), of(Access::Login, true));
        let session = session();
        let admitted = || Standing::Admitted(session.principal());
        let denied = decide(&strict, admitted(), None, NOW).unwrap_err();
        assert!(matches!(denied, Deny::Barred(_)));
        let permit = decide(&dry, admitted(), None, NOW).unwrap();
        assert!(permit.principal().is_some());
        let detail = permit.dry_run().unwrap();
        assert!(detail.starts_with("/**: allow.providers"), "{detail}");
        assert_eq!(
            decide(&dry, Standing::Nobody, None, NOW).unwrap_err(),
            Deny::NotSignedIn
        );
        let barred = Standing::Barred(Box::new(barred()));
        assert!(matches!(
            decide(&dry, barred, None, NOW).unwrap_err(),
            Deny::Barred(_)
        ));
        let closed = of(Access::Deny, true);
        assert_eq!(
            decide(&closed, admitted(), None, NOW).unwrap_err(),
            Deny::Closed
        );
    }

    #[test]
    fn a_fresh_login_is_asked_for_last_and_of_whoever_may_pass() {
        let step_up = StepUp {
            max_age: Some(Duration::from_mins(1)),
            acr_values: Vec::new(),
        };
        let of = |requirements| Route {
            step_up: Some(Box::new(step_up.clone())),
            requirements,
            ..route(Access::Login)
        };
        let (open, narrow) = (
            of(Requirements::default()),
            of(Requirements {
                all: Requirement {
                    providers: vec!["elsewhere".to_owned()],
                    ..Requirement::default()
                },
                any: Vec::new(),
            }),
        );
        let mut session = session();
        let unknown = decide(&open, Standing::Admitted(session.principal()), None, NOW);
        let Deny::StepUp(insufficient) = unknown.unwrap_err() else {
            panic!("not asked for");
        };
        assert_eq!(insufficient.shortfall, Shortfall::AgeUnknown);
        assert_eq!(insufficient.step_up, step_up);
        session.identity.authentication = Authentication::by_login(Timestamp(940));
        let admitted = || Standing::Admitted(session.principal());
        assert!(decide(&open, admitted(), None, NOW).is_ok());
        let later = decide(&open, admitted(), None, Timestamp(1_001)).unwrap_err();
        let dry = Route {
            dry_run: true,
            ..of(Requirements::default())
        };
        let tried = decide(&dry, admitted(), None, Timestamp(1_001)).unwrap();
        let detail = tried.dry_run().unwrap();
        assert_eq!(detail, "/**: they authenticated 61 seconds ago");
        assert!(matches!(later, Deny::StepUp(_)));
        let denied = decide(&narrow, admitted(), None, Timestamp(9_999)).unwrap_err();
        assert!(matches!(denied, Deny::Barred(_)));
        let nobody = decide(&open, Standing::Nobody, None, NOW).unwrap_err();
        assert_eq!(nobody, Deny::NotSignedIn);
    }

    #[test]
    fn a_public_route_tells_nobody() {
        let session = session();
        for standing in [
            Standing::Nobody,
            Standing::Barred(Box::new(barred())),
            Standing::Admitted(session.principal()),
        ] {
            assert!(
                decide(&route(Access::Public), standing, None, NOW)
                    .unwrap()
                    .principal()
                    .is_none()
            );
        }
    }
}
