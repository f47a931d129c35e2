//! The gate's own pages (askama, which escapes every text). No script, no picture from elsewhere, one
//! inlined style.

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
        self.label
            .chars()
            .find(|letter| letter.is_alphanumeric())
            .map_or_else(|| "?".to_owned(), |letter| letter.to_uppercase().collect())
    }
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

/// Somebody at a provider.
pub struct Account<'a> {
    /// The name they know themselves by.
    pub user: &'a str,
    /// What people call the provider.
    pub provider: &'a str,
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
