//! A checked `allow`: which users of a provider may pass. Pure.

/// `allow`: who of a provider's users may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// `allow = "anyone"`: whoever the provider lets sign in.
    Anyone,
    /// Whoever fits each list that is given; an identity fits a list by one entry. Never empty.
    Lists(Vec<AllowList>),
}

impl Allow {
    /// The lists; none where anyone may pass.
    pub fn lists(&self) -> &[AllowList] {
        match self {
            Self::Anyone => &[],
            Self::Lists(lists) => lists,
        }
    }
}

/// One list of `allow`. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowList {
    /// `emails`, `domains`, `users`, `groups`, `orgs`, …, or `claims.` and a path.
    pub key: String,
    /// What one of must fit. In lower case where the list ignores case.
    pub entries: Vec<String>,
    /// Whether names that differ by case alone are one name.
    pub ignores_case: bool,
}

impl AllowList {
    /// Whether the list of that key names what ignores case wherever it comes from. Login names are not
    /// among it: that is for each kind to say.
    pub(crate) fn always_ignores_case(key: &str) -> bool {
        matches!(
            key,
            "domains" | "hosted_domains" | "orgs" | "teams" | "tenants"
        )
    }
}

#[cfg(test)]
impl Allow {
    /// `allow = { KEY = [ENTRY, …], … }`
    pub(crate) fn for_test(lists: &[(&str, &[&str])]) -> Self {
        let list = |(key, entries): &(&str, &[&str])| AllowList {
            key: (*key).to_owned(),
            entries: entries.iter().map(ToString::to_string).collect(),
            ignores_case: AllowList::always_ignores_case(key),
        };
        Self::Lists(lists.iter().map(list).collect())
    }

    /// The same, but the list `key` is compared without regard to case.
    pub(crate) fn with_caseless(mut self, key: &str) -> Self {
        if let Self::Lists(lists) = &mut self {
            for list in lists.iter_mut().filter(|list| list.key == key) {
                list.ignores_case = true;
            }
        }
        self
    }
}
