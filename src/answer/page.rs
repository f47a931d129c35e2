//! The gate's own pages (askama, which escapes every text). They have no script, no picture from elsewhere, and one inlined
//! style.

use askama::Template;

/// The one stylesheet, inlined so that a page is one answer and its policy can name it by hash.
pub(super) const STYLE: &str = include_str!("../../templates/style.css");

/// The chooser: one button per provider.
#[derive(Template)]
#[template(path = "sign_in.html")]
pub struct SignInPage<'a> {
    /// The app's host, so that people see where they are signing in.
    pub host: &'a str,
    /// The buttons.
    pub choices: Vec<Choice<'a>>,
}

/// A provider's button.
pub struct Choice<'a> {
    /// The provider's name.
    pub label: &'a str,
    /// The provider's mark, written into the page as it is: only what stands in the source may come here.
    pub mark: &'static str,
    /// Where it leads.
    pub href: String,
    /// Whether this browser's last login was here.
    pub is_last_used: bool,
}

impl Choice<'_> {
    /// What stands in the place of a mark.
    fn initial(&self) -> String {
        initial(self.label)
    }
}

fn initial(name: &str) -> String {
    name.chars()
        .find(|letter| letter.is_alphanumeric())
        .map_or_else(|| "?".to_owned(), |letter| letter.to_uppercase().collect())
}

/// A page that tells what happened and offers what to do now.
#[derive(Template)]
#[template(path = "notice.html")]
pub struct Notice<'a> {
    /// The app's host.
    pub host: &'a str,
    /// What happened, in a few words.
    pub title: &'a str,
    /// The same in sentences.
    pub message: &'a str,
    /// Who is signed in, where that explains the answer.
    pub account: Option<Account<'a>>,
    /// What the provider says, shown as its words.
    pub quote: Option<&'a str>,
    /// A button that posts: (what it says, where to).
    pub form: Option<(&'a str, String)>,
    /// What to do now; the first is what most people want.
    pub links: Vec<Link>,
    /// Leads to the log line; none where nothing went wrong.
    pub request_id: Option<&'a str>,
}

/// Who somebody is, what the app is told about them, and where they are signed in.
#[derive(Template)]
#[template(path = "account.html")]
pub struct AccountPage<'a> {
    /// The app's host.
    pub host: &'a str,
    /// The name they know themselves by.
    pub user: &'a str,
    /// Their full name.
    pub name: Option<&'a str>,
    /// Their address.
    pub email: Option<&'a str>,
    /// What people call the provider.
    pub provider: &'a str,
    /// Each header that the app gets, and its value; none for a token, which is not shown.
    pub headers: Vec<(String, Option<String>)>,
    /// Where they are signed in.
    pub sessions: Vec<AccountSession<'a>>,
    /// Whether there are no sessions but these.
    pub is_complete: bool,
    /// Where the form is sent to.
    pub action: String,
    /// Where signing out here is sent to.
    pub sign_out: String,
    /// Shows that the form is of this page.
    pub token: String,
    /// Their API tokens, where people may have any.
    pub tokens: Option<AccountTokens<'a>>,
    /// What they have let clients do, where they may.
    pub grants: Option<AccountGrants>,
}

/// Somebody's API tokens, and what a new one may be.
pub struct AccountTokens<'a> {
    /// Where a new one is asked for; below it one is ended.
    pub action: String,
    /// The tokens; none where they cannot be listed now.
    pub list: Option<Vec<AccountToken<'a>>>,
    /// Where to sign in again first; none where the login is fresh.
    pub sign_in: Option<String>,
    /// The scopes to choose from.
    pub scopes: &'a [String],
    /// The routes to choose from.
    pub routes: Vec<&'a str>,
    /// For how many days, if nobody says otherwise.
    pub days: u32,
    /// For how many at most.
    pub max_days: u32,
}

/// One of somebody's API tokens.
pub struct AccountToken<'a> {
    /// Names it in the form.
    pub id: String,
    /// Its first characters.
    pub start: &'a str,
    /// What its owner calls it.
    pub name: &'a str,
    /// What it may be used for.
    pub scopes: String,
    /// The routes that it is for; empty where it is for all.
    pub routes: String,
    /// When it was made.
    pub made: String,
    /// When it ends.
    pub expires: String,
    /// When it was last used.
    pub last_used: Option<String>,
}

/// A token that was made, shown this once.
#[derive(Template)]
#[template(path = "token.html")]
pub struct TokenPage<'a> {
    /// The app's host.
    pub host: &'a str,
    /// What its owner calls it.
    pub name: &'a str,
    /// The token.
    pub token: &'a str,
    /// When it ends.
    pub expires: String,
    /// The account's page.
    pub back: String,
}

/// Asks whether a client may act for somebody. What it says of itself is shown as what it is: its word.
#[derive(Template)]
#[template(path = "consent.html")]
pub struct ConsentPage<'a> {
    /// The gate's host.
    pub host: &'a str,
    /// What the client calls itself.
    pub client: &'a str,
    /// The host that its document lies on, where it has one.
    pub proven_host: Option<String>,
    /// Whether the operator has named it.
    pub is_known: bool,
    /// Where its answer goes.
    pub leads_to: String,
    /// Whether that is a program on the reader's machine.
    pub is_loopback: bool,
    /// Whether that is whatever program the reader's machine opens such addresses with.
    pub is_private_scheme: bool,
    /// What tokens are for.
    pub resource: &'a str,
    /// What they may be used for.
    pub scopes: &'a [String],
    /// Until when.
    pub until: String,
    /// Who is signed in.
    pub user: &'a str,
    /// With what.
    pub provider: &'a str,
    /// Where somebody else signs in.
    pub switch: String,
    /// Where the form goes.
    pub action: String,
    /// What is asked, sealed.
    pub consent: String,
}

/// Asks for the code that a program without a browser shows, and then whether it may go on.
#[derive(Template)]
#[template(path = "device.html")]
pub struct DevicePage<'a> {
    /// The gate's host.
    pub host: &'a str,
    /// Who is signed in.
    pub user: &'a str,
    /// With what.
    pub provider: &'a str,
    /// Where the form goes.
    pub action: String,
    /// Shows that the form is of this page.
    pub token: String,
    /// The code, as far as it was typed.
    pub typed: String,
    /// Who waits under it, once that is known.
    pub asked: Option<DeviceAsked>,
    /// Why the code was not taken.
    pub problem: Option<&'static str>,
}

/// A program that waits for its user.
pub struct DeviceAsked {
    /// What it calls itself.
    pub client: String,
    /// From where it asked.
    pub address: Option<String>,
    /// How long ago.
    pub begun: String,
    /// What tokens are for.
    pub resource: String,
    /// What they may be used for.
    pub scopes: String,
    /// Until when.
    pub until: String,
}

/// What somebody has let clients do.
pub struct AccountGrants {
    /// Where one is ended.
    pub action: String,
    /// The grants; none where they cannot be listed now.
    pub list: Option<Vec<AccountGrant>>,
}

/// One of somebody's grants.
pub struct AccountGrant {
    /// Names it in the form.
    pub id: String,
    /// What the client calls itself.
    pub name: String,
    /// Where its codes went.
    pub leads_to: String,
    /// What tokens are for.
    pub resource: String,
    /// Since when.
    pub since: String,
    /// Until when.
    pub until: String,
    /// When tokens were last given.
    pub last_used: String,
}

/// One of somebody's sessions.
pub struct AccountSession<'a> {
    /// Names it in the form.
    pub name: String,
    /// What it is called.
    pub device: &'a str,
    /// Where it was last seen.
    pub address: Option<String>,
    /// When it began.
    pub since: String,
    /// When it was last seen.
    pub last_seen: String,
    /// Whether the page was asked for in it.
    pub is_this: bool,
}

impl AccountPage<'_> {
    /// What stands in the place of a picture.
    fn initial(&self) -> String {
        initial(self.name.unwrap_or(self.user))
    }

    fn has_others(&self) -> bool {
        self.sessions.iter().any(|session| !session.is_this)
    }
}

/// Somebody at a provider.
pub struct Account<'a> {
    /// The name they know themselves by.
    pub user: &'a str,
    /// What people call the provider.
    pub provider: &'a str,
    /// Whether the provider takes this account until they sign out there.
    pub stays: bool,
}

/// A link that looks like a button.
#[derive(Debug)]
pub struct Link {
    /// What it says.
    pub label: &'static str,
    /// Where it leads. An empty one is the page's own address.
    pub href: String,
    /// Opens beside this page, so that this one can be reloaded afterwards.
    pub beside: bool,
}

impl Link {
    /// A link that leads on.
    pub fn new(label: &'static str, href: String) -> Self {
        Self {
            label,
            href,
            beside: false,
        }
    }

    /// A link that opens beside this page.
    pub fn beside(label: &'static str, href: String) -> Self {
        Self {
            label,
            href,
            beside: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::catalog::KINDS;

    #[test]
    fn the_chooser_shows_marks_and_what_was_used_last() {
        const MARK: &str = r#"<svg viewBox="0 0 1 1"><path d="M0 0"/></svg>"#;
        let choice = |label, mark, is_last_used| Choice {
            label,
            mark,
            href: "/oauth2/start/x".to_owned(),
            is_last_used,
        };
        let page = SignInPage {
            host: "app.example",
            choices: vec![choice("Hub", MARK, true), choice("corp", "", false)],
        };
        let page = page.render().unwrap();
        assert_eq!(page.matches(MARK).count(), 1);
        assert!(page.contains(">C</span>"), "{page}");
        assert_eq!(page.matches("last used").count(), 1);
        assert!(page.contains("Continue with <strong>corp</strong>"));
    }

    /// They are written into pages as they are, under a policy that allows nothing from elsewhere.
    #[test]
    fn marks_are_pictures_and_nothing_else() {
        for kind in KINDS.iter().filter(|kind| !kind.mark.is_empty()) {
            let mark = kind.mark;
            assert!(
                mark.starts_with("<svg ") && mark.ends_with("</svg>"),
                "{kind:?}"
            );
            assert!(mark.contains(" viewBox=\""), "{kind:?}");
            // An id would have to be the only one of its name on the page.
            for forbidden in [
                "<script", "<style", " style=", "href", " on", "<image", "<use", "<foreign",
                " id=", "url(",
            ] {
                assert!(!mark.contains(forbidden), "{kind:?}: {forbidden}");
            }
        }
    }
}
