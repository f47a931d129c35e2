//! The manual's text about a key. Keys are explained only in `config.example.toml`: a block of comments explains the keys whose environment
//! names are at its end. The first block is about the file.

const MANUAL: &str = include_str!("../../config.example.toml");

/// What the manual says of the key at `path`, where `*` stands for a name that the operator chooses. Lists of a route are
/// those of a provider, and explained there.
pub(super) fn text_of(path: &[&str]) -> Option<String> {
    said_of(path).or_else(|| match path {
        ["routes", "*", "allow", list @ ..] | ["routes", "*", "any", "*", list @ ..] => {
            said_of(&[&["providers", "*", "allow"], list].concat())
        }
        _ => None,
    })
}

/// What the manual says of the table at `path`: the first paragraph above its header, unless that is about a key. Of a table that is
/// written in a line it says the same as of a key.
pub(super) fn text_of_table(path: &[&str]) -> Option<String> {
    let lines: Vec<&str> = MANUAL.lines().collect();
    let Some(header) = lines.iter().position(|line| is_header_of(line, path)) else {
        return text_of(path);
    };
    let above = lines[..header].iter().rev();
    let mut above: Vec<&str> = above
        .take_while(|line| is_comment(line))
        .map(|line| line.get(2..).unwrap_or_default())
        .collect();
    above.reverse();
    let first = above.split(|line| line.is_empty()).next()?;
    let text = joined(first);
    (!text.is_empty() && names(&text).next().is_none()).then_some(text)
}

/// Whether a line begins the table at `path`, or one below it whose name is an example.
fn is_header_of(line: &str, path: &[&str]) -> bool {
    let line = line.strip_prefix('#').unwrap_or(line);
    let name = line.trim_start_matches('[');
    let Some((name, _)) = name.split_once(']').filter(|_| line.starts_with('[')) else {
        return false;
    };
    let levels: Vec<&str> = name.split('.').collect();
    let path: Vec<&str> = path.iter().copied().filter(|level| *level != "*").collect();
    let is_example = matches!(path[..], ["providers" | "upstreams"]);
    levels == path || (is_example && levels.len() == 2 && levels[..1] == path[..])
}

fn is_comment(line: &str) -> bool {
    line == "#" || line.starts_with("# ")
}

fn said_of(path: &[&str]) -> Option<String> {
    let texts = blocks();
    let of = |is_it: &dyn Fn(&[String]) -> bool| {
        let mut texts = texts.iter();
        texts.find(|text| names(text).any(|name| is_it(&name)))
    };
    let alike = |name: &[String]| {
        let mut pairs = name.iter().zip(path);
        pairs.all(|(one, other)| *other == "*" || one == other)
    };
    // Below a table whose keys the operator names stands an example.
    let text = of(&|name| name.len() == path.len() && alike(name))
        .or_else(|| of(&|name| name.len() > path.len() && alike(name)))?;
    let text = text.split("SIDEGATE_").next().unwrap_or_default().trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Blocks of comments, without their signs. Where several paragraphs of a block have names, each is a block.
fn blocks() -> Vec<String> {
    let mut blocks = Vec::new();
    for block in MANUAL
        .lines()
        .skip_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .chunk_by(|one, other| is_comment(one) == is_comment(other))
    {
        let lines = block.iter().filter(|line| is_comment(line));
        let lines: Vec<&str> = lines
            .map(|line| line.get(2..).unwrap_or_default())
            .collect();
        let paragraphs = lines.split(|line| line.is_empty());
        let paragraphs: Vec<String> = paragraphs.map(joined).collect();
        let named = paragraphs
            .iter()
            .filter(|text| names(text).next().is_some());
        if named.count() > 1 {
            blocks.extend(paragraphs);
        } else {
            blocks.push(paragraphs.join("\n\n"));
        }
    }
    blocks
}

/// The lines of a paragraph as one, but for those that are indented.
fn joined(lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines {
        let separator = if line.starts_with("  ") { "\n" } else { " " };
        if !text.is_empty() {
            text.push_str(separator);
        }
        text.push_str(line);
    }
    text
}

/// The keys that a text names by their names in the environment, each as its path.
fn names(text: &str) -> impl Iterator<Item = Vec<String>> {
    text.split("SIDEGATE_").skip(1).map(|rest| {
        let is_letter = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
        let end = rest.find(|byte| !is_letter(byte)).unwrap_or(rest.len());
        let levels = rest[..end].split("__");
        levels.map(str::to_ascii_lowercase).collect()
    })
}
