//! A YAML document as a tree of texts. Pure.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// So deep may it nest: oauth2-proxy's own goes down six levels.
const DEEPEST: usize = 32;

/// A node; scalars are the text that stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Null,
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

/// The first document of `content`. The error has the line, and nothing of the content.
pub(super) fn read(content: &str) -> Result<Node, String> {
    let mut events = Events {
        parser: Parser::new_from_str(content),
        line: 1,
    };
    loop {
        match events.next()? {
            Event::StreamStart | Event::DocumentStart(_) => {}
            Event::StreamEnd | Event::DocumentEnd => return Ok(Node::Null),
            event => return events.node(event, 0),
        }
    }
}

struct Events<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    line: usize,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<Event<'a>, String> {
        match self.parser.next() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => Err(format!("{}: {}", error.marker().line(), error.info())),
            None => Ok(Event::StreamEnd),
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, String> {
        if depth > DEEPEST {
            return Err(format!("{}: this nests too deeply", self.line));
        }
        match event {
            Event::Scalar(text, style, ..) => Ok(match (&*text, style) {
                ("" | "~" | "null" | "Null" | "NULL", ScalarStyle::Plain) => Node::Null,
                _ => Node::Text(text.into_owned()),
            }),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(Node::List(items)),
                        event => items.push(self.node(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut entries: Vec<(String, Node)> = Vec::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd => return Ok(Node::Map(entries)),
                        Event::Scalar(key, ..) => key.into_owned(),
                        _ => return Err(format!("{}: this is no key", self.line)),
                    };
                    if entries.iter().any(|(other, _)| *other == key) {
                        return Err(format!("{}: a key is there twice", self.line));
                    }
                    let event = self.next()?;
                    entries.push((key, self.node(event, depth + 1)?));
                }
            }
            Event::Alias(_) => Err(format!(
                "{}: an alias is not followed; write it out",
                self.line
            )),
            _ => Err(format!("{}: the document ends too early", self.line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_stay_as_they_stand() {
        let tree = read("a: 0123\nb: [yes, '~', ~]\nc:\n  d: \"x\\ty\"\n").unwrap();
        let text = |text: &str| Node::Text(text.to_owned());
        let expected = Node::Map(vec![
            ("a".to_owned(), text("0123")),
            (
                "b".to_owned(),
                Node::List(vec![text("yes"), text("~"), Node::Null]),
            ),
            (
                "c".to_owned(),
                Node::Map(vec![("d".to_owned(), text("x\ty"))]),
            ),
        ]);
        assert_eq!(tree, expected);
        assert_eq!(read(""), Ok(Node::Null));
    }

    #[test]
    fn what_cannot_be_read_is_told_by_line_alone() {
        for (content, line) in [
            ("a: secret\na: secret\n", "2"),
            ("a: &x secret\nb: *x\n", "2"),
            ("a: [secret\n", "2"),
        ] {
            let error = read(content).unwrap_err();
            assert!(error.starts_with(line), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert!(read(&deep).is_err());
    }
}
