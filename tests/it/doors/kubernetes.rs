//! The manifests of the pages: well-formed, of the right shape, and saying what the pages say.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use super::Page;
use crate::support::house::root;

#[test]
fn the_manifests_are_valid_and_keep_their_promises() {
    let folder = root().join("tests/deploy");
    assert!(
        folder.join("node_modules").exists(),
        "the schemas are missing: run tests/run, or `npm ci --prefix tests/deploy`"
    );
    for name in ["ingress-nginx", "kubernetes-gateway"] {
        let mut check = Command::new("node")
            .arg(folder.join("doors.mjs"))
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let manifests = Page::open(name).block("yaml");
        let mut input = check.stdin.take().unwrap();
        input.write_all(manifests.as_bytes()).unwrap();
        drop(input);
        let output = check.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
    }
}

/// What one page says in two places is the same in both.
#[test]
fn the_gateways_port_is_the_gates() {
    let page = Page::open("kubernetes-gateway");
    assert!(
        page.block("toml")
            .contains("ext_authz_listen = \"0.0.0.0:4182\"")
    );
    assert!(page.block("yaml").contains("port: 4182"));
}
