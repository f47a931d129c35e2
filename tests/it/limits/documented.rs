//! `docs/limits.md` against the code: every key of `[limits]`, and every other bound, which is a constant with a
//! comment that says what it bounds. `UPDATE_DOCS=1` writes the tables anew.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use crate::support::house::root;

/// Constants of these types bound something, unless they belong to a format or only to a test.
const TYPES: [&str; 10] = [
    "Duration",
    "TcpKeepalive",
    "usize",
    "u16",
    "u32",
    "u64",
    "i32",
    "i64",
    "Quota",
    "Rate",
];
/// What bounds something by its name or its type, and so has a comment.
const NAMES: [&str; 4] = ["MAX_", "MOST", "LONGEST", "LARGEST"];

struct Bound {
    file: String,
    name: String,
    value: String,
    meaning: String,
}

fn collect(folder: &Path, root: &Path, into: &mut Vec<Bound>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !matches!(&*name, "tests" | "demo") {
                collect(&path, root, into);
            }
        } else if name.ends_with(".rs") && !name.contains("tests") && !name.contains("testing") {
            let text = fs::read_to_string(&path).expect("text");
            let file = path
                .strip_prefix(root)
                .expect("below")
                .display()
                .to_string();
            assert_eq!(nameless(&text), None, "{file}: it has no name");
            read(&file, &text, into);
        }
    }
}

/// What a number bounds that stands behind it.
const CALLS: [&str; 6] = [
    "channel(",
    "Semaphore::new(",
    "timeout(Duration::from_secs(",
    "timeout(Duration::from_millis(",
    "sleep(Duration::from_secs(",
    "sleep(Duration::from_millis(",
];

/// A bound that is a bare number where it is used: it has no name, and so no row.
fn nameless(text: &str) -> Option<&str> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let has_number = |line: &str, call: &str| {
        let after = line.split(call).nth(1).unwrap_or_default();
        after.starts_with(|first: char| first.is_ascii_digit()) && !line.contains("channel(1)")
    };
    let mut lines = text.lines().map(str::trim_start);
    lines.find(|line| !line.starts_with("//") && CALLS.iter().any(|call| has_number(line, call)))
}

/// The constants of a file that have a comment. None stands right below another one without its own: that would be taken for
/// its own.
fn read(file: &str, text: &str, into: &mut Vec<Bound>) {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut meaning = String::new();
    let mut is_used = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(comment) = line.strip_prefix("/// ") {
            if std::mem::take(&mut is_used) {
                meaning.clear();
            }
            if !meaning.is_empty() {
                meaning.push(' ');
            }
            meaning.push_str(comment);
            continue;
        }
        let declared = line
            .split_once("const ")
            .filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
        let Some((_, declared)) = declared else {
            meaning.clear();
            is_used = false;
            continue;
        };
        let is_shared = std::mem::replace(&mut is_used, !meaning.is_empty());
        let mut declared = declared.to_owned();
        while !declared.ends_with(';') {
            let Some(more) = lines.next() else { break };
            declared.push(' ');
            declared.push_str(more.trim());
        }
        let parsed = declared.split_once(": ").and_then(|(name, rest)| {
            let (kind, value) = rest.split_once(" = ")?;
            TYPES
                .contains(&kind)
                .then(|| (name.to_owned(), value.trim_end_matches(';').to_owned()))
        });
        let is_bound = declared.contains(": Duration =")
            || NAMES.iter().any(|name| declared.starts_with(name));
        assert!(
            !is_shared || parsed.is_none(),
            "{file}: {declared} has no comment of its own; a blank line above says that it bounds nothing"
        );
        assert!(
            !meaning.is_empty() || !is_bound || parsed.is_none(),
            "{file}: {declared} has no comment that says what it bounds"
        );
        if let (Some((name, value)), false) = (parsed, meaning.is_empty()) {
            into.push(Bound {
                file: file.to_owned(),
                name,
                value: value.replace('|', "\\|"),
                meaning: meaning
                    .replace('|', "\\|")
                    .replace("[`", "`")
                    .replace("`]", "`"),
            });
        }
    }
}

/// The page with its tables as the code has them.
fn rewritten(page: &str, bounds: &[Bound]) -> String {
    let mut by_part: BTreeMap<String, String> = BTreeMap::new();
    for bound in bounds {
        let part = bound
            .file
            .trim_start_matches("src/")
            .split(['/', '.'])
            .next();
        let table = by_part
            .entry(part.unwrap_or_default().to_owned())
            .or_default();
        let Bound {
            file,
            name,
            value,
            meaning,
        } = bound;
        let _ = writeln!(table, "| `{name}` | `{value}` | {meaning} | `{file}` |");
    }
    let mut written = String::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let _ = writeln!(written, "{line}");
        let part = line
            .strip_prefix("<!-- bounds of ")
            .and_then(|rest| rest.strip_suffix(" -->"));
        let Some(part) = part else { continue };
        while lines.next_if(|line| line.starts_with('|')).is_some() {}
        let table = by_part.remove(part).unwrap_or_default();
        let _ = write!(
            written,
            "| constant | value | what it bounds | where |\n|---|---|---|---|\n{table}"
        );
    }
    assert!(
        by_part.is_empty(),
        "docs/limits.md has no section for the bounds of {:?}",
        by_part.keys()
    );
    written
}

#[test]
fn every_bound_is_documented() {
    let root = root();
    let mut bounds = Vec::new();
    collect(&root.join("src"), &root, &mut bounds);
    assert!(bounds.len() > 80, "{} bounds found", bounds.len());
    let path = root.join("docs/limits.md");
    let page = fs::read_to_string(&path).expect("docs/limits.md");
    let written = rewritten(&page, &bounds);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, written).expect("written");
        return;
    }
    assert!(
        page == written,
        "docs/limits.md is not what the code says: UPDATE_DOCS=1 cargo test --test it -- every_bound_is_documented"
    );
}

#[test]
fn every_key_is_documented_with_its_default() {
    let page = fs::read_to_string(root().join("docs/limits.md")).expect("docs/limits.md");
    let example = fs::read_to_string(root().join("config.example.toml")).expect("the example");
    let (_, table) = example.split_once("\n[limits]\n").expect("the table");
    let keys = table
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once(" = "));
    let mut count = 0;
    for (key, default) in keys.filter(|(key, _)| !key.contains(' ')) {
        count += 1;
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{key}` |")))
            .unwrap_or_else(|| panic!("{key} has no row"));
        let is_derived = matches!(key, "connections" | "connections_per_client");
        assert!(
            is_derived || row.contains(&format!("| {} |", default.trim_matches('"'))),
            "{row} says not {default}"
        );
    }
    assert_eq!(count, 17);
}
