//! Each kind as a row of a table: who signs in there, what the app is told, and what each allow-list looks like that
//! lets Ada in or keeps her out.

mod openid;
mod plain;

pub use self::{
    openid::{gitlab, google, microsoft, oidc},
    plain::{discord, facebook, forty_two, github, github_enterprise, oauth2},
};
use super::Backend;

/// A row.
pub struct Case {
    /// What `type` says.
    pub kind: &'static str,
    /// The further lines of its table: where it is, and whatever it needs.
    pub lines: String,
    /// The stable id.
    pub subject: &'static str,
    /// What an app shows.
    pub user: &'static str,
    /// The address, where the provider vouches for it.
    pub email: Option<&'static str>,
    /// A claim from anywhere in the answer: the source of a header, and its value.
    pub claim: (&'static str, &'static str),
    /// The lists.
    pub lists: Vec<List>,
    /// A list that has to stand beside each other one.
    pub beside: Option<(&'static str, &'static str)>,
    /// Takes from Ada, at the provider, all by which she passes any of the lists, but who she is.
    pub lose: fn(&Backend),
    /// Lists that she passes for good, because who she is says so.
    pub lasting: &'static [&'static str],
    /// Whether the provider has refresh tokens; plain servers may want to be told to have them.
    pub refresh: Refresh,
    /// Whether the provider has a way to be asked for another account.
    pub can_switch: bool,
    /// The path of the authorization endpoint.
    pub authorize: &'static str,
    /// The server.
    pub backend: Backend,
}

/// Whether a kind has refresh tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// It has none.
    Never,
    /// Each renewal gives a new one.
    Rotates,
    /// The first one stays.
    Stays,
}

/// One key of `allow`.
pub struct List {
    /// The key.
    pub key: &'static str,
    /// A list with Ada on it.
    pub passes: &'static str,
    /// A list without her.
    pub denies: &'static str,
}

const fn list(key: &'static str, passes: &'static str, denies: &'static str) -> List {
    List {
        key,
        passes,
        denies,
    }
}

/// The lists that every kind has, for an `ada@example.com` who is vouched for.
fn common(user: &'static str, nobody: &'static str) -> Vec<List> {
    vec![
        list("emails", "[\"ada@example.com\"]", "[\"eve@example.com\"]"),
        list("domains", "[\"example.com\"]", "[\"example.org\"]"),
        list("users", user, nobody),
    ]
}

impl Case {
    /// `allow` with this list, and with the one that has to be there beside it.
    pub fn allow(&self, key: &str, entries: &str) -> String {
        match self.beside {
            Some((beside, all)) if beside != key => {
                format!("{{ {key} = {entries}, {beside} = {all} }}")
            }
            _ => format!("{{ {key} = {entries} }}"),
        }
    }

    /// The table `name` of this kind, without its header line.
    pub fn table(&self, name: &str, allow: &str) -> String {
        format!(
            "type = \"{}\"\n{}{}allow = {allow}\n",
            self.kind,
            self.lines,
            self.backend.client(name)
        )
    }
}
