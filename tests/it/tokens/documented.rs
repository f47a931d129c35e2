//! docs/api-tokens.md begins with what to write: it is checked as it stands.

use std::fs;

use crate::support::house;

#[test]
fn the_block_that_the_page_begins_with_is_right() {
    let page = fs::read_to_string(house::root().join("docs/api-tokens.md")).expect("the page");
    let (before, rest) = page.split_once("```toml\n").expect("a block");
    assert!(before.lines().count() < 8, "the page begins with it");
    let (block, _) = rest.split_once("```").expect("its end");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sidegate.toml");
    // The hash is what `sidegate token` prints.
    let block = block.replace("sha256:…", &format!("sha256:{}", "5e".repeat(32)));
    let (top, tables) = block.split_once("\n[").expect("tables");
    let text = format!(
        "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"https://app.example.com\"\n{top}\n\
         [providers.hub]\ntype = \"github\"\nclient_id = \"a\"\n\
         client_secret = \"b\"\nallow = \"anyone\"\n[{tables}"
    );
    fs::write(&file, text).expect("written");
    let mut command = house::sidegate();
    let output = command
        .env("SESSION_SECRET", house::SECRET)
        .args(["check", "-c"])
        .arg(&file)
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
