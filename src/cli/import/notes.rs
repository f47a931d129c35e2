//! The notes beside the configuration.

/// Sentences, each with the option that it is about.
#[derive(Debug, Default)]
pub struct Notes {
    absent: Vec<String>,
    to_do: Vec<String>,
    needless: Vec<String>,
}

impl Notes {
    /// There is no equivalent; what to do instead.
    pub(super) fn absent(&mut self, option: &str, instead: &str) {
        add(&mut self.absent, option, instead);
    }

    /// It is translated, and something is left for the operator.
    pub(super) fn remind(&mut self, option: &str, what: &str) {
        add(&mut self.to_do, option, what);
    }

    /// No key is needed for it, and why.
    pub(super) fn needless(&mut self, option: &str, why: &str) {
        add(&mut self.needless, option, why);
    }

    /// Whether all of the configuration has an equivalent.
    pub fn is_complete(&self) -> bool {
        self.absent.is_empty()
    }

    /// Every list that has something in it, under its title.
    pub fn lists(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        [
            ("no equivalent", &self.absent[..]),
            ("to do", &self.to_do),
            ("not needed", &self.needless),
        ]
        .into_iter()
        .filter(|(_, sentences)| !sentences.is_empty())
    }
}

fn add(list: &mut Vec<String>, option: &str, words: &str) {
    let sentence: String = format!("{option}: {words}")
        .chars()
        // One line each, whatever the operator wrote.
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if !list.contains(&sentence) {
        list.push(sentence);
    }
}
