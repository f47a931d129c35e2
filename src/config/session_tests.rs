//! `[session]`: what is told of a store or a shared Redis that is none.

use super::provider_tests::loaded;

/// What is told of a file whose `[session]` has this line.
fn report_of(line: &str) -> String {
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
            let report = report_of(&format!("{key} = \"{written}\""));
            let hint = format!("did you mean \"{meant}\"?");
            assert!(report.contains(&hint), "{key}: {report}");
            let (_, help) = report.split_once("= help: ").unwrap();
            assert!(!help.contains("hunter2"), "{report}");
            assert!(
                !written.contains('@') || !report.contains("hunter2"),
                "{report}"
            );
        }
    }
    for other in ["http://cache", "cluster", "redis", "", "://redis"] {
        let report = report_of(&format!("store = \"{other}\""));
        assert!(report.contains("an address such as \"redis://"), "{report}");
    }
}

#[test]
fn an_empty_store_is_told_which_there_are() {
    for empty in ["\"\"", "\" \"", "{ file = \"/dev/null\" }"] {
        let report = report_of(&format!("store = {empty}"));
        assert!(report.contains("`store` is empty"), "{report}");
        assert!(
            report.contains("help: \"cookie\", \"memory\" or"),
            "{report}"
        );
        let report = report_of(&format!("shared = {empty}"));
        assert!(report.contains("`shared` is empty"), "{report}");
        assert!(report.contains("shared = \"redis://"), "{report}");
        let report = report_of(&format!("secret = {empty}"));
        assert!(report.contains("a secret must have a value"), "{report}");
    }
}
