//! The pages: each configuration passes `sidegate check`, and each kind of app has one.

use std::fs;

use crate::support::house::{root, sidegate};

const PAGES: [&str; 11] = [
    "argo-cd",
    "django",
    "flask",
    "gitea",
    "go",
    "grafana",
    "jupyter",
    "node",
    "open-webui",
    "php",
    "spring",
];

/// The blocks of a page that are in `language`.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    page.split(opening.as_str())
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("\n```")?.0))
        .collect()
}

#[test]
fn each_configuration_passes() {
    let folder = tempfile::tempdir().expect("a directory");
    let readme = fs::read_to_string(root().join("docs/apps/README.md")).expect("the page");
    for name in PAGES {
        assert!(readme.contains(&format!("({name}.md)")), "{name}");
        let page = fs::read_to_string(root().join(format!("docs/apps/{name}.md"))).expect(name);
        assert!(page.contains("## Traps"), "{name}");
        let blocks = blocks(&page, "toml");
        assert!(!blocks.is_empty(), "{name} has no configuration");
        for block in blocks {
            let file = folder.path().join("sidegate.toml");
            fs::write(&file, block).expect("the file is written");
            let checked = sidegate()
                .args(["check", "--without-secrets", "-c"])
                .arg(&file)
                .output()
                .expect("the binary runs");
            let told = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success(), "{name}: {told}");
        }
    }
    let pages = fs::read_dir(root().join("docs/apps")).expect("the folder");
    assert_eq!(pages.count(), PAGES.len() + 1, "each page is on the list");
}
