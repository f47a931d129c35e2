//! A proxy that cannot be installed here: what it sends is written out, and what it makes of an answer is done.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::support::{House, raw};

/// A client of the proxy's.
#[derive(Clone, Debug)]
pub struct Client<'a> {
    pub method: &'a str,
    pub uri: &'a str,
    headers: Vec<(String, String)>,
}

/// What becomes of its request.
#[derive(Debug)]
pub enum Outcome {
    /// The app gets it, with these headers.
    Passes(Vec<(String, String)>),
    /// The client gets the gate's answer.
    Answer(u16, Vec<(String, String)>),
}

impl<'a> Client<'a> {
    /// A browser that goes to a page.
    pub fn navigating(uri: &'a str) -> Self {
        Self::program(uri)
            .header("accept", "text/html,*/*")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
    }

    /// A program.
    pub fn program(uri: &'a str) -> Self {
        Self {
            method: "GET",
            uri,
            headers: Vec::new(),
        }
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// It says who it is, in five spellings.
    pub fn forged(self) -> Self {
        let spellings = ["x-user", "x_user", "x-user_id", "x_user_id", "x-user-email"];
        spellings
            .iter()
            .fold(self, |client, name| client.header(name, "mallory"))
    }

    /// Without the headers that the proxy drops.
    pub fn without(mut self, drops: impl Fn(&str) -> bool) -> Self {
        self.headers.retain(|(name, _)| !drops(name));
        self
    }

    /// The headers that the proxy copies, as lines.
    pub fn lines(&self, copies: impl Fn(&str) -> bool) -> String {
        let mut lines = String::new();
        for (name, value) in self.headers.iter().filter(|(name, _)| copies(name)) {
            lines.extend([name, ": ", value, "\r\n"]);
        }
        lines
    }

    /// Asks the gate, byte for byte; the answer's head.
    pub async fn exchange(&self, house: &House, question: &str) -> String {
        let mut stream = house.connect().await;
        stream.write_all(question.as_bytes()).await.unwrap();
        raw::read_until(&mut stream, "\r\n\r\n", Duration::from_secs(20)).await
    }

    /// What the proxy makes of the answer. Of a yes it copies the headers in `copied`, in the place of the client's;
    /// `with_empty` is whether one without a value is one.
    pub fn outcome(self, answer: &str, copied: &[String], with_empty: bool) -> Outcome {
        let (head, _) = answer.split_once("\r\n\r\n").expect("a head");
        let lines: Vec<_> = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let status = raw::status(answer);
        if !(200..300).contains(&status) {
            return Outcome::Answer(status, lines);
        }
        let mut headers = self.headers;
        for name in copied {
            headers.retain(|(own, _)| own != name);
            let values = lines.iter().filter(|(its, _)| its == name);
            let values = values.filter(|(_, value)| with_empty || !value.is_empty());
            headers.extend(values.cloned());
        }
        Outcome::Passes(headers)
    }
}

/// The names of a list in a recipe, in lower case.
pub fn list_after(recipe: &str, begin: &str) -> Vec<String> {
    let (_, rest) = recipe.split_once(begin).expect("the list");
    let list = rest.split(['\n', ']']).next().unwrap_or_default();
    list.split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .collect()
}
