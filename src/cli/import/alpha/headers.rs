//! Headers in the alpha configuration, and where their values come from.

use super::Reader;
use crate::cli::import::{
    given::SecretSource,
    model::{Header, Source},
    variables::whole_variable,
    yaml::Node,
};

impl Reader<'_> {
    pub(super) fn headers(&mut self, node: &Node, path: &str) -> Vec<Header> {
        let mut headers = Vec::new();
        for (number, node) in self.items(node, path).iter().enumerate() {
            headers.extend(self.header(node, &format!("{path}[{number}]")));
        }
        headers
    }

    fn header(&mut self, node: &Node, path: &str) -> Option<Header> {
        let (mut name, mut sources, mut preserve) = (None, Vec::new(), false);
        for (key, node) in self.entries(node, path) {
            let place = format!("{path}.{key}");
            match &*key.to_ascii_lowercase() {
                "name" => name = self.text(node, &place),
                "preserverequestvalue" => preserve = self.flag(node, &place, false),
                "insecureskipheadernormalization" => {
                    if self.flag(node, &place, false) {
                        self.notes
                            .absent(&place, "a client's copies are removed in every spelling");
                    } else {
                        self.notes
                            .needless(&place, "a client's copies are removed in every spelling");
                    }
                }
                "values" => {
                    for (number, node) in self.items(node, &place).iter().enumerate() {
                        sources.extend(self.source(node, &format!("{place}[{number}]")));
                    }
                }
                _ => self.unknown(
                    path,
                    key,
                    [
                        "name",
                        "preserveRequestValue",
                        "InsecureSkipHeaderNormalization",
                        "values",
                    ],
                ),
            }
        }
        let Some(name) = name else {
            self.error(path, "has no name");
            return None;
        };
        let source = match sources.len() {
            0 => {
                self.error(path, "has no values");
                return None;
            }
            1 => sources.remove(0),
            _ => Source::Several,
        };
        Some(Header {
            label: format!("{path} ({name})"),
            name,
            source,
            preserve,
        })
    }

    /// A value of a header; the keys of its sources stand beside `values`' or below their names, by the version.
    fn source(&mut self, node: &Node, path: &str) -> Option<Source> {
        let (mut claim, mut prefix, mut password) = (None, String::new(), None);
        let mut secret = Vec::new();
        for (key, node) in self.entries(node, path) {
            let place = format!("{path}.{key}");
            match &*key.to_ascii_lowercase() {
                "claimsource" => {
                    for (key, node) in self.entries(node, &place) {
                        let place = format!("{place}.{key}");
                        self.claim_key(key, node, &place, &mut claim, &mut prefix, &mut password);
                    }
                }
                "secretsource" => secret.extend(self.secret(node, &place)),
                "value" | "fromenv" | "fromfile" => {
                    let one = Node::Map(vec![(key.clone(), node.clone())]);
                    secret.extend(self.secret(&one, path));
                }
                _ => self.claim_key(key, node, &place, &mut claim, &mut prefix, &mut password),
            }
        }
        match (claim, password, secret.pop()) {
            (Some(claim), Some(password), None) => Some(Source::Basic { claim, password }),
            (Some(claim), None, None) => Some(Source::Claim { claim, prefix }),
            (None, None, Some(secret)) => Some(Source::Constant(secret)),
            _ => {
                self.error(path, "has no source, or more than one");
                None
            }
        }
    }

    fn claim_key(
        &mut self,
        key: &str,
        node: &Node,
        place: &str,
        claim: &mut Option<String>,
        prefix: &mut String,
        password: &mut Option<SecretSource>,
    ) {
        match &*key.to_ascii_lowercase() {
            "claim" => *claim = self.text(node, place),
            "prefix" => *prefix = self.text(node, place).unwrap_or_default(),
            "basicauthpassword" => *password = self.secret(node, place),
            _ => self.error(place, "is nothing that oauth2-proxy 7.15 knows"),
        }
    }

    fn secret(&mut self, node: &Node, path: &str) -> Option<SecretSource> {
        let mut secret = None;
        for (key, node) in self.entries(node, path) {
            let place = format!("{path}.{key}");
            secret = match (&*key.to_ascii_lowercase(), node) {
                ("value", Node::Text(text)) => Some(match whole_variable(text) {
                    Some(variable) => SecretSource::Variable(variable.to_owned()),
                    None => SecretSource::Literal(self.substituted(text, &place)),
                }),
                ("fromenv", _) => self.text(node, &place).map(SecretSource::Variable),
                ("fromfile", _) => self.text(node, &place).map(SecretSource::File),
                ("value", _) => None,
                _ => {
                    self.unknown(path, key, ["value", "fromEnv", "fromFile"]);
                    None
                }
            };
        }
        secret
    }
}
