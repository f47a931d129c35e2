//! Turns what a provider says about a user into an [`Identity`]. Pure.
//!
//! Every provider brings its answer into one JSON object, and names where each claim is. Unusable values (control characters, a second
//! `@`, too long) are left out, because header lines and allow lists are made from them. Without a usable subject there is no identity.

mod evidence;
mod gaps;
mod refresh;
mod value;

use std::borrow::Cow;

use serde_json::{Map, Value};

use self::value::{copy_without, fits, header_text, is_email, text, values};
pub(super) use self::value::{is_true, withheld};
pub use self::{evidence::Evidence, refresh::Spoke, value::find};
use crate::{
    access::{Allow, allow},
    identity::{Authentication, Identity, Notes},
    identity_headers::HeaderSource,
    provider::{
        bearer::CLIENT_SUBJECT,
        settings::{ClaimPaths, ProviderSettings, Room},
    },
    text::Text,
};

/// Where a provider's answer has what an identity needs, each a [path](find).
#[derive(Debug, Clone)]
pub struct ClaimNames {
    /// The stable id.
    pub subject: String,
    /// The login name.
    pub login: String,
    /// The address.
    pub email: String,
    /// Whether the provider vouches for the address.
    pub email_verified: String,
    /// The full name.
    pub name: String,
    /// The picture's address.
    pub picture: String,
    /// The groups: a list of names, one name, or an object whose keys are the names.
    pub groups: String,
}

impl ClaimNames {
    /// OpenID Connect's standard claims (Core §5.1), and `groups`, which many providers have.
    pub fn standard() -> Self {
        Self {
            subject: "sub".to_owned(),
            login: "preferred_username".to_owned(),
            email: "email".to_owned(),
            email_verified: "email_verified".to_owned(),
            name: "name".to_owned(),
            picture: "picture".to_owned(),
            groups: "groups".to_owned(),
        }
    }

    /// As the operator says, where they say something.
    fn overlaid(mut self, paths: &ClaimPaths) -> Self {
        // What vouches for the kind's own address says nothing of another claim: people write what they
        // like into most of them.
        if paths.email.as_ref().is_some_and(|path| *path != self.email) {
            self.email_verified.clear();
        }
        for (name, path) in [
            (&mut self.subject, &paths.subject),
            (&mut self.login, &paths.user),
            (&mut self.email, &paths.email),
            (&mut self.email_verified, &paths.email_verified),
            (&mut self.name, &paths.name),
            (&mut self.picture, &paths.picture),
            (&mut self.groups, &paths.groups),
        ] {
            if let Some(path) = path {
                name.clone_from(path);
            }
        }
        self
    }
}

/// How the claims of one provider become an identity.
#[derive(Debug, Clone)]
pub struct ClaimRules {
    provider: Text,
    names: ClaimNames,
    /// Those of them that the operator says.
    by_hand: ClaimPaths,
    /// Where addresses stand, each with what vouches for it: the one that counts first, then the kind's
    /// own where the operator names another.
    addresses: Vec<(String, String)>,
    /// Paths that the configuration's headers carry.
    wanted: Vec<String>,
    /// Who may pass: what it names is kept where there is too much of something.
    facts: Allow,
    /// How much is kept.
    room: Room,
}

/// Why claims do not make an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// No stable id, or one that is empty, too long or has control characters.
    #[error("the subject is missing or unusable")]
    Subject,
    /// What the subjects of clients begin with.
    #[error("the subject begins with `{CLIENT_SUBJECT}`, as only those of clients may")]
    ClientSubject,
}

impl ClaimRules {
    /// Rules for the provider of `config`, whose answer has things where `names` says.
    pub fn new(config: &ProviderSettings, names: ClaimNames, headers: &[&HeaderSource]) -> Self {
        let mut wanted: Vec<String> = headers
            .iter()
            .filter_map(|source| match source {
                HeaderSource::Claim(path) => Some(path.clone()),
                _ => None,
            })
            .collect();
        wanted.sort();
        wanted.dedup();
        let address = |names: &ClaimNames| (names.email.clone(), names.email_verified.clone());
        let own = address(&names);
        let names = names.overlaid(&config.claims);
        let mut addresses = vec![address(&names)];
        if own.0 != names.email {
            addresses.push(own);
        }
        Self {
            provider: Text::from(config.name.as_str()),
            names,
            by_hand: config.claims.clone(),
            addresses,
            wanted,
            facts: config.facts(),
            room: config.room,
        }
    }

    /// Whether the operator says that something stands at `path`. What a provider publishes of its claims says nothing of
    /// those: it lists the standard ones, and rarely what an administrator has added.
    pub fn is_by_hand(&self, path: &str) -> bool {
        let ClaimPaths {
            subject,
            user,
            email,
            email_verified,
            name,
            picture,
            groups,
        } = &self.by_hand;
        [subject, user, email, email_verified, name, picture, groups]
            .iter()
            .any(|said| said.as_deref() == Some(path))
    }

    /// Where things stand.
    pub fn names(&self) -> &ClaimNames {
        &self.names
    }

    /// The paths that headers carry.
    pub fn wanted(&self) -> &[String] {
        &self.wanted
    }

    /// Who `claims` speak of, with what the provider `reported` of them for its own allow lists. Nobody has a subject that a client of the
    /// same provider may have where it acts for itself: the app knows both by it.
    pub fn identity_with(
        &self,
        claims: &Map<String, Value>,
        reported: Vec<(Text, Text)>,
    ) -> Result<Identity, ClaimError> {
        let identity = self.client_with(claims, reported)?;
        if identity.subject.starts_with(CLIENT_SUBJECT) {
            return Err(ClaimError::ClientSubject);
        }
        Ok(identity)
    }

    /// The same of a client that acts for itself.
    pub fn client_with(
        &self,
        claims: &Map<String, Value>,
        reported: Vec<(Text, Text)>,
    ) -> Result<Identity, ClaimError> {
        let text = |path: &str, limit| text(claims, path, limit);
        let open = self.without_unvouched(claims);
        let (groups, omitted_groups, unusable_groups) = self.groups(claims);
        let (carried, omitted_claims) = self.carried(&open);
        let login = text(&self.names.login, MAX_NAME);
        let known = login.clone().map(|login| (Text::from("users"), login));
        let memberships = known.into_iter().chain(self.claimed(&open)).chain(reported);
        Ok(Identity {
            provider: self.provider.clone(),
            subject: text(&self.names.subject, MAX_SUBJECT).ok_or(ClaimError::Subject)?,
            memberships: kept(memberships, &self.facts),
            login,
            email: vouched_address(claims, &self.names.email, &self.names.email_verified),
            name: text(&self.names.name, MAX_NAME),
            picture: text(&self.names.picture, MAX_PICTURE),
            groups,
            claims: carried,
            notes: Notes {
                omitted_groups,
                unusable_groups,
                omitted_claims,
                gaps: self.gaps(claims),
                ..Notes::default()
            },
            authentication: Authentication::default(),
        })
    }

    /// The claims that headers carry, and the paths of those that do not fit or are withheld.
    fn carried(&self, claims: &Map<String, Value>) -> (Vec<(Text, Text)>, Vec<Text>) {
        let (mut carried, mut omitted) = (Vec::new(), Vec::new());
        let mut room = self.room.claims;
        for path in &self.wanted {
            match find(claims, path).and_then(header_text) {
                Some(text) if fits(&text, room) => {
                    room -= text.len();
                    carried.push((Text::from(path.as_str()), Text::from(text)));
                }
                None if withheld(claims, path).is_none() => {}
                _ => omitted.push(Text::from(path.as_str())),
            }
        }
        (carried, omitted)
    }

    /// The claims as lists and headers see them by path: an address for which nobody vouches is null. A
    /// list by path must not admit whom `emails` would not, nor a header show what `email` would not. What
    /// is taken out is the value and not a name of it, so that no path above, below or beside leads there.
    fn without_unvouched<'c>(&self, claims: &'c Map<String, Value>) -> Cow<'c, Map<String, Value>> {
        let unvouched: Vec<&Value> = self
            .addresses
            .iter()
            .filter(|(email, verified)| vouched_address(claims, email, verified).is_none())
            .filter_map(|(email, _)| find(claims, email))
            .collect();
        if unvouched.is_empty() {
            Cow::Borrowed(claims)
        } else {
            Cow::Owned(copy_without(claims, &unvouched))
        }
    }

    /// Whether what stands at `path` may be, hold or lie within an address.
    pub fn meets_address(&self, path: &str) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.any(|(email, _)| meets(path, email))
    }

    /// Where something is looked for that a further place may add by itself. An address and what vouches for it are not of it: they belong
    /// together.
    pub fn single_paths(&self) -> Vec<&str> {
        let names = &self.names;
        let named = [&names.groups, &names.login, &names.name, &names.picture];
        let named = named.into_iter().chain(&self.wanted).map(String::as_str);
        let is_of_pair = |path: &str| {
            let mut pairs = self.addresses.iter();
            pairs.any(|(email, verified)| meets(path, email) || meets(path, verified))
        };
        named
            .chain(self.listed())
            .filter(|path| !is_of_pair(path))
            .collect()
    }

    /// The paths of the lists `claims.PATH`.
    fn listed(&self) -> impl Iterator<Item = &str> {
        let lists = self.facts.lists().iter();
        lists.filter_map(|list| list.key.strip_prefix("claims."))
    }

    /// What stands at the paths of the lists `claims.PATH`.
    fn claimed(&self, claims: &Map<String, Value>) -> impl Iterator<Item = (Text, Text)> {
        let lists = self.facts.lists().iter().filter_map(move |list| {
            let path = list.key.strip_prefix("claims.")?;
            Some((list.key.as_str(), find(claims, path)?))
        });
        lists.flat_map(|(key, value)| {
            let values = values(value).into_iter();
            values.map(move |value| (Text::from(key), Text::from(value)))
        })
    }

    /// The groups; how many more the provider named; and how many of what it lists are no groups. Where not all of them fit, or may not fit
    /// into a header, those that the allow list names come first, and those are always kept: no bound locks anybody out.
    fn groups(&self, claims: &Map<String, Value>) -> (Vec<Text>, u32, u32) {
        let Some(value) = find(claims, &self.names.groups) else {
            // How many they are nobody knows, but not none.
            let omitted = withheld(claims, &self.names.groups).is_some();
            return (Vec::new(), u32::from(omitted), 0);
        };
        let (mut groups, unusable) = value::groups(value);
        let bytes: usize = groups.iter().map(|group| group.len() + 1).sum();
        // In a header a byte may take three.
        if bytes > self.room.groups || bytes > self.room.header / 3 {
            // Stable, so that the provider's order is kept within each half.
            groups.sort_by_key(|group| !self.names_group(group));
        }
        let mut room = self.room.groups;
        let kept = groups.iter().take_while(|group| {
            let left = room.checked_sub(group.len());
            room = left.unwrap_or(0);
            left.is_some() || self.names_group(group)
        });
        let kept = kept.count();
        let omitted = u32::try_from(groups.len() - kept).unwrap_or(u32::MAX);
        groups.truncate(kept);
        let groups = groups.into_iter().map(Text::from).collect();
        (groups, omitted, unusable)
    }

    fn names_group(&self, group: &String) -> bool {
        let mut lists = self.facts.lists().iter();
        lists.any(|list| list.key == "groups" && list.entries.contains(group))
    }
}

/// Whether what stands at one of the paths may be, hold or lie within what stands at the other.
fn meets(path: &str, other: &str) -> bool {
    let is_below = |path: &str, other: &str| {
        path.strip_prefix(other)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    is_below(path, other) || is_below(other, path)
}

/// What of `memberships`, pairs of a list's key and what somebody has there, the lists of `allow` name,
/// each in the configuration's spelling. The rest is dropped, and more than a few of one list too:
/// one is enough to pass, and a session lives in a cookie.
pub fn kept(
    memberships: impl IntoIterator<Item = (Text, Text)>,
    allow: &Allow,
) -> Vec<(Text, Text)> {
    let memberships: Vec<(Text, Text)> = memberships.into_iter().collect();
    let lists = allow.lists().iter();
    lists
        .flat_map(|list| {
            let fits = |entry: &&String| {
                memberships
                    .iter()
                    .any(|(key, has)| key.as_str() == list.key && allow::same(list, has, entry))
            };
            let entries = list.entries.iter().filter(|entry| entry.len() <= MAX_GROUP);
            let named = entries.filter(fits).take(MAX_KEPT);
            named.map(|entry| (Text::from(list.key.as_str()), Text::from(entry.as_str())))
        })
        .collect()
}

/// The address at `email`, if what stands at `verified` vouches for it.
fn vouched_address(claims: &Map<String, Value>, email: &str, verified: &str) -> Option<Text> {
    let is_vouched = find(claims, verified).is_some_and(is_true);
    text(claims, email, MAX_EMAIL).filter(|email| is_vouched && is_email(email))
}

/// Core §2: `sub` must not exceed 255 characters.
const MAX_SUBJECT: usize = 255;
/// RFC 5321 §4.5.3.1.3, without the angle brackets.
const MAX_EMAIL: usize = 254;
/// Characters of a name. Names are only shown.
const MAX_NAME: usize = 255;
/// Bytes of a picture's address. `data:` URLs are longer and useless in a header.
const MAX_PICTURE: usize = 1024;
/// One group's name, or one entry of a list: names of directories are long.
const MAX_GROUP: usize = 1024;
/// Entries kept of one list beside groups.
const MAX_KEPT: usize = 16;

#[cfg(test)]
mod address_tests;
#[cfg(test)]
mod tests;
