//! `[session]`: what is told of a store or a shared Redis that is none.

use super::provider_tests::loaded;

/// What is told of a file whose `[session]` has this line.
fn told_of(line: &str) -> String {
    let provider = "[providers.oidc]\nissuer = \"https://login.example.com\"\nclient_id = \"app\"\n\
                    allow = \"anyone\"\n";
    loaded(&format!("[session]\n{line}\n{provider}")).expect_err("it is no good")
}

#[test]
fn a_misspelt_scheme_is_put_right_and_nothing_behind_it_repeated() {
    for (written, meant) in [
        ("reddis://cache:6379", "redis://…"),
        ("Redis://cache", "redis://…"),
        ("reddiss://:hunter2@cache", "rediss://…"),
        ("valky://cache", "valkey://…"),
        ("redis-clusters://h1,h2", "redis-cluster://…"),
        ("redis+sentinel://s1,s2/hunter2", "redis-sentinel://…"),
        ("rediss_cluster://ann:hunter2@h1", "rediss-cluster://…"),
        ("redis:/:hunter2@cache", "redis://…"),
        ("redis:hunter2@cache", "redis://…"),
    ] {
        for key in ["store", "shared"] {
            let told = told_of(&format!("{key} = \"{written}\""));
            let hint = format!("did you mean \"{meant}\"?");
            assert!(told.contains(&hint), "{key}: {told}");
            let (_, help) = told.split_once("= help: ").unwrap();
            assert!(!help.contains("hunter2"), "{told}");
            assert!(
                !written.contains('@') || !told.contains("hunter2"),
                "{told}"
            );
        }
    }
    for other in ["http://cache", "cluster", "redis", "", "://redis"] {
        let told = told_of(&format!("store = \"{other}\""));
        assert!(told.contains("an address such as \"redis://"), "{told}");
    }
}

#[test]
fn an_empty_store_is_told_which_there_are() {
    for empty in ["\"\"", "\" \"", "{ file = \"/dev/null\" }"] {
        let told = told_of(&format!("store = {empty}"));
        assert!(told.contains("`store` is empty"), "{told}");
        assert!(told.contains("help: \"cookie\", \"memory\" or"), "{told}");
        let told = told_of(&format!("shared = {empty}"));
        assert!(told.contains("`shared` is empty"), "{told}");
        assert!(told.contains("shared = \"redis://"), "{told}");
        let told = told_of(&format!("secret = {empty}"));
        assert!(told.contains("a secret must have a value"), "{told}");
    }
}
